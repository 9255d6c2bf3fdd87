"""PyIceberg's SQL catalog, with what this lake asks of a commit besides.

Invariants: a table's pointer only ever names metadata that has reached the disk, with all that it
names; a commit that names its lease happens only while that is held; the keys that a commit brings
are proved in the transaction that moves the pointer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import ValidationException
from pyiceberg.io import FileIO
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata, TableMetadataV2
from pyiceberg.table.refs import SnapshotRef
from pyiceberg.table.snapshots import MetadataLogEntry, Snapshot, SnapshotLogEntry
from pyiceberg.table.sorting import SortOrder
from pyiceberg.table.update import AssertCreate, TableRequirement, TableUpdate
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import IntegrityError

from lake_assets.storage.shards import sync_file_system
from lake_assets.storage.tables import proofs
from lake_assets.storage.tables.commits import keys_in_snapshots
from lake_assets.storage.tables.file_io import FILE_IO
from lake_assets.storage.tables.leases import require_lease
from lake_assets.storage.tables.model import Lease

_KEPT_METADATA = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """What a commit brings."""

    keys: Sequence[str]
    is_again: bool
    forgets: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """A commit that moves the pointer of a table."""

    table: str
    is_new: bool


class LakeCatalog(SqlCatalog):
    """A catalog in one SQLite file.

    Args:
        warehouse: Folder of the tables.
        catalog_file: The SQLite file; made when missing.
    """

    def __init__(self, warehouse: Path, catalog_file: Path) -> None:
        # A writer holds SQLite's lock for milliseconds; 30 s outlast any queue of them.
        url = URL.create("sqlite", database=str(catalog_file), query={"timeout": "30"})
        # Rendered, not formatted: a folder may have "?" or "%" in its name.
        uri = url.render_as_string(hide_password=False)
        options = {"uri": uri, "warehouse": str(warehouse), "py-io-impl": FILE_IO}
        super().__init__("lake", **options)
        self._warehouse = warehouse
        self._fence: ContextVar[Lease | None] = ContextVar("fence", default=None)
        self._base: ContextVar[str | int | None] = ContextVar("base", default=None)
        self._keys: ContextVar[_Keys | None] = ContextVar("keys", default=None)
        self._move: ContextVar[_Move | None] = ContextVar("move", default=None)
        self._metadata: dict[str | None, TableMetadata] = {}
        self._guard = threading.Lock()
        event.listen(self.engine, "commit", self._before_commit)
        event.listen(self.engine.pool, "checkin", _roll_back)

    @contextmanager
    def fenced(self, lease: Lease | None) -> Iterator[None]:
        """Let what is committed in the block happen only while ``lease`` is held.

        Raises:
            LeaseLost: at the commit; nothing is changed then.
        """
        token = self._fence.set(lease)
        try:
            yield
        finally:
            self._fence.reset(token)

    @contextmanager
    def only_onto(self, table: Table, *, is_whole: bool = False) -> Iterator[None]:
        """Let what is committed in the block happen only while ``table`` has these columns.

        PyIceberg does what lost a race once more by itself, on top of the other's commit. By then a
        column may have another type than parts were written with.

        Args:
            is_whole: Only while nothing at all of it has changed: all its files are replaced.

        Raises:
            ValidationException: at the commit, if another writer was faster; nothing is changed.
        """
        token = self._base.set(_state_of(table, is_whole=is_whole))
        try:
            yield
        finally:
            self._base.reset(token)

    @contextmanager
    def proving(
        self, keys: Sequence[str], *, is_again: bool = False, forgets: Sequence[str] = ()
    ) -> Iterator[None]:
        """Prove ``keys`` with the table commit in the block; one that is refused proves nothing.

        Args:
            is_again: Whether the table may have some of them: their rows are replaced.
            forgets: Keys whose rows are taken away: from then on they prove nothing.

        Raises:
            ValidationException: at the commit, if another writer brought some of them.
        """
        token = self._keys.set(_Keys(keys=keys, is_again=is_again, forgets=forgets))
        try:
            yield
        finally:
            self._keys.reset(token)

    def proved(self, table: str, keys: Sequence[str]) -> frozenset[str]:
        """Return those of ``keys`` that ``table``, which is there, has taken in."""

        def history() -> frozenset[str]:
            return keys_in_snapshots(self.load_table(table).metadata.snapshots)

        return proofs.proved(self.engine, table, keys, history)

    def commit_table(
        self,
        table: Table,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        """Commit as PyIceberg does, but see ``only_onto`` and ``proving``."""
        base = self._base.get()
        if base is not None and base != _state_of(table, is_whole=isinstance(base, str)):
            raise ValidationException(f"another writer changed {'.'.join(table.name())}")
        name = ".".join(table.name())
        is_new = any(isinstance(item, AssertCreate) for item in requirements)
        if not is_new:
            self.proved(name, ())  # of an earlier version: before this commit drops history
        # PyIceberg commits one transaction in there, that of the pointer, and for each of its own
        # retries it comes here again.
        token = self._move.set(_Move(table=name, is_new=is_new))
        try:
            return super().commit_table(table, requirements, updates)
        except IntegrityError as error:
            # By this name, PyIceberg removes what it wrote for the commit, and does not retry it.
            raise ValidationException(f"another writer brought the same to {name}") from error
        finally:
            self._move.reset(token)

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        # A metadata file never changes, and each step of an ingestion asks for its tables again:
        # twenty times per upload, a millisecond per hundred snapshots.
        location = orm_table.metadata_location
        metadata = self._metadata.get(location)
        if location is None or metadata is None:
            table = super()._convert_orm_to_iceberg(orm_table)
            metadata = table.metadata
        else:
            table = Table(
                identifier=(orm_table.table_namespace, orm_table.table_name),
                metadata=metadata,
                metadata_location=location,
                io=self._load_file_io(metadata.properties, location),
                catalog=self,
            )
        with self._guard:  # several threads may look at tables
            self._metadata.pop(table.metadata_location, None)
            self._metadata[table.metadata_location] = metadata
            if len(self._metadata) > _KEPT_METADATA:
                del self._metadata[next(iter(self._metadata))]
        return table

    def _before_commit(self, connection: Connection) -> None:
        # Inside the transaction that has changed the pointer, so the database's write lock is
        # ours: nobody can take the lease between this look and the commit.
        lease = self._fence.get()
        if lease is not None:
            require_lease(connection, lease)
        move, brought = self._move.get(), self._keys.get()
        if move is None:  # a namespace, or a lease
            return
        if move.is_new:
            proofs.begin(connection, move.table)
        if brought is not None:
            proofs.forget(connection, move.table, brought.forgets)
            proofs.record(connection, move.table, brought.keys, is_again=brought.is_again)

    def _write_metadata(  # type: ignore[override]  # a static method there
        self, metadata: TableMetadata, io: FileIO, metadata_path: str
    ) -> None:
        super()._write_metadata(metadata, io, metadata_path)
        # Parts, manifests and metadata at once, before the pointer names them: PyIceberg syncs
        # none of its files, and one call (1 ms) costs less than one per file.
        sync_file_system(self._warehouse)


def _state_of(table: Table, *, is_whole: bool) -> str | int:
    return table.metadata_location if is_whole else table.metadata.current_schema_id


def _roll_back(connection: Any, record: object) -> None:
    """End what a refused commit left open, before the connection is used again.

    SQLAlchemy 2.0 does not: where a commit fails, by a listener or by SQLite itself, it takes the
    transaction for over and gives the connection back as it is. The next commit on it, be it that
    of a heartbeat, would then also commit what was refused.
    """
    if connection is not None and connection.in_transaction:
        connection.rollback()


def _same(value: Any, memo: dict[int, Any]) -> Any:
    return value


def _copied(metadata: TableMetadataV2, memo: dict[int, Any] | None = None) -> TableMetadataV2:
    """Return metadata with lists and dicts of its own, and the same members in them."""
    made = metadata.model_copy()
    for name, value in vars(made).items():
        if isinstance(value, list | dict):
            vars(made)[name] = value.copy()
    return made


# PyIceberg deep-copies a table's metadata some thirty times per commit, with all its snapshots and
# schemas, although none of these ever changes (the models are frozen): that was 44 % of a commit
# to a table with 50 snapshots, and grew with each. The metadata itself is still copied, and its
# lists as wholes: to ask each member for a copy took as long as anything else with 100 snapshots.
for _final in (
    MetadataLogEntry, PartitionSpec, Schema, Snapshot, SnapshotLogEntry, SnapshotRef, SortOrder,
):  # fmt: skip
    _final.__deepcopy__ = _same  # type: ignore[assignment,method-assign]
TableMetadataV2.__deepcopy__ = _copied  # type: ignore[assignment,method-assign]
