"""PyIceberg's SQL catalog, with what this lake asks of a commit besides.

Invariants: a table's pointer only ever names metadata that has reached the disk, with all that it
names; a commit that names its lease happens only while that is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import FileIO
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from sqlalchemy import URL, Connection, event

from lake_assets.storage.shards import sync_file_system
from lake_assets.storage.tables.leases import Lease, require_lease


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
        super().__init__("lake", uri=uri, warehouse=str(warehouse))
        self._warehouse = warehouse
        self._fence: ContextVar[Lease | None] = ContextVar("fence", default=None)
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

    def _require_fence(self, connection: Connection) -> None:
        # Inside the transaction that has changed the pointer, so the database's write lock is
        # ours: nobody can take the lease between this look and the commit.
        lease = self._fence.get()
        if lease is not None:
            require_lease(connection, lease)

    def _write_metadata(  # type: ignore[override]  # a static method there
        self, metadata: TableMetadata, io: FileIO, metadata_path: str
    ) -> None:
        super()._write_metadata(metadata, io, metadata_path)
        # Parts, manifests and metadata at once, before the pointer names them: PyIceberg syncs
        # none of its files, and one call (1 ms) costs less than one per file.
        sync_file_system(self._warehouse)


def _roll_back(connection: Any, record: object) -> None:
    """End what a refused commit left open, before the connection is used again.

    SQLAlchemy 2.0 does not: where a commit fails, by a listener or by SQLite itself, it takes the
    transaction for over and gives the connection back as it is. The next commit on it, be it that
    of a heartbeat, would then also commit what was refused.
    """
    if connection is not None and connection.in_transaction:
        connection.rollback()


def _same(snapshot: Snapshot, memo: dict[int, Any]) -> Snapshot:
    return snapshot


# PyIceberg copies a table's metadata some thirty times per commit, each snapshot with it, although
# none ever changes: with 50 snapshots that was 44 % of a commit, and it grew with each.
Snapshot.__deepcopy__ = _same  # type: ignore[assignment,method-assign]
