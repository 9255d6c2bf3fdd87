"""The catalog's own file, ``catalog.db``: whether it is whole, what it points at, and its seal.

SQLite rewrites the file in place, so its hash is written down next to it after each ingestion, in
``catalog.db.seal``. A process may die between its last write and the seal: then SQLite's own count
of changes has moved on and the seal is stale, which is no damage. A flipped byte leaves that count
as it was; one in the count itself makes it differ from its copy at byte 92.

Invariant: the file is only ever read through SQLite. Closing a file descriptor of one's own would
drop the locks that SQLite holds on it in the same process (fcntl(2), "advisory record locks").
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

from lake_assets.errors import CommitConflict, StorageUnavailable
from lake_assets.storage.files import new_file, storage_errors
from lake_assets.storage.sealed_json import SealState, seal_state, sealed_json
from lake_assets.storage.tables.locations import local_path, location_of

_log = logging.getLogger(__name__)
_WAIT_S = 30.0
# https://www.sqlite.org/fileformat.html, 1.3.
_CHANGE_COUNT_AT = 24
_CHANGE_COUNT_COPY_AT = 92
# Primary result codes (https://www.sqlite.org/rescode.html) that do not speak of the content.
_PASSING = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_AUTH, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL,
})  # fmt: skip


class CatalogSeal(StrEnum):
    """What the seal says of ``catalog.db``."""

    FITS = "fits"
    ABSENT = "absent"
    """Nobody has sealed it yet."""
    STALE = "stale"
    """It was written to after it was sealed."""
    BROKEN = "broken"
    """The seal itself is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogState:
    """What ``catalog.db`` is like."""

    exists: bool
    damage: str = ""
    """Why it cannot be trusted; empty: it can."""
    seal: CatalogSeal = CatalogSeal.ABSENT
    locations: Mapping[str, str] = field(default_factory=dict)
    """Of each table's metadata file, by ``namespace.table``. Empty if the file is damaged."""

    @property
    def pointers(self) -> Mapping[str, Path]:
        """Path of each table's metadata file."""
        return {name: Path(local_path(place)) for name, place in self.locations.items()}


def seal_file(catalog_file: Path) -> Path:
    """Return where the seal of ``catalog_file`` lies."""
    return catalog_file.with_name(f"{catalog_file.name}.seal")


def seal_catalog(catalog_file: Path) -> None:
    """Write down what ``catalog.db`` holds now; without one nothing happens.

    Call it after the last write of an ingestion. It holds SQLite's read lock meanwhile, so that the
    seal is of a state that was really there. Nothing is fsynced: after a power cut the seal may be
    stale, not wrong.

    Where the disk refuses, the seal stays stale, which `lake verify` tells: what was ingested is
    in its tables by now.

    Raises:
        sqlite3.DatabaseError: It is no database any more.
    """
    if not catalog_file.exists():
        return
    try:
        _seal(catalog_file)
    except (sqlite3.OperationalError, StorageUnavailable) as error:
        _log.warning("%s is not sealed: %s; `lake repair` does it", catalog_file, error)


def _seal(catalog_file: Path) -> None:
    with _reading(catalog_file) as connection:
        content = connection.serialize()
        plain = {
            "file": catalog_file.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "change_count": _number_at(content, _CHANGE_COUNT_AT),
            "sealed_at": datetime.now(tz=UTC).isoformat(),
        }
        draft = catalog_file.with_name(f".draft-{uuid4().hex}")
        with new_file(draft) as writer:
            writer.write_all([sealed_json(plain).encode()])
            with storage_errors(draft):
                draft.replace(seal_file(catalog_file))


def read_catalog(catalog_file: Path) -> CatalogState:
    """Return the state of ``catalog.db``, which other processes may be writing to.

    Raises:
        StorageUnavailable: It cannot be read just now: locked for too long, no right to, an error
            of the disk. It may be whole.
    """
    with storage_errors(catalog_file):
        if not catalog_file.exists():
            return CatalogState(exists=False)
        if not catalog_file.is_file():
            return CatalogState(exists=True, damage="it is no file")
    try:
        with _sqlite_errors(catalog_file), _reading(catalog_file) as connection:
            return _state(connection, catalog_file)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return CatalogState(exists=True, damage=f"SQLite cannot read it: {error}")


def set_pointer(
    catalog_file: Path, table: str, metadata: Path, *, present: Path, lost: Iterable[str] = ()
) -> None:
    """Make ``metadata`` the state of ``table``, if that is still ``present``.

    Args:
        lost: Keys of deliveries that it has not. Others stay proved, also those that no metadata
            tells of: their snapshots have expired, so they are older than all that are kept.

    Raises:
        CommitConflict: It is another one by now, and stays.
        StorageUnavailable: The catalog cannot be written to just now.
    """
    with _changing(catalog_file, table, present) as connection:
        connection.execute(
            "UPDATE iceberg_tables SET previous_metadata_location = metadata_location,"
            " metadata_location = ? WHERE table_namespace = ? AND table_name = ?",
            (location_of(metadata), *_split(table)),
        )
        if _has(connection, "lake_commits"):
            connection.executemany(
                "DELETE FROM lake_commits WHERE table_name = ? AND key = ?",
                [(table, key) for key in lost],
            )


def forget_table(catalog_file: Path, table: str, *, present: Path) -> None:
    """Take ``table`` out of the catalog, if its state is still ``present``; its files stay.

    Raises:
        CommitConflict, StorageUnavailable: as ``set_pointer``.
    """
    with _changing(catalog_file, table, present) as connection:
        connection.execute(
            "DELETE FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?",
            _split(table),
        )
        if _has(connection, "lake_commits"):
            connection.execute("DELETE FROM lake_commits WHERE table_name = ?", (table,))


@contextmanager
def _changing(catalog_file: Path, table: str, present: Path) -> Iterator[sqlite3.Connection]:
    """Hold SQLite's write lock, and commit at the end, if a table is as it is thought to be."""
    with (
        _sqlite_errors(catalog_file),
        closing(sqlite3.connect(catalog_file, timeout=_WAIT_S, isolation_level=None)) as connection,
    ):
        connection.execute("BEGIN IMMEDIATE")  # closing without a COMMIT rolls back
        found = _locations(connection).get(table, "")
        # By name, which has a UUID in it: the folder may have had another name.
        if found.rpartition("/")[2] != present.name:
            raise CommitConflict(f"{table} was changed meanwhile", table=table)
        yield connection
        connection.execute("COMMIT")


def _split(table: str) -> tuple[str, str]:
    namespace, _, name = table.partition(".")
    return namespace, name


def _state(connection: sqlite3.Connection, catalog_file: Path) -> CatalogState:
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        # Another process has just made it. One that was sealed had something in it.
        was_sealed = seal_file(catalog_file).exists()
        return CatalogState(exists=True, damage="it is empty" if was_sealed else "")
    content = connection.serialize()
    with storage_errors(seal_file(catalog_file)):
        sealed, seal = _read_seal(seal_file(catalog_file))
    count = _number_at(content, _CHANGE_COUNT_AT)
    if count != _number_at(content, _CHANGE_COUNT_COPY_AT):
        return CatalogState(exists=True, damage="its count of changes differs from its copy")
    if seal is CatalogSeal.FITS and sealed["change_count"] != count:
        seal = CatalogSeal.STALE
    if seal is CatalogSeal.FITS and sealed["sha256"] != hashlib.sha256(content).hexdigest():
        return CatalogState(
            exists=True, damage="its SHA-256 is not that of its seal, but nobody wrote to it"
        )
    told = [text for (text,) in connection.execute("PRAGMA integrity_check(5)")]
    if told != ["ok"]:
        return CatalogState(exists=True, damage=f"SQLite's integrity check: {'; '.join(told)}")
    return CatalogState(exists=True, seal=seal, locations=_locations(connection))


def _locations(connection: sqlite3.Connection) -> dict[str, str]:
    if not _has(connection, "iceberg_tables"):  # a file that was made and not used yet
        return {}
    rows = connection.execute(
        "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables ORDER BY 1, 2"
    )
    return {f"{space}.{name}": str(place) for space, name, place in rows}


def _has(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (name,))
    return bool(found.fetchone() != (0,))


def _read_seal(path: Path) -> tuple[dict[str, Any], CatalogSeal]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}, CatalogSeal.ABSENT
    except IsADirectoryError:
        return {}, CatalogSeal.BROKEN
    if not content:  # a power cut right after it was written
        return {}, CatalogSeal.ABSENT
    if seal_state(content) is not SealState.WHOLE:
        return {}, CatalogSeal.BROKEN
    plain: dict[str, Any] = json.loads(content)
    return plain, CatalogSeal.FITS


@contextmanager
def _sqlite_errors(catalog_file: Path) -> Iterator[None]:
    """Raise as ``StorageUnavailable`` what says nothing of what the file holds."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        # The file is shorter than it says: that is damage.
        if code & 0xFF not in _PASSING or code == sqlite3.SQLITE_IOERR_SHORT_READ:
            raise
        raise StorageUnavailable(
            f"{catalog_file} cannot be used: {error}. Try again once that is mended",
            path=str(catalog_file),
        ) from error


@contextmanager
def _reading(catalog_file: Path) -> Iterator[sqlite3.Connection]:
    """Hold SQLite's read lock: nobody writes to the file in the block."""
    uri = f"{catalog_file.absolute().as_uri()}?mode=rw"  # rw: a crash may have left a journal
    with closing(
        sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)
    ) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection


def _number_at(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "big")
