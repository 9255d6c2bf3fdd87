"""Checks of annotations: each variant of a task on a dataset keeps what its contract promises now.

What an upload brought was checked when it came. These look at the records in the table, so they
also tell of a contract that was made stricter since, or of images that are gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from lake_assets.contracts.growth import type_words
from lake_assets.contracts.names import DatasetName, Destination, VariantName
from lake_assets.contracts.tasks import TaskContract
from lake_assets.contracts.variants import is_variant, variant_name
from lake_assets.storage.system_tables import IMAGES
from lake_assets.stores import Stores
from lake_assets.upkeep.beside_check import no_value_stands_beside_its_column
from lake_assets.upkeep.check_model import Check, CheckResult, Results
from lake_assets.upkeep.checks import (
    CHECKS,
    accepted_rows_are_in_the_table,
    damage_fails,
    rejected_share_is_small,
    rows_are_accounted_for,
    schema_has_not_drifted,
)
from lake_assets.upkeep.look import Look

_types = pa.types
Columns = Mapping[str, Any]
"""Columns of a task's table (``pyarrow.Field``), by their names in lower case."""
Question = Callable[[TaskContract, Columns], Iterator[tuple[str, str]]]
"""Yields (what is meant, SQL condition of records that are wrong), given the table's columns."""


def records_refer_to_known_images(stores: Stores, names: Sequence[VariantName]) -> Results:
    """Each record refers to an image of its dataset that the lake has."""

    def unknown(contract: TaskContract, columns: Columns) -> Iterator[tuple[str, str]]:
        if contract.refers_by:
            yield contract.refers_by, "image.sha256 IS NULL"

    return _judged(stores, names, unknown)


def boxes_lie_inside_their_images(stores: Stores, names: Sequence[VariantName]) -> Results:
    """No box of a record reaches beyond its image."""

    def outside(contract: TaskContract, columns: Columns) -> Iterator[tuple[str, str]]:
        if "box" in contract.built_in_columns() and "box" in columns:
            yield (
                "box",
                "NOT coalesce(box.x_min >= 0 AND box.y_min >= 0 AND box.x_max <= image.width_px "
                "AND box.y_max <= image.height_px, true)",
            )

    return _judged(stores, names, outside)


def required_fields_are_present(stores: Stores, names: Sequence[VariantName]) -> Results:
    """Each record has a value in every field that its contract asks for."""

    def missing(contract: TaskContract, columns: Columns) -> Iterator[tuple[str, str]]:
        for name in dict.fromkeys([*contract.required_fields, *contract.required_in_records()]):
            yield name, " AND ".join(map(_is_empty, _both(name, columns))) or "true"

    return _judged(stores, names, missing)


def fields_hold_allowed_values(stores: Stores, names: Sequence[VariantName]) -> Results:
    """No record has a value that its contract does not allow."""

    def forbidden(contract: TaskContract, columns: Columns) -> Iterator[tuple[str, str]]:
        for name, allowed in contract.allowed_in_columns().items():
            wrong = [_is_none_of(field, allowed) for field in _both(name, columns)]
            if wrong:
                yield name, " OR ".join(wrong)

    return _judged(stores, names, forbidden)


def keys_are_unique(stores: Stores, names: Sequence[VariantName]) -> Results:
    """No two records have the key that their contract says makes a record unique."""

    def twice(contract: TaskContract, columns: Columns) -> Iterator[tuple[str, str]]:
        key = [field for name in contract.key for field in _both(name, columns)]
        if key:
            listed = ", ".join(map(_column, key))
            told = ", ".join(contract.key)
            yield told, f"count(*) OVER (PARTITION BY {listed}) > 1"

    return _judged(stores, names, twice)


def _judged(stores: Stores, names: Sequence[VariantName], question: Question) -> Results:
    """Return, for each variant, whether no record is wrong."""
    registry, look = stores.registry(), Look(stores, names)
    results: Results = {}
    for name in names:
        contract = registry.tasks.get(name.task, TaskContract())
        schema = stores.tables.schema(name.table) if look.has(name.table) else None
        columns = {field.name.lower(): field for field in schema or ()}
        asked = list(question(contract, columns)) if columns else []
        found = _wrong_records(look, name, asked)
        wrong = {what: count for (what, _), count in zip(asked, found[1:], strict=True) if count}
        told = [f"{what} of {count}" for what, count in wrong.items()]
        results[name] = CheckResult(
            passed=not wrong,
            summary=f"{found[0]} records" if not wrong else f"wrong is {', '.join(told)} records",
            numbers={"records": found[0], "wrong_records": sum(wrong.values())},
        )
    return results


def _wrong_records(
    look: Look, name: VariantName, asked: Sequence[tuple[str, str]]
) -> tuple[int, ...]:
    """Return how many records there are, and how many are wrong in each way."""
    if not look.has(name.table):
        return (0, *(0 for _ in asked))
    conditions = "".join(f", ({condition}) AS c{n}" for n, (_, condition) in enumerate(asked))
    counts = "".join(f", count(*) FILTER (WHERE c{n})" for n, _ in enumerate(asked))
    images = f"(SELECT sha256, width_px, height_px FROM {IMAGES.name} {_OF_DATASET})"
    none = "(SELECT '' AS sha256, 0 AS width_px, 0 AS height_px WHERE false)"
    sql = f"""
        SELECT count(*){counts} FROM (
            SELECT 1{conditions}
            FROM (SELECT * FROM {name.table} {_OF_DATASET} AND variant = '{name.variant}') AS record
            LEFT JOIN {images if look.has(IMAGES.name) else none} AS image
            ON record._image = image.sha256
        )"""
    (row,) = look.of_one(name, sql)
    return tuple(row)


_OF_DATASET = "WHERE provider = $1 AND dataset = $2"


def _both(name: str, columns: Columns) -> list[Any]:
    """Return the column that has a contract's field, and its variant: those that there are."""
    names = (name.lower(), variant_name(name.lower()))
    return [columns[each] for each in names if each in columns]


def _is_empty(field: Any) -> str:
    """Return the SQL condition that a column is null, or text or a list without anything in it."""
    column = _column(field)
    if _types.is_string(field.type) or _types.is_large_string(field.type):
        return f"coalesce(trim({column}) = '', true)"
    if _types.is_list(field.type) or _types.is_large_list(field.type):
        return f"coalesce(len({column}) = 0, true)"
    return f"{column} IS NULL"


def _is_none_of(field: Any, allowed: Sequence[str]) -> str:
    """Return the SQL condition that a column has a value, and none of those that are allowed."""
    column = _column(field)
    if is_variant(field.name):
        texts = [*allowed, *(json.dumps(text, ensure_ascii=False) for text in allowed)]
        values = ", ".join(map(_quoted, texts))
    elif _types.is_nested(field.type):
        column = f"to_json({column})::VARCHAR"
        values = ", ".join(_quoted(_as_json(text)) for text in allowed)
    else:  # as what they mean: `1` is `1.0` to a double. DuckDB knows Iceberg's words for types.
        kind = type_words(field.type)
        values = ", ".join(f"TRY_CAST({_quoted(text)} AS {kind})" for text in allowed)
    return f"({column} IS NOT NULL AND NOT coalesce(list_contains([{values}], {column}), false))"


def _as_json(text: str) -> str:
    """Return the text of a nested value as DuckDB writes it; other text as it is."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        return text


def _column(field: Any) -> str:
    quoted = field.name.replace('"', '""')
    return f'record."{quoted}"'


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_RULES = (
    (rows_are_accounted_for, True),
    (accepted_rows_are_in_the_table, True),
    (records_refer_to_known_images, True),
    (boxes_lie_inside_their_images, True),
    (required_fields_are_present, True),
    (fields_hold_allowed_values, True),
    (keys_are_unique, True),
    (schema_has_not_drifted, False),
    (no_value_stands_beside_its_column, False),
    (rejected_share_is_small, False),
)
TASK_CHECKS = tuple(
    Check(name=rule.__name__, asset="tasks", blocking=blocking, rule=damage_fails(rule))
    for rule, blocking in _RULES
)
"""Checks of every task's asset."""


def check_all(
    stores: Stores, datasets: Sequence[DatasetName], variants: Sequence[VariantName]
) -> list[tuple[Destination, Check, CheckResult]]:
    """Run every check on these and return what they found."""
    found: list[tuple[Destination, Check, CheckResult]] = []
    asked: tuple[tuple[Sequence[Destination], Sequence[Check]], ...] = (
        (datasets, CHECKS),
        (variants, TASK_CHECKS),
    )
    for names, checks in asked:
        results = {check.name: check.rule(stores, names) for check in checks}
        found += [(name, check, results[check.name][name]) for name in names for check in checks]
    return found
