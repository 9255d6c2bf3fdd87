"""What the columns of an upload's CSV files can be, and how that counts among other formats.

Invariant: guesses merge to the same whatever their order and however the rows were parted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from lake_assets.intake.readers.csv_chunks import WIDER, Found
from lake_assets.intake.readers.json_types import Shape
from lake_assets.intake.readers.text_types import TypeGuess


@dataclass(slots=True)
class ColumnGuesses:
    """What columns can be, by their names in lower case."""

    new: dict[str, TypeGuess] = field(default_factory=dict)
    """Columns that the table has not."""
    grown: dict[str, pa.DataType] = field(default_factory=dict)
    """Larger types of columns that the table has."""

    @classmethod
    def of(cls, known: Mapping[str, pa.DataType], found: Found) -> ColumnGuesses:
        """Return what one file shows."""
        return cls(
            {name.lower(): guess for name, guess in found.guesses.items()},
            {name.lower(): WIDER[known[name]] for name in found.outgrown},
        )

    def merge(self, other: ColumnGuesses) -> None:
        """Take into account what other files show."""
        for name, guess in other.new.items():
            mine = self.new.setdefault(name, TypeGuess())
            mine.merge(guess)
        self.grown |= other.grown

    def shape(self) -> Shape:
        """Return the columns as votes beside those of other formats."""
        shape = Shape()
        for name, guess in self.new.items():
            kind = guess.kind()
            if kind is not None:
                shape.field(name).count_type(kind, guess.count)
        for name, kind in self.grown.items():
            shape.field(name).count_type(kind, 0)
        return shape
