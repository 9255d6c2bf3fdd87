"""Who may work on a dataset: beating hearts, frozen processes that wake up, other hosts, clocks.

The lakes here take a process for dead after one second without a heartbeat.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lake_assets_tests.torture.server import Ended, Server
from lake_assets_tests.torture.walk import IS_FULL, Place, Quiet, sample

_SCENARIO = "images with rows"
_TIMEOUT_S = 1.0
_DEADLINE_S = 60
_FROZEN_REPLAYS = 100 if IS_FULL else 3

_MOMENTS = {
    "before reading": ("after rename staging/pending/ULID", 0),
    "while reading": ("before link staging/processing", 1),
    "while parts are written": ("after parquet write_table", 0),
    "before the journal": ("before open staging/processing/ULID.N/.draft-HEX", 0),
    "after the journal": ("after replace staging/processing/ULID.N/.draft-HEX", 0),
    "before the pointer is swapped": ("after syncfs", 1),
    "between commits": ("after sqlite commit", -4),
    "before the ledger": ("before mkdir tables/lake/uploads/data", 0),
    "before the moves": ("before unlink staging/processing/ULID.N/prepared.json", 0),
    "at the moves": ("before rename staging/processing/ULID.N staging/done/ULID", 0),
}
"""Name → beginning of a point's label, and which of those points."""

_COMPLETE = ("before the moves", "at the moves")
"""All is in the tables already, and the other process only renamed folders: no loss to tell of."""


@pytest.fixture(scope="module")
def kept(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Quiet]:
    place = _place(server, _SCENARIO, tmp_path_factory.mktemp("leases") / "place")
    return place, place.quiet()


def _place(server: Server, scenario: str, root: Path) -> Place:
    place = Place.make(server, scenario, root)
    with (place.home / "lake.toml").open("a") as settings:
        settings.write(f"lease_timeout_s = {_TIMEOUT_S}\n")
    place.keep()
    return place


@pytest.fixture
def place(kept: tuple[Place, Quiet]) -> Place:
    kept[0].begin()
    return kept[0]


@pytest.fixture
def quiet(kept: tuple[Place, Quiet]) -> Quiet:
    return kept[1]


def _point(quiet: Quiet, moment: str) -> int:
    label, which = _MOMENTS[moment]
    found = [n for n, text in enumerate(quiet.labels) if text.startswith(label)]
    assert found, f"no point begins with {label!r}"
    return found[which]


# -- frozen


@pytest.mark.parametrize("moment", _MOMENTS)
def test_a_process_frozen_and_robbed_changes_nothing_when_it_wakes(
    moment: str, place: Place, quiet: Quiet
):
    ended, trouble = _frozen_at(place, quiet, _point(quiet, moment))
    assert trouble == {}
    if moment in _COMPLETE and ended.error is None:
        return
    assert ended.error, "it ended as if nothing had happened"
    assert ended.error.startswith("LeaseLost"), f"{ended.error}\n{ended.trace}"
    assert ended.is_retryable


@pytest.mark.skipif(not IS_FULL, reason="LAKE_TEST_FULL=1 freezes at 100 more; these are some")
def test_frozen_at_any_point(place: Place, quiet: Quiet):
    wrong = {}
    for at in sample(100, len(quiet.labels), what="frozen", even_if_full=True):
        place.begin()
        ended, trouble = _frozen_at(place, quiet, at)
        if trouble or (ended.error and not ended.is_retryable):
            wrong[f"{at} {quiet.labels[at]}"] = trouble or f"{ended.error}\n{ended.trace}"
    assert wrong == {}


def test_a_frozen_replay_changes_nothing_when_it_wakes(server: Server, tmp_path: Path):
    place = _place(server, "replay", tmp_path)
    quiet = place.quiet()
    ingested = [n for n, text in enumerate(quiet.labels) if "rename staging/incoming" in text][-1]
    points = range(ingested + 1, len(quiet.labels))
    wrong = {}
    for at in sample(_FROZEN_REPLAYS, len(points), what="frozen replays", even_if_full=True):
        if quiet.labels[points[at]] == "before sqlite commit":
            continue
        place.begin()
        ended, trouble = _frozen_at(place, quiet, points[at])
        if trouble or (ended.error and not ended.is_retryable):
            wrong[f"{points[at]} {quiet.labels[points[at]]}"] = trouble or ended.error
    assert wrong == {}


def _frozen_at(place: Place, quiet: Quiet, at: int) -> tuple[Ended, object]:
    """Return how a process ended that was frozen while another did its work, and what is wrong."""
    pid = place.server.start(place.task(at=at, strike="stop", home=str(place.home)))
    with _frozen(pid):
        trouble = quiet.differences(place.heal_and_look())
        before = _files(place.home)
    ended = place.server.join(pid, timeout_s=_DEADLINE_S)
    after = _files(place.home)
    touched = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    found = place.server.run("look", home=str(place.home)).require()
    return ended, trouble or _not_its_own(touched) or quiet.differences(found) or {}


def _not_its_own(touched: set[str]) -> set[str]:
    # Drafts of snapshots, which nothing names, and their hashes. SQLite's file, plans of tables,
    # and the list of what the lake holds, which is made from the tables and needs no lease: `look`
    # compares what is in them.
    free = ("/metadata/", "/seals.log", "tables/lake/partitions/", "catalog.db", "tmp/plans/")
    return {path for path in touched if not any(part in path for part in free)}


@contextlib.contextmanager
def _frozen(pid: int) -> Iterator[None]:
    _wait_until(lambda: _state(pid) in "TZ", f"process {pid} to be frozen")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _files(home: Path) -> dict[str, str]:
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file()
    }


# -- alive, dead, elsewhere


def test_a_process_that_takes_long_keeps_its_lease(place: Place, quiet: Quiet):
    at = _point(quiet, "while reading")
    long = place.task(at=at, strike="linger", seconds=4 * _TIMEOUT_S)
    pid = place.server.start(long)
    _wait_until(lambda: _row(place.home) is not None, "a lease")
    beats = set()
    for _ in range(3):
        last = _heartbeat(place.home)
        beats.add(last)
        _wait_until(lambda last=last: _heartbeat(place.home) > last, "the next heartbeat")
    waiting = place.server.run("heal", **place.arguments)  # gets it once the first is done
    first = place.server.join(pid, timeout_s=_DEADLINE_S)
    first.require()
    waiting.require()
    assert len(beats) == 3
    assert quiet.differences(place.heal_and_look()) == {}


def test_a_dead_process_loses_its_lease_at_once(place: Place, quiet: Quiet):
    _set(place, lease_timeout_s=3600, busy_timeout_s=0)
    assert place.act(at=_point(quiet, "between commits")).code != 0
    assert quiet.differences(place.heal_and_look()) == {}


def test_a_process_of_another_host_loses_its_lease_only_after_the_time(place: Place, quiet: Quiet):
    _set(place, lease_timeout_s=3600, busy_timeout_s=0)
    assert place.act(at=_point(quiet, "between commits")).code != 0
    _say(place.home, host="elsewhere", heartbeat_at=time.time())
    busy = place.server.run("heal", **place.arguments)
    assert busy.error, "it was taken from a process that may live"
    assert busy.error.startswith("DatasetBusy")
    _say(place.home, host="elsewhere", heartbeat_at=time.time() - 3601)
    assert quiet.differences(place.heal_and_look()) == {}


# -- clocks


def test_a_heartbeat_from_the_future_blocks_a_dataset_no_longer_than_any_other(
    place: Place, quiet: Quiet
):
    """The clock was set back by an hour after the holder's last heartbeat."""
    assert place.act(at=_point(quiet, "between commits")).code != 0
    _say(place.home, host="elsewhere", heartbeat_at=time.time() + 3600)
    assert quiet.differences(place.heal_and_look()) == {}


def test_a_clock_that_jumps_ahead_costs_work_but_no_rows(place: Place, quiet: Quiet):
    """To others a living process then looks dead; that it cannot commit keeps the tables right."""
    at = _point(quiet, "after the journal")
    pid = place.server.start(place.task(at=at, strike="stop", home=str(place.home)))
    with _frozen(pid):
        _say(place.home, heartbeat_at=time.time() - 3600)
        place.server.run("heal", **place.arguments).require()
    assert "LeaseLost" in str(place.server.join(pid, timeout_s=_DEADLINE_S).error)
    assert quiet.differences(place.heal_and_look()) == {}


# -- the row of a lease


def _row(home: Path) -> Any:
    with contextlib.closing(sqlite3.connect(home / "catalog.db", timeout=30)) as database:
        return database.execute("SELECT holder, heartbeat_at FROM lake_leases").fetchone()


def _heartbeat(home: Path) -> float:
    return float(_row(home)[1])


def _say(home: Path, *, heartbeat_at: float, host: str | None = None) -> None:
    holder = json.loads(_row(home)[0])
    holder["host"] = host or holder["host"]
    with contextlib.closing(sqlite3.connect(home / "catalog.db", timeout=30)) as database, database:
        database.execute(
            "UPDATE lake_leases SET holder = ?, heartbeat_at = ?",
            [json.dumps(holder), heartbeat_at],
        )


def _set(place: Place, **settings: float) -> None:
    lines = [f"{name} = {value}\n" for name, value in {"workers": 1, **settings}.items()]
    (place.home / "lake.toml").write_text("".join(lines))


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.01)
