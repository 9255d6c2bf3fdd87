"""Which keys a dataset has already: record ids, and hashes of images.

Held by DuckDB, which spills to disk, so that memory does not grow with the dataset. Keys are
added under the upload that brought them: if it fails, what it added is taken back, or rows of a
later upload would be taken for duplicates of rows that are nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from lake_assets.query.duckdb import connect, disk_errors, exact

_MEMORY_LIMIT = "512MB"
_ASKS_OF_FILES = 2
"""How often the files themselves are asked before their keys are loaded. Of 1 M keys, loading takes
220 ms of CPU, asking the files 90 ms and asking what was loaded 18 ms: a small upload asks once."""


class SeenKeys:
    """A set of text keys that is asked in batches.

    Args:
        files: Parquet files with the keys that are there already.
        column: Their column of keys.
        where: SQL condition on those files' rows.
        scratch: Folder to spill to.
        warehouse: Folder of the tables, which ``files`` are below.
    """

    def __init__(
        self,
        files: Sequence[str],
        *,
        column: str,
        scratch: Path,
        warehouse: Path,
        where: str = "true",
    ) -> None:
        self._warehouse = warehouse
        self._connection = connect(scratch=scratch, memory_limit=_MEMORY_LIMIT)
        with disk_errors(self._warehouse):
            self._connection.execute("CREATE TABLE seen (key VARCHAR, upload VARCHAR)")
        self._unloaded = [exact(file) for file in files]
        self._of_files = (
            f"SELECT {column} AS key, '' AS upload "
            f"FROM read_parquet(?, hive_partitioning = false) WHERE {where}"
        )
        self._asks = 0

    def add_new(self, keys: Sequence[str | None], *, upload_id: str) -> list[bool]:
        """Return, for each key, whether it is met for the first time, and remember them all.

        Of equal keys in ``keys`` the first is new. None is never new.

        Raises:
            StorageUnavailable: when there is no room to spill to.
            DamagedTable: when one of the files is gone.
        """
        with disk_errors(self._warehouse):
            return self._add_new(keys, upload_id)

    def _add_new(self, keys: Sequence[str | None], upload_id: str) -> list[bool]:
        known = self._known({key for key in keys if key is not None})
        new, is_new = [], []
        for key in keys:
            is_first = key is not None and key not in known
            is_new.append(is_first)
            if is_first:
                known.add(key)
                new.append(key)
        if new:
            fresh = pa.table({"key": pa.array(new, pa.string())})
            self._connection.register("fresh", fresh)
            self._connection.execute("INSERT INTO seen SELECT key, ? FROM fresh", [upload_id])
            self._connection.unregister("fresh")
        return is_new

    def known(self, keys: set[str]) -> set[str | None]:
        """Return those of ``keys`` that are there.

        Raises:
            StorageUnavailable, DamagedTable: as ``add_new``.
        """
        with disk_errors(self._warehouse):
            return self._known(keys)

    def _known(self, keys: set[str]) -> set[str | None]:
        if not keys:
            return set()
        self._asks += 1
        if self._unloaded and self._asks > _ASKS_OF_FILES:
            self._connection.execute(f"INSERT INTO seen {self._of_files}", [self._unloaded])
            self._unloaded = []
        self._connection.register("asked", pa.table({"key": pa.array(list(keys), pa.string())}))
        found = self._found("seen", [])
        if self._unloaded:
            found |= self._found(f"({self._of_files})", [self._unloaded])
        self._connection.unregister("asked")
        return found

    def _found(self, source: str, parameters: list[list[str]]) -> set[str | None]:
        # The keys that are asked are the few, so they are the side that is hashed.
        rows = self._connection.execute(
            f"SELECT DISTINCT key FROM {source} AS there SEMI JOIN asked USING (key)", parameters
        ).fetchall()
        return {key for (key,) in rows}

    def forget(self, upload_id: str) -> None:
        """Take back what an upload added.

        Raises:
            StorageUnavailable.
        """
        with disk_errors(self._warehouse):
            self._connection.execute("DELETE FROM seen WHERE upload = ?", [upload_id])

    def drop(self, keys: Iterable[str]) -> None:
        """Take back keys, of those that were added.

        Raises:
            StorageUnavailable.
        """
        dropped = pa.table({"key": pa.array(list(keys), pa.string())})
        if not dropped.num_rows:
            return
        with disk_errors(self._warehouse):
            self._connection.register("dropped", dropped)
            self._connection.execute("DELETE FROM seen WHERE key IN (SELECT key FROM dropped)")
            self._connection.unregister("dropped")

    def close(self) -> None:
        """Free the memory and the spill files."""
        self._connection.close()
