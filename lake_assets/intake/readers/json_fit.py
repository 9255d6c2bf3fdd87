"""JSON values, as Python has them, as columns with their variants.

Invariant: each value is in the main column or, as text, in the variant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lake_assets.contracts.list_columns import regrouped
from lake_assets.intake.readers.places import Place, has_possible_variant
from lake_assets.intake.readers.source import table_of
from lake_assets.intake.readers.values import DoesNotFit, fit_json
from lake_assets.intake.readers.variant_text import json_text


class Unforeseen(ValueError):
    """A value that the survey of its file did not see. Never leaves the readers."""


@dataclass(frozen=True, slots=True)
class _Fitted:
    main: Any
    variant: str | None


def columns_of(
    records: Sequence[Mapping[str, Any]], places: Mapping[str, Place]
) -> dict[str, pa.Array]:
    """Return the columns that places are made of; those of possible variants may be all null.

    Args:
        records: JSON objects.
        places: By name in lower case.

    Raises:
        Unforeseen: A record has a value at none of the places.
    """
    _require_places(records, places)
    columns: dict[str, pa.Array] = {}
    for place in places.values():
        values = _values(records, place)
        if place.is_plain:
            columns[place.name] = pa.array(values, place.kind)
            continue
        fitted = [_fit(value, place) for value in values]
        if place.kind is not None:
            columns[place.name] = pa.array([f.main for f in fitted], place.kind)
        if place.variant:
            columns[place.variant_name] = pa.array([f.variant for f in fitted], pa.string())
    return columns


def without_unused(table: pa.Table, places: Mapping[str, Place]) -> pa.Table:
    """Return the table without variants that turned out to have no value, at any depth."""
    if not has_possible_variant(places.values()):
        return table
    columns: dict[str, Any] = {}
    for place in places.values():
        columns |= dict(_used(place, {n: table[n] for n in _names(place)}))
    return table_of(columns, table.num_rows)


def _names(place: Place) -> list[str]:
    return [field.name for field in place.arrow_fields()]


def _used(place: Place, columns: Mapping[str, Any]) -> list[tuple[str, Any]]:
    used = []
    if place.kind is not None:
        used.append((place.name, _without(columns[place.name], place)))
    if place.variant:
        texts = columns[place.variant_name]
        if place.variant > 1 or texts.null_count < len(texts):
            used.append((place.variant_name, texts))
    return used


def _without(column: Any, place: Place) -> Any:
    if not has_possible_variant([*place.fields.values(), *filter(None, [place.item])]):
        return column
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if place.item is not None:
        items = _without(column.flatten(), place.item)
        return regrouped(column, items)
    inner = dict(zip((f.name for f in column.type), column.flatten(), strict=True))
    pairs = [
        pair
        for field in place.fields.values()
        for pair in _used(field, {name: inner[name] for name in _names(field)})
    ]
    fields = [pa.field(name, values.type) for name, values in pairs]
    arrays = [values for _, values in pairs]
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=column.is_null())


def _require_places(records: Sequence[Mapping[str, Any]], places: Mapping[str, Place]) -> None:
    known = {name for place in places.values() for name in place.spellings}
    for record in records:
        if not known.issuperset(record):
            for name, value in record.items():
                if name not in known and value is not None:
                    raise Unforeseen


def _values(records: Sequence[Mapping[str, Any]], place: Place) -> list[Any]:
    if len(place.spellings) == 1:
        (name,) = place.spellings
        return [record.get(name) for record in records]
    return [_value(record, place) for record in records]


def _value(record: Mapping[str, Any], place: Place) -> Any:
    for name in place.spellings:
        value = record.get(name)
        if value is not None:
            return value
    return None


def _fit(value: Any, place: Place) -> _Fitted:
    if value is None:
        return _NOTHING
    if place.kind is not None:
        try:
            return _Fitted(_main(value, place), None)
        except DoesNotFit:
            pass
    if not place.variant:
        raise Unforeseen
    return _Fitted(None, json_text(value))


_NOTHING = _Fitted(None, None)


def _main(value: Any, place: Place) -> Any:
    """Return a value as the main column has it.

    Raises:
        DoesNotFit: It has none for it.
    """
    if pa.types.is_struct(place.kind):
        if not isinstance(value, dict):
            raise DoesNotFit(place.name, place.kind, value)
        return _struct(value, place)
    if place.item is not None:
        if not isinstance(value, list):
            raise DoesNotFit(place.name, place.kind, value)
        return [None if item is None else _main(item, place.item) for item in value]
    return fit_json(value, place.kind, place.name)


def _struct(value: dict[str, Any], place: Place) -> dict[str, Any]:
    fitted: dict[str, Any] = {}
    for name, inner in value.items():
        if inner is None:
            continue
        field = place.fields.get(name.lower())
        if field is None:
            raise Unforeseen
        found = _fit(inner, field)
        if found.variant is None:
            fitted[field.name] = found.main
        else:
            fitted[field.variant_name] = found.variant
    return fitted
