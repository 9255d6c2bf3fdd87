"""Columns that become another type when values come that the old one does not hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Transaction

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName, VariantName
from lake_assets.contracts.registry import update_registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.errors import DamagedTable, SchemaChanged
from lake_assets.ingest import Request, commit, prepared_dataset
from lake_assets.ingest.recovery import remove_unused
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.storage.system_tables import RAW_COLUMNS
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec
from lake_assets_tests.e2e.real_lake import leftovers

NAME = DatasetName("acme", "d")


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with Lake.init(tmp_path / "lake") as lake:
        lake.create_provider("acme")
        yield lake


def promise(lake: Lake, contract: DatasetContract) -> None:
    path = lake.stores.layout.registry_file
    update_registry(path, lambda registry: registry.with_dataset(NAME, contract))


def write(folder: Path, rows: Any) -> Path:
    """Write rows as what they are: CSV if they are text, JSON if dicts, else Parquet."""
    number = len(list(folder.iterdir()))
    if isinstance(rows, str):
        path = folder / f"{number}.csv"
        path.write_text(rows)
    elif isinstance(rows, pa.Table):
        path = folder / f"{number}.parquet"
        pq.write_table(rows, path)
    else:
        path = folder / f"{number}.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def stage(lake: Lake, rows: Any) -> str:
    return lake.upload_raw_data(write(lake.home.parent, rows), provider="acme", dataset="d").id


def bring(lake: Lake, rows: Any) -> list[tuple[str, str, str | None, str]]:
    """Ingest rows, and return what they changed in the table's columns."""
    (outcome,) = lake.ingest(stage(lake, rows)).outcomes
    assert outcome.rejected == 0
    return [(c.path, c.change, c.old_type, c.new_type) for c in outcome.schema_changes]


def rows_of(lake: Lake) -> list[dict[str, Any]]:
    found = lake.stores.tables.read("acme.d").to_pylist()
    kept = [{k: v for k, v in row.items() if not k.startswith("_")} for row in found]
    return sorted(kept, key=lambda row: row["id"])


MONEY = pa.decimal128(9, 2)


def decimals(*texts: str, kind: pa.DataType = MONEY, first: int = 10) -> pa.Table:
    values = pa.array([Decimal(text) for text in texts], kind)
    return pa.table({"id": range(first, first + len(texts)), "k": values})


OLD = {"id": 1, "k": 10}
CASES = {
    "fractions in CSV": (
        "id,k\n1,10\n", "id,k\n2,30\n3,40.5\n", ("k", "long", "double"),
        [10.0, 30.0, 40.5], None,
    ),
    "fractions in JSON": (
        [OLD], [{"id": 2, "k": 1.5}], ("k", "long", "double"), [10.0, 1.5], None,
    ),
    "fractions in Parquet": (
        pa.table({"id": [1], "k": pa.array([10], pa.int32())}), pa.table({"id": [2], "k": [1.5]}),
        ("k", "int", "double"), [10.0, 1.5], None,
    ),
    "fractions in a struct": (
        [{"id": 1, "k": {"x": 1}}], [{"id": 2, "k": {"x": 2.5}}], ("k.x", "long", "double"),
        [{"x": 1.0}, {"x": 2.5}], None,
    ),
    "fractions in a list": (
        [{"id": 1, "k": [1, 2]}], [{"id": 2, "k": [1, 2.5]}], ("k[]", "long", "double"),
        [[1.0, 2.0], [1.0, 2.5]], None,
    ),
    "fractions in structs in a list": (
        [{"id": 1, "k": [{"x": 1}]}], [{"id": 2, "k": [{"x": 2.5}, {"x": 3}]}],
        ("k[].x", "long", "double"), [[{"x": 1.0}], [{"x": 2.5}, {"x": 3.0}]], None,
    ),
    "decimals": (
        "id,k\n1,10\n", decimals("4.50"), ("k", "long", "decimal(21, 2)"),
        [Decimal("10.00"), Decimal("4.50")], None,
    ),
    "more digits behind the point": (
        decimals("4.50", first=1), decimals("4.555", kind=pa.decimal128(9, 3)),
        ("k", "decimal(9, 2)", "decimal(10, 3)"), [Decimal("4.500"), Decimal("4.555")], None,
    ),
    "more digits in JSON": (
        decimals("4.50", first=1), [{"id": 2, "k": 4.555}],
        ("k", "decimal(9, 2)", "decimal(10, 3)"), [Decimal("4.500"), Decimal("4.555")], None,
    ),
    "times in CSV": (
        "id,k\n1,2026-01-01\n", "id,k\n2,2026-01-02\n3,2026-01-02 10:00:00\n",
        ("k", "date", "timestamp"),
        [datetime(2026, 1, 1), datetime(2026, 1, 2), datetime(2026, 1, 2, 10)], None,
    ),
    "times in Parquet": (
        pa.table({"id": [1], "k": [date(2026, 1, 1)]}),
        pa.table({"id": [2], "k": [datetime(2026, 1, 2, 10)]}), ("k", "date", "timestamp"),
        [datetime(2026, 1, 1), datetime(2026, 1, 2, 10)], None,
    ),
    "numbers after empty text": (
        'id,k\n1,""\n2,\n', "id,k\n3,30\n4,40.5\n", ("k", "string", "double"),
        [None, None, 30.0, 40.5], {1: '""'},
    ),
    "objects after empty text": (
        [{"id": 1, "k": ""}], [{"id": 2, "k": {"x": 1}}], ("k", "string", "struct<x: long>"),
        [None, {"x": 1}], {1: '""'},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_column_takes_the_type_that_holds_all_its_values(lake: Lake, case: str):
    first, second, (path, old, new), values, beside = CASES[case]
    assert bring(lake, first) == []
    assert bring(lake, second)[0] == (path, "rewritten", old, new)
    found = rows_of(lake)
    assert [row["k"] for row in found] == values
    texts = {row["id"]: row["k__variant"] for row in found if row.get("k__variant") is not None}
    assert texts == (beside or {})
    assert lake.sql("SELECT k FROM acme.d ORDER BY id").fetchall() == [(v,) for v in values]
    (told,) = lake.sql(
        "SELECT path, old_type, new_type FROM lake.schema_changes WHERE change = 'rewritten'"
    ).fetchall()
    assert told == (path, old, new)
    assert leftovers(lake.home) == []


def test_rows_keep_their_ids_and_older_snapshots_their_types(lake: Lake):
    bring(lake, "id,k\n1,10\n2,20\n")
    named = "SELECT id, _record_id, _upload_id, _ingested_at FROM acme.d WHERE id < 3 ORDER BY id"
    before = lake.sql(named).fetchall()
    bring(lake, "id,k\n3,30.5\n")
    assert lake.sql(named).fetchall() == before
    table = lake.stores.tables._require("acme.d")
    first, *_, last = (snapshot.snapshot_id for snapshot in table.snapshots())
    assert table.scan(snapshot_id=first).to_arrow()["k"].to_pylist() == [10, 20]
    assert sorted(table.scan(snapshot_id=last).to_arrow()["k"].to_pylist()) == [10.0, 20.0, 30.5]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        pytest.param([{"id": 1, "k": 2**53 + 1}], "id,k\n2,1.5\n", pa.int64(), id="no double"),
        pytest.param("id,k\n1,10\n", "id,k\n2,abc\n", pa.int64(), id="text"),
        pytest.param([OLD], [{"id": 2, "k": "1.5"}], pa.int64(), id="a number in quotes"),
        pytest.param([OLD], [{"id": 2, "k": 2**70}], pa.int64(), id="an integer of no type"),
        pytest.param([OLD], '{"id": 2, "k": 0.1234567890123456789}', pa.int64(), id="long number"),
        pytest.param(
            decimals("1.5", kind=pa.decimal128(38, 1), first=1),
            decimals("1.55", kind=pa.decimal128(38, 2)), pa.decimal128(38, 1), id="no decimal",
        ),
    ],
)  # fmt: skip
def test_a_column_stays_where_no_type_holds_all_exactly(
    lake: Lake, first: Any, second: Any, kind: pa.DataType
):
    bring(lake, first)
    if isinstance(second, str) and second.startswith("{"):
        path = lake.home.parent / "long.jsonl"
        path.write_text(second)
        second_id = lake.upload_raw_data(path, provider="acme", dataset="d").id
        lake.ingest(second_id)
    else:
        bring(lake, second)
    assert lake.stores.tables.schema("acme.d").field("k").type == kind
    assert lake.sql("SELECT count(*) FROM acme.d WHERE k__variant IS NOT NULL").fetchone() == (1,)


@pytest.mark.parametrize("whole", ["40", "40.0"])
def test_whole_numbers_change_nothing(lake: Lake, whole: str):
    bring(lake, "id,k\n1,10\n")
    assert bring(lake, f"id,k\n2,{whole}\n") == []
    assert bring(lake, pa.table({"id": [3], "k": [50.0]})) == []
    assert [row["k"] for row in rows_of(lake)] == [10, 40, 50]


def test_uploads_of_one_group_come_out_alike(lake: Lake):
    bring(lake, "id,k\n0,0\n")
    for rows in ("id,k\n1,10\n", "id,k\n2,20.5\n", "id,k,new\n3,30,x\n", [{"id": 4, "k": 1}]):
        stage(lake, rows)
    lake.ingest_pending()
    assert [row["k"] for row in rows_of(lake)] == [0.0, 10.0, 20.5, 30.0, 1.0]
    assert lake.stores.tables.schema("acme.d").field("k").type == pa.float64()
    assert leftovers(lake.home) == []


def test_an_upload_that_fails_leaves_the_type_as_it_was(lake: Lake):
    promise(lake, DatasetContract(unique_by=("id",)))
    bring(lake, "id,k\n1,10\n")
    stage(lake, "k\n20.5\n")  # it lacks the key
    stage(lake, "id,k\n2,30\n")
    with pytest.raises(Exception, match="unique_by"):
        lake.ingest_pending()
    assert lake.stores.tables.schema("acme.d").field("k").type == pa.int64()
    assert [row["k"] for row in rows_of(lake)] == [10, 30]


@pytest.mark.parametrize(("drift", "rejected"), [("freeze", None), ("quarantine", 1)])
def test_a_table_that_must_not_change_does_not(lake: Lake, drift: Any, rejected: int | None):
    bring(lake, "id,k\n1,10\n")
    promise(lake, DatasetContract(drift=drift))
    done = lake.stores and stage(lake, "id,k\n2,20\n3,30.5\n")
    if rejected is None:
        with pytest.raises(Exception, match="long does not hold 1 row, as 30.5"):
            lake.ingest(done)
    else:
        (outcome,) = lake.ingest(done).outcomes
        assert outcome.rejected == rejected
    assert lake.stores.tables.schema("acme.d").field("k").type == pa.int64()


def test_a_column_that_parts_the_table_stays(lake: Lake):
    promise(lake, DatasetContract(partition_by=("identity(k)",)))
    bring(lake, "id,k\n1,10\n")
    bring(lake, "id,k\n2,1.5\n")
    assert [(row["k"], row["k__variant"]) for row in rows_of(lake)] == [(10, None), (None, "1.5")]


def test_a_key_becomes_a_double_and_the_same_rows_are_still_duplicates(lake: Lake):
    promise(lake, DatasetContract(unique_by=("k",)))
    bring(lake, "id,k\n1,10\n2,20\n")
    bring(lake, "id,k\n3,30.5\n")
    (outcome,) = lake.ingest(stage(lake, "id,k\n1,10\n4,30.5\n5,40\n")).outcomes
    assert (outcome.accepted, outcome.duplicate) == (1, 2)


def test_a_key_becomes_no_decimal_whose_ids_are_others(lake: Lake):
    promise(lake, DatasetContract(unique_by=("k",)))
    bring(lake, "id,k\n1,10\n")
    bring(lake, decimals("4.50"))
    assert lake.stores.tables.schema("acme.d").field("k").type == pa.int64()
    (outcome,) = lake.ingest(stage(lake, decimals("4.50", first=20))).outcomes
    assert outcome.duplicate == 1


def by_hand(lake: Lake, rows: Mapping[str, Any], upload_id: str) -> None:
    """Commit rows as an earlier version of this package left them."""
    count = len(next(iter(rows.values())))
    own = pa.table(dict(rows))
    at = pa.nulls(count, RAW_COLUMNS.field("_ingested_at").type)
    ids = pa.array([f"{upload_id}-{number}" for number in range(count)])
    columns = [ids, pa.array([upload_id] * count), at, pa.nulls(count, pa.string()), *own.columns]
    table = pa.table(columns, schema=pa.schema([*RAW_COLUMNS, *own.schema]))
    spec = TableSpec(name="acme.d", schema=table.schema)
    with lake.stores.tables.part_writer(spec, stem="by-hand") as parts:
        parts.write(table)
        lake.stores.tables.append_once(spec, [Delivery(keys=("by-hand",), parts=parts.close())])


@pytest.mark.parametrize(
    ("source", "text", "value", "left"),
    [
        pytest.param("id,k\n9,1\n", '"40.5"', 40.5, None, id="text of CSV"),
        pytest.param([{"id": 9, "k": 1}], '"40.5"', None, '"40.5"', id="text of JSON"),
        pytest.param([{"id": 9, "k": 1}], "40.5", 40.5, None, id="a number of JSON"),
        pytest.param([{"id": 9, "k": 1}], "0.12345678901234567", None, "0.12345678901234567",
                     id="more digits than a double has"),
        pytest.param([{"id": 9, "k": 1}], "true", None, "true", id="no number"),
    ],
)  # fmt: skip
def test_values_that_stand_beside_the_column_go_back_where_they_fit(
    lake: Lake, source: Any, text: str, value: float | None, left: str | None
):
    upload_id = stage(lake, source)
    lake.ingest(upload_id)
    variants = pa.array([text, None], pa.string())
    by_hand(lake, {"id": [1, 2], "k": pa.array([None, 20]), "k__variant": variants}, upload_id)
    bring(lake, "id,k\n3,30.5\n")
    first, second, third, _ = rows_of(lake)
    assert (first["k"], first["k__variant"]) == (value, left)
    assert (second["k"], third["k"]) == (20.0, 30.5)


# -- variants of a task share its table


@pytest.fixture
def notes(lake: Lake) -> Lake:
    bring(lake, "id,k\n1,10\n")
    path = lake.stores.layout.registry_file
    update_registry(path, lambda registry: registry.with_task("notes", TaskContract()))
    return lake


def annotate(lake: Lake, variant: str, rows: Any) -> str:
    path = write(lake.home.parent, rows)
    return lake.upload_task_data(
        path, provider="acme", dataset="d", task="notes", variant=variant
    ).id


def noted(lake: Lake, variant: str) -> list[Any]:
    return sorted(row["k"] for row in lake.records(VariantName(NAME, "notes", variant)))


def test_the_rows_of_other_variants_take_the_type_too(notes: Lake):
    for variant in ("one", "two"):
        notes.ingest(annotate(notes, variant, [{"k": 1}, {"k": 2}]))
    notes.ingest(annotate(notes, "two", [{"k": 2.5}]))
    assert (noted(notes, "one"), noted(notes, "two")) == ([1.0, 2.0], [1.0, 2.0, 2.5])
    assert notes.sql("SELECT DISTINCT typeof(k) FROM tasks.notes").fetchall() == [("DOUBLE",)]


def test_rows_that_come_meanwhile_are_rewritten_too(notes: Lake):
    notes.ingest(annotate(notes, "one", [{"k": 1}]))
    fraction = annotate(notes, "one", [{"k": 2.5}])
    other = annotate(notes, "two", [{"k": 7}])
    request = Request(name=VariantName(NAME, "notes", "one"))
    with pytest.raises(SchemaChanged), prepared_dataset(notes.stores, request) as held:
        notes.ingest(other)
        for change in held.changes.values():
            commit(notes.stores, change)
    notes.ingest(fraction)
    assert (noted(notes, "one"), noted(notes, "two")) == ([1.0, 2.5], [7.0])
    assert leftovers(notes.home) == []


@pytest.mark.parametrize(("mine", "others"), [(2.5, 7), (7, 2.5)], ids=["rewrites", "appends"])
def test_a_writer_that_comes_between_a_look_and_a_commit_loses_nothing(
    notes: Lake, monkeypatch: pytest.MonkeyPatch, mine: float, others: float
):
    """PyIceberg does an append that lost a race again, whatever types the table has by then."""
    notes.ingest(annotate(notes, "one", [{"k": 1}]))
    first = annotate(notes, "one", [{"k": mine}])
    waiting = [annotate(notes, "two", [{"k": others}])]
    commit_transaction = Transaction.commit_transaction

    def commit_later(transaction: Any) -> Any:
        if waiting and "notes" in transaction._table.name():
            with Lake.open(notes.home) as another:
                another.ingest(waiting.pop())
        return commit_transaction(transaction)

    monkeypatch.setattr(Transaction, "commit_transaction", commit_later)
    notes.ingest(first)
    assert (noted(notes, "one"), noted(notes, "two")) == ([1.0, mine], [others])
    assert notes.sql("SELECT sum(k) FROM tasks.notes").fetchone() == (10.5,)
    kinds = {
        pq.read_schema(p).field("k").type for p in notes.stores.tables.data_files("tasks.notes")
    }
    assert kinds == {pa.float64()}
    assert leftovers(notes.home) == []


def test_rows_prepared_for_the_old_type_are_fitted_anew(
    notes: Lake, monkeypatch: pytest.MonkeyPatch
):
    notes.ingest(annotate(notes, "one", [{"k": 1}]))
    whole = annotate(notes, "one", [{"k": 3}])
    others = [annotate(notes, "two", [{"k": 2.5}])]
    append_once = IcebergTables.append_once

    def append_later(tables: Any, wanted: Any, deliveries: Any, **options: Any) -> Any:
        if wanted.name == "tasks.notes" and others:
            with Lake.open(notes.home) as another:
                another.ingest(others.pop())
        return append_once(tables, wanted, deliveries, **options)

    monkeypatch.setattr(IcebergTables, "append_once", append_later)
    notes.ingest(whole)
    assert (noted(notes, "one"), noted(notes, "two")) == ([1.0, 3.0], [2.5])
    assert leftovers(notes.home) == []


# -- what must not be copied


def test_a_damaged_file_is_not_written_anew(lake: Lake):
    bring(lake, "id,k\n1,10\n2,20\n")
    (path,) = map(Path, lake.stores.tables.data_files("acme.d"))
    content = bytearray(path.read_bytes())
    content[4] ^= 1
    path.write_bytes(content)
    upload_id = stage(lake, "id,k\n3,30.5\n")
    with pytest.raises(DamagedTable, match=r"is not as it was written.*lake repair"):
        lake.ingest(upload_id)
    assert lake.stores.staging.find(upload_id).state is State.PENDING


def test_small_uploads_whose_text_looks_like_numbers_share_a_file(lake: Lake):
    for number in range(6):
        stage(lake, [{"id": number, "k": f"{number}"}])
    lake.ingest_pending()
    assert len(lake.stores.tables.data_files("acme.d")) <= 2


def test_what_older_snapshots_have_is_no_leftover(lake: Lake):
    """A process that comes after two that died looks for files of the first, among others."""
    bring(lake, "id,k\n1,10\n")
    (old,) = map(Path, lake.stores.tables.data_files("acme.d"))
    bring(lake, "id,k\n2,20.5\n")
    unnamed = old.with_name("unnamed.parquet")
    unnamed.write_bytes(old.read_bytes())
    remove_unused(lake.stores, "acme.d", [old, unnamed])
    assert old.exists()
    assert not unnamed.exists()
