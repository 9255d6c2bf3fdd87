"""Steps for many processes at once."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError, ValidationException
from ulid import ULID

from lake_assets.errors import DatasetBusy
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.storage.tables import Delivery, TableSpec
from lake_assets.storage.tables.catalog import LakeCatalog
from lake_assets_tests.e2e.real_lake import failed_checks, leftovers
from lake_assets_tests.torture.scenarios import (
    PHOTOS,
    SLIPS,
    TICKS,
    deliver,
    write_photos,
    write_slips,
    write_ticks,
)

_ROWS = 40
_ALL_HERE = "all-here"
_RACE = TableSpec(
    name="shop.race", schema=pa.schema([("who", pa.string())]), description="Written by many."
)
_LOST = (CommitFailedException, TableAlreadyExistsError, ValidationException)


def open_for_many(home: str, folder: str) -> None:
    """Make a lake whose datasets nobody waits for longer than a moment."""
    Lake.init(home).close()
    (Path(home) / "lake.toml").write_text("workers = 1\nbusy_timeout_s = 0.2\n")


def stage_one_by_one(home: str, folder: str, each: int) -> dict[str, Any]:
    """Deliver to three datasets, each delivery twice, and return what the lake must come to."""
    root = Path(folder)
    sources = [
        *((write_ticks(root / f"t{n}.csv", seed=n, rows=_ROWS), TICKS) for n in range(each)),
        *((write_photos(root / f"p{n}", seed=n, count=2), PHOTOS) for n in range(each)),
        *((write_slips(root / f"s{n}", seed=n, count=2), SLIPS) for n in range(each)),
    ]
    deliveries = sources * 2
    random.Random(7).shuffle(deliveries)
    with Lake.open(home) as lake:
        for source, name in deliveries:
            deliver(lake, source, name)
    (Path(home) / _ALL_HERE).touch()
    return {
        "uploads": len(deliveries),
        "ledger": {1: len(deliveries)},
        "ticks": each * _ROWS,
        "slips": each * 2,
        "photos": each * 3,  # two, and the copy: a row is a file
        "images": each * (2 + 2),
    }


def stage_replays(home: str) -> int:
    """Stage replays of all that is in the quarantine, and return how many those are."""
    with Lake.open(home) as lake:
        staged = lake.replay_quarantine()
    (Path(home) / _ALL_HERE).touch()
    return len(staged)


def ingest_until_all_is_done(home: str) -> Counter[str]:
    """Ingest what there is until nothing is left and nothing will come; return what happened."""
    seen: Counter[str] = Counter()
    with Lake.open(home) as lake, _counting_lost_races(seen):
        while True:
            is_last = (Path(home) / _ALL_HERE).exists()
            waiting = lake.uploads(State.PENDING, State.PROCESSING)
            if not waiting and is_last:
                return seen
            try:
                lake.ingest_pending()
            except DatasetBusy:
                seen["busy"] += 1
            time.sleep(0.01)  # leave some work to the others


def count(home: str) -> dict[str, Any]:
    """Return what ``stage_one_by_one`` foretold."""
    with Lake.open(home) as lake:
        lake.ingest_pending()  # a list of what the lake holds that its maker had no time to write
        ledger = Counter(lake.stores.tables.read("lake.uploads")["upload_id"].to_pylist())
        return {
            "uploads": len(lake.uploads(State.DONE)),
            "ledger": dict(Counter(ledger.values())),
            **{name.dataset: _rows(lake, name.table) for name in (TICKS, SLIPS, PHOTOS)},
            "images": _rows(lake, "lake.images"),
            "leftovers": leftovers(Path(home)),
            "failed checks": failed_checks(Path(home)),
        }


def append_often(home: str, who: int, times: int) -> int:
    """Append single rows to one table, and return how many races for it were lost."""
    seen: Counter[str] = Counter()
    with Lake.open(home) as lake, _counting_lost_races(seen):
        tables = lake.stores.tables
        for number in range(times):
            key = f"{who}-{number}"
            with tables.part_writer(_RACE, stem=str(ULID())) as parts:
                parts.write(pa.table({"who": [key]}))
                tables.append_once(_RACE, [Delivery(keys=(key,), parts=parts.close())])
    return seen["lost races"]


def rows_of_race(home: str) -> dict[str, int]:
    """Return how often each row is in the table."""
    with Lake.open(home) as lake:
        return dict(Counter(lake.stores.tables.read(_RACE.name)["who"].to_pylist()))


def _rows(lake: Lake, table: str) -> int:
    return int(lake.stores.tables.read(table).num_rows)


@contextmanager
def _counting_lost_races(seen: Counter[str]) -> Iterator[None]:
    commit = LakeCatalog.commit_table

    def counted(*arguments: Any) -> Any:
        try:
            return commit(*arguments)
        except _LOST:
            seen["lost races"] += 1
            raise

    LakeCatalog.commit_table = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        LakeCatalog.commit_table = commit  # type: ignore[method-assign]


def deliver_as(home: str, source: str, uid: int | None) -> str:
    """Stage a delivery, as another user where one is named; return its upload's id."""
    if uid is not None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    with Lake.open(home) as lake:
        return deliver(lake, Path(source), TICKS)


def forget_uploads(home: str) -> None:
    """Remove all uploads that are pending."""
    with Lake.open(home) as lake:
        for upload in lake.uploads(State.PENDING):
            shutil.rmtree(upload.folder)
