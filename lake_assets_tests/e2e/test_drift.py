"""Uploads that bring other columns at the same time, to tables that they share."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake_assets.contracts.names import DatasetName, VariantName, parse_destination
from lake_assets.contracts.registry import update_registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.errors import SchemaChanged, UploadsFailed
from lake_assets.ingest import Request, commit, prepared_dataset
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec
from lake_assets_tests.e2e.real_lake import environment, leftovers

DATASET = DatasetName("acme", "d")
WRITERS, COMMITS = 2, 5

# What each of two processes does: its own new column in every commit.
WRITE = """
import sys
from pathlib import Path
import pyarrow as pa
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec

home, name = Path(sys.argv[1]), sys.argv[2]
tables = IcebergTables(home / "tables", home / "catalog.db")
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    rows = pa.table({"id": [f"{name}{number}"], f"{name}_{number}": [number],
                     "s": [{f"{name}_{number}": "x"}]})
    spec = TableSpec(name="acme.shared", schema=rows.schema)
    with tables.part_writer(spec, stem=f"{name}{number}") as parts:
        parts.write(rows)
        delivery = Delivery(keys=(f"{name}{number}",), parts=parts.close())
    tables.append_once(spec, (delivery,), was_asked=True)
"""


def test_columns_that_two_processes_add_at_once_all_survive(tmp_path: Path):
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(_writer(tmp_path, name)) for name in "ab"]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.wait(timeout=300) for process in started] == [0] * WRITERS
    tables = IcebergTables(tmp_path / "tables", tmp_path / "catalog.db")
    rows = {row["id"]: row for row in tables.read("acme.shared").to_pylist()}
    tables.close()
    wanted = {f"{name}{number}" for name in "ab" for number in range(COMMITS)}
    assert rows.keys() == wanted
    for key, row in rows.items():
        column = f"{key[0]}_{key[1:]}"
        assert row[column] == int(key[1:])
        assert row["s"][column] == "x"
        assert len(row) == 2 + len(wanted)
        assert len(row["s"]) == len(wanted)


def _writer(home: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE, str(home), name, str(COMMITS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def spec(**columns: pa.DataType) -> TableSpec:
    return TableSpec(name="acme.shared", schema=pa.schema(list(columns.items())))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"k": pa.int64()}, {"k": pa.string()}, id="another type"),
        pytest.param({"k": pa.string()}, {"k": pa.binary()}, id="binary, which Iceberg would take"),
        pytest.param({"k": pa.decimal128(5, 2)}, {"k": pa.decimal128(9, 3)}, id="another scale"),
        pytest.param({"Key": pa.int64()}, {"key": pa.int64()}, id="another case"),
        pytest.param(
            {"s": pa.struct([("X", pa.int64())])}, {"s": pa.struct([("x", pa.int64())])},
            id="another case in a struct",
        ),
    ],
)  # fmt: skip
def test_a_column_that_came_first_in_another_form_is_no_fault_of_the_upload(
    tmp_path: Path, first: dict[str, pa.DataType], second: dict[str, pa.DataType]
):
    tables = IcebergTables(tmp_path / "tables", tmp_path / "catalog.db")
    base = spec(id=pa.string())
    tables.append_once(base, (Delivery(keys=("one",), parts=()),))
    late = spec(id=pa.string(), **second)
    tables.require_fit(late, fitted_to=tables.schema("acme.shared"))
    tables.append_once(spec(id=pa.string(), **first), (Delivery(keys=("two",), parts=()),))
    before = tables.schema("acme.shared")
    with pytest.raises(SchemaChanged, match="another writer|Another writer"):
        tables.append_once(late, (Delivery(keys=("three",), parts=()),), was_asked=True)
    assert tables.schema("acme.shared").equals(before)
    tables.close()


# -- variants of a task share its table


@pytest.fixture
def lake(tmp_path: Path):
    with Lake.init(tmp_path / "lake") as lake:
        lake.create_provider("acme")
        lake.ingest(lake.upload_raw_data(pa.table({"a": [1]}), provider="acme", dataset="d").id)
        path = lake.stores.layout.registry_file
        update_registry(path, lambda registry: registry.with_task("notes", TaskContract()))
        yield lake


def stage(lake: Lake, variant: str, *rows: dict[str, object]) -> str:
    folder = lake.home.parent
    path = folder / f"{variant}-{len(list(folder.iterdir()))}.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    upload = lake.upload_task_data(
        path, provider="acme", dataset="d", task="notes", variant=variant
    )
    return upload.id


def notes(lake: Lake, variant: str) -> list[object]:
    name = VariantName(DATASET, "notes", variant)
    return [row["k"] for row in lake.records(name)]


def test_a_column_that_another_variant_adds_meanwhile_is_fitted_to(lake: Lake):
    lake.ingest(stage(lake, "zero", {"id": 0}))
    first = stage(lake, "one", {"id": 1, "k": 7})
    second = stage(lake, "two", {"id": 2, "k": "text"})
    name = parse_destination("acme/d/notes/one")
    with pytest.raises(SchemaChanged), prepared_dataset(lake.stores, Request(name=name)) as held:
        lake.ingest(second)
        for change in held.changes.values():
            commit(lake.stores, change)
    done = lake.ingest(first)
    assert [(item.accepted, item.rejected) for item in done.outcomes] == [(1, 0)]
    assert notes(lake, "one") == [7]
    assert notes(lake, "two") == ["text"]
    told = lake.sql(
        "SELECT variant, path, change FROM lake.schema_changes ORDER BY changed_at, path"
    ).fetchall()
    assert told == [("two", "k", "added"), ("one", "k__variant", "variant")]
    assert {upload.state for upload in lake.uploads()} == {State.DONE}
    assert leftovers(lake.home) == []


def test_ingesting_itself_tries_again(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    lake.ingest(stage(lake, "zero", {"id": 0}))
    first = stage(lake, "one", {"id": 1, "k": 7})
    second = stage(lake, "two", {"id": 2, "k": "text"})
    append_once = IcebergTables.append_once
    others = [second]

    def append_later(tables, wanted, deliveries, **options):
        if wanted.name == "tasks.notes" and others:
            with Lake.open(lake.home) as another:
                another.ingest(others.pop())
        return append_once(tables, wanted, deliveries, **options)

    monkeypatch.setattr(IcebergTables, "append_once", append_later)
    done = lake.ingest(first)
    assert [(item.accepted, item.rejected) for item in done.outcomes] == [(1, 0)]
    assert (notes(lake, "one"), notes(lake, "two")) == ([7], ["text"])
    assert leftovers(lake.home) == []


def test_a_table_that_changes_while_rows_are_fitted_to_it_is_asked_anew(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
):
    lake.ingest(stage(lake, "zero", {"id": 0}))
    first = stage(lake, "one", {"id": 1, "k": 7})
    second = stage(lake, "two", {"id": 2, "k": "text"})
    require_fit = IcebergTables.require_fit
    others = [second]

    def ask_later(tables, wanted, **options):
        if others:
            with Lake.open(lake.home) as another:
                another.ingest(others.pop())
        return require_fit(tables, wanted, **options)

    monkeypatch.setattr(IcebergTables, "require_fit", ask_later)
    done = lake.ingest(first)
    assert [(item.accepted, item.rejected) for item in done.outcomes] == [(1, 0)]
    assert (notes(lake, "one"), notes(lake, "two")) == ([7], ["text"])
    assert {upload.state for upload in lake.uploads()} == {State.DONE}
    assert leftovers(lake.home) == []


@pytest.mark.parametrize("step", ["require_fit", "append_once"])
def test_what_failed_is_told_although_the_others_are_tried_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, step: str
):
    lake.ingest(stage(lake, "zero", {"id": 0}))
    failing = stage(lake, "one", {"id": 3, "provider": "taken by the lake"})
    first = stage(lake, "one", {"id": 1, "k": 7})
    second = stage(lake, "two", {"id": 2, "k": "text"})
    original = getattr(IcebergTables, step)
    others = [second]

    def later(tables, spec, *given, **options):
        if spec.name == "tasks.notes" and others:
            with Lake.open(lake.home) as another:
                another.ingest(others.pop())
        return original(tables, spec, *given, **options)

    monkeypatch.setattr(IcebergTables, step, later)
    with pytest.raises(UploadsFailed, match="provider are columns that the lake fills in itself"):
        lake.ingest_pending()
    states = {upload.id: upload.state for upload in lake.uploads()}
    assert (states[failing], states[first]) == (State.FAILED, State.DONE)
    assert (notes(lake, "one"), notes(lake, "two")) == ([7], ["text"])


def test_uploads_that_bring_different_columns_at_once_all_get_in(lake: Lake, tmp_path: Path):
    ids = [
        stage(lake, f"v{number}", {"id": number, f"own{number}": "x", "k": value})
        for number, value in enumerate(["text", 7, [1, 2]])
    ]
    ingest = "import sys; from lake_assets import Lake; Lake.open(sys.argv[1]).ingest(sys.argv[2])"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ingest, str(lake.home), upload_id],
            stderr=subprocess.PIPE, text=True, env=environment(),
        )
        for upload_id in ids
    ]  # fmt: skip
    told = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], told
    assert [notes(lake, f"v{number}") for number in range(3)] == [["text"], [7], [[1, 2]]]
    for number in range(3):
        rows = lake.sql(f"SELECT own{number} FROM tasks.notes WHERE variant = 'v{number}'")
        assert rows.fetchall() == [("x",)]
    assert leftovers(lake.home) == []
