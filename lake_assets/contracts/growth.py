"""How the columns of a table grow, and what becomes of a type that meets another.

Places are columns and fields of structs, at any depth; items of lists belong to the place of their
list. Invariant: nothing is dropped, renamed or made narrower, and a type changes only where Iceberg
widens it in place (https://iceberg.apache.org/spec/#schema-evolution): int to long, float to
double, a decimal to more digits. PyIceberg 0.12 refuses date to timestamp in tables of format 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

_types = pa.types
_MAX_DIGITS = 38
_WIDENED = {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}


def grow_schema(known: Any, delivered: Any) -> Any:
    """Return ``known`` with the columns, struct fields and number widths that ``delivered`` adds.

    Order: known columns first, then new ones in the order of delivery. All are nullable.
    """
    return pa.schema(_grown(known, delivered))


def grow_type(known: Any, delivered: Any) -> Any:
    """Return the type of a column of type ``known`` once it also takes ``delivered`` values.

    It is ``known`` itself wherever Iceberg cannot widen in place.
    """
    if known.equals(delivered):
        return known
    if _types.is_struct(known) and _types.is_struct(delivered):
        return pa.struct(_grown(known, delivered))
    if _types.is_list(known) and _types.is_list(delivered):
        element = known.value_field
        return pa.list_(element.with_type(grow_type(element.type, delivered.value_type)))
    if _types.is_map(known) and _types.is_map(delivered):
        item = widened(known.item_type, delivered.item_type)
        return pa.map_(known.key_type, known.item_field.with_type(item))
    return widened(known, delivered)


def widened(known: Any, delivered: Any) -> Any:
    """Return ``known``, a type that is not nested, as wide as ``delivered`` needs it."""
    if (known, delivered) in _WIDENED:
        return delivered
    if _types.is_decimal(known) and _types.is_decimal(delivered):
        whole_digits = max(known.precision - known.scale, delivered.precision - delivered.scale)
        digits = whole_digits + known.scale
        return known if digits > _MAX_DIGITS else pa.decimal128(digits, known.scale)
    return known


def _grown(known: Iterable[Any], delivered: Iterable[Any]) -> list[Any]:
    fields = {field.name: field for field in known}
    for field in delivered:
        before = fields.get(field.name)
        if before is None:
            fields[field.name] = pa.field(field.name, field.type)
        else:
            fields[field.name] = before.with_type(grow_type(before.type, field.type))
    return list(fields.values())


_WORDS = {
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.time64("us"): "time",
    pa.timestamp("us"): "timestamp",
}


def type_words(kind: Any) -> str:
    """Return a type in Iceberg's words: ``long``, ``list<struct<a: string>>``."""
    if _types.is_struct(kind):
        return f"struct<{', '.join(f'{field.name}: {type_words(field.type)}' for field in kind)}>"
    if _types.is_list(kind) or _types.is_large_list(kind):
        return f"list<{type_words(kind.value_type)}>"
    if _types.is_map(kind):
        return f"map<{type_words(kind.key_type)}, {type_words(kind.item_type)}>"
    if _types.is_timestamp(kind) and kind.tz:
        return "timestamptz"
    if _types.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if _types.is_fixed_size_binary(kind):
        return f"fixed[{kind.byte_width}]"
    return _WORDS.get(kind, str(kind))
