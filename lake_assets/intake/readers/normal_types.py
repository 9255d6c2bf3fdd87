"""The types that a table of the lake can have, and how other Arrow types become them.

Invariant: a value changes its type only if it stays the same value; where it would not, its row is
told apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.errors import UnsupportedFormat

_MAX_DECIMAL_DIGITS = 38

_types = pa.types
_Rule = tuple[Callable[[pa.DataType], bool], pa.DataType]
# Iceberg knows int, long, float, double, date, time, timestamp in microseconds, string, binary and
# fixed: https://iceberg.apache.org/spec/#primitive-types. Types not listed here stay as they are.
_SCALARS: tuple[_Rule, ...] = (
    (_types.is_uint64, pa.int64()),
    (_types.is_uint32, pa.int64()),
    (_types.is_int8, pa.int32()),
    (_types.is_int16, pa.int32()),
    (_types.is_uint8, pa.int32()),
    (_types.is_uint16, pa.int32()),
    (_types.is_float16, pa.float32()),
    (_types.is_large_string, pa.string()),
    (_types.is_string_view, pa.string()),
    (_types.is_large_binary, pa.binary()),
    (_types.is_binary_view, pa.binary()),
    (_types.is_date, pa.date32()),
    (_types.is_time, pa.time64("us")),
)
_UNCHANGED = (
    _types.is_boolean,
    _types.is_int32,
    _types.is_int64,
    _types.is_float32,
    _types.is_float64,
    _types.is_string,
    _types.is_binary,
    _types.is_fixed_size_binary,
)


@dataclass(frozen=True, slots=True)
class NormalColumn:
    """A column in its lake type; ``misfits`` are the rows whose value that type cannot hold."""

    values: pa.ChunkedArray
    misfits: frozenset[int]


def normal_type(kind: pa.DataType, *, column: str, file: str) -> pa.DataType | None:
    """Return the lake's type for an Arrow type, or None if it holds no values at all (null).

    Args:
        kind: Any Arrow type.
        column: Column, for the message.
        file: Staged name, for the message.

    Raises:
        UnsupportedFormat: Tables of the lake have no such type; the message says what to do.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return normal_type(kind.storage_type, column=column, file=file)
    if _types.is_dictionary(kind) or _types.is_run_end_encoded(kind):
        return normal_type(kind.value_type, column=column, file=file)
    if _types.is_nested(kind):
        return _nested(kind, column, file)
    return _scalar(kind, column, file)


def normal_column(values: pa.ChunkedArray, kind: pa.DataType) -> NormalColumn:
    """Return the column in the type that ``normal_type`` gave for it.

    Shape: as ``values``; misfits are null in the result. Nothing is rounded or wrapped around.
    """
    if values.type.equals(kind):
        return NormalColumn(values, frozenset())
    if values.num_chunks == 0:
        return NormalColumn(pa.chunked_array([], kind), frozenset())
    plain = pa.chunked_array([storage_of(chunk) for chunk in values.chunks])
    cast = _cast(plain, kind)
    return _cast_each(plain, kind) if cast is None else NormalColumn(cast, frozenset())


def _scalar(kind: pa.DataType, column: str, file: str) -> pa.DataType | None:
    if _types.is_null(kind):
        return None
    if _types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if _types.is_decimal(kind) and 0 <= kind.scale <= kind.precision <= _MAX_DECIMAL_DIGITS:
        return pa.decimal128(kind.precision, kind.scale)
    for matches, becomes in _SCALARS:
        if matches(kind):
            return becomes
    if any(matches(kind) for matches in _UNCHANGED):
        return kind
    raise _unsupported(kind, column, file)


def _nested(kind: pa.DataType, column: str, file: str) -> pa.DataType:
    # Nulls stay inside: a list of nothing is a value, for which the contracts find a place.
    if _types.is_struct(kind):
        inner = [(field.name, _inner(field.type, f"{column}.{field.name}", file)) for field in kind]
        return pa.struct(inner)
    if _types.is_map(kind):
        key = _inner(kind.key_type, f"{column}.key", file)
        item = _inner(kind.item_type, f"{column}.value", file)
        return pa.map_(key, item)
    if _types.is_list(kind) or _types.is_large_list(kind) or _types.is_fixed_size_list(kind):
        item = _inner(kind.value_type, f"{column}[]", file)
        return pa.list_(item)
    raise _unsupported(kind, column, file)


def _inner(kind: pa.DataType, column: str, file: str) -> pa.DataType:
    # pyarrow casts neither of these inside a list or struct.
    if isinstance(kind, pa.BaseExtensionType) or _types.is_run_end_encoded(kind):
        raise _unsupported(kind, column, file)
    return normal_type(kind, column=column, file=file) or pa.null()


def _unsupported(kind: pa.DataType, column: str, file: str) -> UnsupportedFormat:
    advice = "as an integer with its unit in the name" if _types.is_duration(kind) else "otherwise"
    return UnsupportedFormat(
        f"Column {column} of {file} is of type {kind}, which tables of the lake do not have. "
        f"Write it {advice} (or as a string) and deliver it again.",
        file=file,
        column=column,
    )


def storage_of(chunk: pa.Array) -> pa.Array:
    """Return an array without its outer wrapping: extension, run ends, dictionary."""
    if isinstance(chunk, pa.ExtensionArray):
        return storage_of(chunk.storage)
    if _types.is_run_end_encoded(chunk.type):
        return storage_of(pc.run_end_decode(chunk))
    if _types.is_dictionary(chunk.type):
        return _without_view(chunk.dictionary).take(chunk.indices)
    return chunk


def _without_view(values: pa.Array) -> pa.Array:
    # pyarrow 26 has no take for views.
    if _types.is_string_view(values.type):
        return values.cast(pa.string())
    return values.cast(pa.binary()) if _types.is_binary_view(values.type) else values


def _cast_each(values: pa.ChunkedArray, kind: pa.DataType) -> NormalColumn:
    values = _compact(values)
    misfits = _misfits(values, kind, 0)
    # Nulls are written anew too, because beneath a null struct or list anything may lie.
    valid = values.is_valid().to_pylist()
    good = pa.array([valid[i] and i not in misfits for i in range(len(values))])
    kept = pc.if_else(good, values, pa.scalar(None, values.type))
    return NormalColumn(kept.cast(kind), frozenset(misfits))


def _misfits(values: pa.ChunkedArray, kind: pa.DataType, start: int) -> set[int]:
    # Halving: usually few rows are bad, and so few casts are needed.
    if values.null_count == len(values) or _cast(_compact(values), kind) is not None:
        return set()
    if len(values) == 1:
        return {start}
    half = len(values) // 2
    left, right = values.slice(0, half), values.slice(half)
    return _misfits(left, kind, start) | _misfits(right, kind, start + half)


def _compact(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values without those that lie outside their slice: a cast would look at them."""
    is_nested = _types.is_nested(values.type)
    return values.take(pa.arange(0, len(values))) if is_nested else values


def _cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        return None
