"""How the columns of a table grow, and what becomes of a type that meets another.

Places are columns and fields of structs, at any depth; items of lists belong to the place of their
list. Invariant: nothing is dropped, renamed or made narrower, and a type changes only where Iceberg
widens it in place (https://iceberg.apache.org/spec/#schema-evolution): int to long, float to
double, a decimal to more digits. Types that change in files written anew are for ``rewrites``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

_types = pa.types
MAX_DIGITS = 38
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
        return known if digits > MAX_DIGITS else pa.decimal128(digits, known.scale)
    return known


def is_rewritten(before: Any, after: Any) -> bool:
    """Return whether a type that is not nested becomes another one only in files written anew."""
    if _types.is_map(before) and _types.is_map(after):
        return not grow_type(before, after).equals(after)
    return not (before.equals(after) or widened(before, after).equals(after))


def _grown(known: Iterable[Any], delivered: Iterable[Any]) -> list[Any]:
    fields = {field.name: field for field in known}
    for field in delivered:
        before = fields.get(field.name)
        if before is None:
            fields[field.name] = pa.field(field.name, field.type)
        else:
            fields[field.name] = before.with_type(grow_type(before.type, field.type))
    return list(fields.values())


def clashes(known: Iterable[Any], delivered: Iterable[Any], above: str = "") -> list[str]:
    """Return why a table of the fields ``known`` cannot have those ``delivered``; empty: it can.

    Stricter than PyIceberg, which also turns text into binary, changes the scale of a decimal, and
    adds ``name`` to a table with ``Name``, which no SQL engine could then read.
    """
    fields = {field.name.lower(): field for field in known}
    found: list[str] = []
    for field in delivered:
        before, path = fields.get(field.name.lower()), f"{above}{field.name}"
        if before is not None and before.name != field.name:
            found.append(f"{path}: the table has it as {before.name}")
        elif before is not None:
            found += _type_clashes(before.type, field.type, path)
    return found


def _type_clashes(before: Any, after: Any, path: str) -> list[str]:
    if _types.is_struct(before) and _types.is_struct(after):
        return clashes(before, after, f"{path}.")
    if _types.is_list(before) and _types.is_list(after):
        return _type_clashes(before.value_type, after.value_type, f"{path}[]")
    if _types.is_map(before) and _types.is_map(after):
        keys = _type_clashes(before.key_type, after.key_type, f"{path}{{key}}")
        return keys + _type_clashes(before.item_type, after.item_type, f"{path}{{value}}")
    if before.equals(after) or {(before, after), (after, before)} & _WIDENED:
        return []
    if _types.is_decimal(before) and _types.is_decimal(after) and before.scale == after.scale:
        return []
    return [f"{path}: the table has {type_words(before)}, not {type_words(after)}"]


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
