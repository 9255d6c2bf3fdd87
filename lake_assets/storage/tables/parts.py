"""Write Arrow rows as the Parquet parts of a table.

Rows are encoded on threads of their own while the next ones are read; memory is bounded by the row
groups that are gathered, encoded, and wait for it. One thread at a time can write a file (pyarrow
26 does not offer the writer's own threads), so where many rows of a partition come, their row
groups go to two parts in turns: half the time on two cores. Invariant: a part holds rows of one
partition only, and is a complete file when ``PartWriter.close`` returns. It may not have reached
the disk by then: whoever makes parts known to others syncs the file system first, once for all.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake_assets.storage.files import storage_errors
from lake_assets.storage.seals import seal
from lake_assets.storage.tables.background import BackgroundLanes
from lake_assets.storage.tables.encodings import choose_encodings
from lake_assets.storage.tables.model import Part

ROW_GROUP_ROWS = 122_880
"""DuckDB's own row group size, so that its scans and statistics fit ours."""
ROW_GROUP_BYTES = 64 * 2**20
"""Rows of a row group, in bytes of Arrow memory: wide rows end it early. At most three of that size
are held at once: two are encoded while rows are gathered for the next."""
LANES = 2
"""Threads, and parts that the rows of a partition go to in turns."""
ALONE_GROUPS = 2
"""Full row groups of a partition before a second part is begun; fewer rows make one file, and
their steps come in one order."""
LARGE_BYTES = ROW_GROUP_BYTES // 2
"""Of larger row groups, of wide rows, there are only as many as lanes: else more would be held."""
MAX_PART_BYTES = 512 * 2**20
"""Iceberg's default target file size."""
COMPRESSION_LEVEL = 1
"""Of zstd. Level 3 takes 1.22 times the CPU time for files 1.2 % smaller."""

MAX_OPEN_PARTS = 64
"""Partitions with open files; that of the partition without rows for longest is closed first."""
MAX_WAITING_BYTES = 256 * 2**20
"""Rows gathered over all open parts, in bytes of Arrow memory."""

_log = logging.getLogger(__name__)


class PartWriter:
    """Writes rows for one table; new parts per partition, schema and 512 MiB.

    Rows are written some time after ``write`` returned, so it and ``close`` may raise the error of
    rows that an earlier call brought; once they have, nothing but ``abort`` is of use.

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
        self._open: dict[tuple[object, ...], _Partition] = {}
        self._begun: list[_OpenPart] = []
        self._background = BackgroundLanes(LANES)

    def write(self, rows: Any) -> None:
        """Append ``rows`` (a ``pyarrow.Table``); zero rows write nothing.

        Raises:
            StorageUnavailable: The disk is full, the folder may not be written to, and the like.
        """
        for key, group in _by_partition(rows, self._partition_by):
            partition = self._partition(key, group.schema)
            groups = partition.gather(group)
            if groups is not None:
                self._encode(partition, groups, lane=partition.next_lane())
            if any(part.byte_count >= MAX_PART_BYTES for part in partition.parts.values()):
                self._close(key)
        if sum(partition.waiting_bytes for partition in self._open.values()) >= MAX_WAITING_BYTES:
            for partition in list(self._open.values()):
                self._encode_rest(partition)

    def close(self) -> tuple[Part, ...]:
        """Finish all parts and return them in the order they were begun.

        Raises:
            StorageUnavailable: as ``write``.
        """
        for key in list(self._open):
            self._close(key)
        self._background.finish()
        parts = tuple(part.finished() for part in self._begun)
        if parts:
            seal(part.path for part in parts)
        return parts

    def abort(self) -> None:
        """Remove everything that was written; no thread and no open file is left."""
        self._background.stop()
        for part in self._begun:
            part.remove()
        self._open.clear()
        self._begun.clear()

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

    def _partition(self, key: tuple[object, ...], schema: Any) -> _Partition:
        partition = self._open.get(key)
        if partition and not partition.schema.equals(schema):
            # The upload brought a new column: Parquet files have one schema.
            self._close(key)
            partition = None
        partition = partition or _Partition(self._begin_part(schema), schema)
        self._open.pop(key, None)
        self._open[key] = partition  # the one used last stands last
        return partition

    def _encode(self, partition: _Partition, rows: Any, *, lane: int) -> None:
        if not partition.has_file:
            self._make_room()
            partition.has_file = True
        part = partition.parts.get(lane)
        if part is None:
            part = partition.parts[lane] = self._begin_part(partition.schema)
        part.rows += rows.num_rows
        is_large = rows.nbytes > LARGE_BYTES
        self._background.submit(lane, partial(part.encode, rows), is_large=is_large)

    def _encode_rest(self, partition: _Partition) -> None:
        rows = partition.take()
        if rows is not None:
            self._encode(partition, rows, lane=0)

    def _begin_part(self, schema: Any) -> _OpenPart:
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._stem}-{len(self._begun):05d}.parquet"
        self._begun.append(_OpenPart(path, schema))
        return self._begun[-1]

    def _make_room(self) -> None:
        # Rows that only wait need no file: with 500 partitions in each batch, closing parts for
        # every partition above the limit made a file of each batch's few rows.
        with_file = [key for key, partition in self._open.items() if partition.has_file]
        for key in with_file[: max(0, len(with_file) + 1 - MAX_OPEN_PARTS)]:
            self._close(key)

    def _close(self, key: tuple[object, ...]) -> None:
        partition = self._open.pop(key)
        self._encode_rest(partition)
        for lane, part in partition.parts.items():
            self._background.submit(lane, part.end)


class _Partition:
    """The rows of one partition: gathered into full row groups, which go to one or two parts.

    Of the caller's thread alone.
    """

    def __init__(self, first: _OpenPart, schema: Any) -> None:
        self.schema = schema
        self.parts = {0: first}
        """By lane."""
        self.has_file = False
        """Whether any of its rows were handed to the background."""
        self._full_groups = 0
        self._waiting: list[Any] = []
        self._waiting_rows = 0
        self.waiting_bytes = 0

    def gather(self, rows: Any) -> Any | None:
        """Add rows, and return those to be encoded now, if there are enough for a row group."""
        self._wait_with(rows)
        if self.waiting_bytes >= ROW_GROUP_BYTES:
            return self.take()
        if self._waiting_rows < ROW_GROUP_ROWS:
            return None
        whole = self._waiting_rows - self._waiting_rows % ROW_GROUP_ROWS
        table = self._take_waiting()
        if whole < table.num_rows:  # else every row group would be followed by a small one
            self._wait_with(table.slice(whole))
        return table.slice(0, whole)

    def next_lane(self) -> int:
        """Return the lane that full row groups go to."""
        turn = self._full_groups + 1 - ALONE_GROUPS
        self._full_groups += 1
        return turn % LANES if turn > 0 else 0

    def take(self) -> Any | None:
        """Return all rows that were gathered, or None if there are none."""
        return self._take_waiting() if self._waiting else None

    def _take_waiting(self) -> Any:
        waiting, self._waiting = self._waiting, []
        self._waiting_rows, self.waiting_bytes = 0, 0
        return pa.concat_tables(waiting)

    def _wait_with(self, rows: Any) -> None:
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        self.waiting_bytes += rows.nbytes


class _OpenPart:
    """One Parquet file being written.

    ``encode`` and ``end`` run in the background, on one lane, and are alone in touching the file,
    until ``remove``.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        self._path = path
        self._schema = schema
        self.rows = 0
        """Handed to the background so far; set by the caller's thread."""
        self.byte_count = 0
        """Size of what is in the file so far."""
        self._sink: Any = None
        self._writer: Any = None
        self._is_whole = False

    def encode(self, rows: Any) -> None:
        """Write rows as row groups; the first ones begin the file and decide its encodings."""
        with storage_errors(self._path):
            if self._writer is None:
                self._begin(rows)
            self._writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
            self.byte_count = self._sink.tell()

    def end(self) -> None:
        """Complete the file."""
        with storage_errors(self._path):
            self._writer.close()
            self._sink.close()
            self.byte_count = self._path.stat().st_size
        self._is_whole = True

    def finished(self) -> Part:
        """Return the part, which has ended."""
        if not self._is_whole:
            raise RuntimeError(f"{self._path} was not written to its end")
        return Part(path=str(self._path), rows=self.rows, byte_count=self.byte_count)

    def remove(self) -> None:
        """Let go of the file, complete or not, and remove it."""
        if self._writer is not None:
            # pyarrow would write the footer when the writer is collected, and after an error that
            # fails, where nobody can catch it.
            self._writer.is_open = False
        try:
            if self._sink is not None:
                self._sink.close()
            self._path.unlink(missing_ok=True)
        except OSError as error:  # recovery removes what the snapshots do not name
            _log.warning("%s is left behind: %s", self._path, error)

    def _begin(self, rows: Any) -> None:
        encodings = choose_encodings(rows.slice(0, ROW_GROUP_ROWS))
        self._sink = pa.OSFile(str(self._path), "wb")
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=list(encodings.dictionaries),
            column_encoding=encodings.others,
        )


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
    numbered = pa.table([*keys, pa.arange(0, rows.num_rows)], names=[*names, "row"])
    groups = numbered.group_by(names, use_threads=False).aggregate([("row", "list")])
    found = [tuple(group[name] for name in names) for group in groups.select(names).to_pylist()]
    if len(found) == 1:
        return [(found[0], rows)]
    # Copies, not slices: one row of a rare partition would keep its whole batch in memory.
    positions = groups["row_list"]
    return [(key, rows.take(positions[n].values)) for n, key in enumerate(found)]


def _partition_values(column: Any, transform: str) -> Any:
    """Return a column that is equal where the Iceberg transform's value is equal."""
    if transform == "identity":
        return column
    if pa.types.is_timestamp(column.type) and column.type.tz:
        # Iceberg's days are those of UTC; without a zone the floor takes a tenth of the time too.
        column = column.cast(pa.timestamp(column.type.unit))
    return pc.floor_temporal(column, unit=transform)
