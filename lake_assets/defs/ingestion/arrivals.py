"""Which runs the pending uploads ask for: a pure plan."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import groupby

from lake_assets.contracts.names import DatasetName


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Waiting:
    """An upload that waits for a run."""

    name: DatasetName
    upload_id: str
    version: str
    """Changes whenever the upload becomes pending anew, as after a failure that passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A run to ask for."""

    name: DatasetName
    run_key: str
    """Names the set of uploads, so that asking twice makes one run."""
    upload_ids: tuple[str, ...]


def plan_runs(waiting: Iterable[Waiting]) -> tuple[PlannedRun, ...]:
    """Return one run per dataset that has uploads waiting, sorted by name."""
    ordered = sorted(waiting)
    return tuple(
        _planned(name, tuple(group)) for name, group in groupby(ordered, lambda item: item.name)
    )


def next_runs(
    planned: Iterable[PlannedRun], *, busy: Container[str], most: int
) -> tuple[PlannedRun, ...]:
    """Return those of the planned runs to ask for now: whose uploads have waited longest.

    Args:
        busy: Datasets, as partition keys, that have a run already.
        most: How many runs to return, at most.
    """
    idle = [run for run in planned if str(run.name) not in busy]
    idle.sort(key=lambda run: run.upload_ids[0])  # begins with the time of the upload
    return tuple(sorted(idle[: max(most, 0)], key=lambda run: run.name))


def _planned(name: DatasetName, uploads: tuple[Waiting, ...]) -> PlannedRun:
    text = "\n".join(f"{item.upload_id} {item.version}" for item in uploads)
    return PlannedRun(
        name=name,
        run_key=f"{name}:{hashlib.sha256(text.encode()).hexdigest()[:32]}",
        upload_ids=tuple(item.upload_id for item in uploads),
    )
