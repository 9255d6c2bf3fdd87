"""Tables: a delivery is taken in once, a commit is whole, and nobody's rows are lost."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from lake_assets.errors import DamagedTable, SchemaMismatch, UnknownTable
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec

LONG, TEXT = pa.int64(), pa.string()


@pytest.fixture
def tables(tmp_path):
    with_catalog = IcebergTables(tmp_path / "tables", tmp_path / "catalog.db")
    yield with_catalog
    with_catalog.close()


def spec(schema, name="p.d", **more):
    return TableSpec(name=name, schema=pa.schema(schema), **more)


ONE = spec([("a", LONG)])


def deliver(tables, table, key, rows):
    if rows is None:
        return Delivery(keys=(key,), parts=())
    with tables.part_writer(table, stem=key) as parts:
        parts.write(rows if isinstance(rows, pa.Table) else pa.table(rows, schema=table.schema))
        return Delivery(keys=(key,), parts=parts.close())


def append(tables, table, key, rows):
    return tables.append_once(table, [deliver(tables, table, key, rows)])


def values(tables, column="a", table="p.d", **more):
    rows = tables.read(table, **more)[column].to_pylist()
    return sorted(rows, key=lambda value: (value is not None, value))


def test_a_delivery_is_taken_in_once(tables):
    delivery = deliver(tables, ONE, "u1", {"a": [1, 2]})
    first = tables.append_once(ONE, [delivery])
    second = tables.append_once(ONE, [delivery])
    assert (first.keys, first.skipped, first.rows) == (("u1",), (), 2)
    assert (second.keys, second.skipped, second.rows, second.snapshot_id) == ((), ("u1",), 0, None)
    assert values(tables) == [1, 2]


def test_only_what_is_new_of_some_deliveries_is_taken_in(tables):
    first = deliver(tables, ONE, "u1", {"a": [1]})
    tables.append_once(ONE, [first])
    commit = tables.append_once(ONE, [first, deliver(tables, ONE, "u2", {"a": [2]})])
    assert (commit.keys, commit.skipped) == (("u2",), ("u1",))
    assert values(tables) == [1, 2]
    assert tables.committed("p.d", ["u1", "u2", "u3"]) == {"u1", "u2"}


def test_a_delivery_without_rows_leaves_its_key(tables):
    append(tables, ONE, "u1", None)
    assert tables.committed("p.d", ["u1"]) == {"u1"}
    assert values(tables) == []


def test_a_table_that_cannot_be_made_yet_is_not_made(tables):
    parted = spec([("a", LONG)], partition_by=(("day", "at"),))
    assert append(tables, parted, "u1", None).snapshot_id is None
    assert not tables.exists("p.d")
    with_column = spec([("a", LONG), ("at", pa.timestamp("us"))], partition_by=(("day", "at"),))
    append(tables, with_column, "u2", {"a": [1], "at": [datetime(2026, 1, 1)]})
    assert tables.partition_by("p.d") == (("day", "at"),)


APPENDER = """
import sys
from pathlib import Path
import pyarrow as pa
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec
root, me = Path(sys.argv[1]), sys.argv[2]
tables = IcebergTables(root / "tables", root / "catalog.db")
table = TableSpec(name="p.d", schema=pa.schema([("a", pa.int64()), (f"own_{me}", pa.int64())]))
print("ready", flush=True)
sys.stdin.readline()
for n in range(4):
    key = f"{me}-{n}"
    with tables.part_writer(table, stem=key) as parts:
        parts.write(pa.table({"a": [n], f"own_{me}": [n]}))
        tables.append_once(table, [Delivery(keys=(key,), parts=parts.close())])
tables.close()
"""


def started(stack, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stack.callback(process.communicate)
    stack.callback(process.kill)
    return process


def test_processes_that_make_and_grow_a_table_at_once_lose_nothing(tables, tmp_path):
    with ExitStack() as stack:
        appenders = [started(stack, str(tmp_path), str(number)) for number in range(3)]
        for appender in appenders:
            assert appender.stdout.readline() == "ready\n"
        for appender in appenders:
            appender.stdin.write("\n")
            appender.stdin.flush()
        for appender in appenders:
            assert appender.wait(timeout=60) == 0, appender.stderr.read()
    assert values(tables) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    keys = [f"{me}-{n}" for me in range(3) for n in range(4)]
    assert tables.committed("p.d", keys) == set(keys)
    assert set(tables.schema("p.d").names) == {"a", "own_0", "own_1", "own_2"}


def test_threads_that_append_at_once_lose_nothing(tables):
    deliveries = [deliver(tables, ONE, f"u{n}", {"a": [n]}) for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda delivery: tables.append_once(ONE, [delivery]), deliveries))
    assert values(tables) == list(range(6))


@pytest.mark.parametrize(
    ("old", "new", "grown"),
    [
        pytest.param(pa.int32(), LONG, LONG, id="int to long"),
        pytest.param(pa.float32(), pa.float64(), pa.float64(), id="float to double"),
        pytest.param(
            pa.struct([("x", pa.int32())]),
            pa.struct([("x", LONG), ("y", TEXT)]),
            pa.struct([("x", LONG), ("y", TEXT)]),
            id="struct",
        ),
        pytest.param(
            pa.list_(pa.struct([("x", pa.int32())])),
            pa.list_(pa.struct([("x", LONG), ("y", pa.list_(TEXT))])),
            pa.list_(pa.field("element", pa.struct([("x", LONG), ("y", pa.list_(TEXT))]))),
            id="struct in a list",
        ),
    ],
)
def test_a_column_grows_at_any_depth(tables, old, new, grown):
    append(tables, spec([("a", old)]), "u1", {"a": [None]})
    append(tables, spec([("a", new)]), "u2", {"a": [None]})
    assert tables.schema("p.d").field("a").type.equals(grown)
    assert tables.read("p.d").num_rows == 2


def test_a_column_that_is_new_is_null_in_old_rows_and_none_is_ever_dropped(tables):
    append(tables, spec([("a", LONG)]), "u1", {"a": [1]})
    append(tables, spec([("b", LONG)]), "u2", {"b": [2]})
    rows = tables.read("p.d").to_pylist()
    assert sorted(rows, key=str) == [{"a": 1, "b": None}, {"a": None, "b": 2}]


def test_a_column_that_cannot_grow_is_an_error_and_changes_nothing(tables):
    append(tables, ONE, "u1", {"a": [1]})
    with pytest.raises(SchemaMismatch, match=r"p\.d"):
        append(tables, spec([("a", TEXT), ("b", LONG)]), "u2", {"a": ["x"], "b": [1]})
    assert tables.schema("p.d").names == ["a"]
    assert values(tables) == [1]


TIMES = [
    datetime(2026, 1, 1, 5, tzinfo=UTC),
    datetime(2026, 1, 1, 6, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 30, tzinfo=UTC),
    None,
]


@pytest.mark.parametrize(
    ("transform", "files"), [("year", 3), ("month", 3), ("day", 3), ("hour", 4), ("identity", 4)]
)
def test_rows_lie_in_the_partitions_of_their_time(tables, transform, files):
    table = spec([("at", pa.timestamp("us", tz="UTC"))], partition_by=((transform, "at"),))
    append(tables, table, "u1", {"at": TIMES})
    assert tables.facts("p.d").file_count == files
    assert tables.partition_by("p.d") == ((transform, "at"),)
    assert sorted(map(str, values_unsorted(tables, "at"))) == sorted(map(str, TIMES))


def values_unsorted(tables, column):
    return tables.read("p.d")[column].to_pylist()


AWKWARD = ["a/b", "..", "", "é", "a=b", "%2F", "x" * 64, None]


def test_awkward_partition_values_are_kept_apart(tables):
    table = spec([("k", TEXT), ("a", LONG)], partition_by=(("identity", "k"),))
    append(tables, table, "u1", {"k": AWKWARD, "a": list(range(len(AWKWARD)))})
    assert tables.facts("p.d").file_count == len(AWKWARD)
    for number, value in enumerate(AWKWARD[:-1]):
        assert values(tables, where={"k": value}) == [number]
        assert len(tables.data_files("p.d", where={"k": value})) == 1


def test_a_column_may_have_the_name_that_others_give_to_partitions(tables):
    table = spec([("at", pa.date32()), ("at_day", LONG)], partition_by=(("day", "at"),))
    append(tables, table, "u1", {"at": [None], "at_day": [1]})
    assert values(tables, "at_day") == [1]


BY_KEY = spec([("k", TEXT), ("a", LONG)], partition_by=(("identity", "k"),))
PLAIN = spec([("k", TEXT), ("a", LONG)])


@pytest.mark.parametrize("table", [BY_KEY, PLAIN], ids=["partitioned", "plain"])
def test_replacing_touches_only_the_rows_that_are_meant(tables, table):
    append(tables, table, "u1", {"k": ["x", "y", "z"], "a": [1, 2, 3]})
    new = deliver(tables, table, "u2", {"k": ["x"], "a": [10]})
    tables.replace(table, [new], where=[{"k": "x"}, {"k": "y"}])
    assert values(tables) == [3, 10]
    assert tables.facts("p.d").rows == 2


def test_replacing_may_be_done_again(tables):
    new = deliver(tables, BY_KEY, "u1", {"k": ["x"], "a": [1]})
    tables.replace(BY_KEY, [new], where=[{"k": "x"}])
    tables.replace(BY_KEY, [new], where=[{"k": "x"}])
    assert values(tables) == [1]


def test_replacing_everything_with_nothing_leaves_an_empty_table(tables):
    append(tables, ONE, "u1", {"a": [1]})
    tables.replace(ONE, [])
    assert (values(tables), tables.facts("p.d").rows) == ([], 0)


def test_a_replacement_that_fails_leaves_the_old_rows(tables):
    append(tables, BY_KEY, "u1", {"k": ["x"], "a": [1]})
    gone = deliver(tables, BY_KEY, "u2", {"k": ["x"], "a": [2]})
    Path(gone.parts[0].path).unlink()
    with pytest.raises(DamagedTable):
        tables.replace(BY_KEY, [gone], where=[{"k": "x"}])
    assert values(tables) == [1]


def test_a_reader_sees_one_side_of_a_replacement(tables):
    append(tables, ONE, "u1", {"a": [1]})
    before = tables.data_files("p.d")
    tables.replace(ONE, [deliver(tables, ONE, "u2", {"a": [2]})])
    assert all(Path(file).exists() for file in before)
    assert set(before).isdisjoint(tables.data_files("p.d"))


def test_facts_are_those_of_the_present(tables):
    described = pa.schema([pa.field("a", LONG, metadata={"doc": "A number."})])
    append(tables, spec(described), "u1", {"a": [1, 2]})
    facts = tables.facts("p.d")
    assert (facts.name, facts.rows, facts.file_count) == ("p.d", 2, 1)
    assert facts.columns == (("a", "long", "A number."),)
    assert facts.byte_count > 0
    assert facts.committed_at.tzinfo is not None
    append(tables, spec(described), "u2", {"a": [3]})
    assert tables.facts("p.d").snapshot_id != facts.snapshot_id


def test_reading_takes_columns_rows_and_a_limit(tables):
    append(tables, PLAIN, "u1", {"k": ["x", "y", "y"], "a": [1, 2, 3]})
    assert tables.read("p.d", where={"k": "y"}, columns=("a",)).to_pydict() == {"a": [2, 3]}
    assert tables.read("p.d", limit=2).num_rows == 2
    assert tables.read("p.d", where={"k": "none"}).num_rows == 0
    assert tables.read("p.d").schema.equals(PLAIN.schema)


def test_a_table_that_is_not_there_comes_with_those_that_are(tables):
    append(tables, ONE, "u1", {"a": [1]})
    for look in (tables.read, tables.facts, tables.data_files, tables.has_delete_files):
        with pytest.raises(UnknownTable, match=r"no table p\.other \(known: p\.d\)"):
            look("p.other")
    assert tables.schema("p.other") is None
    assert tables.partition_by("x.y") is None
    assert tables.committed("x.y", ["u1"]) == frozenset()
    assert not tables.exists("x.y")
    assert tables.names() == ("p.d",)


def test_a_lake_without_tables_says_so(tables):
    with pytest.raises(UnknownTable, match="known: none yet"):
        tables.read("p.d")


@pytest.mark.parametrize("folder", ["a b", "é", "a?b", "a%20b", "100%", "a#b", "a[1]*", "k=v"])
def test_a_lake_may_lie_in_a_folder_of_any_name(tmp_path, folder):
    (tmp_path / folder).mkdir()
    tables = IcebergTables(tmp_path / folder / "tables", tmp_path / folder / "catalog.db")
    append(tables, ONE, "u1", {"a": [1]})
    assert values(tables) == [1]
    assert (tmp_path / folder / "catalog.db").exists()
    tables.close()
