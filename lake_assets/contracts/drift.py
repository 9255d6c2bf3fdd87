"""Fit delivered rows to the columns of their table, whatever types they come in, losing no value.

A place (a column, or a field of a struct at any depth) that the table lacks is added; a type is
widened where Iceberg can; any other value that its place cannot hold exactly goes, as JSON, to the
variant beside it, ``<name>__variant``. A list of which one item does not fit goes there as a whole.
A place that has only ever been null is no column yet. Invariant: each row is kept whole or, if
neither a column nor JSON can say what it holds, reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.calendar import rows_outside_calendar, rows_without_words
from lake_assets.contracts.exact import exactly
from lake_assets.contracts.growth import grow_type, widened
from lake_assets.contracts.json_texts import json_texts
from lake_assets.contracts.list_columns import parents_of, regrouped
from lake_assets.contracts.variants import is_variant, main_name, variant_name

_types = pa.types


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A value that no column can hold."""

    row: int
    """Position in the rows that were given, from 0."""
    path: str
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
    """At most one per row, by row."""


def fit_rows(rows: Any, schema: Any, *, widen: bool = True, is_decided: bool = False) -> Fitted:
    """Fit ``rows`` to ``schema``, which grows by what they bring.

    Args:
        rows: ``pyarrow.Table`` in the lake's types; may have variants already.
        schema: ``pyarrow.Schema`` of the columns known so far; may be empty.
        widen: Whether types are widened; if not, values beyond them go to variants too.
        is_decided: Whether the types of new places were decided by all rows of their upload: then
            they are added with them, also where these rows have no value.
    """
    misfits = _misfits(rows)
    kept = pa.arange(0, rows.num_rows)
    if misfits:
        gone = pa.array([misfit.row for misfit in misfits], pa.int64())
        kept = kept.filter(pc.invert(pc.is_in(kept, gone)))
        rows = rows.take(kept)
    if sorted(rows.column_names) == sorted(schema.names):
        rows = rows.select(schema.names)  # as a rule they differ in nothing but their order
    if rows.schema.equals(schema) and _is_inside_calendar(rows):
        return Fitted(rows=rows, kept=kept, schema=schema, misfits=misfits)
    rows = _fit_table(rows, schema, _Rules(widen, is_decided))
    return Fitted(rows=rows, kept=kept, schema=rows.schema, misfits=misfits)


def fit_columns(rows: Any, schema: Any) -> Any:
    """Return ``rows`` as ``fit_rows`` does, but all of them: each must be one that can be said."""
    return _fit_table(rows, schema, _Rules(widen=True, is_decided=False))


def conform(rows: Any, schema: Any) -> Any:
    """Return ``rows`` with exactly the columns of ``schema``, at every depth.

    What the schema lacks is left out, and has no value; what the rows lack is null.
    """
    if rows.schema.equals(schema):
        return rows
    columns = {name: rows[name] for name in rows.column_names}
    return pa.table(
        [_conformed(columns.get(field.name), field.type, rows.num_rows) for field in schema],
        schema=schema,
    )


def _conformed(column: Any | None, kind: Any, length: int) -> Any:
    if column is None:
        return pa.nulls(length, kind)
    if column.type.equals(kind):
        return column
    values = _whole(column)
    if _types.is_struct(kind):
        children = dict(zip((field.name for field in values.type), values.flatten(), strict=True))
        return _struct(
            {f.name: _conformed(children.get(f.name), f.type, length) for f in kind}, values
        )
    if _types.is_list(kind):
        items = values.flatten()
        return regrouped(values, _conformed(items, kind.value_type, len(items)), kind.value_field)
    return values.cast(kind)


def _misfits(rows: Any) -> tuple[Misfit, ...]:
    """Return the rows that hold what neither a column nor JSON can say, by row."""
    found: dict[int, Misfit] = {}
    for name in rows.column_names:
        for row in rows_without_words(rows[name]):
            value = rows[name][row]
            shown = "" if _types.is_nested(value.type) else f": {_number(value)} µs"
            misfit = Misfit(
                row=row, path=name, expected="a time of day before midnight, or an instant",
                actual=f"a count beyond it ({value.type}){shown}",
            )  # fmt: skip
            found.setdefault(row, misfit)
    return tuple(found[row] for row in sorted(found))


def _number(value: Any) -> int:
    count: int = pa.array([value.value], pa.int64())[0].as_py()
    return count


def _is_inside_calendar(rows: Any) -> bool:
    return not any(rows_outside_calendar(column) for column in rows.columns)


@dataclass(frozen=True, slots=True)
class _Rules:
    widen: bool
    is_decided: bool


def _fit_table(rows: Any, schema: Any, rules: _Rules) -> Any:
    given = {name: rows[name] for name in rows.column_names}
    fitted = _fit_fields(given, schema, rows.num_rows, rules)
    docs = {field.name: field.metadata for field in schema}
    fields = [
        pa.field(name, values.type, metadata=docs.get(name)) for name, values in fitted.items()
    ]
    # A table without columns does not know how many rows it has.
    if not fields:
        return rows.select([])
    return pa.table(list(fitted.values()), schema=pa.schema(fields))


@dataclass(frozen=True, slots=True)
class _Place:
    """The values of a place; in each row at most one of the two is not null."""

    main: Any | None
    """None: the place has no type yet."""
    variant: Any | None = None
    """``pyarrow.StringArray``; None: nothing in it."""


def _fit_fields(
    given: Mapping[str, Any], known: Iterable[Any], length: int, rules: _Rules
) -> dict[str, Any]:
    """Return the columns of a table or the fields of a struct: those known first, then new ones.

    Names are matched without regard to case, and spelled as they are known. Of several that differ
    in nothing else, at most one has a value in a row: readers reject rows with more.
    """
    types = {field.name: field.type for field in known}
    spelling = _Spelling(types, given)
    fitted: dict[str, Any] = dict.fromkeys(types)
    variants: dict[str, list[Any]] = {}
    for delivered, values in given.items():
        name = spelling.of(delivered)
        place = (
            _Place(None, _whole(values))
            if is_variant(name)
            else _fit_column(values, _type_so_far(name, fitted, types), rules)
        )
        if place.main is not None:
            fitted[name] = _either(fitted.get(name), place.main)
        if place.variant is not None:
            beside = name if is_variant(name) else spelling.of(variant_name(name))
            variants.setdefault(beside, []).append(place.variant)
    for name, texts in variants.items():
        merged = pc.coalesce(*texts)
        if name in types or merged.null_count < length:
            fitted[name] = merged
    return {
        name: pa.nulls(length, types[name]) if values is None else values
        for name, values in fitted.items()
    }


def _type_so_far(name: str, fitted: Mapping[str, Any], types: Mapping[str, Any]) -> Any | None:
    column = fitted.get(name)
    return types.get(name) if column is None else column.type


def _either(before: Any | None, more: Any) -> Any:
    """Return the values of two columns as one, in the type of the second, which has grown."""
    if before is None:
        return more
    return pc.coalesce(_conformed(before, more.type, len(before)), _whole(more))


class _Spelling:
    """How names are written: as the table has them, a variant as its main column."""

    def __init__(self, known: Iterable[str], given: Iterable[str]) -> None:
        mains = {name.lower(): name for name in given if not is_variant(name)}
        self._spelled = mains | {name.lower(): name for name in known}

    def of(self, name: str) -> str:
        found = self._spelled.get(name.lower())
        if found is not None or not is_variant(name):
            return found or name
        return variant_name(self.of(main_name(name)))


def _fit_column(values: Any, known: Any | None, rules: _Rules) -> _Place:
    if known is not None and values.type.equals(known) and not rows_outside_calendar(values):
        return _Place(values)
    values = _whole(values)
    wanted = _typed(values, rules) if known is None else known
    if wanted is None:  # null, [], [null] or {} alone
        return _Place(None, json_texts(values) if values.null_count < len(values) else None)
    return _fit_value(values, wanted, rules)


def _typed(values: Any, rules: _Rules) -> Any | None:
    """Return the type of a new place, without fields that hold nothing; None: no value has one."""
    kind = values.type
    if _types.is_null(kind) or (not rules.is_decided and values.null_count == len(values)):
        return None
    if _types.is_struct(kind):
        return _typed_struct(values, rules)
    if _types.is_list(kind):
        item = _typed(values.flatten(), rules)
        return None if item is None else pa.list_(item)
    is_map_of_nulls = _types.is_map(kind) and _types.is_null(kind.item_type)
    return None if is_map_of_nulls else kind


def _typed_struct(values: Any, rules: _Rules) -> Any | None:
    fields: dict[str, Any] = {}
    for field, child in zip(values.type, values.flatten(), strict=True):
        found = _typed(child, rules)
        if found is not None:
            before = fields.get(field.name.lower())
            fields[field.name.lower()] = (
                pa.field(field.name, found)
                if before is None
                else before.with_type(grow_type(before.type, found))
            )
    return pa.struct(list(fields.values())) if fields else None


def _fit_value(values: Any, known: Any, rules: _Rules) -> _Place:
    if _types.is_struct(values.type) and _types.is_struct(known):
        names = (field.name for field in values.type)
        given = dict(zip(names, values.flatten(), strict=True))
        return _Place(_struct(_fit_fields(given, known, len(values), rules), values))
    if _types.is_list(values.type) and _types.is_list(known):
        return _fit_lists(values, known, rules)
    wanted = known
    if rules.widen and values.null_count < len(values):
        wanted = widened(known, values.type)
    exact = exactly(values, wanted)
    return _Place(exact.values, None if exact.bad is None else _texts_of(values, exact.bad))


def _fit_lists(values: Any, known: Any, rules: _Rules) -> _Place:
    items = values.flatten()
    place = _fit_value(items, known.value_type, rules)
    if place.variant is None:
        return _Place(regrouped(values, place.main, known.value_field))
    parents = parents_of(values).filter(place.variant.is_valid())
    bad = pc.is_in(pa.arange(0, len(values)), parents)
    # Once more, because what only the bad lists hold must not widen or add anything.
    good = _fit_lists(pc.if_else(bad, pa.scalar(None, values.type), values), known, rules)
    return _Place(good.main, _texts_of(values, bad))


def _texts_of(values: Any, bad: Any) -> Any:
    """Return the bad values as JSON, null elsewhere."""
    nulls = pa.nulls(len(values), pa.string())
    return pc.replace_with_mask(nulls, bad, json_texts(values.filter(bad)))


def _struct(fields: Mapping[str, Any], like: Any) -> Any:
    """Return structs of these fields, null where those of ``like`` are."""
    kinds = [pa.field(name, values.type) for name, values in fields.items()]
    mask = like.is_null() if like.null_count else None
    return pa.StructArray.from_arrays(list(fields.values()), fields=kinds, mask=mask)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
