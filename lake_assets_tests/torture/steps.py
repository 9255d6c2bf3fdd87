"""What the tests' processes do: each function runs in one of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.media.engines import Engine
from lake_assets.upkeep.verify import Choice, Request, Severity, verify
from lake_assets_tests.e2e.real_lake import contents, failed_checks, leftovers
from lake_assets_tests.torture.points import mapped_here
from lake_assets_tests.torture.scenarios import SCENARIOS, deliver
from lake_assets_tests.torture.server import Task

_SETTINGS = "workers = 1\nbusy_timeout_s = 30\n"


def prepare(scenario: str, home: str, folder: str) -> None:
    """Make the lake of a scenario."""
    with Lake.init(home) as lake:
        (Path(home) / "lake.toml").write_text(_SETTINGS)
    with Lake.open(home) as lake, SCENARIOS[scenario].bounds():
        SCENARIOS[scenario].prepare(lake, Path(folder))


def act(scenario: str, home: str, folder: str) -> None:
    """Do a scenario's work."""
    with Lake.open(home) as lake, SCENARIOS[scenario].bounds():
        SCENARIOS[scenario].act(lake, Path(folder))


def heal(scenario: str, home: str, folder: str) -> None:
    """Do what is done after the work went wrong."""
    with Lake.open(home) as lake, SCENARIOS[scenario].bounds(), _workers(lake):
        SCENARIOS[scenario].heal(lake, Path(folder))


def heal_and_look(scenario: str, home: str, folder: str) -> dict[str, Any]:
    """Heal a lake and return what it comes to."""
    heal(scenario, home, folder)
    return look(home)


def checks(home: str) -> list[str]:
    """Return the lake's own checks that do not pass, and what `lake verify --full` finds."""
    with Lake.open(home) as lake:
        report = verify(lake.stores, Request(choice=Choice(is_full=True)))
    # What an upload in failed/ lacks is why it failed: a scenario takes its file away.
    damage = [
        f"{item.path}: {item.message}"
        for item in report.of(Severity.DAMAGE)
        if not item.path.startswith(f"staging/{State.FAILED}/")
    ]
    return [*failed_checks(Path(home)), *damage]


def look(home: str) -> dict[str, Any]:
    """Return all that a finished lake comes to, as values to compare."""
    path = Path(home)
    found = contents(path)
    return {
        "rows": found.rows,
        "blobs": found.blobs,
        "uploads": found.uploads,
        "leftovers": leftovers(path),
        "notes": sorted(
            item.name for kind in ("rebuilds", "stale") for item in path.glob(f"staging/{kind}/*")
        ),
        "incoming": sorted(item.name for item in path.glob("staging/incoming/*")),
    }


def deliver_again(scenario: str, home: str, folder: str) -> Counter[str]:
    """Deliver all of a scenario a second time and return what was new in it."""
    new: Counter[str] = Counter()
    with Lake.open(home) as lake, _workers(lake):
        for name, source in SCENARIOS[scenario].again:
            done = lake.ingest(deliver(lake, Path(folder) / source, name))
            for outcome in done.outcomes:
                new["rows"] += outcome.accepted
                new["images"] += outcome.images_stored
    return +new


@contextlib.contextmanager
def _workers(lake: Lake) -> Iterator[None]:
    """Look at images in this process if the lake has one worker: to start it takes a second."""
    real = Engine.map
    if lake.stores.settings.workers == 1:
        Engine.map = mapped_here  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        Engine.map = real  # type: ignore[method-assign]


def modules_after(task: Task) -> list[str]:
    """Return the modules that are imported once ``task`` is done."""
    globals()[task.name](**task.arguments)
    return sorted(name for name in sys.modules if not name.startswith("__"))


def restore(template: str, place: str) -> None:
    """Put a copy of ``template`` in the place of what is there."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(template, place, symlinks=True)


def host() -> int:
    """Return this process's id."""
    return os.getpid()
