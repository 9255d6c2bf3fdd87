"""Columns that pyarrow read from JSON: their shape, and the same values as the columns of places.

Invariant: as ``Shape.see`` and ``json_fit.columns_of``, which do it value by value, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.intake.readers.json_fit import Unforeseen
from lake_assets.intake.readers.json_types import Shape
from lake_assets.intake.readers.places import Place
from lake_assets.intake.readers.text_types import parse_column
from lake_assets.intake.readers.variant_text import MAX_EXACT_INT, json_texts

_types = pa.types
_Mask = npt.NDArray[np.bool_]
_Positions = npt.NDArray[np.int64]


class NotColumnar(ValueError):
    """Only a look at each value shows what it is as a column's type. Never leaves the readers."""


@dataclass(slots=True)
class Doubtful:
    """Rows in which a number's own text decides, if it is a long one (see ``variant_text``)."""

    rows: list[_Positions] = field(default_factory=list)

    def add(self, mask: _Mask, rows: _Positions | None) -> None:
        """Note the rows of values."""
        found = np.flatnonzero(mask)
        self.rows.append(found if rows is None else rows[found])


def shape_of(columns: Mapping[str, pa.Array]) -> Shape:
    """Return the shape of records with these columns; null means that there is no value."""
    shape = Shape()
    for name, column in columns.items():
        if column.null_count < len(column):
            _see(shape.field(name), column)
    return shape


def fit_columns(
    columns: Mapping[str, pa.Array], places: Mapping[str, Place], count: int, doubtful: Doubtful
) -> dict[str, pa.Array]:
    """Return the columns that places are made of, as ``json_fit.columns_of``.

    Args:
        columns: As pyarrow read them; no two have the same name in lower case.
        places: By name in lower case.
        count: How many records there are.
        doubtful: Grows by the records of which it is not certain that this is right.

    Raises:
        NotColumnar: A type is one of which values are converted one by one.
        Unforeseen: A column has values and no place.
    """
    return _fit_struct(columns, places, count, doubtful, None)


# -- shapes


def _see(shape: Shape, column: pa.Array) -> _Mask:
    """Take a column into account; return which of its values hold anything."""
    kind = column.type
    valid = _valid(column)
    if _types.is_struct(kind):
        return _see_structs(shape, column, valid)
    if _types.is_list(kind):
        return _see_lists(shape, column, valid)
    count = len(column) - column.null_count
    if not count:
        return valid
    if _types.is_string(kind):
        shape.texts += count
    elif _types.is_boolean(kind):
        shape.bools += count
    else:
        shape.numbers += count
        _see_numbers(shape, column)
    return valid


def _see_structs(shape: Shape, column: pa.StructArray, valid: _Mask) -> _Mask:
    holds = np.zeros(len(column), np.bool_)
    for inner, values in zip(column.type, column.flatten(), strict=True):
        if values.null_count < len(values):
            holds |= _see(shape.field(inner.name), values)
    shape.structs += int(holds.sum())
    shape.has_void_struct |= bool((valid & ~holds).any())
    return holds


def _see_lists(shape: Shape, column: pa.ListArray, valid: _Mask) -> _Mask:
    items = column.flatten()
    holds = np.zeros(len(column), np.bool_)
    if len(items):
        item_holds = _see(shape.items(), items)
        holds[_parents(column)[item_holds]] = True
    shape.lists += int(holds.sum())
    shape.has_void_list |= bool((valid & ~holds).any())
    return holds


def _see_numbers(shape: Shape, column: pa.Array) -> None:
    if _types.is_int64(column.type):
        extremes = pc.min_max(column)
        shape.see_range(extremes["min"].as_py(), extremes["max"].as_py())
        return
    shape.has_float = True
    values = column.drop_null().to_numpy()
    whole = _whole(values)
    shape.has_fraction |= not whole.all()
    if whole.any():
        integers = values[whole]
        shape.see_range(int(integers.min()), int(integers.max()))
    with np.errstate(over="ignore"):
        shape.needs_double |= bool((values.astype(np.float32) != values).any())


def _whole(values: npt.NDArray[np.float64]) -> _Mask:
    found: _Mask = (np.abs(values) <= MAX_EXACT_INT) & (np.trunc(values) == values)
    return found


# -- values


def _fit_struct(
    columns: Mapping[str, pa.Array],
    places: Mapping[str, Place],
    count: int,
    doubtful: Doubtful,
    rows: _Positions | None,
) -> dict[str, pa.Array]:
    found = {name.lower(): c for name, c in columns.items() if c.null_count < len(c)}
    if not found.keys() <= places.keys():
        raise Unforeseen
    fitted: dict[str, pa.Array] = {}
    for name, place in places.items():
        column = found.get(name)
        if column is None:
            fitted |= {f.name: pa.nulls(count, f.type) for f in place.arrow_fields()}
        else:
            fitted |= _fit(column, place, doubtful, rows)
    return fitted


def _fit(
    column: pa.Array, place: Place, doubtful: Doubtful, rows: _Positions | None
) -> dict[str, pa.Array]:
    fitted: dict[str, pa.Array] = {}
    bad = None
    if place.kind is not None:
        main, bad = _main(column, place, doubtful, rows)
        fitted[place.name] = main
    else:
        bad = _valid(column)
    if not place.variant:
        if bad is not None and bad.any():
            raise Unforeseen
    elif bad is None or not bad.any():
        fitted[place.variant_name] = pa.nulls(len(column), pa.string())
    else:
        fitted[place.variant_name] = _texts_at(column, bad)
        if _has_doubles(column.type):
            doubtful.add(bad, rows)
    return fitted


def _texts_at(column: pa.Array, picked: _Mask) -> pa.StringArray:
    """Return the values at some positions as text, null at the others."""
    texts = json_texts(column.filter(pa.array(picked)))
    return texts.take(pa.array(np.cumsum(picked) - 1, mask=~picked))


def _main(
    column: pa.Array, place: Place, doubtful: Doubtful, rows: _Positions | None
) -> tuple[pa.Array, _Mask | None]:
    """Return the main column, and which values are not in it (None: all are)."""
    kind = place.kind
    if _types.is_struct(column.type) and _types.is_struct(kind):
        return _structs(column, place, doubtful, rows), None
    if _types.is_list(column.type) and place.item is not None:
        return _lists(column, place, place.item, doubtful, rows)
    if _types.is_map(kind) or (_types.is_list(kind) and place.item is None):
        raise NotColumnar
    if column.type == kind:
        return column, None
    if _types.is_int64(column.type) or _types.is_float64(column.type):
        return _numbers(column, kind, doubtful, rows)
    if _types.is_string(column.type) and not _has_class(kind):
        parsed = parse_column(column, kind, place.name)
        bad = np.zeros(len(column), np.bool_)
        bad[list(parsed.misfits)] = True
        return parsed.values, bad
    return pa.nulls(len(column), kind), _valid(column)


def _has_class(kind: pa.DataType) -> bool:
    """Return whether JSON has values of its own for a type, so that no string is one."""
    return bool(
        _types.is_nested(kind)
        or _types.is_integer(kind)
        or _types.is_floating(kind)
        or _types.is_boolean(kind)
    )


def _structs(
    column: pa.StructArray, place: Place, doubtful: Doubtful, rows: _Positions | None
) -> pa.StructArray:
    names = (inner.name for inner in column.type)
    inner = dict(zip(names, column.flatten(), strict=True))
    fitted = _fit_struct(inner, place.fields, len(column), doubtful, rows)
    kind: pa.StructType = place.kind
    # The table may have variants alone, none of which is needed here.
    arrays = [fitted[f.name] if f.name in fitted else pa.nulls(len(column), f.type) for f in kind]
    return pa.StructArray.from_arrays(arrays, fields=list(kind), mask=column.is_null())


def _lists(
    column: pa.ListArray, place: Place, item: Place, doubtful: Doubtful, rows: _Positions | None
) -> tuple[pa.Array, _Mask | None]:
    items = column.flatten()
    parents = _parents(column)
    inner = parents if rows is None else rows[parents]
    if not len(items) or items.null_count == len(items):
        main, bad_items = pa.nulls(len(items), item.kind), None
    else:
        main, bad_items = _main(items, item, doubtful, inner)
    if bad_items is not None and bad_items.any():
        bad = np.zeros(len(column), np.bool_)
        bad[parents[bad_items]] = True
        good = column.take(pa.array(np.arange(len(column)), mask=bad))
        return _lists(good, place, item, doubtful, rows)[0], bad
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    offsets = np.concatenate((np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)))
    fitted = pa.ListArray.from_arrays(
        pa.array(offsets), main, type=place.kind, mask=column.is_null()
    )
    return fitted, None


def _numbers(
    column: pa.Array, kind: pa.DataType, doubtful: Doubtful, rows: _Positions | None
) -> tuple[pa.Array, _Mask | None]:
    if _types.is_decimal(kind):
        raise NotColumnar
    if _types.is_floating(kind):
        return _as_doubles(column, kind)
    if not _types.is_integer(kind):
        return pa.nulls(len(column), kind), _valid(column)
    if _types.is_int64(column.type):
        return column.cast(kind), None
    valid = _valid(column)
    values = column.fill_null(0).to_numpy()
    good = valid & _whole(values)
    doubtful.add(good, rows)
    main = pa.array(np.where(good, values, 0).astype(np.int64), mask=~good).cast(kind)
    return main, valid & ~good


def _as_doubles(column: pa.Array, kind: pa.DataType) -> tuple[pa.Array, _Mask | None]:
    if _types.is_float64(column.type):
        return column.cast(kind), None
    extremes = pc.min_max(column)
    if max(-extremes["min"].as_py(), extremes["max"].as_py()) <= MAX_EXACT_INT:
        return column.cast(kind), None
    valid = _valid(column)
    values = column.fill_null(0).to_numpy()
    good = valid & (values <= MAX_EXACT_INT) & (values >= -MAX_EXACT_INT)
    return pa.array(np.where(good, values, 0), mask=~good).cast(kind), valid & ~good


def _has_doubles(kind: pa.DataType) -> bool:
    if _types.is_float64(kind):
        return True
    return any(_has_doubles(kind.field(i).type) for i in range(kind.num_fields))


def _valid(column: pa.Array) -> _Mask:
    if not column.null_count:
        return np.ones(len(column), np.bool_)
    valid: _Mask = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _parents(column: pa.ListArray) -> _Positions:
    parents: _Positions = pc.list_parent_indices(column).to_numpy()
    return parents
