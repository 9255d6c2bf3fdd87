"""What changed in a table's schema, at every depth, and which rows asked for it.

Paths are written ``items[].price``: a dot leads into a struct, ``[]`` to the items of a list. A new
place is one change with its whole type. Invariant: two schemas without a change between them are
equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.growth import is_rewritten, type_words
from lake_assets.contracts.json_texts import json_texts
from lake_assets.contracts.list_columns import parents_of
from lake_assets.contracts.variants import is_variant, main_name

Kind = Literal["added", "widened", "rewritten", "variant", "dropped"]
ITEMS = "[]"
"""Step from a list to its items."""
_SHOWN = 200

_types = pa.types
Steps = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaChange:
    """One change of a table's schema that an upload made."""

    path: str
    change: Kind
    """``rewritten``: its files were written anew, as Iceberg has no way from the old type to the
    new one. ``variant``: a column was added for values that its main column cannot hold.
    ``dropped``: a rebuild found no row with a value."""
    old_type: str | None
    """In Iceberg's words; None: the place is new."""
    new_type: str | None
    """None: the place is gone."""
    rows_affected: int = 0
    """Rows of the upload with a value there."""


@dataclass(frozen=True, slots=True)
class _Change:
    steps: Steps
    kind: Kind
    old_type: str | None
    new_type: str | None


class ChangeCount:
    """The changes between a table's schema and what one upload makes of it, with their rows.

    Args:
        before: ``pyarrow.Schema`` of the table's own columns before the upload.
    """

    def __init__(self, before: Any) -> None:
        self._before = before
        self._rows: dict[Steps, int] = {}
        self._found: dict[Steps, _Change] = {}

    def add(self, rows: Any) -> None:
        """Take rows that go into the table (``pyarrow.Table``) into account."""
        if rows.schema.equals(self._before):
            return
        for change in _changes(self._before, rows.schema):
            self._found[change.steps] = change
            count = pc.sum(rows_with_value(rows, change.steps)).as_py() or 0
            self._rows[change.steps] = self._rows.get(change.steps, 0) + count

    def changes(self) -> tuple[SchemaChange, ...]:
        """Return what was found so far, by path."""
        return tuple(
            SchemaChange(
                path=path_of(steps),
                change=found.kind,
                old_type=found.old_type,
                new_type=found.new_type,
                rows_affected=self._rows[steps],
            )
            for steps, found in sorted(self._found.items())
        )


def changes_between(
    before: Any, after: Any, *, count: Callable[[Steps], int], drops: bool = False
) -> tuple[SchemaChange, ...]:
    """Return what makes a table of the schema ``before`` one that also has ``after``, by path.

    Args:
        count: Tells how many values there are at a place.
        drops: Whether the table loses what ``after`` lacks.
    """
    changes = (*_changes(before, after), *(_drops(before, after, ()) if drops else ()))
    found = sorted(changes, key=lambda change: change.steps)
    return tuple(
        SchemaChange(
            path=path_of(change.steps),
            change=change.kind,
            old_type=change.old_type,
            new_type=change.new_type,
            rows_affected=count(change.steps),
        )
        for change in found
    )


def dropped_places(before: Iterable[Any], after: Iterable[Any]) -> tuple[Steps, ...]:
    """Return the places of one schema that another lacks; not what lies inside of them."""
    return tuple(change.steps for change in _drops(before, after, ()))


def path_of(steps: Steps) -> str:
    """Return steps as text: ``items[].price``."""
    return ".".join(steps).replace(f".{ITEMS}", ITEMS)


def _changes(before: Iterable[Any], after: Iterable[Any], above: Steps = ()) -> Iterator[_Change]:
    known = {field.name: field.type for field in before}
    for field in after:
        steps = (*above, field.name)
        if field.name in known:
            yield from _type_changes(known[field.name], field.type, steps)
        else:
            kind: Kind = "variant" if is_variant(field.name) else "added"
            yield _Change(steps, kind, None, type_words(field.type))


def _drops(before: Iterable[Any], after: Iterable[Any], above: Steps) -> Iterator[_Change]:
    left = {field.name: field.type for field in after}
    for field in before:
        steps = (*above, field.name)
        if field.name in left:
            yield from _drops_inside(field.type, left[field.name], steps)
        else:
            yield _Change(steps, "dropped", type_words(field.type), None)


def _drops_inside(before: Any, after: Any, steps: Steps) -> Iterator[_Change]:
    if _types.is_struct(before) and _types.is_struct(after):
        yield from _drops(before, after, steps)
    elif _types.is_list(before) and _types.is_list(after):
        yield from _drops_inside(before.value_type, after.value_type, (*steps, ITEMS))


def _type_changes(before: Any, after: Any, steps: Steps) -> Iterator[_Change]:
    if before.equals(after):
        return
    if _types.is_struct(before) and _types.is_struct(after):
        yield from _changes(before, after, steps)
    elif _types.is_list(before) and _types.is_list(after):
        yield from _type_changes(before.value_type, after.value_type, (*steps, ITEMS))
    else:
        kind: Kind = "rewritten" if is_rewritten(before, after) else "widened"
        yield _Change(steps, kind, type_words(before), type_words(after))


def rows_with_value(rows: Any, steps: Steps) -> Any:
    """Return a ``pyarrow.BooleanArray``: which rows have a value at a place.

    Args:
        rows: ``pyarrow.Table`` that has the place.
    """
    return _mask(_whole(rows[steps[0]]), steps[1:])


def _mask(values: Any, steps: Steps) -> Any:
    if not steps:
        return values.is_valid()
    if steps[0] == ITEMS:
        parents = parents_of(values).filter(_mask(values.flatten(), steps[1:]))
        return pc.is_in(pa.arange(0, len(values)), parents)
    return _mask(_field(values, steps[0]), steps[1:])


def _field(values: Any, name: str) -> Any:
    return values.flatten()[values.type.get_field_index(name)]


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


# -- what a table that must not change would need


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A place at which some rows need what a table does not have."""

    path: str
    expected: str
    """The type that the table has there."""
    new_type: str | None
    """Type of a new place; None: the place is there, and cannot hold the values."""
    rows: Any
    """``pyarrow.Int64Array``: positions of those rows, ascending."""
    examples: Any
    """``pyarrow.StringArray``: what each of them has there, as JSON, cut at 200 characters."""


def needs(rows: Any, schema: Any) -> tuple[Need, ...]:
    """Return where ``rows`` need more than ``schema`` has.

    Args:
        rows: ``pyarrow.Table``, fitted to ``schema`` without widening.
    """
    variants = (_Change(steps, "variant", None, "") for steps in variants_in(schema))
    wanted = {change.steps: change for change in (*variants, *_changes(schema, rows.schema))}
    masks = ((change, rows_with_value(rows, steps)) for steps, change in sorted(wanted.items()))
    found = ((change, pc.indices_nonzero(mask).cast(pa.int64())) for change, mask in masks)
    return tuple(_need(rows, schema, change, at) for change, at in found if len(at))


def _need(rows: Any, schema: Any, change: _Change, at: Any) -> Need:
    texts = _texts(_whole(rows[change.steps[0]]).take(at), change.steps)
    is_beside = change.kind == "variant"
    main = (*change.steps[:-1], main_name(change.steps[-1])) if is_beside else change.steps
    return Need(
        path=path_of(main),
        expected=type_at(schema, main),
        new_type=None if is_beside else change.new_type,
        rows=at,
        examples=pc.utf8_slice_codeunits(texts, 0, _SHOWN),
    )


def type_at(schema: Any, steps: Steps) -> str:
    """Return the type that a table has at a place, in words."""
    kind = pa.struct(list(schema))
    for step in steps:
        if step == ITEMS:
            kind = kind.value_type
        elif (index := kind.get_field_index(step)) < 0:
            return "no such column"
        else:
            kind = kind.field(index).type
    return type_words(kind)


def _texts(values: Any, steps: Steps) -> Any:
    """Return what rows have at a place, as JSON; of a place in lists, the whole list."""
    for step in steps[1:]:
        if step == ITEMS:
            return json_texts(values)
        values = _field(values, step)
    return values if is_variant(steps[-1]) else json_texts(values)


def variants_in(fields: Iterable[Any], above: Steps = ()) -> Iterator[Steps]:
    """Yield where a table of these fields has variants, at every depth."""
    for field in fields:
        if is_variant(field.name):
            yield (*above, field.name)
        else:
            yield from _variants_of(field.type, (*above, field.name))


def _variants_of(kind: Any, steps: Steps) -> Iterator[Steps]:
    if _types.is_struct(kind):
        yield from variants_in(kind, steps)
    elif _types.is_list(kind):
        yield from _variants_of(kind.value_type, (*steps, ITEMS))


def lines_of(found: Sequence[Need]) -> list[str]:
    """Return needs for a person, one line each: ``+`` a new place, ``~`` one that is too narrow."""
    merged: dict[tuple[str, str | None], list[Need]] = {}
    for need in found:
        merged.setdefault((need.path, need.new_type), []).append(need)
    return [
        _line(items[0], sum(len(item.rows) for item in items)) for _, items in sorted(
            merged.items(), key=lambda item: (item[0][0], item[0][1] or "")
        )
    ]  # fmt: skip


def _line(need: Need, count: int) -> str:
    rows = f"{count:,} row{'s' * (count != 1)}, as {need.examples[0].as_py()}"
    if need.new_type is not None:
        return f"+ {need.path}: {need.new_type} ({rows})"
    return f"~ {need.path}: {need.expected} does not hold {rows}"
