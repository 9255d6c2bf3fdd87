"""Dates, instants and times of day that every part of a lake has a value for.

Invariant: what is let through lies in the years 1 to 9999, as SQL has it, and times of day before
midnight. Arrow and Parquet count on far beyond, but Python does not, and so PyIceberg cannot commit
a file that holds more: its dataset would be stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = (date.min - _EPOCH.date()).days
_LAST_DAY = (date.max - _EPOCH.date()).days
_DAY_US = 86_400_000_000


_NO_TIME = -(2**63)
"""The count that numpy, and so JSON here, has no instant for."""


def rows_outside_calendar(column: Any) -> tuple[int, ...]:
    """Return the positions of rows that hold, at any depth, a time that is outside.

    Args:
        column: ``pyarrow.ChunkedArray`` or ``pyarrow.Array``; its times are ``date32``,
            ``timestamp[us]`` or ``time64[us]``, as those of all tables of the lake.
    """
    return _rows(column, _is_inside)


def rows_without_words(column: Any) -> tuple[int, ...]:
    """Return the positions of rows with a time that is outside and that ISO 8601 cannot write.

    That is a time of day after midnight: a date of any year can be written.
    """
    return _rows(column, _has_words)


def outside_calendar(times: Any) -> Any | None:
    """Return a ``pyarrow.BooleanArray``, true where a time is outside; None: none is.

    Args:
        times: ``pyarrow.Array`` of any type that is no struct and no list.
    """
    if not _has_times(times.type) or all(_is_inside(leaf) for leaf in _times_in(times)):
        return None
    return pc.is_in(pa.arange(0, len(times)), pa.array(rows_outside_calendar(times), pa.int64()))


def _rows(column: Any, is_good: Callable[[Any], bool]) -> tuple[int, ...]:
    if not _has_times(column.type):
        return ()
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    found: list[int] = []
    start = 0
    for chunk in chunks:
        found += _bad(chunk, is_good, start)
        start += len(chunk)
    return tuple(found)


def _bad(array: Any, is_good: Callable[[Any], bool], start: int) -> Iterator[int]:
    # Halving: usually no row is bad, and then one look is enough.
    if len(array) == 0 or all(is_good(leaf) for leaf in _times_in(array)):
        return
    if len(array) == 1:
        yield start
        return
    half = len(array) // 2
    yield from _bad(array[:half], is_good, start)
    yield from _bad(array[half:], is_good, start + half)


def _has_words(times: Any) -> bool:
    if pa.types.is_time(times.type):
        return _is_inside(times)
    if pa.types.is_date(times.type):
        return True
    least = pc.min_max(times.view(pa.int64()))["min"].as_py()
    return least is None or least > _NO_TIME


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
