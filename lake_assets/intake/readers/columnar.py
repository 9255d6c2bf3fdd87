"""Parquet and Arrow files as chunks in the lake's types.

Invariant: memory is bounded by the batch. Files are memory-mapped, and Parquet is decoded in
batches whose number of rows follows from the width of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from lake_assets.contracts.json_texts import NO_TIME, json_texts
from lake_assets.contracts.variants import variant_name
from lake_assets.errors import UnreadableSource
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers.columnar_votes import (
    leaf_counts_of_batch,
    leaf_counts_of_parquet,
    votes,
)
from lake_assets.intake.readers.json_types import Shape
from lake_assets.intake.readers.normal_types import normal_column, normal_type, storage_of
from lake_assets.intake.readers.row_json import plain_value, row_json
from lake_assets.intake.readers.source import (
    Chunk,
    DataFile,
    Limits,
    check_columns,
    check_fields,
    cut,
    keep_rows,
    numbers_of,
    reading,
    table_of,
)
from lake_assets.intake.readers.validity import validated

_FILE_MAGIC = b"ARROW1"


def read_columnar(file: DataFile) -> Iterator[Chunk]:
    """Yield every row of a Parquet or Arrow file, or its rejection.

    Raises:
        UnreadableSource: The file is damaged, or has columns that no table can have.
        UnsupportedFormat: A column is of a type that tables of the lake do not have.
    """
    start = 0
    with _batches(file) as (schema, batches):
        types = _column_types(file, schema)
        for batch in validated(batches):
            yield from cut(_chunk(file, pa.Table.from_batches([batch]), types, start), file.limits)
            start += batch.num_rows
    _check_row_count(file, start)


def columnar_shape(file: DataFile) -> Shape:
    """Return the file's columns in the lake's types, each value as a vote for them.

    Raises:
        UnreadableSource, UnsupportedFormat: as ``read_columnar``.
    """
    with _batches(file) as (schema, batches):
        types = _column_types(file, schema)
        if file.format is DataFormat.PARQUET:
            counts = list(leaf_counts_of_parquet(pq.read_metadata(file.path)))
        else:
            counts = [
                sum(leaf)
                for leaf in zip(*map(leaf_counts_of_batch, validated(batches)), strict=True)
            ]
    # A file without batches has no leaf of which anything is known.
    return votes(schema, types, chain(counts, repeat(0)))


def head_columnar(file: DataFile) -> pa.Table:
    """Return the first rows, within the file's limits and in the lake's types."""
    with _batches(file) as (schema, batches):
        types = _column_types(file, schema)
        empty = pa.Table.from_batches([], schema)
        whole = validated(batches)
        first = next((pa.Table.from_batches([b]) for b in whole if b.num_rows), empty)
        return next(cut(_chunk(file, first, types, 0), file.limits)).rows


def count_columnar(file: DataFile) -> int | None:
    """Return the number of rows by the file's footer, or None if it has none (Arrow stream)."""
    with reading(file):
        if file.format is DataFormat.PARQUET:
            return int(pq.read_metadata(file.path).num_rows)
        with pa.memory_map(str(file.path)) as source:
            if source.read(len(_FILE_MAGIC)) != _FILE_MAGIC:
                return None
            return int(ipc.open_file(source).count_rows())


def _check_row_count(file: DataFile, read: int) -> None:
    """Raise if a Parquet file has fewer rows than its footer says; pyarrow then just stops."""
    if file.format is DataFormat.PARQUET and read != (claimed := count_columnar(file)):
        raise UnreadableSource(
            f"{file.name} has {read:,} rows, and {claimed:,} by its footer. It is damaged; deliver "
            "it again.",
            file=file.name,
        )


@contextmanager
def _batches(file: DataFile) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    # Arrow files are mapped: their batches then lie where the file is. Parquet is decoded anyway,
    # and pages of a mapping count as this process's memory: 1.27 times the peak for 4 times the
    # rows, against 1.00 without.
    opened = pa.OSFile if file.format is DataFormat.PARQUET else pa.memory_map
    with reading(file), opened(str(file.path)) as source:
        if file.format is DataFormat.PARQUET:
            # No pre-buffering: it reads whole row groups ahead, images and all.
            parquet = pq.ParquetFile(source, pre_buffer=False)
            rows = _rows_per_batch(parquet.metadata, file.limits)
            yield parquet.schema_arrow, parquet.iter_batches(batch_size=rows)
        elif source.read(len(_FILE_MAGIC)) == _FILE_MAGIC:
            arrow = ipc.open_file(source)
            count = arrow.num_record_batches
            yield arrow.schema, _sliced(map(arrow.get_batch, range(count)), file.limits)
        else:
            source.seek(0)
            stream = ipc.open_stream(source)
            yield stream.schema, _sliced(iter(stream), file.limits)


def _rows_per_batch(metadata: pq.FileMetaData, limits: Limits) -> int:
    """Return how many rows of the widest row group fill a batch; at least 1."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    widths: list[int] = [
        group.total_byte_size // group.num_rows for group in groups if group.num_rows
    ]
    return max(1, min(limits.rows, limits.byte_count // max([1, *widths])))


def _sliced(batches: Iterator[pa.RecordBatch], limits: Limits) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        batch.validate()  # a slice beyond the end of a column would end the process
        for start in range(0, batch.num_rows, limits.rows):
            yield batch.slice(start, limits.rows)


def _column_types(file: DataFile, schema: pa.Schema) -> dict[str, pa.DataType]:
    """Return the lake's type of each column that holds values at all."""
    check_columns(schema.names, file.name)
    for field in schema:
        check_fields(field.type, field.name, file.name)
    kinds = {f.name: normal_type(f.type, column=f.name, file=file.name) for f in schema}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _chunk(file: DataFile, raw: pa.Table, types: dict[str, pa.DataType], start: int) -> Chunk:
    columns: dict[str, pa.ChunkedArray] = {}
    culprits: dict[int, str] = {}
    for name, kind in types.items():
        column = normal_column(raw[name], kind)
        columns[name] = column.values
        if column.misfits:
            texts = _texts(raw[name], column.misfits)
            columns[variant_name(name)] = texts
            culprits |= {i: name for i in column.misfits if texts[i].as_py() is None}
    rows = table_of(columns, raw.num_rows)
    if not culprits:
        return Chunk(rows=rows, numbers=pa.arange(start, start + raw.num_rows))
    kept = [i for i in range(raw.num_rows) if i not in culprits]
    return Chunk(
        rows=keep_rows(rows, kept),
        numbers=numbers_of(start + i for i in kept),
        rejected=tuple(
            _rejected(file, raw.slice(i, 1), start + i, name, types[name])
            for i, name in sorted(culprits.items())
        ),
    )


def _texts(raw: pa.ChunkedArray, positions: frozenset[int]) -> pa.StringArray:
    """Return the values at these positions as JSON; null elsewhere, and where JSON has no word."""
    texts = json_texts(storage_of(raw.combine_chunks()))
    wanted = pc.is_in(pa.arange(0, len(raw)), pa.array(sorted(positions), pa.int64()))
    has_words = pc.invert(pc.match_substring(texts, NO_TIME))
    return pc.if_else(pc.and_(wanted, has_words), texts, pa.scalar(None, pa.string()))


def _rejected(
    file: DataFile, row: pa.Table, number: int, column: str, kind: pa.DataType
) -> RejectedRow:
    values = {name: plain_value(row[name][0]) for name in row.column_names}
    return RejectedRow(
        file=file.name,
        row=number,
        rule="value_fits_its_column",
        path=column,
        expected=f"a value of {row.schema.field(column).type} that {kind} can hold exactly",
        actual=str(values[column]),
        row_json=row_json(values),
    )
