"""Types that a column takes by having its files written anew, where Iceberg cannot widen in place.

A whole number that meets fractions becomes a double, or a decimal where decimals come; a decimal
gets more digits behind its point; a date that meets times becomes a timestamp. A place that holds
nothing (null, or text without a character) is decided anew. Invariant: no value is rounded, cut
off or lost; what the new type cannot hold stands in the variant, as it does everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.exact import exactly
from lake_assets.contracts.growth import MAX_DIGITS, is_rewritten, widened
from lake_assets.contracts.schema_changes import ITEMS, Steps
from lake_assets.contracts.variants import is_variant, variant_name

_types = pa.types
_LONG = pa.int64()
_DOUBLE = pa.float64()
_TIMESTAMP = pa.timestamp("us")
_WHOLE_DIGITS = {pa.int32(): 10, _LONG: 19}
_EXACT_DIGITS = 15
"""Text with so many digits survives the way into a double and back (DBL_DIG)."""
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?"
_TIME = r'"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"'
_NUMBERS = rf"(?:{_NUMBER}|null)"
_LIST_OF_NUMBERS = rf"\[{_NUMBERS}(?:, {_NUMBERS})*\]"

Wanted = dict[Steps, Any]
"""Place → ``pyarrow.DataType`` that would hold its values too; None: none is known to, but what the
place has may be nothing."""


def rewritten_type(known: Any, delivered: Any) -> Any | None:
    """Return the type that holds all values of two that are not nested, or None.

    None too where ``known`` is that type already, or is widened to it in place. All whole numbers
    of 64 bits count as exact in a double: whether those that are there are is for others to ask.
    """
    if known in _WHOLE_DIGITS and _types.is_floating(delivered):
        return _DOUBLE
    if known in _WHOLE_DIGITS and _types.is_decimal(delivered):
        return _decimal(_WHOLE_DIGITS[known], 0, delivered)
    if _types.is_decimal(known) and _types.is_decimal(delivered) and delivered.scale > known.scale:
        return _decimal(known.precision - known.scale, known.scale, delivered)
    return _TIMESTAMP if (known, delivered) == (pa.date32(), _TIMESTAMP) else None


def _decimal(whole_digits: int, scale: int, other: Any) -> Any | None:
    whole, scale = max(whole_digits, other.precision - other.scale), max(scale, other.scale)
    return pa.decimal128(whole + scale, scale) if whole + scale <= MAX_DIGITS else None


def either_type(one: Any | None, other: Any | None) -> Any | None:
    """Return the type that does for two wishes of ``outgrown`` for one place, or the first."""
    if one is None or other is None:
        return one or other
    return rewritten_type(one, other) or widened(one, other)


def outgrown(rows: Any, schema: Any) -> Wanted:
    """Return the places of ``schema`` whose types do not hold all values of ``rows``.

    Args:
        rows: ``pyarrow.Table`` with their own types, or with the variants that readers made.
        schema: ``pyarrow.Schema`` of the table's columns.
    """
    return dict(_outgrown({name: rows[name] for name in rows.column_names}, schema, ()))


def _outgrown(
    given: Mapping[str, Any], known: Iterable[Any], above: Steps
) -> Iterator[tuple[Steps, Any]]:
    for field in known:
        if not is_variant(field.name):
            steps = (*above, field.name)
            values, texts = given.get(field.name), given.get(variant_name(field.name))
            if values is not None and not values.type.equals(field.type):
                yield from _of_values(_whole(values), field.type, steps)
            if texts is not None and texts.null_count < len(texts):
                yield from _of_texts(_whole(texts).drop_null(), field.type, steps)


def _of_values(values: Any, known: Any, steps: Steps) -> Iterator[tuple[Steps, Any]]:
    if _types.is_struct(values.type) and _types.is_struct(known):
        names = (field.name for field in values.type)
        inner = dict(zip(names, values.flatten(), strict=True))
        yield from _outgrown(inner, known, steps)
    elif _types.is_list(values.type) and _types.is_list(known):
        yield from _of_values(values.flatten(), known.value_type, (*steps, ITEMS))
    elif not _types.is_nested(known):
        if exactly(values, widened(known, values.type)).bad is not None:
            yield steps, rewritten_type(known, values.type)


def _of_texts(texts: Any, known: Any, steps: Steps) -> Iterator[tuple[Steps, Any]]:
    if _types.is_list(known) and not _types.is_nested(known.value_type):
        lists = texts.filter(_matches(texts, _LIST_OF_NUMBERS))
        numbers = pc.list_flatten(pc.split_pattern(pc.utf8_slice_codeunits(lists, 1, -1), ", "))
        yield from _of_texts(numbers, known.value_type, (*steps, ITEMS)) if len(numbers) else ()
    elif _types.is_decimal(known):
        yield steps, _type_of_digits(texts, known)
    elif known in _WHOLE_DIGITS:
        yield steps, _DOUBLE if _are_fractions(texts) else None
    elif known == pa.date32():
        yield steps, _TIMESTAMP if pc.any(_matches(texts, _TIME)).as_py() else None
    elif not _types.is_nested(known):
        yield steps, None


def _are_fractions(texts: Any) -> bool:
    """Return whether numbers are among these that have more than an integer, and all are exact."""
    numbers = texts.filter(_matches(texts, _NUMBER))
    if not pc.any(pc.match_substring_regex(numbers, "[.eE]")).as_py():
        return False
    digits = pc.replace_substring_regex(numbers, r"[eE].*$|[-.]", "")
    is_short = pc.less_equal(pc.utf8_length(pc.utf8_ltrim(digits, "0")), _EXACT_DIGITS)
    is_small = pc.invert(pc.match_substring_regex(numbers, "[eE][+-]?[0-9]{3}"))
    return bool(pc.all(pc.and_(is_short, is_small)).as_py())


def _type_of_digits(texts: Any, known: Any) -> Any | None:
    plain = texts.filter(_matches(texts, r"-?[0-9]+\.[0-9]+")).to_pylist()
    parts = [text.lstrip("-").partition(".") for text in plain]
    if not parts:
        return None
    scale = max(len(fraction) for _, _, fraction in parts)
    digits = max(len(whole) for whole, _, _ in parts) + scale
    return rewritten_type(known, pa.decimal128(digits, scale)) if digits <= MAX_DIGITS else None


def _matches(texts: Any, pattern: str) -> Any:
    return pc.match_substring_regex(texts, f"^(?:{pattern})$")


def with_types(schema: Any, types: Mapping[Steps, Any]) -> Any:
    """Return ``schema`` with these types at these places; None: without the place."""
    return pa.schema(_typed(schema, types, ()))


def _typed(fields: Iterable[Any], types: Mapping[Steps, Any], above: Steps) -> list[Any]:
    found = ((field, _new_type(field.type, types, (*above, field.name))) for field in fields)
    return [field.with_type(kind) for field, kind in found if kind is not None]


def _new_type(kind: Any, types: Mapping[Steps, Any], steps: Steps) -> Any | None:
    if steps in types:
        return types[steps]
    if _types.is_struct(kind):
        fields = _typed(kind, types, steps)
        return pa.struct(fields) if fields else None
    if _types.is_list(kind):
        inner = _new_type(kind.value_type, types, (*steps, ITEMS))
        return None if inner is None else pa.list_(kind.value_field.with_type(inner))
    return kind


def rewritten_places(before: Any, after: Any) -> dict[Steps, tuple[Any, Any]]:
    """Return the places of two schemas whose type changes only in files written anew.

    Each with its type before and after.
    """
    return dict(_rewritten(before, after, ()))


def _rewritten(
    before: Iterable[Any], after: Iterable[Any], above: Steps
) -> Iterator[tuple[Steps, tuple[Any, Any]]]:
    known = {field.name: field.type for field in before}
    for field in after:
        if field.name in known:
            yield from _rewritten_type(known[field.name], field.type, (*above, field.name))


def _rewritten_type(
    before: Any, after: Any, steps: Steps
) -> Iterator[tuple[Steps, tuple[Any, Any]]]:
    if _types.is_struct(before) and _types.is_struct(after):
        yield from _rewritten(before, after, steps)
    elif _types.is_list(before) and _types.is_list(after):
        yield from _rewritten_type(before.value_type, after.value_type, (*steps, ITEMS))
    elif is_rewritten(before, after):
        yield steps, (before, after)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
