"""Plans: what is kept of a table's state answers as PyIceberg does, or not at all."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.table import DataScan, StaticTable

from lake_assets.errors import StorageUnavailable
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec
from lake_assets.storage.tables.arrow_types import plain_schema, python_rows
from lake_assets.storage.tables.planned_rows import read_planned
from lake_assets.storage.tables.plans import Plans

INSTANT = pa.timestamp("us", tz="UTC")
SHARED = TableSpec(
    name="lake.things",
    schema=pa.schema([("provider", pa.string()), ("dataset", pa.string()), ("a", pa.int64())]),
)


class Place:
    """A folder with tables; each call of ``opened`` is what another process would see."""

    def __init__(self, folder):
        self.folder = folder
        self.catalog = folder / "catalog.db"
        self._opened = []

    def opened(self):
        tables = IcebergTables(self.folder / "tables", self.catalog, self.folder / "plans")
        self._opened.append(tables)
        return tables

    def close(self):
        for tables in self._opened:
            tables.close()

    def plan_files(self):
        return sorted((self.folder / "plans").rglob("*.plan"))


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    yield found
    found.close()


def append(tables, spec, key, rows):
    with tables.part_writer(spec, stem=key) as parts:
        parts.write(pa.Table.from_pylist(rows, schema=spec.schema))
        tables.append_once(spec, [Delivery(keys=(key,), parts=parts.close())])


def things(provider, *values):
    return [{"provider": provider, "dataset": "d", "a": value} for value in values]


def test_what_was_planned_answers_the_next_process(place):
    first = place.opened()
    append(first, SHARED, "u1", things("p", 1, 2))
    planned = first.plan("lake.things")
    kept = Plans(place.catalog, place.folder / "plans", place.folder / "tables").find("lake.things")
    assert kept == planned
    assert kept.facts.rows == 2
    assert place.opened().facts("lake.things") == planned.facts


def test_a_commit_makes_the_plan_before_it_worthless(place):
    mine, other = place.opened(), place.opened()
    append(mine, SHARED, "u1", things("p", 1))
    assert mine.read("lake.things")["a"].to_pylist() == [1]
    append(other, SHARED, "u2", things("p", 2))
    assert sorted(mine.read("lake.things")["a"].to_pylist()) == [1, 2]
    assert mine.facts("lake.things").rows == 2
    assert len(place.plan_files()) == 1  # that of the state before is gone


@pytest.mark.parametrize("at", [0, 10, 64, 65, 100, 0.5, -1])
def test_a_plan_with_any_byte_changed_is_no_plan(place, at):
    tables = place.opened()
    append(tables, SHARED, "u1", things("p", 1))
    tables.plan("lake.things")
    (file,) = place.plan_files()
    content = bytearray(file.read_bytes())
    content[int(at * len(content)) if isinstance(at, float) else at] ^= 1
    file.write_bytes(content)
    assert (
        Plans(place.catalog, place.folder / "plans", place.folder / "tables").find("lake.things")
        is None
    )
    assert place.opened().read("lake.things")["a"].to_pylist() == [1]


def test_an_empty_plan_is_no_plan(place):
    tables = place.opened()
    append(tables, SHARED, "u1", things("p", 1))
    tables.plan("lake.things")
    place.plan_files()[0].write_bytes(b"")
    assert place.opened().read("lake.things")["a"].to_pylist() == [1]


def test_a_plan_of_another_state_is_no_plan(place):
    tables = place.opened()
    append(tables, SHARED, "u1", things("p", 1))
    tables.plan("lake.things")
    (old,) = place.plan_files()
    content = old.read_bytes()
    append(tables, SHARED, "u2", things("p", 2))
    tables.plan("lake.things")
    place.plan_files()[0].write_bytes(content)  # whole, and of another metadata file
    assert place.opened().facts("lake.things").rows == 2


def test_a_folder_that_takes_no_plans_keeps_nobody_from_reading(place):
    (place.folder / "plans").write_text("a file where the folder should be")
    tables = place.opened()
    append(tables, SHARED, "u1", things("p", 1))
    assert place.opened().read("lake.things")["a"].to_pylist() == [1]


def test_a_catalog_that_is_not_there_has_no_tables(tmp_path):
    plans = Plans(tmp_path / "none.db", None, tmp_path / "tables")
    assert (plans.names(), plans.pointer("p.d"), plans.find("p.d")) == ((), None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_catalog_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "catalog.db").mkdir()
    with pytest.raises(StorageUnavailable, match="catalog"):
        Plans(tmp_path / "catalog.db", None, tmp_path / "tables").names()


def test_files_of_other_datasets_are_left_out(place):
    tables = place.opened()
    for provider in ("a", "m" * 40, "z"):
        append(tables, SHARED, provider, things(provider, 1))
    for provider in ("a", "m" * 40, "z"):
        where = {"provider": provider, "dataset": "d"}
        (file,) = place.opened().data_files("lake.things", where=where)
        assert Path(file).name.startswith(f"{provider}-")
    assert tables.data_files("lake.things", where={"provider": "b"}) == ()
    assert len(tables.data_files("lake.things", where={"a": "1"})) == 3  # nothing kept of it


ROWS = [
    {"provider": "p", "dataset": "d", "at": datetime(2026, 1, 2, tzinfo=UTC), "tags": ["x"],
     "box": {"x": 1}, "n": 1},
    {"provider": "q", "dataset": None, "at": None, "tags": None, "box": None, "n": None},
    {"provider": None, "dataset": "d", "at": datetime(1969, 12, 31, 23, tzinfo=UTC), "tags": [],
     "box": {"x": None}, "n": 2**31 - 1},
]  # fmt: skip


def rich_schema(number=None, more=()):
    return TableSpec(
        name="lake.things",
        schema=pa.schema(
            [("provider", pa.string()), ("dataset", pa.string()), ("at", INSTANT),
             ("tags", pa.list_(pa.string())), ("box", pa.struct([("x", pa.int64()), *more])),
             ("n", number or pa.int32()), *[(f"top_{name}", kind) for name, kind in more]],
        ),
    )  # fmt: skip


@pytest.mark.parametrize("later", ["nothing", "column", "wider"])
@pytest.mark.parametrize(
    "where", [{}, {"provider": "p"}, {"provider": "p", "dataset": "d"}], ids=str
)
@pytest.mark.parametrize("columns", [("*",), ("n", "provider"), ("top_new", "n")], ids=str)
def test_rows_are_those_that_pyiceberg_reads(place, later, where, columns):
    tables = place.opened()
    append(tables, rich_schema(), "u1", ROWS)
    if later == "column":
        append(tables, rich_schema(more=[("new", pa.string())]), "u2", ROWS)
    elif later == "wider":
        append(tables, rich_schema(number=pa.int64()), "u2", [{**ROWS[0], "n": 2**40}])
    if "top_new" in columns and later != "column":
        with pytest.raises(ValueError, match="top_new"):
            tables.read("lake.things", columns=columns)
        return
    static = StaticTable.from_metadata(tables.plan("lake.things").metadata_location)
    condition = " and ".join(f"{name} == '{value}'" for name, value in where.items())
    expected = static.scan(condition or "true", selected_fields=columns).to_arrow()
    found = tables.read("lake.things", where=where, columns=columns)
    assert found.schema.equals(plain_schema(expected.schema))
    assert sorted(map(str, found.to_pylist())) == sorted(map(str, expected.to_pylist()))
    assert python_rows(found) == found.to_pylist()


def test_rows_that_must_be_converted_are_left_to_pyiceberg(place):
    tables = place.opened()
    append(tables, rich_schema(), "u1", ROWS)
    asked = {"where": {}, "columns": ("*",), "limit": None}
    assert read_planned(tables.plan("lake.things"), **asked).num_rows == 3
    append(tables, rich_schema(more=[("new", pa.string())]), "u2", ROWS)
    assert read_planned(tables.plan("lake.things"), **asked) is None  # a field in a struct


def test_a_limit_is_one_on_rows(place):
    tables = place.opened()
    for key in ("u1", "u2"):
        append(tables, SHARED, key, things("p", *range(100)))
    assert tables.read("lake.things", limit=0).num_rows == 0
    assert tables.read("lake.things", limit=150).num_rows == 150
    assert tables.read("lake.things", limit=1_000).num_rows == 200
    assert tables.read("lake.things", where={"provider": "x"}, limit=5).num_rows == 0


def whole(place):
    """The plan that a process makes that has none to begin with."""
    tables = IcebergTables(place.folder / "tables", place.catalog)
    plan = tables.plan("lake.things")
    tables.close()
    return plan


def as_set(plan):
    return plan.metadata_location, plan.facts, plan.schema, frozenset(map(str, plan.files))


def test_a_plan_that_grew_is_the_one_that_is_made_anew(place):
    tables = place.opened()
    for number in range(4):
        spec = (
            SHARED
            if number < 2
            else TableSpec(
                name=SHARED.name, schema=SHARED.schema.append(pa.field(f"n{number}", pa.int64()))
            )
        )
        append(tables, spec, f"u{number}", things("pq"[number % 2], number))
        append(place.opened(), spec, f"v{number}", [])  # a commit without files
        assert as_set(tables.plan("lake.things")) == as_set(whole(place))
        assert as_set(place.opened().plan("lake.things")) == as_set(whole(place))


def test_a_plan_grows_by_the_manifests_that_came(place, monkeypatch):
    tables = place.opened()
    append(tables, SHARED, "u1", things("p", 1))
    tables.plan("lake.things")
    append(tables, SHARED, "u2", things("q", 2))
    monkeypatch.setattr(DataScan, "plan_files", lambda self: pytest.fail("planned as a whole"))
    assert len(tables.plan("lake.things").files) == 2


def test_where_rows_were_replaced_a_plan_is_made_anew(place):
    tables = place.opened()
    for provider in ("p", "q"):
        append(tables, SHARED, provider, things(provider, 1, 2))
    tables.plan("lake.things")
    with tables.part_writer(SHARED, stem="new") as parts:
        parts.write(pa.Table.from_pylist(things("p", 3), schema=SHARED.schema))
        new = Delivery(keys=("new",), parts=parts.close())
    tables.replace(SHARED, [new], where=[{"provider": "p"}])
    append(tables, SHARED, "r", things("r", 4))
    assert as_set(tables.plan("lake.things")) == as_set(whole(place))
    assert sorted(tables.read("lake.things")["a"].to_pylist()) == [1, 2, 3, 4]


def test_a_plan_that_does_not_add_up_is_not_grown(place):
    tables = place.opened()
    append(tables, SHARED, "u1", things("p", 1))
    plan = tables.plan("lake.things")
    damaged = replace(plan, files=(), metadata_location="elsewhere")  # counts no longer fit
    tables._plans.keep(damaged)
    append(tables, SHARED, "u2", things("p", 2))
    assert as_set(tables.plan("lake.things")) == as_set(whole(place))
