"""SQL over the lake: every table by its name, as of now, over files of any age."""

import duckdb
import pyarrow as pa
import pytest

from lake_assets.errors import QueryFailed
from lake_assets.query.duckdb import LakeSql
from lake_assets.storage.system_tables import QUARANTINE
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec

LONG, TEXT = pa.int64(), pa.string()


@pytest.fixture
def tables(tmp_path):
    with_catalog = IcebergTables(tmp_path / "tables", tmp_path / "catalog.db")
    yield with_catalog
    with_catalog.close()


@pytest.fixture
def sql(tables, tmp_path):
    return LakeSql(tables, scratch=tmp_path)


def add(tables, name, rows, key, **more):
    table = TableSpec(name=name, schema=rows.schema, **more)
    with tables.part_writer(table, stem=key) as parts:
        parts.write(rows)
        tables.append_once(table, [Delivery(keys=(key,), parts=parts.close())])


@pytest.fixture
def shop(tables):
    add(tables, "acme.items", pa.table({"id": [1, 2, 3], "name": ["a", "b", "it's"]}), "u1")
    add(tables, "acme.prices", pa.table({"id": [1, 2], "price": [1.5, 2.5]}), "u1")
    add(tables, "lake.uploads", pa.table({"upload_id": ["u1"]}), "u1")


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        pytest.param("SELECT count(*) FROM acme.items", [(3,)], id="by name"),
        pytest.param('SELECT count(*) FROM "acme"."items"', [(3,)], id="quoted"),
        pytest.param("select COUNT(*) from ACME.Items", [(3,)], id="upper case"),
        pytest.param('SELECT count(*) FROM "ACME"."ITEMS"', [(3,)], id="quoted upper case"),
        pytest.param("FROM acme.items SELECT count(*)", [(3,)], id="FROM first"),
        pytest.param("SELECT count(*) FROM acme.items;", [(3,)], id="semicolon"),
        pytest.param("-- all\nSELECT count(*) FROM acme . items", [(3,)], id="comment and spaces"),
        pytest.param("SELECT upload_id FROM lake.uploads", [("u1",)], id="a table of the lake"),
        pytest.param("SELECT 1", [(1,)], id="no table"),
        pytest.param(
            "SELECT name, price FROM acme.items JOIN acme.prices USING (id) ORDER BY 1",
            [("a", 1.5), ("b", 2.5)], id="join"),
        pytest.param(
            "WITH items AS (SELECT 7 AS x), two AS (SELECT id FROM acme.prices) "
            "SELECT x, count(*) FROM items, two GROUP BY ALL", [(7, 2)], id="CTE named as a table"),
        pytest.param(
            "SELECT name FROM acme.items WHERE id NOT IN (SELECT id FROM acme.prices)",
            [("it's",)], id="subquery"),
        pytest.param(
            "SELECT id FROM acme.items UNION SELECT id FROM acme.prices ORDER BY 1",
            [(1,), (2,), (3,)], id="union"),
        pytest.param(
            "SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL",
            [("acme", "items"), ("acme", "prices"), ("lake", "uploads")], id="information_schema"),
        pytest.param(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'items'",
            [("id",), ("name",)], id="its columns"),
        pytest.param("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1",
                     [("items",), ("prices",), ("uploads",)], id="duckdb_views"),
    ],
)  # fmt: skip
def test_a_query_is_answered(shop, sql, query, rows):
    assert sql.query(query).fetchall() == rows


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SHOW ALL TABLES", "items"),
        ("DESCRIBE acme.items", "VARCHAR"),
        ('DESCRIBE "acme"."items"', "VARCHAR"),
        ("DESCRIBE SELECT * FROM acme.items", "VARCHAR"),
        ("SUMMARIZE acme.items", "VARCHAR"),
        ("EXPLAIN SELECT * FROM acme.items", "PARQUET"),
        ("EXPLAIN ANALYZE SELECT * FROM ACME.ITEMS", "SCAN"),
    ],
)
def test_a_question_about_tables_is_answered(shop, sql, query, said):
    assert said in str(sql.query(query).fetchall())


def test_show_tables_names_them_all(shop, sql):
    assert sql.query("SHOW TABLES").fetchall() == [("items",), ("prices",), ("uploads",)]


def test_show_tables_names_what_is_in_a_schema(shop, sql):
    assert sql.query("SHOW TABLES FROM acme").fetchall() == [("items",), ("prices",)]


def test_parameters_stand_for_values(shop, sql):
    assert sql.query("SELECT id FROM acme.items WHERE name = ?", ("it's",)).fetchall() == [(3,)]


@pytest.mark.parametrize(
    "query", ["SELECT * FROM acme.nothing", "SELECT * FROM nothing", "SELECT * FROM other.items"]
)
def test_an_unknown_table_comes_with_those_that_are(shop, sql, query):
    with pytest.raises(QueryFailed, match=r"acme\.items, acme\.prices, lake\.uploads"):
        sql.query(query)


def test_a_lake_without_tables_says_so(sql):
    with pytest.raises(QueryFailed, match="Tables of this lake: none yet"):
        sql.query("SELECT * FROM acme.items")


def test_a_misspelt_table_is_told_with_the_one_that_is_meant(sql, shop):
    with pytest.raises(QueryFailed) as failed:
        sql.query("SELECT * FROM acme.itms")
    assert failed.value.message == (
        "There is no table acme.itms. Did you mean acme.items? "
        "Tables of this lake: acme.items, acme.prices, lake.uploads."
    )


@pytest.mark.parametrize("query", ["", "SELEC 1", "SELECT nope FROM acme.items", "SELECT 1; oops"])
def test_what_duckdb_refuses_is_an_error_with_the_statement(shop, sql, query):
    try:
        assert sql.query(query) is None
    except QueryFailed as error:
        assert error.context["sql"] == query


def test_columns_that_came_later_are_null_in_older_files(tables, sql):
    add(tables, "p.d", pa.table({"a": [1]}), "u1")
    add(tables, "p.d", pa.table({"b": ["x"], "a": [2]}), "u2")
    add(tables, "p.d", pa.table({"c": [3.5]}), "u3")
    found = sql.query("SELECT a, b, c FROM p.d ORDER BY a").fetchall()
    assert found == [(1, None, None), (2, "x", None), (None, None, 3.5)]


@pytest.mark.parametrize(
    ("old", "new", "read"),
    [
        pytest.param(pa.array([1], pa.int32()), pa.array([2**40]), ["1", "1099511627776"],
                     id="int to long"),
        pytest.param(pa.array([0.5], pa.float32()), pa.array([0.1]), ["0.5", "0.1"],
                     id="float to double"),
        pytest.param(pa.array([{"x": 1}]), pa.array([{"x": 2, "y": "q"}]),
                     ["{'x': 1, 'y': NULL}", "{'x': 2, 'y': q}"], id="a new struct field"),
        pytest.param(pa.array([{"x": {"y": 1}}]), pa.array([{"x": {"y": 2, "z": 3}}]),
                     ["{'x': {'y': 1, 'z': NULL}}", "{'x': {'y': 2, 'z': 3}}"],
                     id="a new field two levels down"),
        pytest.param(pa.array([[{"x": 1}]]), pa.array([[{"x": 2, "y": "q"}]]),
                     ["[{'x': 1, 'y': NULL}]", "[{'x': 2, 'y': q}]"],
                     id="a new struct field in a list"),
        pytest.param(pa.array([{"x": 1}], pa.struct([("x", pa.int32())])),
                     pa.array([{"x": 2**40}]), ["{'x': 1}", "{'x': 1099511627776}"],
                     id="a wider struct field"),
    ],
)  # fmt: skip
def test_a_column_that_grew_is_read_from_older_files(tables, sql, old, new, read):
    add(tables, "p.d", pa.table({"n": [1], "a": old}), "u1")
    add(tables, "p.d", pa.table({"n": [2], "a": new}), "u2")
    found = sql.query("SELECT a::VARCHAR FROM p.d ORDER BY n").fetchall()
    assert [text for (text,) in found] == read


NAMES = ["select", "a b", 'q"uote', "it's", "é", "a.b", "filename", "file_row_number", "rowid", "1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_column_may_have_any_name(tables, sql, name):
    add(tables, "p.d", pa.table({name: [1]}), "u1")
    add(tables, "p.d", pa.table({name: [2], "z": [1]}), "u2")
    quoted = '"' + name.replace('"', '""') + '"'
    assert sql.query(f"SELECT {quoted} FROM p.d ORDER BY 1").fetchall() == [(1,), (2,)]


def test_a_table_of_an_earlier_version_has_the_columns_that_queries_name_now(tables, sql):
    old = [
        name for name in QUARANTINE.schema.names if not name.startswith(("replayed", "rejected"))
    ]
    rows = pa.table({name: ["x"] for name in old if name != "row"} | {"row": [1]})
    add(tables, "lake.quarantine", rows, "u1", partition_by=QUARANTINE.partition_by)
    query = "SELECT state, replayed_by, rejected_at FROM lake.quarantine"
    assert sql.query(query).fetchall() == [("x", None, None)]
    add(tables, "acme.replayed", pa.table({"a": [1]}), "u1")
    assert sql.query("SELECT * FROM acme.replayed").columns == ["a"]


def test_an_empty_table_has_its_columns(tables, sql):
    table = TableSpec(name="p.d", schema=pa.schema([("a", LONG), ("s", pa.struct([("x", TEXT)]))]))
    tables.append_once(table, [Delivery(keys=("u1",), parts=())])
    found = sql.query("SELECT * FROM p.d")
    assert (found.columns, found.fetchall()) == (["a", "s"], [])


def test_a_filter_reaches_the_parquet_scan(tables, sql):
    add(tables, "p.d", pa.table({"a": pa.array([1, 2], pa.int32()), "b": ["x", "y"]}), "u1")
    add(tables, "p.d", pa.table({"a": pa.array([3]), "b": ["z"]}), "u2")
    add(tables, "p.d", pa.table({"a": [4], "c": ["new"]}), "u3")
    for condition in ("b = 'x'", "c = 'new'"):
        ((_, plan),) = sql.query(f"EXPLAIN SELECT a FROM p.d WHERE {condition}").fetchall()
        scan = plan[plan.index("PARQUET") :]
        assert "Filters" in scan, plan
        assert "FILTER" not in plan[: plan.index("PARQUET")], plan


def test_only_the_columns_that_are_asked_for_are_read(tables, sql):
    add(tables, "p.d", pa.table({"alpha": [1], "beta": ["x"]}), "u1")
    ((_, plan),) = sql.query("EXPLAIN SELECT alpha FROM p.d").fetchall()
    assert "beta" not in plan


def test_pruning_opens_only_files_that_may_have_the_rows(tables, sql):
    rows = pa.table({"k": ["x", "y"], "a": [1, 2]})
    add(tables, "p.d", rows, "u1", partition_by=(("identity", "k"),))
    assert sql.query("SELECT a FROM p.d", prune={"k": "x"}).fetchall() == [(1,)]
    assert sql.query("SELECT a FROM p.d ORDER BY a", prune={"nope": "x"}).fetchall() == [(1,), (2,)]


def test_a_query_sees_the_snapshot_that_was_there_when_it_was_made(tables, sql):
    add(tables, "p.d", pa.table({"a": [1]}), "u1")
    asked = sql.query("SELECT a FROM p.d")
    add(tables, "p.d", pa.table({"a": [2]}), "u2")
    assert asked.fetchall() == [(1,)]
    assert len(sql.query("SELECT a FROM p.d").fetchall()) == 2


def test_folders_that_look_like_partitions_are_no_columns(tmp_path):
    home = tmp_path / "a=9" / "[x]*"
    home.mkdir(parents=True)
    tables = IcebergTables(home / "tables", home / "catalog.db")
    add(tables, "p.d", pa.table({"a": [1]}), "u1")
    assert LakeSql(tables, scratch=tmp_path).query("SELECT * FROM p.d").fetchall() == [(1,)]
    tables.close()


def test_times_are_utc(sql):
    assert sql.query("SELECT current_setting('TimeZone')").fetchall() == [("UTC",)]
    assert duckdb.__version__ < "2"


def test_the_rows_of_one_table_are_those_of_a_query(tables, sql):
    add(tables, "lake.uploads", pa.table({"provider": ["a", "b"], "n": [1, 2]}), "u1")
    add(tables, "lake.uploads", pa.table({"provider": ["a"], "more": ["x"]}), "u2")
    question = "SELECT provider, sum(n), max(more) FROM {table} WHERE provider = $1 GROUP BY ALL"
    for provider in ("a", "b", "c"):
        prune = {"provider": provider}
        expected = sql.query(question.format(table="lake.uploads"), [provider], prune=prune)
        found = sql.rows("lake.uploads", question, [provider], prune=prune)
        assert found == expected.fetchall()


def test_a_column_that_no_file_has_is_null(tables, sql):
    parted = {"partition_by": (("identity", "provider"),)}
    add(tables, "lake.uploads", pa.table({"provider": ["a"]}), "u1", **parted)
    add(tables, "lake.uploads", pa.table({"provider": ["b"], "n": [1]}), "u2", **parted)
    for provider, expected in (("a", None), ("b", 1)):
        question = "SELECT max(n) FROM {table} WHERE provider = $1"
        prune = {"provider": provider}
        assert sql.rows("lake.uploads", question, [provider], prune=prune) == [(expected,)]


def test_rows_of_a_table_that_cannot_be_asked_so_is_query_failed(shop, sql):
    with pytest.raises(QueryFailed):
        sql.rows("acme.items", "SELECT nothing FROM {table}", [], prune={})
