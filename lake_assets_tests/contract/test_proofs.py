"""Proofs of commits: they are true with the table's pointer, whatever becomes of its history."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pyarrow as pa
import pytest

from lake_assets.errors import CommitConflict, LeaseLost
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec
from lake_assets.storage.tables.catalog import LakeCatalog
from lake_assets.storage.tables.catalog_file import forget_table, read_catalog, set_pointer
from lake_assets.storage.tables.commits import unseen

ONE = TableSpec(name="p.d", schema=pa.schema([("a", pa.int64())]))
KEYS = ("u1", "u2", "u3")


@pytest.fixture
def tables(tmp_path):
    made = IcebergTables(tmp_path / "tables", tmp_path / "catalog.db")
    yield made
    made.close()


def one_row(tables, key, value=0):
    with tables.part_writer(ONE, stem=f"{key}-{uuid4().hex}") as parts:
        parts.write(pa.table({"a": [value]}))
        return Delivery(keys=(key,), parts=parts.close())


def fill(tables, keys=KEYS):
    for value, key in enumerate(keys):
        tables.append_once(ONE, [one_row(tables, key, value)])


def values(tables):
    return sorted(tables.read(ONE.name)["a"].to_pylist())


def expire(warehouse, catalog_file, table):
    """Drop all snapshots of a table but the present one, as any writer of Iceberg may."""
    catalog = LakeCatalog(warehouse, catalog_file)
    found = catalog.load_table(table)
    found.maintenance.expire_snapshots().older_than(datetime.now(tz=UTC)).commit()
    assert len(catalog.load_table(table).metadata.snapshots) == 1
    catalog.close()


def on_catalog(folder, *statements):
    with closing(sqlite3.connect(folder / "catalog.db")) as connection, connection:
        return [connection.execute(statement).fetchall() for statement in statements]


def forget_proofs(folder):
    """Make the catalog one of an earlier version."""
    on_catalog(folder, "DROP TABLE lake_commits")


def test_expired_snapshots_change_nothing(tables, tmp_path):
    fill(tables)
    expire(tmp_path / "tables", tmp_path / "catalog.db", ONE.name)
    assert tables.committed(ONE.name, [*KEYS, "u4"]) == set(KEYS)
    again = tables.append_once(ONE, [one_row(tables, "u1", 7)])
    assert (again.keys, again.skipped) == ((), ("u1",))
    assert values(tables) == [0, 1, 2]


def test_keys_of_earlier_versions_are_brought_over_once(tables, tmp_path):
    fill(tables)
    forget_proofs(tmp_path)
    assert tables.committed(ONE.name, ["u2", "u4"]) == {"u2"}
    expire(tmp_path / "tables", tmp_path / "catalog.db", ONE.name)
    assert tables.committed(ONE.name, KEYS) == set(KEYS)


@pytest.mark.parametrize("way", ["append_once", "replace", None])
def test_a_table_of_an_earlier_version_keeps_its_keys(way, tables, tmp_path):
    """Nobody asks for them before its history goes."""
    fill(tables)
    forget_proofs(tmp_path)
    if way:
        getattr(tables, way)(ONE, [one_row(tables, "u4")])
    expire(tmp_path / "tables", tmp_path / "catalog.db", ONE.name)
    assert tables.committed(ONE.name, [*KEYS, "u4"]) == {*KEYS, *(["u4"] if way else [])}


def test_more_keys_than_a_statement_takes(tables):
    keys = tuple(f"u{number}" for number in range(2_500))
    tables.append_once(ONE, [Delivery(keys=keys, parts=one_row(tables, "u0").parts)])
    assert tables.committed(ONE.name, keys) == set(keys)


def test_a_replacement_may_bring_keys_that_are_there(tables):
    fill(tables)
    tables.replace(ONE, [one_row(tables, "u1", 9), one_row(tables, "u4", 10)])
    assert values(tables) == [9, 10]
    assert tables.committed(ONE.name, [*KEYS, "u4"]) == {*KEYS, "u4"}


@pytest.mark.parametrize("is_new", [True, False], ids=["a new table", "a table"])
def test_of_writers_of_one_key_one_brings_it(is_new, tmp_path, monkeypatch):
    """They all look before any of them commits."""
    several = [IcebergTables(tmp_path / "tables", tmp_path / "catalog.db") for _ in range(4)]
    if not is_new:
        fill(several[0], ["u0"])
    looked, mine = threading.Barrier(len(several), timeout=60), threading.local()

    def unseen_by_all(deliveries, known):
        if not hasattr(mine, "has_waited"):
            mine.has_waited = True
            looked.wait()
        return unseen(deliveries, known)

    def bring(tables):
        return tables.append_once(ONE, [one_row(tables, "same", 5)])

    monkeypatch.setattr("lake_assets.storage.tables.store.unseen", unseen_by_all)
    with ThreadPoolExecutor(len(several)) as pool:
        commits = list(pool.map(bring, several))
    assert sorted(commit.keys for commit in commits) == [(), (), (), ("same",)]
    assert values(several[0]) == ([5] if is_new else [0, 5])
    for tables in several:
        tables.close()


@pytest.mark.parametrize("is_new", [True, False], ids=["a new table", "a table"])
def test_a_commit_that_is_refused_proves_nothing(is_new, tables, tmp_path):
    if not is_new:
        fill(tables, ["u0"])
    with tables.leases.hold("p/d", wait_s=0) as lease:
        old = replace(lease)
        tables.leases.renew(lease)
        delivery = one_row(tables, "u1")
        for attempt in (tables.append_once, tables.replace):
            with pytest.raises(LeaseLost):
                attempt(ONE, [delivery], lease=old)
        tables.leases.renew(lease)  # a commit on the connection that was refused
        if not is_new:
            rows = on_catalog(tmp_path, "SELECT key FROM lake_commits WHERE key != ''")
            assert rows == [[("u0",)]]
        assert tables.committed(ONE.name, ["u1"]) == frozenset()
        tables.append_once(ONE, [delivery], lease=lease)
    assert tables.committed(ONE.name, ["u1"]) == {"u1"}


def test_a_table_that_goes_back_has_not_taken_in_what_it_lost(tables, tmp_path):
    fill(tables)
    catalog = tmp_path / "catalog.db"
    present = read_catalog(catalog).pointers[ONE.name]
    (first,) = present.parent.glob("00000-*.metadata.json")
    other = TableSpec(name="p.other", schema=ONE.schema)
    tables.append_once(other, [Delivery(keys=("u2",), parts=())])
    with pytest.raises(CommitConflict):
        set_pointer(catalog, ONE.name, first, present=first, lost=["u2", "u3"])
    assert tables.committed(ONE.name, KEYS) == set(KEYS)
    set_pointer(catalog, ONE.name, first, present=present, lost=["u2", "u3"])
    assert tables.committed(ONE.name, KEYS) == {"u1"}
    assert tables.committed(other.name, KEYS) == {"u2"}
    assert tables.append_once(ONE, [one_row(tables, "u2", 8)]).keys == ("u2",)
    assert values(tables) == [0, 8]


def test_a_table_of_the_name_of_one_that_is_gone_has_none_of_its_keys(tables, tmp_path):
    fill(tables)
    present = read_catalog(tmp_path / "catalog.db").pointers[ONE.name]
    forget_table(tmp_path / "catalog.db", ONE.name, present=present)
    assert on_catalog(tmp_path, "SELECT count(*) FROM lake_commits") == [[(0,)]]
    assert tables.append_once(ONE, [one_row(tables, "u1", 6)]).keys == ("u1",)
    assert tables.committed(ONE.name, KEYS) == {"u1"}


@pytest.fixture
def lake(tmp_path, monkeypatch):
    monkeypatch.setenv("LAKE_WORKERS", "1")
    with Lake.init(tmp_path / "lake") as lake:
        lake.create_provider("acme")
        for number in range(2):
            rows = pa.table({"a": [number]})
            lake.ingest(lake.upload_raw_data(rows, provider="acme", dataset="d").id)
        yield lake


def test_an_upload_whose_snapshot_expired_is_not_ingested_again(lake):
    """Its process died when all was committed but the upload not marked as done."""
    layout = lake.stores.layout
    for table in ("acme.d", "lake.uploads"):
        expire(layout.tables, layout.catalog_file, table)
    first, _ = lake.stores.staging.uploads(State.DONE)
    processing = layout.staging / "processing" / first.id
    processing.parent.mkdir(exist_ok=True)
    first.folder.rename(processing)
    lake.ingest(lake.upload_raw_data(pa.table({"a": [2]}), provider="acme", dataset="d").id)
    assert len(list(lake.stores.staging.uploads(State.DONE))) == 3
    found = lake.stores.tables.read("acme.d")["a"].to_pylist()
    assert sorted(found) == [0, 1, 2]
    assert lake.stores.tables.read("lake.uploads").num_rows == 3
