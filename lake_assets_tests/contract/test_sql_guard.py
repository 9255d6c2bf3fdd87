"""SQL writes files anywhere but into the lake's own folder."""

import pytest

from lake_assets.errors import QueryFailed
from lake_assets.query.duckdb import LakeSql
from lake_assets.storage.tables import IcebergTables


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A lake's folder ``lake`` and another, ``out``, with links into the first."""
    for folder in ("lake/tables", "lake/tmp", "out/deep"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "out" / "link").symlink_to(tmp_path / "lake" / "tables")
    (tmp_path / "out" / "file.csv").symlink_to(tmp_path / "lake" / "kept.csv")
    (tmp_path / "lake" / "kept.csv").write_text("kept")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def sql(place):
    home = place / "lake"
    tables = IcebergTables(home / "tables", home / "catalog.db")
    yield LakeSql(tables, scratch=home / "tmp", home=home)
    tables.close()


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to '{home}/tables/x.parquet'",
        "copy (select 1) to 'lake/x.csv'",
        "copy (select 1) to 'out/../lake/x.csv'",
        "copy (select 1) to 'out/link/x.csv'",
        "copy (select 1) to 'out/file.csv'",
        "copy (select 1) to '~/lake/x.csv'",
        "copy (select 1) to 'file://{home}/x.csv'",
        "copy (select 1) to 'file:{home}/x.csv'",
        "COPY (SELECT 'é', 'a to b') TO /* here */ 'lake/x.csv' -- and so\n (FORMAT csv)",
        "copy (select 1) to 'la'\n'ke/x.csv'",
        "copy (select 1) to E'lak\\x65/x.csv'",
        "copy (select 1) to $$lake/x.csv$$",
        'create table t as select 1; copy t to "lake/x.csv"',
        "explain analyze copy (select 1) to 'lake/x.csv'",
        "prepare p as copy (select 1) to 'lake/x.csv'; execute p",
        "prepare p as copy (select 1) to $1; execute p('lake/x.csv')",
        "copy (select 1 a, 2 b) to 'out' (format parquet, partition_by (a), "
        "filename_pattern '../../lake/x', overwrite_or_ignore true)",
        "copy (select 1 a, 2 b) to '.' (format parquet, partition_by (a), "
        "filename_pattern 'lake/x', overwrite_or_ignore true)",
        "copy (pivot (select 1 a, 2 b) on a using sum(b)) to 'lake/x.csv'",
        "copy (pivot (select 1 a) on a) to 'out/x.csv'; "
        "copy (pivot (select 1 a) on a) to 'lake/x.csv'",
        "export database 'lake/x'",
        "attach 'lake/catalog.db' as c",
        "attach 'sqlite:lake/catalog.db' as c",
        "set log_query_path = 'lake/log.txt'; select 1",
        "set home_directory = '{home}'; copy (select 1) to '~/x.csv'",
        "call enable_logging(storage = 'file', storage_path = 'lake/logs')",
        "select * from enable_logging(storage = 'file', storage_path = 'lake/logs')",
    ],
)
def test_nothing_is_written_into_the_lake(sql, place, statement):
    before = files_of(place / "lake")
    with pytest.raises(QueryFailed, match="lake's own files"):
        sql.query(statement.format(home=place / "lake"))
    assert files_of(place / "lake") - before <= {"catalog.db"}
    assert (place / "lake" / "kept.csv").read_text() == "kept"


@pytest.mark.parametrize(
    ("statement", "written"),
    [
        ("copy (select 1) to 'out/x.parquet'", "out/x.parquet"),
        ("copy (select 1) to '{home}-2.csv' -- beside it", "lake-2.csv"),
        ("copy (select 'it''s', '{home}/x') to 'it''s.csv' (delimiter '/')", "it's.csv"),
        ("copy (select 1) to '~/x.csv'", "x.csv"),
        ("export database 'out/all'", "out/all/schema.sql"),
        ("attach 'out/x.db' as x; create table x.t as select 1", "out/x.db"),
        ("explain analyze copy (select 1) to 'out/y.csv'", "out/y.csv"),
    ],
)
def test_files_elsewhere_are_written(sql, place, statement, written):
    sql.query(statement.format(home=place / "lake"))
    assert written in files_of(place)


@pytest.mark.parametrize(
    "statement",
    [
        "select '{home}/x', * from read_csv('{home}/kept.csv')",
        "attach ':memory:' as other",
        "set threads = 2",
        "set memory_limit = '1GB'",
        "pragma show_tables",
        "explain select 1",
        "create macro twice(x) as x * 2",
        "pivot (select 1 as a, 2 as b) on a using sum(b)",
    ],
)
def test_what_writes_no_file_is_done_in_the_lake_too(sql, place, monkeypatch, statement):
    monkeypatch.chdir(place / "lake")
    sql.query(statement.format(home=place / "lake"))


def test_what_does_not_fit_into_memory_still_spills_into_the_lake(sql):
    found = sql.query(
        "set memory_limit = '60MB'; set threads = 1; select count(*) from (select distinct "
        "hash(i) || 'long enough to need some room' as h from range(1_500_000) r(i))"
    )
    assert found.fetchall() == [(1_500_000,)]
