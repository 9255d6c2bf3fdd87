"""How each column of a Parquet file is encoded, decided by its first rows.

pyarrow tries a dictionary on every column, and where that grows past a mebibyte the file keeps it
all the same. Measured on 2.5 million rows of twelve columns: 1.8 s and 107.8 MB with dictionaries
everywhere, 1.1 s and 86.1 MB with them only where they pay, 81.5 MB with integers as differences,
which DuckDB then also scans 2.5 times as fast. Differences of strings would be 2 % smaller still,
but take twice as long to scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

DICTIONARY_BYTES = 2**20
"""Where pyarrow gives a dictionary up (its ``dictionary_pagesize_limit``)."""
DICTIONARY_SHARE = 0.25
"""Most distinct values, of all, for a dictionary: with more, plain values are written faster, and
at 0.4 zstd makes as little of them."""
_SAMPLE_ROWS = 4096
_SAMPLE_SHARE = 0.97
"""Of values that are distinct among a sample: where ``DICTIONARY_SHARE`` of a row group are, each
as often as the others, 0.95 of the sample are; where some are more frequent, fewer. To count all
values of fifteen columns takes 0.2 s, a fifth of what writing a million rows of them does."""
_VALID_SHARE = 0.8
"""With more nulls, values that are all distinct may still be few among all."""
_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Encodings:
    """What ``pyarrow.parquet.ParquetWriter`` is told; columns in neither are written plainly."""

    dictionaries: tuple[str, ...]
    """Columns, by their path in the file."""
    others: dict[str, str]
    """Encodings of columns that are neither plain nor have a dictionary."""


def choose_encodings(rows: Any) -> Encodings:
    """Return the encodings that suit ``rows``, the first row group of a file (``pyarrow.Table``).

    They change no value, only size and time; later rows that are unlike the first are as right.
    """
    leaves = [leaf for name in rows.column_names for leaf in _leaves(name, rows[name])]
    repeated = {path for path, values in leaves if _may_repeat(values) and _repeats(values)}
    return Encodings(
        dictionaries=tuple(path for path, _ in leaves if path in repeated),
        others={
            path: "DELTA_BINARY_PACKED"
            for path, values in leaves
            if path not in repeated and _is_whole_number(values.type)
        },
    )


def _leaves(path: str, values: Any) -> Iterator[tuple[str, Any]]:
    """Yield the columns that Parquet makes of one, by their path in the file.

    Source: https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#nested-types
    """
    kind = values.type
    if pa.types.is_struct(kind):
        for number, field in enumerate(kind):
            yield from _leaves(f"{path}.{field.name}", pc.struct_field(values, [number]))
    elif pa.types.is_map(kind):
        keys = pa.chunked_array([chunk.keys for chunk in values.chunks], kind.key_type)
        items = pa.chunked_array([chunk.items for chunk in values.chunks], kind.item_type)
        yield from _leaves(f"{path}.key_value.key", keys)
        yield from _leaves(f"{path}.key_value.value", items)
    elif pa.types.is_list(kind):
        yield from _leaves(f"{path}.list.element", pc.list_flatten(values))
    else:
        yield path, values


def _may_repeat(values: Any) -> bool:
    """Return whether a few values, from all over them, leave it open that a dictionary pays."""
    if len(values) <= 2 * _SAMPLE_ROWS or not _can_count(values.type):
        return True
    sample = values.take(pa.array(_scattered(len(values))))
    valid = _SAMPLE_ROWS - sample.null_count
    if valid < _SAMPLE_ROWS * _VALID_SHARE:
        return True
    return bool(pc.count_distinct(sample).as_py() <= valid * _SAMPLE_SHARE)


@lru_cache(maxsize=8)
def _scattered(count: int) -> npt.NDArray[np.int64]:
    """Return ``_SAMPLE_ROWS`` ascending positions, at random, but the same ones each time.

    Neighbours may differ where all values repeat, and what is taken at equal distances may differ
    where each value is repeated right after itself.
    """
    return np.sort(Random(_SEED).sample(range(count), _SAMPLE_ROWS))


def _repeats(values: Any) -> bool:
    """Return whether a dictionary of these values pays."""
    count = len(values)
    if not count or not _can_count(values.type):
        return True  # nothing is known, so as pyarrow does it
    if pa.types.is_boolean(values.type):
        return False  # one bit each already; Parquet has no dictionary of them
    distinct = pc.count_distinct(values).as_py()
    in_bytes = distinct * values.nbytes / count
    return bool(distinct <= count * DICTIONARY_SHARE and in_bytes <= DICTIONARY_BYTES)


def _can_count(kind: Any) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_decimal(kind)
        or (types.is_primitive(kind) and not types.is_interval(kind))
    )


def _is_whole_number(kind: Any) -> bool:
    """Return whether Parquet holds such values as integers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_temporal(kind))
