"""What the columns of a Parquet or Arrow file vote for, without reading its rows.

Invariant: a place votes for its type as often as it has values, so one that is always null votes
for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from lake_assets.intake.readers.json_types import Shape

_types = pa.types


def votes(schema: pa.Schema, kinds: Mapping[str, pa.DataType], counts: Iterator[int]) -> Shape:
    """Return the columns of a file with their votes.

    Args:
        schema: Of the file.
        kinds: The lake's types of its columns; those without values at all are missing.
        counts: How many values each leaf has, in the order in which Parquet has leaves.
    """
    shape = Shape()
    for field in schema:
        _vote(shape.field(field.name), kinds.get(field.name, pa.null()), counts)
    return shape


def leaf_counts_of_parquet(metadata: pq.FileMetaData) -> Iterator[int]:
    """Yield how many values each leaf has, by the file's statistics; without them, its rows."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    for leaf in range(metadata.num_columns):
        yield sum(_values(group.column(leaf)) for group in groups)


def _values(chunk: pq.ColumnChunkMetaData) -> int:
    found = chunk.statistics
    count: int = found.num_values if found is not None else chunk.num_values
    return count


def leaf_counts_of_batch(batch: pa.RecordBatch) -> list[int]:
    """Return how many values each leaf of a batch has."""
    return [count for column in batch.columns for count in _leaves(column)]


def _leaves(values: pa.Array) -> Iterator[int]:
    if isinstance(values, pa.ExtensionArray):
        yield from _leaves(values.storage)
    elif _types.is_struct(values.type):
        for child in values.flatten():
            yield from _leaves(child)
    elif _types.is_map(values.type):
        yield from _leaves(values.cast(pa.list_(values.type.field(0))).flatten())
    elif _types.is_nested(values.type) and not _types.is_run_end_encoded(values.type):
        yield from _leaves(values.flatten())
    else:
        yield len(values) - values.null_count


def _vote(shape: Shape, kind: pa.DataType, counts: Iterator[int]) -> int:
    """Let a place vote, and return how often it did."""
    if _types.is_struct(kind):
        count = max((_vote(shape.field(f.name), f.type, counts) for f in kind), default=0)
        shape.structs += count
    elif _types.is_list(kind):
        count = _vote(shape.items(), kind.value_type, counts)
        shape.lists += count
    elif _types.is_map(kind):
        count = max((next(counts) for _ in range(_leaf_count(kind.key_type))), default=0)
        for _ in range(_leaf_count(kind.item_type)):
            next(counts)
        shape.count_type(kind, count)
    else:
        count = next(counts)
        if not _types.is_null(kind):
            shape.count_type(kind, count)
    return count


def _leaf_count(kind: pa.DataType) -> int:
    if not _types.is_nested(kind):
        return 1
    return sum(_leaf_count(kind.field(i).type) for i in range(kind.num_fields))
