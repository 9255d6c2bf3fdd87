"""Typed values as JSON texts, whole columns at a time.

What a variant column holds of values from typed formats. Times are ISO 8601 text (years beyond 9999
with a plus sign), in UTC with a ``Z`` if they are instants; decimals and integers numbers with all
their digits; binary ``{"base64": "…"}``; what JSON has no number for ``{"float": "NaN"}`` (also
``"Infinity"``, ``"-Infinity"``). Maps with text keys, each once, are objects, others lists of
``[key, value]`` pairs. Fields that are null are left out of their object, and variants stand in
their places. Invariant: equal values have equal texts, and no two different values of a type have
the same.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.list_columns import regrouped
from lake_assets.contracts.variants import is_variant, main_name

NO_TIME = "<value out of range"
"""What Arrow, and so these texts, have for a time of day beyond midnight."""
_types = pa.types
_NEEDS_ESCAPE = r'["\\\x00-\x1f]'
_YEARS = 9999
_YEAR = re.compile(r"^(-)([0-9]+)")
_NO_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def json_texts(values: Any) -> Any:
    """Return a ``pyarrow.StringArray`` with each value as one JSON value; null where it is null.

    Args:
        values: ``pyarrow.Array`` of any type that a file can bring.
    """
    for matches, texts in _BY_TYPE:
        if matches(values.type):
            return texts(values)
    raise TypeError(f"no JSON for {values.type}")


def _plain(values: Any) -> Any:
    return values.cast(pa.string())


def _quoted(values: Any) -> Any:
    return pc.binary_join_element_wise('"', values, '"', "")


def _strings(values: Any) -> Any:
    values = values.cast(pa.string())
    special = pc.match_substring_regex(values, _NEEDS_ESCAPE)
    if not pc.any(special).as_py():
        return _quoted(values)
    escaped = [json.dumps(text, ensure_ascii=False) for text in values.filter(special).to_pylist()]
    return pc.replace_with_mask(
        _quoted(values), pc.fill_null(special, False), pa.array(escaped, pa.string())
    )


def _floats(values: Any) -> Any:
    # A float's own digits stand for another double than its value.
    texts = values.cast(pa.float64()).cast(pa.string())
    for found, name in _NO_NUMBERS.items():
        texts = pc.if_else(pc.equal(texts, found), f'{{"float": "{name}"}}', texts)
    return texts


def _decimals(values: Any) -> Any:
    return values.cast(pa.string())


def _dates(values: Any) -> Any:
    if _types.is_date64(values.type):  # which may be no whole days
        return _timestamps(values.view(pa.timestamp("ms")))
    return _quoted(_iso(values, "D"))


def _timestamps(values: Any) -> Any:
    texts = _iso(values, values.type.unit)
    return _quoted(pc.binary_join_element_wise(texts, "Z", "") if values.type.tz else texts)


def _iso(values: Any, unit: str) -> Any:
    numbers = values.view(pa.int32() if unit == "D" else pa.int64()).cast(pa.int64())
    # numpy counts years as far as the numbers go; Arrow wraps them at 32,767.
    instants = pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False).view(f"datetime64[{unit}]")
    texts = pa.array(np.datetime_as_string(instants).tolist(), pa.string())
    years = instants.astype("datetime64[Y]").astype(np.int64) + 1970
    if (years > _YEARS).any():
        signed = pc.binary_join_element_wise("+", texts, "")
        texts = pc.if_else(pa.array(years > _YEARS), signed, texts)
    if (years < 0).any():
        texts = pa.array([_YEAR.sub(_four_digits, text) for text in texts.to_pylist()])
    return pc.if_else(values.is_valid(), texts, pa.scalar(None, pa.string()))


def _four_digits(year: re.Match[str]) -> str:
    return f"{year[1]}{year[2]:0>4}"


def _times(values: Any) -> Any:
    return _quoted(values.cast(pa.string()))


def _binaries(values: Any) -> Any:
    said = (
        None if item is None else base64.b64encode(item).decode() for item in values.to_pylist()
    )
    return pa.array([None if item is None else f'{{"base64": "{item}"}}' for item in said])


def _durations(values: Any) -> Any:
    return values.view(pa.int64()).cast(pa.string())


def _nulls(values: Any) -> Any:
    return pa.nulls(len(values), pa.string())


def _structs(values: Any) -> Any:
    names = [field.name for field in values.type]
    return _objects(names, values.flatten(), values)


def _objects(names: Sequence[str], columns: Sequence[Any], values: Any) -> Any:
    members: dict[str, Any] = {}
    spelled = {name.lower(): name for name in names if not is_variant(name)}
    for name, column in zip(names, columns, strict=True):
        main = spelled.get(main_name(name).lower(), main_name(name))
        texts = column.cast(pa.string()) if is_variant(name) else json_texts(column)
        members[main] = pc.coalesce(members[main], texts) if main in members else texts
    told = [
        # Not by Arrow's own separator: where it skips nulls, it drops rows that are all null.
        pc.fill_null(pc.binary_join_element_wise(f", {_key(name)}: ", texts, ""), "")
        for name, texts in members.items()
    ]
    empty = pa.array([""] * len(values), pa.string())
    inner = pc.utf8_slice_codeunits(pc.binary_join_element_wise(*told, empty, ""), 2)
    whole = pc.binary_join_element_wise("{", inner, "}", "")
    return pc.if_else(values.is_valid(), whole, pa.scalar(None, pa.string()))


def _key(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _lists(values: Any) -> Any:
    return _bracketed(regrouped(values, pc.fill_null(json_texts(values.flatten()), "null")))


def _bracketed(lists: Any) -> Any:
    return pc.binary_join_element_wise("[", pc.binary_join(lists, ", "), "]", "")


def _maps(values: Any) -> Any:
    pairs = values.cast(pa.list_(values.type.field(0)))
    keys, items = pairs.flatten().flatten()
    names, texts = json_texts(keys), pc.fill_null(json_texts(items), "null")
    if not (_types.is_string(keys.type) or _types.is_large_string(keys.type)):
        return _as_pairs(pairs, names, texts)
    distinct = [row is None or len({*row}) == len(row) for row in _keys_by_row(pairs, keys)]
    objects = pc.binary_join_element_wise(names, texts, ": ")
    whole = pc.binary_join_element_wise(
        "{", pc.binary_join(regrouped(pairs, objects), ", "), "}", ""
    )
    return pc.if_else(pa.array(distinct), whole, _as_pairs(pairs, names, texts))


def _keys_by_row(pairs: Any, keys: Any) -> list[Any]:
    rows: list[Any] = regrouped(pairs, keys).to_pylist()
    return rows


def _as_pairs(pairs: Any, names: Any, texts: Any) -> Any:
    each = pc.binary_join_element_wise(
        "[", pc.binary_join_element_wise(names, texts, ", "), "]", ""
    )
    return _bracketed(regrouped(pairs, each))


def _dictionaries(values: Any) -> Any:
    return json_texts(values.dictionary).take(values.indices)


def _views(values: Any) -> Any:
    is_text = _types.is_string_view(values.type)
    return json_texts(values.cast(pa.string() if is_text else pa.binary()))


_Test = Callable[[Any], bool]
_BY_TYPE: tuple[tuple[_Test, Callable[[Any], Any]], ...] = (
    (_types.is_null, _nulls),
    (_types.is_boolean, _plain),
    (_types.is_integer, _plain),
    (_types.is_floating, _floats),
    (_types.is_decimal, _decimals),
    (_types.is_string, _strings),
    (_types.is_large_string, _strings),
    (_types.is_string_view, _views),
    (_types.is_binary_view, _views),
    (_types.is_date, _dates),
    (_types.is_timestamp, _timestamps),
    (_types.is_time, _times),
    (_types.is_duration, _durations),
    (_types.is_binary, _binaries),
    (_types.is_large_binary, _binaries),
    (_types.is_fixed_size_binary, _binaries),
    (_types.is_struct, _structs),
    (_types.is_map, _maps),
    (_types.is_list, _lists),
    (_types.is_large_list, _lists),
    (_types.is_fixed_size_list, _lists),
    (_types.is_dictionary, _dictionaries),
)
