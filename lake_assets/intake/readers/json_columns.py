"""Columns that pyarrow read from JSON: their shape, and the same values in a file's types.

Invariant: as ``Shape.see`` and ``json_column``, which do it value by value, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.intake.readers.json_types import Shape
from lake_assets.intake.readers.text_types import parse_column
from lake_assets.intake.readers.values import MAX_EXACT_INT

_types = pa.types
_KINDS: dict[pa.DataType, type] = {
    pa.string(): str,
    pa.int64(): int,
    pa.float64(): float,
    pa.bool_(): bool,
}


def shape_of(columns: Mapping[str, pa.Array]) -> Shape:
    """Return the shape of records with these columns; null means that there is no value."""
    shape = Shape()
    shape.kinds.add(dict)
    shape.fields = {name: _shape(column) for name, column in columns.items()}
    shape.decided = dict if any(inner.decided for inner in shape.fields.values()) else None
    return shape


def fit_column(column: pa.Array, kind: pa.DataType, shape: Shape, name: str) -> pa.Array | None:
    """Return a column as a type, or None if only a look at each value shows what fits.

    Args:
        column: As pyarrow read it.
        kind: What ``shape`` says that it is.
        shape: That of the column over the whole file.
        name: The column.
    """
    # A column of nothing but strings may be text of any type; see ``json_column``.
    if shape.kinds <= {str} and _types.is_string(column.type) and not _types.is_nested(kind):
        parsed = parse_column(column, kind, name)
        return None if parsed.misfits else parsed.values
    try:
        return _fit(column, kind)
    except pa.ArrowInvalid:  # a number that the type does not hold
        return None


def _shape(column: pa.Array) -> Shape:
    shape = Shape()
    kind = column.type
    if _types.is_struct(kind):
        names = [field.name for field in kind]
        inner = column.flatten()
        shape.fields = {name: _shape(c) for name, c in zip(names, inner, strict=True)}
        _hold(shape, dict, column, [*shape.fields.values()])
    elif _types.is_list(kind):
        shape.item = _shape(column.flatten())
        _hold(shape, list, column, [shape.item])
    elif column.null_count < len(column):
        shape.decided = _KINDS[kind]
        shape.kinds.add(shape.decided)
    return shape


def _hold(shape: Shape, kind: type, column: pa.Array, inner: list[Shape]) -> None:
    if column.null_count < len(column):
        shape.kinds.add(kind)
        shape.decided = kind if any(item.decided for item in inner) else None


def _fit(column: pa.Array, kind: pa.DataType) -> pa.Array | None:
    if column.type == kind:
        return column
    if column.null_count == len(column):
        return pa.nulls(len(column), kind)
    if _types.is_struct(column.type) and _types.is_struct(kind):
        return _fit_struct(column, kind)
    if _types.is_list(column.type) and _types.is_list(kind):
        return _fit_list(column, kind)
    if _types.is_int64(column.type):
        return _fit_ints(column, kind)
    return _fit_doubles(column, kind) if _types.is_float64(column.type) else None


def _fit_struct(column: pa.StructArray, kind: pa.StructType) -> pa.Array | None:
    inner = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
    fitted = []
    for field in kind:
        values = inner.pop(field.name, None)
        values = pa.nulls(len(column), field.type) if values is None else _fit(values, field.type)
        if values is None:
            return None
        fitted.append(values)
    # What the type has no field for holds nothing in the file, or does not fit.
    if any(_shape(left).decided is not None for left in inner.values()):
        return None
    return pa.StructArray.from_arrays(fitted, fields=list(kind), mask=column.is_null())


def _fit_list(column: pa.ListArray, kind: pa.ListType) -> pa.Array | None:
    values = _fit(column.flatten(), kind.value_type)
    if values is None:
        return None
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    offsets = np.concatenate((np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)))
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind, mask=column.is_null())


def _fit_ints(column: pa.Int64Array, kind: pa.DataType) -> pa.Array | None:
    if _types.is_integer(kind):
        return column.cast(kind)
    if not _types.is_float64(kind):
        return None
    extremes = pc.min_max(column)
    largest = max(-extremes["min"].as_py(), extremes["max"].as_py())
    return column.cast(kind) if largest <= MAX_EXACT_INT else None


def _fit_doubles(column: pa.DoubleArray, kind: pa.DataType) -> pa.Array | None:
    if not _types.is_integer(kind):
        return None
    extremes = pc.min_max(column)
    largest = max(-extremes["min"].as_py(), extremes["max"].as_py())
    return column.cast(kind) if largest <= MAX_EXACT_INT else None
