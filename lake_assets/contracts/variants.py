"""Variant columns: values that a column's type cannot hold, as JSON beside it.

The variant of ``k`` is the string column ``k__variant`` in the same table or struct. Invariant: in
each row at most one of the two has a value, so both together are one value.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

VARIANT_SUFFIX = "__variant"

_MOST_DIGITS = 4_000
"""Python 3.11 and later make no ``int`` of more than 4,300 digits of text, nor text of one."""


def is_variant(name: str) -> bool:
    """Return whether a column or field of this name is a variant, in upper or lower case."""
    return name.lower().endswith(VARIANT_SUFFIX)


def main_name(name: str) -> str:
    """Return the name of the column that a variant belongs to; of another column its own."""
    return name[: -len(VARIANT_SUFFIX)] if is_variant(name) else name


def variant_name(name: str) -> str:
    """Return the name of a column's variant."""
    return name + VARIANT_SUFFIX


def merged_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows as Python has them, variants back in their places at every depth.

    Keys are the main columns, and those that have a variant alone. Numbers of variants are ``int``,
    ``float``, or ``Decimal`` where only that has all their digits. Maps are lists of pairs, as
    ``to_pylist`` has them.
    """
    return merged(table.to_pylist(), table.schema)


def merged(rows: list[dict[str, Any]], schema: pa.Schema) -> list[dict[str, Any]]:
    """Return rows of a table of this schema, as Python has them, as ``merged_rows`` does."""
    merge = _merging_struct(list(schema))
    return rows if merge is None else [merge(row) for row in rows]


def variant_value(text: str) -> Any:
    """Return the value that a variant's text means.

    Raises:
        ValueError: It is no JSON.
    """
    return json.loads(text, parse_int=_int, parse_float=_float)


_Merge = Callable[[Any], Any]


def _merging(kind: pa.DataType) -> _Merge | None:
    """Return what merges a value of a type; None if there is nothing to merge in it."""
    import pyarrow as pa  # here, because the registry's models need the names alone

    if pa.types.is_struct(kind):
        return _or_null(_merging_struct(list(kind)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _merging(kind.value_type)
        return _or_null(inner and (lambda items: [inner(item) for item in items]))
    return None


def _merging_struct(fields: list[pa.Field]) -> _Merge | None:
    merges = {field.name: _merging(field.type) for field in fields}
    mains = {field.name.lower(): field.name for field in fields if not is_variant(field.name)}
    variants = {
        field.name: mains.get(main_name(field.name).lower(), main_name(field.name))
        for field in fields
        if is_variant(field.name)
    }
    if not variants and not any(merges.values()):
        return None

    def merge(row: dict[str, Any]) -> dict[str, Any]:
        merged = {
            name: inner(row[name]) if inner else row[name]
            for name, inner in merges.items()
            if name not in variants
        }
        for variant, main in variants.items():
            text = row[variant]
            merged[main] = merged.get(main) if text is None else variant_value(text)
        return merged

    return merge


def _or_null(merge: _Merge | None) -> _Merge | None:
    return merge and (lambda value: None if value is None else merge(value))


def _float(text: str) -> float | Decimal:
    value = float(text)
    # A decimal may have more digits than a double holds.
    return value if Decimal(repr(value)) == Decimal(text) else Decimal(text)


def _int(text: str) -> int | Decimal:
    return int(text) if len(text) <= _MOST_DIGITS else Decimal(text)
