"""Which keys a dataset has already: record ids, and hashes of images.

Held by DuckDB, which spills to disk, so that memory does not grow with the dataset. Keys are
added under the upload that brought them: if it fails, what it added is taken back, or rows of a
later upload would be taken for duplicates of rows that are nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from lake_assets.query.duckdb import connect, disk_errors

_MEMORY_LIMIT = "512MB"


class SeenKeys:
    """A set of text keys that is asked in batches.

    Args:
        files: Parquet files with the keys that are there already.
        column: Their column of keys.
        where: SQL condition on those files' rows.
        scratch: Folder to spill to.
    """

    def __init__(
        self, files: Sequence[str], *, column: str, scratch: Path, where: str = "true"
    ) -> None:
        self._connection = connect(scratch=scratch, memory_limit=_MEMORY_LIMIT)
        with disk_errors():
            self._connection.execute("CREATE TABLE seen (key VARCHAR, upload VARCHAR)")
            if files:
                self._connection.execute(
                    f"INSERT INTO seen SELECT {column}, '' "
                    f"FROM read_parquet(?, hive_partitioning = false) WHERE {where}",
                    [list(files)],
                )

    def add_new(self, keys: Sequence[str | None], *, upload_id: str) -> list[bool]:
        """Return, for each key, whether it is met for the first time, and remember them all.

        Of equal keys in ``keys`` the first is new. None is never new.

        Raises:
            StorageUnavailable: when there is no room to spill to.
        """
        with disk_errors():
            return self._add_new(keys, upload_id)

    def _add_new(self, keys: Sequence[str | None], upload_id: str) -> list[bool]:
        asked = pa.table({"key": pa.array(keys, pa.string()), "n": range(len(keys))})
        self._connection.register("asked", asked)
        found = self._connection.execute(
            "SELECT min(n) FROM asked ANTI JOIN seen USING (key) WHERE key IS NOT NULL GROUP BY key"
        ).fetchall()
        new = sorted(position for (position,) in found)
        if new:
            self._connection.register("fresh", asked.take(pa.array(new, pa.int64())))
            self._connection.execute("INSERT INTO seen SELECT key, ? FROM fresh", [upload_id])
            self._connection.unregister("fresh")
        self._connection.unregister("asked")
        is_new = [False] * len(keys)
        for position in new:
            is_new[position] = True
        return is_new

    def forget(self, upload_id: str) -> None:
        """Take back what an upload added.

        Raises:
            StorageUnavailable.
        """
        with disk_errors():
            self._connection.execute("DELETE FROM seen WHERE upload = ?", [upload_id])

    def close(self) -> None:
        """Free the memory and the spill files."""
        self._connection.close()
