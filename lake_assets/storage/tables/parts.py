"""Write Arrow rows as the Parquet parts of a table.

Memory is bounded by one row group per open part. Invariant: a part holds rows of one partition
only, and is complete and on disk when ``PartWriter.close`` returns.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake_assets.storage.files import fsync_file, fsync_folder
from lake_assets.storage.tables.model import Part

ROW_GROUP_ROWS = 122_880
"""DuckDB's own row group size, so that its scans and statistics fit ours."""
MAX_PART_BYTES = 512 * 2**20
"""Iceberg's default target file size."""

MAX_OPEN_PARTS = 64
"""Files open at once; a partition that was not written to for longest is closed first."""
MAX_WAITING_BYTES = 256 * 2**20
"""Rows gathered over all open parts, in bytes of Arrow memory."""


class PartWriter:
    """Writes one upload's rows for one table; a new part per partition, schema and 512 MiB.

    Args:
        folder: The table's data folder; made when the first row comes.
        stem: Start of the parts' file names; names the upload and the attempt, so that parts of
            an attempt that died can be told from others.
        partition_by: (transform, column) pairs.
    """

    def __init__(
        self, folder: Path, *, stem: str, partition_by: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self._folder = folder
        self._stem = stem
        self._partition_by = partition_by
        self._open: dict[tuple[object, ...], _OpenPart] = {}
        self._parts: list[Part] = []
        self._count = 0

    def write(self, rows: Any) -> None:
        """Append ``rows`` (a ``pyarrow.Table``); zero rows write nothing."""
        for key, group in _by_partition(rows, self._partition_by):
            part = self._part_for(key, group.schema)
            part.write(group)
            if sum(item.waiting_bytes for item in self._open.values()) >= MAX_WAITING_BYTES:
                for item in self._open.values():
                    item.flush()
            if part.byte_count >= MAX_PART_BYTES:
                self._close_part(key)

    def close(self) -> tuple[Part, ...]:
        """Finish all parts, make them durable and return them in the order they were begun."""
        for key in list(self._open):
            self._close_part(key)
        if self._parts:
            fsync_folder(self._folder)
        return tuple(sorted(self._parts, key=lambda part: part.path))

    def abort(self) -> None:
        """Remove everything that was written."""
        for part in self._open.values():
            with suppress(OSError):  # the disk is full; the file goes all the same
                part.writer.close()
            part.path.unlink(missing_ok=True)
        for done in self._parts:
            Path(done.path).unlink(missing_ok=True)
        self._open.clear()
        self._parts.clear()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.abort()

    def _part_for(self, key: tuple[object, ...], schema: Any) -> _OpenPart:
        part = self._open.pop(key, None)
        if part:
            self._open[key] = part  # the one used last stands last
        if part and part.schema.equals(schema):
            return part
        if part:  # the upload brought a new column: Parquet files have one schema
            self._close_part(key)
        if len(self._open) >= MAX_OPEN_PARTS:
            self._close_part(next(iter(self._open)))
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._stem}-{self._count:05d}.parquet"
        self._count += 1
        self._open[key] = _OpenPart(path, schema)
        return self._open[key]

    def _close_part(self, key: tuple[object, ...]) -> None:
        part = self._open.pop(key)
        part.close()
        fsync_file(part.path)
        size = part.path.stat().st_size
        self._parts.append(Part(path=str(part.path), rows=part.rows, byte_count=size))


class _OpenPart:
    """One Parquet file being written; small batches are gathered into full row groups."""

    def __init__(self, path: Path, schema: Any) -> None:
        self.path = path
        self.schema = schema
        self.rows = 0
        try:
            self.writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3)
        except OSError:  # the disk has room for its name, but not for its first bytes
            path.unlink(missing_ok=True)
            raise
        self._waiting: list[Any] = []
        self._waiting_rows = 0
        self.waiting_bytes = 0

    @property
    def byte_count(self) -> int:
        return int(self.path.stat().st_size)

    def write(self, rows: Any) -> None:
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        self.waiting_bytes += rows.nbytes
        self.rows += rows.num_rows
        # Wide rows (long texts, JSON) end a row group early: memory is bounded by bytes too.
        if self._waiting_rows >= ROW_GROUP_ROWS or self.waiting_bytes >= 128 * 2**20:
            self.flush()

    def close(self) -> None:
        self.flush()
        self.writer.close()

    def flush(self) -> None:
        """Write what was gathered as a row group."""
        if self._waiting:
            self.writer.write_table(pa.concat_tables(self._waiting), row_group_size=ROW_GROUP_ROWS)
        self._waiting, self._waiting_rows, self.waiting_bytes = [], 0, 0


def schema_of_part(part: Part) -> Any:
    """Return the ``pyarrow.Schema`` that a part was written with. Reads its footer."""
    return pq.read_schema(part.path)


def _by_partition(
    rows: Any, partition_by: tuple[tuple[str, str], ...]
) -> list[tuple[tuple[object, ...], Any]]:
    """Return (partition values, rows) pairs; without a spec one pair with all rows."""
    if not rows.num_rows:
        return []
    if not partition_by:
        return [((), rows)]
    keys = [_partition_values(rows[column], transform) for transform, column in partition_by]
    names = [f"k{n}" for n in range(len(keys))]
    numbered = pa.table([*keys, pa.array(range(rows.num_rows))], names=[*names, "row"])
    groups = numbered.group_by(names, use_threads=False).aggregate([("row", "list")])
    return [
        (tuple(group[name] for name in names), rows.take(group["row_list"]))
        for group in groups.to_pylist()
    ]


def _partition_values(column: Any, transform: str) -> Any:
    """Return a column that is equal where the Iceberg transform's value is equal."""
    if transform == "identity":
        return column
    return pc.floor_temporal(column, unit=transform)
