"""Deliveries for which columns become other types, and their files are written anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lake_assets.contracts.names import DatasetName, VariantName
from lake_assets.contracts.registry import update_registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.lake import Lake

TALLIES = DatasetName("shop", "tallies")
MARKS, MORE_MARKS = (VariantName(TALLIES, "marks", name) for name in ("first", "second"))
Deliver = Callable[[Lake, Path, Any], str]


def write_tallies(path: Path, *, seed: int) -> Path:
    """Write a Parquet file; that of seed 2 has values that the types of seed 1 do not hold."""
    numbers = [seed, 10 * seed, None, 5]
    rows: dict[str, Any] = {
        "tally": [f"{seed}-{number}" for number in range(4)],
        "amount": numbers,
        "deep": [{"x": number, "list": [number]} for number in numbers],
        "day": [date(2024, 3, seed)] * 4,
        "note": [""] * 4,
    }
    if seed == 2:
        rows["amount"] = [40.5, 1.0, None, 0.25]
        rows["deep"] = [{"x": 0.5, "list": [1.5, 2.0]}, {"x": 3.0, "list": []}, None, None]
        rows["day"] = [datetime(2024, 3, 2, 4)] * 4
        rows["note"] = [1, 2, None, 3]
    pq.write_table(pa.table(rows), path)
    return path


def with_tallies(lake: Lake, folder: Path, deliver: Deliver) -> None:
    """Ingest the first tallies, and stage those that need other types, and some like the first."""
    deliver(lake, write_tallies(folder / "first.parquet", seed=1), TALLIES)
    lake.ingest_pending()
    for seed, name in ((2, "second.parquet"), (3, "third.parquet")):
        deliver(lake, write_tallies(folder / name, seed=seed), TALLIES)


def write_marks(path: Path, *marks: Any) -> Path:
    """Write marks as JSON Lines, or as CSV if the path says so."""
    if path.suffix == ".csv":
        lines = [f"{number},{mark}" for number, mark in enumerate(marks)]
        path.write_text("\n".join(["id,mark", *lines, ""]))
    else:
        rows = ({"id": number, "mark": mark} for number, mark in enumerate(marks))
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def promise_marks(lake: Lake, **fields: str) -> None:
    """Make or change the contract of the marks."""
    contract = TaskContract.model_validate({"fields": {"id": "long", **fields}})
    update_registry(
        lake.stores.layout.registry_file,
        lambda registry: (
            registry.without_task("marks") if "marks" in registry.tasks else registry
        ).with_task("marks", contract),
    )


def with_marks(lake: Lake, folder: Path, deliver: Deliver) -> None:
    """Ingest marks of two variants, and stage some of each; those of one are fractions."""
    deliver(lake, write_tallies(folder / "first.parquet", seed=1), TALLIES)
    lake.ingest_pending()
    promise_marks(lake)
    for name in (MARKS, MORE_MARKS):
        deliver(lake, write_marks(folder / f"{name.variant}.jsonl", 1, 2, 3), name)
    lake.ingest_pending()
    deliver(lake, write_marks(folder / "fractions.jsonl", 4, 0.5), MARKS)
    deliver(lake, write_marks(folder / "whole.jsonl", 6, 7), MORE_MARKS)


def with_corrected_marks(lake: Lake, folder: Path, deliver: Deliver) -> None:
    """Ingest marks of two variants, whose contract then says another type."""
    deliver(lake, write_tallies(folder / "first.parquet", seed=1), TALLIES)
    lake.ingest_pending()
    promise_marks(lake, mark="int")
    deliver(lake, write_marks(folder / "marks.csv", 1, 2, "good"), MARKS)
    deliver(lake, write_marks(folder / "more.csv", 4, 5), MORE_MARKS)
    lake.ingest_pending()
    promise_marks(lake, mark="string")


def rebuild_marks(lake: Lake, folder: Path) -> None:
    """Read the marks of one variant again."""
    lake.rebuild(MARKS)
