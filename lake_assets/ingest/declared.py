"""Rows in the types that their contract declares; those that cannot be read so are apart.

What a column cannot hold was put beside it, as JSON, and is read from there once more by the rules
of JSON files. So a price that comes as a double, or as text, is the same decimal whatever the
format. Invariant: nothing is rounded, and a declared column has no variant in the rows that stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.drift import Misfit, fit_rows
from lake_assets.contracts.growth import type_words
from lake_assets.contracts.variants import main_name, variant_name
from lake_assets.intake.model import Batch, RejectedRow
from lake_assets.intake.readers.row_json import arrow_row_json
from lake_assets.intake.readers.values import DoesNotFit, fit_json
from lake_assets.intake.readers.variant_text import parsed_float, parsed_int

TYPES_RULE = "fields_hold_their_types"
_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedRows:
    """Rows in declared types."""

    table: Any
    """``pyarrow.Table`` of as many rows as before, the declared columns first."""
    misfits: tuple[Misfit, ...]
    """Values that are not of their type, and null in the table."""


def typed_rows(table: Any, declared: Any) -> TypedRows:
    """Return rows with declared columns in their types; one that they lack is null.

    Args:
        table: ``pyarrow.Table``; names match without regard to case.
        declared: ``pyarrow.Schema``.
    """
    names = {name.lower() for name in declared.names}
    given = [name for name in table.column_names if main_name(name).lower() in names]
    if table.select(given).schema.equals(declared):
        return TypedRows(table=table, misfits=())
    fitted = fit_rows(table.select(given), declared, widen=False)
    # As many rows as before, so that positions stay: nothing where one is a misfit.
    rows = fitted.rows.take(pc.index_in(pa.arange(0, table.num_rows), fitted.kept))
    misfits = list(fitted.misfits)
    columns = []
    for field in declared:
        column, bad = _once_more(rows, field)
        columns.append(column)
        misfits += bad
    others = [name for name in table.column_names if name not in given]
    columns += [table[name] for name in others]
    schema = pa.schema([*declared, *table.select(others).schema])
    return TypedRows(table=pa.table(columns, schema=schema), misfits=tuple(misfits))


def _once_more(rows: Any, field: Any) -> tuple[Any, list[Misfit]]:
    """Return a column with what stands beside it read once more, and what is no such value."""
    column, beside = rows[field.name], variant_name(field.name)
    if beside not in rows.column_names:
        return column, []
    at = pc.indices_nonzero(rows[beside].is_valid())
    texts = rows[beside].take(at)
    if texts.null_count == len(texts):
        return column, []
    found = _read(texts, field)
    bad = pc.indices_nonzero(found.is_null()).to_pylist()
    misfits = [
        Misfit(row=at[n].as_py(), path=field.name, expected=type_words(field.type),
               actual=texts[n].as_py()[:_SHOWN])
        for n in bad
    ]  # fmt: skip
    # Behind the column stand the values that were read, which take their places.
    places = pc.replace_with_mask(
        pa.arange(0, len(column)), rows[beside].is_valid().combine_chunks(),
        pa.arange(len(column), len(column) + len(found)),
    )  # fmt: skip
    return pa.chunked_array([*column.chunks, found], field.type).take(places), misfits


def _read(texts: Any, field: Any) -> Any:
    """Return JSON texts as values of a column's type; null where they are none."""
    if pa.types.is_decimal(field.type):
        try:  # all are numbers: a hundred times as fast as one by one
            return texts.combine_chunks().cast(field.type)
        except pa.ArrowInvalid:
            pass
    return pa.array([_value(text, field) for text in texts.to_pylist()], field.type)


def _value(text: str, field: Any) -> Any:
    value = json.loads(text, parse_float=parsed_float, parse_int=parsed_int)
    try:
        return fit_json(value, field.type, field.name)
    except DoesNotFit:
        return None


def typed_batches(batches: Iterable[Batch], declared: Any) -> Iterator[Batch]:
    """Yield a dataset's batches with declared columns in their types, rows that break them apart.

    Args:
        declared: ``pyarrow.Schema``. A column that a batch lacks is not added.
    """
    for batch in batches:
        given = {main_name(name).lower() for name in batch.rows.column_names}
        said = pa.schema([field for field in declared if field.name.lower() in given])
        yield _typed_batch(batch, said) if len(said) and batch.rows.num_rows else batch


def _typed_batch(batch: Batch, declared: Any) -> Batch:
    typed = typed_rows(batch.rows, declared)
    first: dict[int, Misfit] = {}
    for misfit in typed.misfits:
        first.setdefault(misfit.row, misfit)
    if not first:
        return replace(batch, rows=typed.table)
    good = [n not in first for n in range(batch.rows.num_rows)]
    mask = pa.array(good, pa.bool_())
    images = batch.images
    return replace(
        batch,
        rows=typed.table.filter(mask),
        row_numbers=batch.row_numbers.filter(mask),
        images=images and tuple(image for image, is_good in zip(images, good, strict=True)
                                if is_good),
        rejected=(*batch.rejected, *(_rejected(batch, first[n]) for n in sorted(first))),
    )  # fmt: skip


def _rejected(batch: Batch, misfit: Misfit) -> RejectedRow:
    return RejectedRow(
        file=batch.file,
        row=batch.row_numbers[misfit.row].as_py(),
        rule=TYPES_RULE,
        path=misfit.path,
        expected=misfit.expected,
        actual=misfit.actual,
        row_json=arrow_row_json(batch.rows, misfit.row),
    )
