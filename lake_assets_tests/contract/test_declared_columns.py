"""Columns that a dataset's contract declares: read as that in every format, or rejected."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import update_registry
from lake_assets.errors import UploadsFailed
from lake_assets.ingest.model import Outcome
from lake_assets.lake import Lake
from lake_assets.schema_diffs import schema_diff
from lake_assets.upkeep.checks import schema_matches_table

NAME = DatasetName("acme", "d")
DECLARED = {"zip": "string", "amount": "decimal(12,2)", "at": "timestamptz"}
AMOUNTS = (10.1, 40.5, None, 1.005, 99999999999.5)
ZIPS = ("01234", "00007", "99999", "12345", "54321")
GOOD = [("00007", Decimal("40.50")), ("01234", Decimal("10.10")), ("99999", None)]
Source = Path | pd.DataFrame
Write = Callable[[Path], Source]


@pytest.fixture
def lake(tmp_path: Path):
    with Lake.init(tmp_path / "lake") as lake:
        lake.create_provider("acme")
        yield lake


def promise(lake: Lake, columns: dict[str, Any], **contract: Any) -> None:
    made = DatasetContract.model_validate({"columns": columns, **contract})
    path = lake.stores.layout.registry_file
    update_registry(path, lambda registry: registry.with_dataset(NAME, made))


def deliver(lake: Lake, source: Any, **more: Any) -> Outcome:
    upload = lake.upload_raw_data(source, provider="acme", dataset="d", **more)
    return lake.ingest(upload.id).outcomes[-1]


def rows(lake: Lake, columns: str) -> list[tuple[Any, ...]]:
    return lake.sql(f"SELECT {columns} FROM acme.d ORDER BY ALL").fetchall()


def rejected(lake: Lake) -> list[tuple[Any, ...]]:
    if not lake.stores.tables.exists("lake.quarantine"):
        return []
    return lake.sql(
        "SELECT rule, path, expected, actual FROM lake.quarantine WHERE state = 'open' ORDER BY ALL"
    ).fetchall()


def kinds(lake: Lake) -> dict[str, pa.DataType]:
    schema = lake.stores.tables.schema("acme.d")
    return {field.name: field.type for field in schema if not field.name.startswith("_")}


# -- one delivery in each format, with other letters in its names than the contract has


def _table(amounts: list[Any]) -> pa.Table:
    return pa.table({"ZIP": list(ZIPS), "Amount": amounts})


def _delimited(delimiter: str, name: str) -> Write:
    def write(folder: Path) -> Path:
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows([("ZIP", "Amount"), *zip(ZIPS, AMOUNTS, strict=True)])
        return folder / name

    return write


def _records(as_text: bool) -> list[dict[str, Any]]:
    amounts = [str(x) if as_text and x is not None else x for x in AMOUNTS]
    return [{"ZIP": z, "Amount": x} for z, x in zip(ZIPS, amounts, strict=True)]


def _jsonl(folder: Path, *, as_text: bool = False) -> Path:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in _records(as_text)))
    return path


def _json(folder: Path) -> Path:
    (folder / "a.json").write_text(json.dumps(_records(False)))
    return folder / "a.json"


def _parquet(folder: Path, *, kind: pa.DataType | None = None) -> Path:
    amounts = pa.array([None if x is None else str(x) for x in AMOUNTS])
    pq.write_table(_table(amounts.cast(kind or pa.float64())), folder / "a.parquet")
    return folder / "a.parquet"


def _arrow(folder: Path) -> Path:
    feather.write_feather(_table(list(AMOUNTS)), folder / "a.arrow", compression="uncompressed")
    return folder / "a.arrow"


def _archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(_delimited(",", "a.csv")(folder), "inner/a.csv")
    return folder / "a.zip"


def _frame(folder: Path) -> pd.DataFrame:
    return _table(list(AMOUNTS)).to_pandas()


FORMATS: dict[str, Write] = {
    "csv": _delimited(",", "a.csv"),
    "tsv": _delimited("\t", "a.tsv"),
    "jsonl": _jsonl,
    "jsonl, amounts as text": lambda folder: _jsonl(folder, as_text=True),
    "json": _json,
    "parquet": _parquet,
    "parquet, amounts as text": lambda folder: _parquet(folder, kind=pa.string()),
    "parquet, amounts as decimals": lambda folder: _parquet(folder, kind=pa.decimal128(20, 3)),
    "arrow": _arrow,
    "zip": _archive,
    "DataFrame": _frame,
}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS.keys())
def test_every_format_is_read_as_declared(lake: Lake, tmp_path: Path, write: Write):
    promise(lake, DECLARED)
    outcome = deliver(lake, write(tmp_path))
    assert (outcome.rows_in, outcome.accepted, outcome.rejected) == (5, 3, 2)
    assert kinds(lake) == {
        "zip": pa.string(), "amount": pa.decimal128(12, 2), "at": pa.timestamp("us", tz="UTC")
    }  # fmt: skip
    assert rows(lake, "zip, amount") == GOOD
    assert rows(lake, '"at"') == [(None,)] * 3
    found = rejected(lake)
    assert [row[:3] for row in found] == [
        ("fields_hold_their_types", "amount", "decimal(12, 2)")
    ] * 2
    assert {float(row[3].strip('"')) for row in found} == {1.005, 99999999999.5}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS.keys())
def test_what_was_rejected_is_replayed_once_the_contract_is_corrected(
    lake: Lake, tmp_path: Path, write: Write
):
    promise(lake, DECLARED)
    deliver(lake, write(tmp_path))
    promise(lake, {**DECLARED, "amount": "decimal(14,2)"})
    for upload in lake.replay_quarantine():
        lake.ingest(upload.id)
    assert rows(lake, "zip, amount") == sorted([*GOOD, ("54321", Decimal("99999999999.50"))])
    assert len(rejected(lake)) == 1
    assert kinds(lake)["amount"] == pa.decimal128(14, 2)


def test_a_folder_whose_metadata_has_declared_columns(lake: Lake, tmp_path: Path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, shade in enumerate((0, 100, 200)):
        Image.new("L", (20, 20), shade).save(folder / f"{number}.png")
    (folder / "metadata.csv").write_text("file_name,zip,n\n0.png,01,1\n1.png,02,x\n2.png,03,3\n")
    promise(lake, {"zip": "string", "n": "int", "file_name": "string"}, image_column="file_name")
    outcome = deliver(lake, folder)
    assert (outcome.accepted, outcome.rejected, outcome.images_stored) == (2, 1, 2)
    assert rows(lake, "zip, n, file_name") == [("01", 1, "0.png"), ("03", 3, "2.png")]
    assert rejected(lake) == [("fields_hold_their_types", "n", "int", '"x"')]


CSV_CASES = [
    ("long", " 12 ", 12), ("long", "012", 12), ("long", "12.5", None), ("int", str(2**31), None),
    ("double", "1e3", 1000.0), ("double", "much", None), ("boolean", "TRUE", True),
    ("boolean", "1", None), ("date", "2026-01-31", date(2026, 1, 31)), ("date", "31.1.26", None),
    ("timestamp", "2026-01-31 10:00", datetime(2026, 1, 31, 10)),
    ("timestamp", "2026-01-31T10:00Z", None),
    ("timestamptz", "2026-01-31T11:00+01:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ("timestamptz", "2026-01-31T11:00", None),
    ("decimal(5,2)", " 1.50 ", Decimal("1.50")), ("decimal(5,2)", "1e2", Decimal(100)),
    ("decimal(5,2)", "NaN", None), ("decimal(5,2)", "1_0", None), ("decimal(5,2)", "1000", None),
    ("string", " 007", " 007"), ("list<string>", '["a", "b"]', ["a", "b"]),
    ("list<long>", '["a"]', None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "value"), CSV_CASES)
def test_text_as_a_declared_type(lake: Lake, tmp_path: Path, kind: str, text: str, value: Any):
    promise(lake, {"k": kind})
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("n", "k"), (0, text), (1, "")])
    outcome = deliver(lake, tmp_path / "a.csv")
    assert (outcome.accepted, outcome.rejected) == ((2, 0) if value is not None else (1, 1))
    assert (value,) in [*lake.sql("SELECT k FROM acme.d").fetchall(), (None,)]
    assert (None,) in lake.sql("SELECT k FROM acme.d").fetchall()  # the empty field


JSON_CASES = [
    ("long", 12.0, 12), ("long", "12", None), ("string", 12, None), ("boolean", 1, None),
    ("decimal(5,2)", 1.1, Decimal("1.10")), ("decimal(5,2)", 1, Decimal(1)),
    ("decimal(5,2)", True, None), ("list<double>", [1, 2.5], [1.0, 2.5]),
    ("list<double>", [1, "x"], None), ("string", {"a": 1}, None),
]  # fmt: skip


@pytest.mark.parametrize("is_columnar", [False, True], ids=["jsonl", "parquet"])
@pytest.mark.parametrize(("kind", "given", "value"), JSON_CASES)
def test_values_as_a_declared_type(
    lake: Lake, tmp_path: Path, kind: str, given: Any, value: Any, is_columnar: bool
):
    promise(lake, {"k": kind})
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"n": 0, "k": given}) + '\n{"n": 1}\n')
    if is_columnar:
        if given == [1, "x"]:
            given = ["1", "x"]  # Arrow has no list of both
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"n": [0, 1], "k": [given, None]}), path)
    outcome = deliver(lake, path)
    assert (outcome.accepted, outcome.rejected) == ((2, 0) if value is not None else (1, 1))
    assert (value,) in [*lake.sql("SELECT k FROM acme.d").fetchall(), (None,)]


def test_a_row_with_two_wrong_values_is_rejected_once(lake: Lake):
    promise(lake, {"a": "long", "b": "long"})
    outcome = deliver(lake, pa.table({"a": ["x", "y"], "b": ["x", None]}))
    assert (outcome.rows_in, outcome.rejected) == (2, 2)
    assert rejected(lake) == [("fields_hold_their_types", "a", "long", f'"{c}"') for c in "xy"]


def test_a_column_declared_later_exists_from_the_next_upload_on(lake: Lake):
    deliver(lake, pa.table({"n": [1]}))
    promise(lake, {"zip": "string"})
    assert "columns are missing: zip" in schema_matches_table(lake.stores, [NAME])[NAME].summary
    deliver(lake, pa.table({"n": [2]}))
    assert kinds(lake) == {"n": pa.int64(), "zip": pa.string()}
    assert schema_matches_table(lake.stores, [NAME])[NAME].passed


def test_a_wider_type_that_is_declared_widens_the_table(lake: Lake):
    deliver(lake, pa.table({"n": pa.array([1], pa.int32())}))
    promise(lake, {"n": "long"})
    deliver(lake, pa.table({"n": pa.array([2], pa.int32())}))
    assert kinds(lake) == {"n": pa.int64()}
    assert rows(lake, "n") == [(1,), (2,)]


def test_another_type_than_the_table_has_loses_nothing_and_says_what_to_run(lake: Lake):
    deliver(lake, pa.table({"Zip": [1234]}))
    promise(lake, {"zip": "string"})
    outcome = deliver(lake, pa.table({"zip": ["00007"]}))
    assert (outcome.accepted, outcome.rejected) == (1, 0)
    assert rows(lake, "Zip, Zip__variant") == [(1234, None), (None, '"00007"')]
    result = schema_matches_table(lake.stores, [NAME])[NAME]
    assert not result.passed
    assert result.summary == (
        "zip is long, and the contract says string: `lake process start --dataset acme/d --rebuild`"
    )


def test_a_delivery_without_a_declared_key_fails_as_it_did(lake: Lake):
    promise(lake, {"id": "long"}, unique_by=["id"])
    upload = lake.upload_raw_data(pa.table({"n": [1]}), provider="acme", dataset="d")
    with pytest.raises(UploadsFailed, match="the delivery lacks id"):
        lake.ingest(upload.id)


def test_a_frozen_table_takes_a_column_that_is_declared(lake: Lake):
    deliver(lake, pa.table({"n": [1]}))
    promise(lake, {"zip": "string"}, drift="freeze")
    assert deliver(lake, pa.table({"n": [2], "zip": ["01"]})).accepted == 1


def test_a_column_to_part_by_may_be_declared(lake: Lake):
    promise(lake, {"at": "date"}, partition_by=["month(at)"])
    outcome = deliver(lake, pa.table({"at": ["2026-01-31", "2026-02-01", "soon"]}))
    assert (outcome.accepted, outcome.rejected) == (2, 1)
    assert rows(lake, '"at"') == [(date(2026, 1, 31),), (date(2026, 2, 1),)]


def test_a_rebuild_reads_as_declared(lake: Lake, tmp_path: Path):
    promise(lake, DECLARED)
    deliver(lake, _parquet(tmp_path))
    before = rejected(lake)
    lake.rebuild(NAME)
    assert (rows(lake, "zip, amount"), rejected(lake)) == (GOOD, before)


def test_a_diff_reads_as_declared(lake: Lake, tmp_path: Path):
    promise(lake, DECLARED)
    found = schema_diff(lake.stores, NAME, _jsonl(tmp_path))
    assert (found.rows, found.broken, found.usable) == (5, 2, 3)
    assert dict(found.columns) == {
        "zip": "string", "amount": "decimal(12, 2)", "at": "timestamptz"
    }  # fmt: skip
