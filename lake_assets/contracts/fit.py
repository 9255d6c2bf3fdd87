"""Fit delivered rows to the columns of their table, without changing or losing a value.

Rules, until the full ones for drift: a new column is added, a column that an upload lacks is
null, int grows to long and float to double; any other value that its column cannot hold exactly
makes its row a misfit. Invariant: each row is either kept whole or reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.calendar import rows_outside_calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A value that its column cannot hold."""

    row: int
    """Position in the rows that were given, from 0."""
    column: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Rows in the columns of their table."""

    rows: Any
    """``pyarrow.Table`` of the rows that fit, with the columns of ``schema``, in its order."""
    kept: Any
    """``pyarrow.Int64Array``: positions of those rows among the rows given, ascending."""
    schema: Any
    """``pyarrow.Schema``: the table's columns, those that are new last."""
    misfits: tuple[Misfit, ...]
    """At most one per row: the first column that it does not fit."""


def fit_rows(rows: Any, schema: Any) -> Fitted:
    """Fit ``rows`` to ``schema``, which grows where that loses nothing.

    Args:
        rows: ``pyarrow.Table``.
        schema: ``pyarrow.Schema`` of the columns known so far; may be empty.
    """
    rows = _respelled(rows, schema)
    grown = grow_schema(schema, rows.schema)
    # A set: with 3 000 columns, to ask the table for its names each time took half of ingestion.
    delivered = frozenset(rows.column_names)
    columns = {}
    misfits: dict[int, Misfit] = {}
    for field in grown:
        if field.name not in delivered:
            columns[field.name] = pa.nulls(rows.num_rows, field.type)
            continue
        fitted = _fit_column(rows[field.name], field.type)
        columns[field.name] = fitted.values
        for row in fitted.bad_rows:
            value = rows[field.name][row]
            misfit = Misfit(
                row=row,
                column=field.name,
                expected=str(field.type),
                actual=f"{_shown(value):.200} ({value.type})",
            )
            misfits.setdefault(row, misfit)
    kept = pa.arange(0, rows.num_rows)
    if misfits:
        kept = kept.filter(_mask(rows.num_rows, misfits))
    table = pa.table([columns[field.name] for field in grown], schema=grown)
    return Fitted(
        rows=table.take(kept) if misfits else table,
        kept=kept,
        schema=grown,
        misfits=tuple(misfits[row] for row in sorted(misfits)),
    )


def _shown(value: Any) -> str:
    try:
        return repr(value.as_py())
    except (ValueError, OverflowError):  # an instant that Python has no date for
        nested = pa.types.is_nested(value.type)
        return "a time outside the years 1 to 9999" if nested else str(value.cast(pa.string()))


def _respelled(rows: Any, schema: Any) -> Any:
    """Return ``rows`` with names spelled as the table has them, at any depth.

    To SQL engines ``Name`` is ``name``: a table with both could not be read.
    """
    known = {field.name.lower(): field for field in schema}
    columns = {}
    for name in rows.column_names:
        field = known.get(name.lower())
        columns[field.name if field else name] = (
            _viewed(rows[name], _respelled_type(rows[name].type, field.type))
            if field
            else rows[name]
        )
    return pa.table(columns) if columns else rows


def _respelled_type(given: Any, known: Any) -> Any:
    if pa.types.is_list(given) and pa.types.is_list(known):
        inner = given.value_field
        return pa.list_(inner.with_type(_respelled_type(inner.type, known.value_type)))
    if not (pa.types.is_struct(given) and pa.types.is_struct(known)):
        return given
    fields = {field.name.lower(): field for field in known}
    return pa.struct([_respelled_field(field, fields.get(field.name.lower())) for field in given])


def _respelled_field(given: Any, known: Any | None) -> Any:
    if known is None:
        return given
    return given.with_name(known.name).with_type(_respelled_type(given.type, known.type))


def _viewed(column: Any, kind: Any) -> Any:
    if column.type.equals(kind):
        return column
    return pa.chunked_array([chunk.view(kind) for chunk in column.chunks], kind)


def grow_schema(known: Any, delivered: Any) -> Any:
    """Return ``known`` with the columns, struct fields and number widths that ``delivered`` adds.

    Order: known columns first, then new ones in the order of delivery. All are nullable.
    """
    fields = {field.name: field for field in known}
    for field in delivered:
        if field.name not in fields:
            fields[field.name] = pa.field(field.name, field.type)
        else:
            grown = grow_type(fields[field.name].type, field.type)
            fields[field.name] = fields[field.name].with_type(grown)
    return pa.schema(list(fields.values()))


def grow_type(known: Any, delivered: Any) -> Any:
    """Return the type of a column of type ``known`` once it also takes ``delivered`` values.

    It is ``known`` itself wherever Iceberg cannot widen in place
    (https://iceberg.apache.org/spec/#schema-evolution).
    """
    if (known, delivered) in _WIDENED:
        return delivered
    if pa.types.is_struct(known) and pa.types.is_struct(delivered):
        return pa.struct(list(grow_schema(_as_schema(known), _as_schema(delivered))))
    if pa.types.is_list(known) and pa.types.is_list(delivered):
        element = known.value_field
        return pa.list_(element.with_type(grow_type(element.type, delivered.value_type)))
    return known


_WIDENED = {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}


def _as_schema(struct: Any) -> Any:
    return pa.schema(list(struct))


@dataclass(frozen=True, slots=True)
class _Column:
    values: Any
    """As many as were given; what stands in a bad row does not matter."""
    bad_rows: tuple[int, ...]


def _fit_column(column: Any, wanted: Any) -> _Column:
    fitted = _cast_column(column, wanted)
    outside = rows_outside_calendar(fitted.values)
    if not outside:
        return fitted
    return _Column(fitted.values, tuple(sorted({*fitted.bad_rows, *outside})))


def _cast_column(column: Any, wanted: Any) -> _Column:
    if column.type.equals(wanted):
        return _Column(column, ())
    if not _may_fit(column.type, wanted):
        nulls = pa.nulls(len(column), wanted)
        return _Column(nulls, tuple(pc.indices_nonzero(column.is_valid()).to_pylist()))
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    whole = _cast(column, wanted)
    if whole is not None:
        return _Column(whole, ())
    bad = tuple(_rows_that_do_not_cast(column, wanted, 0))
    good = pc.if_else(_mask(len(column), bad), column, pa.scalar(None, column.type))
    return _Column(good.cast(wanted), bad)


def _rows_that_do_not_cast(column: Any, wanted: Any, first: int) -> Iterator[int]:
    """Yield positions by halving: a few bad values in many cost a few casts."""
    if _cast(column, wanted) is not None:
        return
    if len(column) == 1:
        yield first
        return
    half = len(column) // 2
    yield from _rows_that_do_not_cast(_piece(column, 0, half), wanted, first)
    yield from _rows_that_do_not_cast(_piece(column, half, len(column)), wanted, first + half)


def _piece(column: Any, start: int, end: int) -> Any:
    # A cast of a slice of lists also looks at the items outside the slice, and may fail for them.
    if pa.types.is_nested(column.type):
        return column.take(pa.arange(start, end))
    return column[start:end]


def _cast(column: Any, wanted: Any) -> Any | None:
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid:
        return None


def _may_fit(given: Any, wanted: Any) -> bool:
    """Return whether some values of type ``given`` can be held exactly by type ``wanted``."""
    types = pa.types
    if types.is_null(given) or given.equals(wanted):
        return True
    if types.is_struct(given) and types.is_struct(wanted):
        fields = {field.name: field.type for field in wanted}
        return all(_may_fit(field.type, fields[field.name]) for field in given)
    if types.is_list(given) and types.is_list(wanted):
        return _may_fit(given.value_type, wanted.value_type)
    if types.is_decimal(given):
        return bool(types.is_decimal(wanted))
    if types.is_integer(given):
        return bool(types.is_integer(wanted) or types.is_floating(wanted))
    if types.is_floating(given):
        # Arrow's cast checks that nothing is cut off towards integers, but not towards float.
        if types.is_floating(wanted):
            return bool(wanted.bit_width >= given.bit_width)
        return bool(types.is_integer(wanted))
    return _time_may_fit(given, wanted)


def _time_may_fit(given: Any, wanted: Any) -> bool:
    types = pa.types
    if types.is_date(given):
        return bool(types.is_timestamp(wanted) and wanted.tz is None)
    if types.is_timestamp(given):
        # A wall-clock time is no instant, nor the other way round: never guess a time zone.
        return bool(types.is_timestamp(wanted) and (given.tz is None) == (wanted.tz is None))
    return False


def _mask(length: int, bad_rows: Collection[int]) -> Any:
    """Return ``pyarrow.BooleanArray``: false at the bad rows."""
    return pc.invert(pc.is_in(pa.arange(0, length), pa.array(bad_rows, pa.int64())))
