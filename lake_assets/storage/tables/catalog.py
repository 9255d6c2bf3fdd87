"""PyIceberg's SQL catalog, with what this lake asks of a commit besides.

Invariants: a table's pointer only ever names metadata that has reached the disk, with all that it
names; a commit that names its lease happens only while that is held.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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
from pyiceberg.table.update import TableRequirement, TableUpdate
from sqlalchemy import URL, Connection, event

from lake_assets.storage.shards import sync_file_system
from lake_assets.storage.tables.file_io import FILE_IO
from lake_assets.storage.tables.leases import require_lease
from lake_assets.storage.tables.model import Lease

_KEPT_METADATA = 64


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
        self._metadata: dict[str | None, TableMetadata] = {}
        self._guard = threading.Lock()
        event.listen(self.engine, "commit", self._require_fence)
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

    def commit_table(
        self,
        table: Table,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        """Commit as PyIceberg does, but see ``only_onto``."""
        base = self._base.get()
        if base is not None and base != _state_of(table, is_whole=isinstance(base, str)):
            raise ValidationException(f"another writer changed {'.'.join(table.name())}")
        return super().commit_table(table, requirements, updates)

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

    def _require_fence(self, connection: Connection) -> None:
        # Inside the transaction that has changed the pointer, so the database's write lock is
        # ours: nobody can take the lease between this look and the commit.
        lease = self._fence.get()
        if lease is None:
            return
        require_lease(connection, lease)

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
