"""What a first pass over JSON records finds out.

Invariant: surveys merge to the same whatever their order and however the records were parted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from lake_assets.errors import UnreadableSource
from lake_assets.intake.readers.json_bytes import Lines, Positions
from lake_assets.intake.readers.json_columns import shape_of
from lake_assets.intake.readers.json_records import Block
from lake_assets.intake.readers.json_types import Shape
from lake_assets.intake.readers.places import KeyOrder
from lake_assets.intake.readers.source import MAX_COLUMNS

_MOST_BYTES = 64 * 1024
"""Longer records do not show the order of keys."""


@dataclass(frozen=True, slots=True)
class Witness:
    """The record whose keys stand in the order in which columns are to stand.

    It is the one with values for most keys; of several the longest, then the one whose bytes come
    first. Any record would do that does not depend on which one came first.
    """

    count: int = -1
    text: bytes = b"{}"

    def or_better(self, other: Witness) -> Witness:
        """Return the one of two whose order is taken."""
        return min(self, other, key=lambda one: (-one.count, -len(one.text), one.text))

    def order(self) -> KeyOrder:
        """Return the order of the keys in the record."""
        order = KeyOrder()
        order.see(json.loads(self.text, parse_int=str))  # of any length
        return order


@dataclass(slots=True)
class Survey:
    """The shape of records, and one of them."""

    shape: Shape = field(default_factory=Shape)
    witness: Witness = field(default_factory=Witness)

    def merge(self, other: Survey) -> None:
        """Take into account all that another survey has seen."""
        self.shape.merge(other.shape)
        self.witness = self.witness.or_better(other.witness)

    def see_records(self, block: Block) -> None:
        """Take records into account that were read one by one."""
        for i, value in enumerate(block.values):
            self.shape.see(value)
            count = sum(inner is not None for inner in value.values())
            text = block.texts[i]
            if count >= self.witness.count and len(text) <= _MOST_BYTES:
                data = text.encode()
                if len(data) <= _MOST_BYTES:
                    self.witness = self.witness.or_better(Witness(count, data))

    def see_columns(self, columns: Mapping[str, pa.Array], lines: Lines, picked: Positions) -> None:
        """Take some lines into account of which each is a record, and which are columns now."""
        self.shape.merge(shape_of(columns))
        counts = np.zeros(len(picked), np.int64)
        for column in columns.values():
            if not column.null_count:
                counts += 1
            elif column.null_count < len(column):
                counts += column.is_valid().to_numpy(zero_copy_only=False)
        lengths = _lengths(lines, picked)
        counts[lengths > _MOST_BYTES] = -1
        most = int(counts.max(initial=-1))
        if most < max(self.witness.count, 0):
            return
        longest = int(lengths[counts == most].max())
        best = picked[(counts == most) & (lengths == longest)]
        text = min(lines[i].rstrip(b"\r\n") for i in best.tolist())
        self.witness = self.witness.or_better(Witness(most, text))


def _lengths(lines: Lines, picked: Positions) -> Positions:
    """Return how long some lines are without their ends."""
    data = np.frombuffer(lines.data, np.uint8)
    begins, ends = lines.starts[picked], lines.starts[picked + 1] - 1
    has_return = data[np.maximum(ends - 1, 0)] == ord("\r")
    lengths: Positions = ends - begins - has_return
    return lengths


def require_width(shape: Shape, file: str, where: str = "") -> None:
    """Refuse records with more different keys than a table has columns.

    Raises:
        UnreadableSource.
    """
    if len(shape.fields) > MAX_COLUMNS:
        place = f" in {where}" if where else ""
        raise UnreadableSource(
            f"{file} has {len(shape.fields):,} columns{place}, and a table at most "
            f"{MAX_COLUMNS:,}. Write one row per value instead.",
            file=file,
        )
    for inner in shape.fields.values():
        require_width(inner, file, f"{where}.{inner.name}" if where else inner.name)
    if shape.item is not None:
        require_width(shape.item, file, where)
