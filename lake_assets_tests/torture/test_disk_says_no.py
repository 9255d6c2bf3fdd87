"""A disk that is full or read-only, and limits of the process, from any step on.

The process ends with an error that says so, nothing of what was delivered is lost or set aside as
broken, and once the limit is gone the next process makes the lake what it would have been.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lake_assets_tests.torture.disks import lift, small_disk
from lake_assets_tests.torture.server import Ended, Server
from lake_assets_tests.torture.walk import IS_FULL, Place, Quiet, sample, was_struck

_SAMPLED = 60 if IS_FULL else 3
_SCENARIOS = (
    "images", "rows in parts of their own", "images with rows", "rebuild", "staging",
    "annotations", "replay", "relocation",
)  # fmt: skip
_NEEDS_DISK = ("fill", "read_only")
_DUCKDB_GIVES_UP = -signal.SIGABRT
"""DuckDB 1.5 ends its process (an internal exception in a destructor) when it cannot open a file in
the middle of a query: then there is no error to be clear."""
_STRIKES = (*_NEEDS_DISK, "few_files", "short_files")


@pytest.fixture(params=_SCENARIOS)
def place(
    request: pytest.FixtureRequest, server: Server, tmp_path: Path
) -> Iterator[tuple[Place, Quiet]]:
    with small_disk(tmp_path / "disk") as disk:
        made = Place.make(server, request.param, tmp_path / "place", home=disk / "lake")
        yield made, made.quiet()


@pytest.mark.parametrize("strike", _STRIKES)
def test_no_from_any_point_on(strike: str, place: tuple[Place, Quiet]):
    made, quiet = place
    disk = made.home.parent
    wrong: dict[str, Any] = {}
    what = f"{made.scenario}, {strike}"
    for at in sample(_SAMPLED, len(quiet.labels), what=what, even_if_full=True):
        lift(disk)
        made.begin()
        told = {"disk": str(disk)} if strike in _NEEDS_DISK else {}
        ended = made.act(at=at, strike=strike, **told)
        lift(disk)
        trouble = _unclear(ended, at) or quiet.differences(made.heal_and_look())
        if trouble:
            wrong[f"{at} {quiet.labels[at]}"] = trouble
    assert wrong == {}


def _unclear(ended: Ended, at: int) -> str:
    """Return what is wrong with how a process ended that met a limit; empty: nothing is."""
    if ended.code == _DUCKDB_GIVES_UP:
        return ""  # the lake is looked at all the same
    if not was_struck(ended, at):
        return f"was not struck: {ended.code} {ended.error}"
    if ended.error is None:
        return ""  # nothing was written after that point, or it could be done without
    if not ended.is_known or not ended.is_retryable:
        return f"{ended.error}\n{ended.trace}"
    return ""
