"""Values that stand beside their column, in its variant: how many, and for example which one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from lake_assets.contracts.schema_changes import ITEMS, Steps, path_of, type_at, variants_in
from lake_assets.contracts.variants import main_name, variant_name

_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Values of one place that its column cannot hold."""

    path: str
    """Of the column, as ``items[].price``."""
    type: str
    """That of the column, in Iceberg's words."""
    values: int
    example: str
    """One of them, as JSON, cut at 60 characters."""

    def __str__(self) -> str:
        many = self.values != 1
        return (
            f"{self.values:,} value{'s' * many} of {self.path} ({self.type}) "
            f"{'stand' if many else 'stands'} beside it in {variant_name(self.path)}, for example "
            f"{self.example}"
        )


class BesideCount:
    """Counts the values beside their columns in the rows that it is shown."""

    def __init__(self) -> None:
        self._found: tuple[Beside, ...] = ()

    def add(self, rows: Any) -> None:
        """Take rows (``pyarrow.Table``) into account."""
        more = [_beside(rows, steps) for steps in variants_in(rows.schema)]
        self._found = added_up(self._found, [item for item in more if item.values])

    def found(self) -> tuple[Beside, ...]:
        """Return what was found so far, by path."""
        return self._found


def beside_of(schema: Any, steps: Steps, values: int, example: str) -> Beside:
    """Return what is told of a variant.

    Args:
        schema: ``pyarrow.Schema`` of its table.
        steps: Where it is.
        values: How many it has.
        example: One of them.
    """
    main = (*steps[:-1], main_name(steps[-1]))
    shown = example if len(example) <= _SHOWN else example[: _SHOWN - 1] + "…"
    return Beside(path=path_of(main), type=type_at(schema, main), values=values, example=shown)


def added_up(*groups: Iterable[Beside]) -> tuple[Beside, ...]:
    """Return values of several rows together, by path; the first ones' examples are kept."""
    total: dict[str, Beside] = {}
    for item in (item for group in groups for item in group):
        before = total.get(item.path)
        total[item.path] = (
            item
            if before is None
            else replace(item, values=before.values + item.values, example=before.example)
        )
    return tuple(total[path] for path in sorted(total))


def _beside(rows: Any, steps: Steps) -> Beside:
    values = rows[steps[0]].combine_chunks()
    for step in steps[1:]:
        index = None if step == ITEMS else values.type.get_field_index(step)
        values = values.flatten() if index is None else values.flatten()[index]
    texts = values.drop_null()
    return beside_of(rows.schema, steps, len(texts), texts[0].as_py() if len(texts) else "")
