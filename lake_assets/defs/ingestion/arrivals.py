"""Which runs the pending uploads ask for: a pure plan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from itertools import groupby, islice

from lake_assets.contracts.names import Destination, VariantName

_BACK_OFF_S = 20.0
_LONGEST_BACK_OFF_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An upload that waits for a run."""

    name: Destination
    upload_id: str
    """Or what else a process has left, as ``(rebuild)``, which sorts before all uploads."""
    version: str
    """Changes whenever the upload becomes pending anew, as after a failure that passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A run to ask for."""

    name: Destination
    run_key: str
    """Names the set of uploads, so that asking twice makes one run."""
    upload_ids: tuple[str, ...]

    @property
    def waits_for(self) -> str:
        """Names the newest upload: a run that ended and left it waiting was no use.

        Other than the key it stays when an upload is given back, and changes when one arrives.
        """
        return f"{self.name}:{self.upload_ids[-1]}"


def plan_runs(waiting: Iterable[Waiting]) -> tuple[PlannedRun, ...]:
    """Return one run per dataset or variant that has uploads waiting, sorted by name.

    Annotations wait for the raw data of their dataset that was delivered before them: they refer
    to its images.
    """
    ordered = sorted(waiting, key=lambda item: (str(item.name), item.upload_id, item.version))
    planned = [
        _planned(name, tuple(group)) for name, group in groupby(ordered, lambda item: item.name)
    ]
    first = {run.name: run.upload_ids[0] for run in planned}
    return tuple(
        run
        for run in planned
        if not isinstance(run.name, VariantName)
        or first.get(run.name.of, run.upload_ids[-1]) >= run.upload_ids[-1]
    )


def next_runs(
    planned: Iterable[PlannedRun],
    *,
    busy: Container[str],
    most: int,
    is_due: Callable[[PlannedRun], bool] = lambda run: True,
) -> tuple[PlannedRun, ...]:
    """Return those of the planned runs to ask for now: whose uploads have waited longest.

    Args:
        busy: Names of those that have a run already.
        most: How many runs to return, at most.
        is_due: Whether it is time for a run; asked of no more of them than necessary.
    """
    idle = [run for run in planned if str(run.name) not in busy]
    idle.sort(key=lambda run: run.upload_ids[0])  # begins with the time of the upload
    due = islice(filter(is_due, idle), max(most, 0))
    return tuple(sorted(due, key=lambda run: str(run.name)))


def back_off_s(tries: int) -> float:
    """Return how long to wait after the latest of so many runs that were no use, in seconds.

    Not at all after the first, which may have been killed; then 20 s, twice as long each time, and
    ten minutes at most: what keeps all runs from working, such as a full disk, ends some time.
    """
    if tries < 2:
        return 0.0
    return float(min(_BACK_OFF_S * 2.0 ** min(tries - 2, 16), _LONGEST_BACK_OFF_S))


def _planned(name: Destination, uploads: tuple[Waiting, ...]) -> PlannedRun:
    text = "\n".join(f"{item.upload_id} {item.version}" for item in uploads)
    return PlannedRun(
        name=name,
        run_key=f"{name}:{hashlib.sha256(text.encode()).hexdigest()[:32]}",
        upload_ids=tuple(item.upload_id for item in uploads),
    )
