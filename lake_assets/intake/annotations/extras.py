"""Fields that annotations have beyond their record type, as columns.

Invariant: their types are decided once, from all files of an upload: neither the order of records
nor how they were parted into files changes a column or a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from lake_assets.intake.readers.json_fit import columns_of, without_unused
from lake_assets.intake.readers.json_table import Places
from lake_assets.intake.readers.json_types import Shape
from lake_assets.intake.readers.normal_types import normal_type
from lake_assets.intake.readers.places import KeyOrder, places_of
from lake_assets.intake.readers.source import table_of

Fields = Mapping[str, Any]
"""What one record has beyond its record type; JSON values."""


@dataclass(slots=True)
class ExtrasSurvey:
    """What records have beyond their record type: merges to the same in any order."""

    shape: Shape = field(default_factory=Shape)
    keys: tuple[str, ...] = ()
    """Of the record with most of them, of several the first in code-point order."""

    def see(self, records: Iterable[Fields]) -> None:
        """Take records into account."""
        for record in records:
            if record:
                self.shape.see(record)
                if len(record) >= len(self.keys):
                    self._order_by(tuple(record))

    def merge(self, other: ExtrasSurvey) -> None:
        """Take into account all that another survey has seen."""
        self.shape.merge(other.shape)
        self._order_by(other.keys)

    def places(self, expected: pa.Schema | None) -> Places:
        """Return the columns that the fields become, by their names in lower case.

        Args:
            expected: The table's columns, without those of the record type; None: there is none.
        """
        order = KeyOrder()
        order.see(dict.fromkeys(self.keys))
        return places_of(self.shape, expected, order, is_certain=True)

    def _order_by(self, keys: tuple[str, ...]) -> None:
        if keys != self.keys:
            self.keys = min(self.keys, keys, key=lambda names: (-len(names), names))


def extras_table(places: Places, extras: Sequence[Fields]) -> pa.Table:
    """Return the fields of some records as a table of as many rows.

    Raises:
        Unforeseen: A record has a value that the survey did not see.
    """
    table = table_of(columns_of(extras, places), len(extras))
    return without_unused(table, places)


def table_columns(expected: pa.Schema | None, built_in: pa.Schema) -> pa.Schema | None:
    """Return the columns of a table that are not the record type's, in the lake's types."""
    if expected is None:
        return None
    own = [known for known in expected if known.name not in built_in.names]
    kinds = [(f.name, normal_type(f.type, column=f.name, file="the table")) for f in own]
    return pa.schema([(name, kind) for name, kind in kinds if kind is not None])
