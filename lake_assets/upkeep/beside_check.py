"""The check that tells of values which their columns cannot hold, for as long as there are some."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lake_assets.contracts.beside import Beside, beside_of
from lake_assets.contracts.names import Destination, VariantName
from lake_assets.contracts.registry import Registry
from lake_assets.contracts.schema_changes import ITEMS, Steps, variants_in
from lake_assets.stores import Stores
from lake_assets.upkeep.check_model import CheckResult, Results
from lake_assets.upkeep.look import Look

_SHOWN = 5
_INSIDE = re.compile(r"\.|\[\]")


def no_value_stands_beside_its_column(stores: Stores, names: Sequence[Destination]) -> Results:
    """Every value is in its column: no `__variant` column of the table holds one.

    Only variants are read, and of a table without one nothing.
    """
    look, registry = Look(stores, names), stores.registry()
    results: Results = {}
    for name in names:
        found = _found(look, name, stores.tables.schema(name.table))
        results[name] = CheckResult(
            passed=not found,
            summary=_summary(registry, name, found) if found else "every value is in its column",
            numbers={"values_beside": sum(item.values for item in found), "columns": len(found)},
        )
    return results


def _found(look: Look, name: Destination, schema: Any | None) -> list[Beside]:
    places = list(variants_in(schema or ()))
    if not places:
        return []
    asked = ", ".join(sql for steps in places for sql in _count_and_example(steps))
    row = look.of_all_rows(name, asked)
    counts = zip(places, row[::2], row[1::2], strict=True)
    return [beside_of(schema, steps, count, text) for steps, count, text in counts if count]


def _count_and_example(steps: Steps) -> tuple[str, str]:
    """Return SQL for how many values a place has, and for one of them."""
    values, is_list = _values(_quoted(steps[0]), steps[1:], depth=0)
    if not is_list:
        return f"count({values})", f"min({values})"
    there = f"list_filter({values}, lambda item: item IS NOT NULL)"
    return f"coalesce(sum(len({there})), 0)::BIGINT", f"min({there}[1])"


def _values(base: str, steps: Steps, *, depth: int) -> tuple[str, bool]:
    """Return SQL for what a row has at a place, and whether that is a list."""
    if not steps:
        return base, False
    if steps[0] != ITEMS:
        return _values(f"{base}.{_quoted(steps[0])}", steps[1:], depth=depth)
    inner, is_list = _values(f"x{depth}", steps[1:], depth=depth + 1)
    mapped = f"list_transform({base}, lambda x{depth}: {inner})"
    return (f"flatten({mapped})" if is_list else mapped), True


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _summary(registry: Registry, name: Destination, found: Sequence[Beside]) -> str:
    more = f"; and of {len(found) - _SHOWN} more columns" if len(found) > _SHOWN else ""
    return f"{'; '.join(map(str, found[:_SHOWN]))}{more}. {_advice(registry, name, found)}"


def _advice(registry: Registry, name: Destination, found: Sequence[Beside]) -> str:
    # Contracts declare no places inside of columns.
    path = next((item.path for item in found if not _INSIDE.search(item.path)), None)
    if path is None:
        return "Ask the provider for one type there, or read both: either(…) in `lake sql`"
    rebuild = f"`lake process start --dataset {name} --rebuild`"
    if path.lower() in _declared(registry, name):
        return f"Its contract says which type it should have; {rebuild} reads it as that"
    said = (
        f"below fields: of task {name.task} in config/schema.yaml"
        if isinstance(name, VariantName)
        else f"with `lake config dataset set {name} --column {path}=TYPE`"
    )
    return f"Say {said} which type it has; then {rebuild}"


def _declared(registry: Registry, name: Destination) -> set[str]:
    if isinstance(name, VariantName) and name.task not in registry.tasks:
        return set()
    return {column.lower() for column in registry.promise(name).promised_columns().names}
