"""Values of one type as values of another, where that is exact.

Invariant: what comes out equals what went in, or is null and said to be so. No value is rounded,
cut off, wrapped around or read as something else: a date becomes a timestamp at midnight, but no
wall-clock time becomes an instant, and text nothing else than text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.calendar import outside_calendar

_types = pa.types
_FLOAT_BITS = {16: 11, 32: 24, 64: 53}
"""Bits of a floating-point number's digits, by its size."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Values in the type that was wanted."""

    values: Any
    """``pyarrow.Array`` as long as the one given; null where the type does not hold the value."""
    bad: Any | None
    """``pyarrow.BooleanArray``: true at those; None: there are none."""


def exactly(values: Any, wanted: Any) -> Exact:
    """Return ``values`` as type ``wanted``, which is no struct and no list.

    Times beyond the calendar (see ``calendar``) are held by no type.

    Args:
        values: ``pyarrow.Array``.
    """
    cast = _cast_exactly(values, wanted)
    outside = outside_calendar(cast.values)
    if outside is None:
        return cast
    bad = outside if cast.bad is None else pc.or_(outside, cast.bad)
    return Exact(_without(cast.values, bad), bad)


def _cast_exactly(values: Any, wanted: Any) -> Exact:
    if values.type.equals(wanted):
        return Exact(values, None)
    if values.null_count == len(values) or not _may_fit(values.type, wanted):
        return Exact(pa.nulls(len(values), wanted), _bad_or_none(values.is_valid()))
    number = _as_number(values, wanted)
    if number is not None:
        return number
    whole = _cast(values, wanted)
    if whole is not None:
        return Exact(whole, None)
    positions = pa.array(_rows_that_do_not_cast(values, wanted, 0), pa.int64())
    bad = pc.is_in(pa.arange(0, len(values)), positions)
    return Exact(_cast(_without(values, bad), wanted), bad)


def _as_number(values: Any, wanted: Any) -> Exact | None:
    """Return integers as floats, or floats as integers; None for other types.

    At once, however many do not fit: to find them by halving takes a cast for each.
    """
    if _types.is_floating(values.type) and _types.is_integer(wanted):
        return _as_integers(values, wanted)
    if _types.is_integer(values.type) and _types.is_floating(wanted):
        # As Arrow's own cast: beyond this, some integers have no float, and none is sure to.
        most = 2 ** _FLOAT_BITS[wanted.bit_width]
        held = pc.and_(pc.less_equal(values, most), pc.greater_equal(values, -most))
        return _where(held, values, wanted)
    return None


def _as_integers(values: Any, wanted: Any) -> Exact:
    values = values.cast(pa.float64())
    end = float(2 ** (wanted.bit_width - 1))
    is_whole = pc.equal(pc.floor(values), values)
    held = pc.and_(is_whole, pc.and_(pc.greater_equal(values, -end), pc.less(values, end)))
    return _where(held, values, wanted)


def _where(held: Any, values: Any, wanted: Any) -> Exact:
    bad = _bad_or_none(pc.fill_null(pc.invert(held), False))
    good = values if bad is None else _without(values, bad)
    # Whether it is exact was asked already.
    return Exact(good.cast(wanted, safe=False), bad)


def _bad_or_none(bad: Any) -> Any | None:
    return bad if pc.any(bad).as_py() else None


def _without(values: Any, bad: Any) -> Any:
    return pc.if_else(bad, pa.scalar(None, values.type), values)


def _rows_that_do_not_cast(values: Any, wanted: Any, first: int) -> Iterator[int]:
    """Yield positions by halving: a few bad values in many cost a few casts."""
    if values.null_count == len(values) or _cast(values, wanted) is not None:
        return
    if len(values) == 1:
        yield first
        return
    half = len(values) // 2
    yield from _rows_that_do_not_cast(_piece(values, 0, half), wanted, first)
    yield from _rows_that_do_not_cast(_piece(values, half, len(values)), wanted, first + half)


def _piece(values: Any, start: int, end: int) -> Any:
    # A cast of a slice of maps also looks at the items outside the slice, and may fail for them.
    if _types.is_nested(values.type):
        return values.take(pa.arange(start, end))
    return values[start:end]


def _cast(values: Any, wanted: Any) -> Any | None:
    if _types.is_integer(values.type) and _types.is_decimal(wanted):
        # Arrow asks for as many digits as the type could need, not as the values do.
        values = values.cast(pa.decimal128(20, 0))
        values = values.cast(pa.decimal256(20 + wanted.scale, wanted.scale))
    try:
        return values.cast(wanted)
    except pa.ArrowInvalid:
        return None


def _may_fit(given: Any, wanted: Any) -> bool:
    """Return whether some values of type ``given`` can be held exactly by type ``wanted``."""
    if given.equals(wanted) or _types.is_null(given):
        return True
    if _types.is_map(given) and _types.is_map(wanted):
        return _may_fit(given.key_type, wanted.key_type) and _may_fit(
            given.item_type, wanted.item_type
        )
    return _number_may_fit(given, wanted) or _time_may_fit(given, wanted)


def _number_may_fit(given: Any, wanted: Any) -> bool:
    if _types.is_decimal(given):
        return bool(_types.is_decimal(wanted))
    if _types.is_integer(given):
        return bool(
            _types.is_integer(wanted) or _types.is_floating(wanted) or _types.is_decimal(wanted)
        )
    if _types.is_floating(given):
        # Arrow's cast checks that nothing is cut off towards integers, but not towards float.
        if _types.is_floating(wanted):
            return bool(wanted.bit_width >= given.bit_width)
        return bool(_types.is_integer(wanted))
    return False


def _time_may_fit(given: Any, wanted: Any) -> bool:
    if _types.is_date(given):
        return bool(_types.is_timestamp(wanted) and wanted.tz is None)
    if _types.is_timestamp(given):
        # A wall-clock time is no instant, nor the other way round: never guess a time zone.
        return bool(_types.is_timestamp(wanted) and (given.tz is None) == (wanted.tz is None))
    return False
