"""Many processes over one catalog, while uploads go on arriving: nothing lost, nothing twice.

They share the tables of all datasets (images, quarantine, ledger, catalog), so they race for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lake_assets_tests.torture.server import Ended, Server, Task
from lake_assets_tests.torture.walk import IS_FULL, Place, Quiet

_DEADLINE_S = 240
_UPLOADS_PER_DATASET = 4
_ROUNDS = 10 if IS_FULL else 2


@pytest.mark.parametrize("how_many", [2, 4, 8])
def test_nothing_is_lost_and_nothing_comes_twice(how_many: int, server: Server, tmp_path: Path):
    home = str(tmp_path / "lake")
    arguments = {"home": home, "folder": str(tmp_path / "deliveries")}
    server.run("open_for_many", **arguments).require()
    arriving = server.start(
        Task(name="stage_one_by_one", arguments=arguments | {"each": _UPLOADS_PER_DATASET})
    )
    workers = [
        server.start(Task(name="ingest_until_all_is_done", arguments={"home": home}))
        for _ in range(how_many)
    ]
    wanted = server.join(arriving, timeout_s=_DEADLINE_S).require()
    done: list[Ended] = [server.join(pid, timeout_s=_DEADLINE_S) for pid in workers]
    seen: Counter[str] = sum((ended.require() for ended in done), Counter())
    print(f"{how_many} processes: {dict(seen)}")  # noqa: T201
    found = server.run("count", home=home).require()
    assert found == wanted | {"leftovers": [], "failed checks": []}
    assert seen["busy"] > 0
    if how_many > 2:
        assert seen["lost races"] > 0, "the processes did not meet: this proves nothing"


@pytest.mark.parametrize("how_many", [2, 4])
def test_replays_of_what_shares_tables_lose_nothing(how_many: int, server: Server, tmp_path: Path):
    """Two variants, their dataset and another one: each rewrites its rows of one quarantine."""
    place = Place.make(server, "replay", tmp_path)
    home = {"home": str(place.home)}
    assert server.run("stage_replays", **home).require() == 4
    place.keep()
    server.run("ingest_until_all_is_done", **home).require()
    quiet = Quiet(labels=(), found=server.run("look", **home).require())
    for found in _rounds(place, server, how_many):
        assert quiet.differences(found) == {}


@pytest.mark.parametrize("how_many", [2, 4])
def test_a_type_changes_while_others_write_to_the_same_table(
    how_many: int, server: Server, tmp_path: Path
):
    """Two variants of a task: fractions of one have the files of both written anew."""
    place = Place.make(server, "types of annotations rewritten", tmp_path)
    home = {"home": str(place.home)}
    assert server.run("stage_replays", **home).require() == 0  # nothing more will come
    place.keep()
    server.run("ingest_until_all_is_done", **home).require()
    quiet = Quiet(labels=(), found=server.run("look", **home).require())
    for found in _rounds(place, server, how_many):
        for rows in (quiet.found["rows"], found["rows"]):
            # A variant's columns are listed as they were when it was ingested last.
            rows.pop("lake.partitions", None)
        assert quiet.differences(found) == {}


def _rounds(place: Place, server: Server, how_many: int) -> Iterator[Any]:
    """Have several processes ingest the same, again and again, and yield what it comes to."""
    home = {"home": str(place.home)}
    for _ in range(_ROUNDS):
        place.begin()
        task = Task(name="ingest_until_all_is_done", arguments=home)
        pids = [server.start(task) for _ in range(how_many)]
        seen = [server.join(pid, timeout_s=_DEADLINE_S).require() for pid in pids]
        print(f"{how_many} processes: {[dict(item) for item in seen]}")  # noqa: T201
        yield server.run("look", **home).require()
        assert place.failed_checks() == []


@pytest.mark.parametrize("scenario", ["relocation", "undo", "redo"])
@pytest.mark.parametrize("how_many", [2, 4])
def test_what_several_do_at_once_is_done_once(
    scenario: str, how_many: int, server: Server, tmp_path: Path
):
    place = Place.make(server, scenario, tmp_path)
    quiet = place.quiet()
    for _ in range(_ROUNDS):
        place.begin()
        pids = [server.start(place.task()) for _ in range(how_many)]
        for pid in pids:
            server.join(pid, timeout_s=_DEADLINE_S).require()
        assert quiet.differences(place.heal_and_look()) == {}


def test_lost_races_are_tried_again_until_they_are_won(server: Server, tmp_path: Path):
    """Eight writers of one table: each commit that loses comes back and gets in."""
    home = str(tmp_path / "lake")
    server.run("open_for_many", home=home, folder=str(tmp_path)).require()
    pids = [
        server.start(Task(name="append_often", arguments={"home": home, "who": n, "times": 5}))
        for n in range(8)
    ]
    races: list[Any] = [server.join(pid, timeout_s=_DEADLINE_S).require() for pid in pids]
    print(f"lost races per writer: {races}")  # noqa: T201
    assert sum(races) > 0
    assert server.run("rows_of_race", home=home).require() == {
        f"{who}-{number}": 1 for who in range(8) for number in range(5)
    }
