"""Values that their columns cannot hold: counted, told, and warned of while they are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake_assets.contracts.beside import Beside, added_up
from lake_assets.contracts.names import DatasetName, VariantName
from lake_assets.contracts.tasks import TaskContract
from lake_assets.ingest.model import Outcome, outcome_from_plain
from lake_assets.lake import Lake
from lake_assets.storage.system_tables import UPLOADS
from lake_assets.storage.tables import Delivery, TableSpec
from lake_assets.upkeep.beside_check import no_value_stands_beside_its_column
from lake_assets.upkeep.declarations import declare_columns

NAME = DatasetName("acme", "d")


@pytest.fixture
def lake(tmp_path: Path):
    with Lake.init(tmp_path / "lake") as lake:
        lake.create_provider("acme")
        yield lake


def deliver(lake: Lake, tmp_path: Path, *records: Any, dataset: str = "d") -> Outcome:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    upload = lake.upload_raw_data(path, provider="acme", dataset=dataset)
    return lake.ingest(upload.id).outcomes[-1]


def warned(lake: Lake, name: DatasetName | VariantName = NAME) -> tuple[bool, str]:
    result = no_value_stands_beside_its_column(lake.stores, [name])[name]
    return result.passed, result.summary


def beside(path: str, kind: str, values: int, example: str) -> Beside:
    return Beside(path=path, type=kind, values=values, example=example)


CASES = [
    ("a column", {"k": 1}, [{"k": "x"}, {"k": 2}, {"k": "y"}], beside("k", "long", 2, '"x"')),
    ("a field", {"k": {"a": 1}}, [{"k": {"a": "x"}}, {"k": None}], beside("k.a", "long", 1, '"x"')),
    (
        "items", {"k": [{"a": 1}]}, [{"k": [{"a": "x"}, {"a": 3}]}, {"k": []}, {"k": [{"a": "y"}]}],
        beside("k[].a", "long", 2, '"x"'),
    ),
    (
        "items of items", {"k": [{"b": [{"a": 1}]}]}, [{"k": [{"b": [{"a": "x"}]}, {"b": None}]}],
        beside("k[].b[].a", "long", 1, '"x"'),
    ),
    ("a strange name", {"a.{b}\"'": 1}, [{"a.{b}\"'": "x"}], beside("a.{b}\"'", "long", 1, '"x"')),
    ("a long one", {"k": 1}, [{"k": "x" * 99}], beside("k", "long", 1, '"' + "x" * 58 + "…")),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "expected"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_the_upload_and_the_check_count_the_same(
    lake: Lake, tmp_path: Path, first: Any, second: list[Any], expected: Beside
):
    assert deliver(lake, tmp_path, first).beside == ()
    assert warned(lake) == (True, "every value is in its column")
    assert deliver(lake, tmp_path, *second).beside == (expected,)
    passed, summary = warned(lake)
    assert not passed
    assert summary.startswith(f"{expected}. ")
    ledger = lake.sql("SELECT beside FROM lake.uploads WHERE len(beside) > 0").fetchall()
    kept = {"path": expected.path, "type": expected.type, "values": expected.values,
            "example": expected.example}  # fmt: skip
    assert ledger == [([kept],)]


def test_a_clean_month_does_not_hide_what_stands_there(lake: Lake, tmp_path: Path):
    deliver(lake, tmp_path, {"amount": 10}, {"amount": 20})
    deliver(lake, tmp_path, {"amount": 30}, {"amount": "n/a"})
    assert deliver(lake, tmp_path, {"amount": 50}).beside == ()
    assert warned(lake) == (
        False,
        '1 value of amount (long) stands beside it in amount__variant, for example "n/a". Say with '
        "`lake config dataset set acme/d --column amount=TYPE` which type it has; then "
        "`lake process start --dataset acme/d --rebuild`",
    )


def test_duplicates_and_rejected_rows_are_not_counted(lake: Lake, tmp_path: Path):
    registry = lake.stores.layout.registry_file
    registry.write_text("providers: [acme]\ndatasets: {acme/d: {unique_by: [k]}}\n")
    deliver(lake, tmp_path, {"k": 1})
    outcome = deliver(lake, tmp_path, {"k": "x"}, {"k": "x"}, {"k": None})
    assert (outcome.accepted, outcome.duplicate, outcome.rejected) == (1, 1, 1)
    assert outcome.beside == (beside("k", "long", 1, '"x"'),)


def test_each_dataset_is_warned_of_itself(lake: Lake, tmp_path: Path):
    other = DatasetName("acme", "other")
    for dataset in ("d", "other"):
        deliver(lake, tmp_path, {"k": 1}, dataset=dataset)
    deliver(lake, tmp_path, {"k": "x"}, dataset="other")
    results = no_value_stands_beside_its_column(lake.stores, [NAME, other])
    assert (results[NAME].passed, results[other].passed) == (True, False)
    assert results[other].numbers == {"values_beside": 1, "columns": 1}


def test_each_variant_of_a_task_is_warned_of_itself(lake: Lake, tmp_path: Path):
    lake.create_task("notes", TaskContract())
    deliver(lake, tmp_path, {"k": 1})
    good, bad = (VariantName(NAME, "notes", variant) for variant in ("good", "bad"))
    for name, value in ((good, 1), (bad, "x")):
        path = tmp_path / f"{name.variant}.jsonl"
        path.write_text(json.dumps({"score": value}))
        upload = lake.upload_task_data(
            path, provider="acme", dataset="d", task="notes", variant=name.variant
        )
        lake.ingest(upload.id)
    assert warned(lake, good)[0]
    passed, summary = warned(lake, bad)
    assert not passed
    assert "Say below fields: of task notes in config/schema.yaml which type it has" in summary


def test_a_declared_column_is_only_to_be_read_again(lake: Lake, tmp_path: Path):
    deliver(lake, tmp_path, {"k": 1})
    deliver(lake, tmp_path, {"k": "x"})
    declare_columns(lake.stores, NAME, {"K": "string"})
    assert "Its contract says which type it should have; `lake process start" in warned(lake)[1]


def test_a_dataset_without_a_table_passes(lake: Lake):
    declare_columns(lake.stores, NAME, {"k": "string"})
    assert warned(lake) == (True, "every value is in its column")


def test_an_outcome_of_an_earlier_version_is_read():
    plain = {"upload_id": "u", "run_id": "", "data_files": []}
    assert outcome_from_plain(plain).beside == ()


def test_values_of_several_uploads_add_up():
    some, more = beside("k", "long", 1, "1.5"), beside("k", "long", 2, "2.5")
    assert added_up([some], [beside("a", "long", 1, "x")], [more]) == (
        beside("a", "long", 1, "x"), beside("k", "long", 3, "1.5"),
    )  # fmt: skip


def test_a_ledger_that_an_earlier_version_made_grows(lake: Lake, tmp_path: Path):
    fields = [field for field in UPLOADS.schema if field.name != "beside"]
    old = TableSpec(name=UPLOADS.name, schema=pa.schema(fields), exact_bounds=UPLOADS.exact_bounds)
    row = {"upload_id": "old", "provider": "acme", "dataset": "d", "task": "raw", "rows_in": 0,
           "accepted": 0, "rejected": 0, "duplicate": 0}  # fmt: skip
    tables = lake.stores.tables
    with tables.part_writer(old, stem="old") as parts:
        parts.write(pa.Table.from_pylist([row], schema=old.schema))
        tables.append_once(old, [Delivery(keys=("old",), parts=parts.close())])
    for number in range(17):  # until the ledger's small files are put into one
        deliver(lake, tmp_path, {"k": number})
    deliver(lake, tmp_path, {"k": "x"})
    found = lake.sql("SELECT count(*), sum(len(beside)) FROM lake.uploads").fetchall()
    assert found == [(19, 1)]
