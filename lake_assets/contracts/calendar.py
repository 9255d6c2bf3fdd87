"""Dates, instants and times of day that every part of a lake has a value for.

Invariant: what is let through lies in the years 1 to 9999, as SQL has it, and times of day before
midnight. Arrow and Parquet count on far beyond, but Python does not, and so PyIceberg cannot commit
a file that holds more: its dataset would be stuck.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = (date.min - _EPOCH.date()).days
_LAST_DAY = (date.max - _EPOCH.date()).days
_DAY_US = 86_400_000_000


def rows_outside_calendar(column: Any) -> tuple[int, ...]:
    """Return the positions of rows that hold, at any depth, a time that is outside.

    Args:
        column: ``pyarrow.ChunkedArray`` or ``pyarrow.Array``; its times are ``date32``,
            ``timestamp[us]`` or ``time64[us]``, as those of all tables of the lake.
    """
    if not _has_times(column.type):
        return ()
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    found: list[int] = []
    start = 0
    for chunk in chunks:
        found += _outside(chunk, start)
        start += len(chunk)
    return tuple(found)


def _outside(array: Any, start: int) -> Iterator[int]:
    # Halving: usually no row is bad, and then one look is enough.
    if len(array) == 0 or all(_is_inside(leaf) for leaf in _times_in(array)):
        return
    if len(array) == 1:
        yield start
        return
    half = len(array) // 2
    yield from _outside(array[:half], start)
    yield from _outside(array[half:], start + half)


def _is_inside(times: Any) -> bool:
    is_date = pa.types.is_date(times.type)
    unit = 1 if is_date else _DAY_US
    first_day, last_day = (0, 0) if pa.types.is_time(times.type) else (_FIRST_DAY, _LAST_DAY)
    ends = pc.min_max(times.view(pa.int32() if is_date else pa.int64()))
    first, last = ends["min"].as_py(), ends["max"].as_py()
    return first is None or (first >= first_day * unit and last < (last_day + 1) * unit)


def _times_in(array: Any) -> Iterator[Any]:
    """Yield the arrays of times within an array, without what lies beneath nulls."""
    kind = array.type
    if _is_time(kind):
        yield array
    elif pa.types.is_struct(kind):
        for field in array.flatten():
            yield from _times_in(field)
    elif pa.types.is_map(kind):
        yield from _times_in(array.cast(pa.list_(kind.field(0))))
    elif pa.types.is_nested(kind):
        yield from _times_in(array.flatten())


def _has_times(kind: Any) -> bool:
    if not pa.types.is_nested(kind):
        return _is_time(kind)
    return any(_has_times(kind.field(i).type) for i in range(kind.num_fields))


def _is_time(kind: Any) -> bool:
    return bool(pa.types.is_date32(kind) or pa.types.is_timestamp(kind) or pa.types.is_time64(kind))
