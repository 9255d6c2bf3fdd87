"""SIGKILL at random moments of real processes, workers included; the next one heals the lake."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from lake_assets_tests.torture.server import Server, Task
from lake_assets_tests.torture.walk import IS_FULL, SEED, Place, Quiet

_SCENARIOS = (
    "images with rows", "images", "one of three fails", "rebuild", "annotations", "replay",
    "relocation", "undo", "redo",
)  # fmt: skip
_KILLS = 300 if IS_FULL else 27
_WITH_WORKERS = "workers = 2\nbusy_timeout_s = 30\n"


@pytest.mark.parametrize("number", range(len(_SCENARIOS)), ids=_SCENARIOS)
def test_killed_at_any_moment(number: int, server: Server, tmp_path: Path):
    scenario = _SCENARIOS[number]
    place = Place.make(server, scenario, tmp_path)
    (place.home / "lake.toml").write_text(_WITH_WORKERS)
    place.keep()
    quiet = place.quiet()
    longest_s = _seconds(place)
    wrong = {}
    killed = 0
    for case in range(number, _KILLS, len(_SCENARIOS)):
        chance = random.Random(f"{SEED} {case}")
        after_s, with_workers = chance.uniform(0, longest_s), chance.random() < 0.5
        killed += _kill(place, after_s, with_workers=with_workers)
        trouble = _trouble(place, quiet)
        if trouble:
            wrong[f"seed {SEED}, case {case}: after {after_s:.3f} s"] = trouble
    print(f"{scenario}: {killed} killed before their end, seed {SEED}")  # noqa: T201
    assert wrong == {}
    assert killed


def _task(place: Place) -> Task:
    return Task(name="act", arguments=place.arguments)


def _seconds(place: Place) -> float:
    place.begin()
    began = time.monotonic()
    place.server.do(_task(place)).require()
    return time.monotonic() - began


def _kill(place: Place, after_s: float, *, with_workers: bool) -> bool:
    """Kill a process after so long; without its workers, which then have to end by themselves."""
    place.begin()
    pid = place.server.start(_task(place))
    time.sleep(after_s)
    if with_workers:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGKILL)
    return place.server.join(pid).code == -signal.SIGKILL


def _trouble(place: Place, quiet: Quiet) -> object:
    return quiet.differences(place.heal_and_look()) or place.failed_checks()
