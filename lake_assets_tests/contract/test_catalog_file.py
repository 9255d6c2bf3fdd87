"""catalog.db: any flipped byte is told from a write; its seal is made under SQLite's own lock."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial

import pyarrow as pa
import pytest

from lake_assets.errors import CommitConflict, StorageUnavailable
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec
from lake_assets.storage.tables.catalog_file import (
    CatalogSeal,
    forget_table,
    read_catalog,
    seal_catalog,
    seal_file,
    set_pointer,
)

STEP = 1 if os.environ.get("LAKE_TEST_FULL") else 61
SPEC = TableSpec(name="acme.ticks", schema=pa.schema([("at", pa.int64())]))


@pytest.fixture
def catalog(tmp_path):
    tables = IcebergTables(tmp_path / "tables", tmp_path / "catalog.db")
    for key in ("one", "two"):
        with tables.part_writer(SPEC, stem=key) as parts:
            parts.write(pa.table({"at": [1, 2]}))
            tables.append_once(SPEC, [Delivery(keys=(key,), parts=parts.close())])
    tables.close()
    return tmp_path / "catalog.db"


_WRITE = """
import sqlite3, sys
sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
"""


def write_to(catalog):
    with closing(sqlite3.connect(catalog)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS other (n)")
        connection.execute("INSERT INTO other VALUES (1)")


def test_it_says_where_the_tables_are(catalog, tmp_path):
    state = read_catalog(catalog)
    assert (state.exists, state.damage, state.seal) == (True, "", CatalogSeal.ABSENT)
    assert list(state.pointers) == ["acme.ticks"]
    assert state.pointers["acme.ticks"].name.startswith("00001-")


def test_a_seal_fits_until_something_is_written(catalog):
    seal_catalog(catalog)
    assert read_catalog(catalog).seal is CatalogSeal.FITS
    write_to(catalog)
    assert read_catalog(catalog).seal is CatalogSeal.STALE
    seal_catalog(catalog)
    assert read_catalog(catalog).seal is CatalogSeal.FITS


def test_every_flipped_byte_is_damage(catalog):
    seal_catalog(catalog)
    content = catalog.read_bytes()
    for place in [*range(100), *range(100, len(content), STEP)]:
        catalog.write_bytes(content[:place] + bytes([content[place] ^ 0b10]) + content[place + 1 :])
        assert read_catalog(catalog).damage, place


def test_a_damaged_seal_is_told_from_a_damaged_catalog(catalog):
    seal_catalog(catalog)
    content = seal_file(catalog).read_bytes()
    for place in range(len(content)):
        seal_file(catalog).write_bytes(
            content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        )
        state = read_catalog(catalog)
        assert (state.damage, state.seal) == ("", CatalogSeal.BROKEN), place


def test_a_seal_that_a_power_cut_emptied_is_absent(catalog):
    seal_catalog(catalog)
    seal_file(catalog).write_bytes(b"")
    assert read_catalog(catalog).seal is CatalogSeal.ABSENT


def test_what_is_written_ahead_is_part_of_what_is_sealed(catalog):
    with closing(sqlite3.connect(catalog)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE other (n)")
        connection.commit()
        seal_catalog(catalog)
        assert read_catalog(catalog).seal is CatalogSeal.FITS


def test_sealing_keeps_the_locks_that_this_process_has(catalog):
    """Closing a file of one's own would drop them, and another process could write in between."""
    with closing(sqlite3.connect(catalog, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        seal_catalog(catalog)
        read_catalog(catalog)
        other = subprocess.run(
            [sys.executable, "-c", _WRITE, str(catalog)], capture_output=True, text=True
        )
        assert "database is locked" in other.stderr


def test_without_a_catalog_there_is_nothing_to_seal(tmp_path):
    seal_catalog(tmp_path / "catalog.db")
    assert list(tmp_path.iterdir()) == []
    assert read_catalog(tmp_path / "catalog.db").exists is False


def test_a_catalog_without_tables_has_no_pointers(tmp_path):
    sqlite3.connect(tmp_path / "catalog.db").close()
    write_to(tmp_path / "catalog.db")
    assert dict(read_catalog(tmp_path / "catalog.db").pointers) == {}


def test_a_pointer_can_be_set_and_a_table_forgotten(catalog):
    place = read_catalog(catalog).pointers["acme.ticks"]
    (older,) = place.parent.glob("00000-*.metadata.json")
    set_pointer(catalog, "acme.ticks", older, present=place)
    assert read_catalog(catalog).pointers == {"acme.ticks": older}
    for change in (partial(set_pointer, metadata=place), forget_table):
        with pytest.raises(CommitConflict):
            change(catalog, "acme.ticks", present=place)
    assert read_catalog(catalog).pointers == {"acme.ticks": older}
    forget_table(catalog, "acme.ticks", present=older)
    assert dict(read_catalog(catalog).pointers) == {}


@pytest.mark.parametrize(
    "code", ["BUSY", "LOCKED", "CANTOPEN", "PERM", "READONLY", "IOERR", "IOERR_READ", "FULL"]
)
def test_what_sqlite_says_of_the_disk_is_no_damage(code, catalog, monkeypatch):
    def refuse(_):
        error = sqlite3.OperationalError("refused")
        error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{code}")
        raise error

    monkeypatch.setattr("lake_assets.storage.tables.catalog_file._reading", refuse)
    with pytest.raises(StorageUnavailable, match="refused"):
        read_catalog(catalog)


def test_a_catalog_that_was_cut_off_is_damaged(catalog):
    os.truncate(catalog, catalog.stat().st_size // 2)
    assert read_catalog(catalog).damage


def test_a_catalog_that_was_just_made_is_no_damage_and_an_emptied_one_is(catalog, tmp_path):
    new = tmp_path / "new.db"
    new.touch()
    assert read_catalog(new).damage == ""
    seal_catalog(catalog)
    os.truncate(catalog, 0)
    assert read_catalog(catalog).damage == "it is empty"
