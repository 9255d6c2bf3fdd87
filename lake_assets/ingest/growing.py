"""Whether a place of a dataset's table may take another type, for which its files are written anew.

Invariants: every value that is there is exact in the new type; the types that a contract declares
stay, and so do columns by which rows are parted, and those of which record ids are made where
the same value of the new type would have another id.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from lake_assets.contracts.rewrites import Wanted, either_type, outgrown
from lake_assets.contracts.schema_changes import ITEMS, Steps
from lake_assets.contracts.tasks import TaskContract
from lake_assets.ingest.state import DatasetState
from lake_assets.intake.readers.text_types import kind_of_texts
from lake_assets.storage.tables.statistics import Span, all_spans

_FIRST_ROWS = 64
_MOST_EXACT = 2**53
"""Up to this a double holds every integer."""


class Wishes:
    """The types that the rows of one upload need at places of the table of ``state``."""

    def __init__(self, state: DatasetState) -> None:
        self._state = state
        self._known = state.own_columns
        self._wanted: Wanted = {}
        self._has_images = False

    def see(self, rows: Any, *, has_images: bool) -> None:
        """Take rows into account (``pyarrow.Table``), as they were read."""
        self._has_images |= has_images
        for steps, kind in outgrown(rows, self._known).items():
            self._wanted[steps] = either_type(self._wanted.get(steps), kind)
        for field in self._known:
            # A column of text takes any: perhaps it was made for text without a character.
            if (field.name,) not in self._wanted and _may_be_typed(rows, field):
                self._wanted[field.name,] = None

    def come_true(self) -> bool:
        """Give the places of the state the types that are needed, where they may have them.

        Returns:
            Whether any has another one now. The upload is to be read anew then.
        """
        state = self._state
        new = {steps: kind for steps, kind in self._wanted.items() if steps not in state.grown}
        found = {steps: kind for steps, kind in new.items() if self._may_grow(steps, kind)}
        # A place that holds nothing has what the upload decides, as if it were new.
        left = [steps for steps in new if steps not in found]
        found |= {steps: None for steps in left if _may_begin_anew(state, steps)}
        if found:
            state.grow(found)
        return bool(found)

    def _may_grow(self, steps: Steps, kind: Any | None) -> bool:
        state = self._state
        if kind is None or _is_fixed(state, steps):
            return False
        if kind != pa.float64():  # 10 and 10.0 have one id, 10 and 10.00 as a decimal two
            return not _makes_ids(state, steps[0], has_images=self._has_images)
        return all_spans(state.files(), steps, _is_exact_in_double)


def _may_be_typed(rows: Any, field: Any) -> bool:
    """Return whether the first values of a column of text are all of another type."""
    if not pa.types.is_string(field.type) or field.name not in rows.column_names:
        return False
    column = rows[field.name]
    if not pa.types.is_string(column.type) or not column.num_chunks:
        return False
    return kind_of_texts(column.chunk(0)[:_FIRST_ROWS]) not in (None, pa.string())


def _may_begin_anew(state: DatasetState, steps: Steps) -> bool:
    # Whether a list is empty everywhere, statistics of its items do not say.
    if ITEMS in steps or _is_fixed(state, steps):
        return False
    return all_spans(state.files(), steps, _is_nothing)


def _is_fixed(state: DatasetState, steps: Steps) -> bool:
    parted = (column for _, column in state.partition_by)
    return steps[0].lower() in {name.lower() for name in (*state.declared.names, *parted)}


def _makes_ids(state: DatasetState, column: str, *, has_images: bool) -> bool:
    """Return whether the ids of records, or the hashes of what they say, are made of a column."""
    key = {name.lower() for name in state.contract.key}
    if isinstance(state.contract, TaskContract) or key:
        return bool(key) and (isinstance(state.contract, TaskContract) or column.lower() in key)
    # Without a key, a row with an image is what all of its columns say.
    return has_images or not all_spans(state.files(), ("_image",), _is_nothing)


def _is_exact_in_double(span: Span) -> bool:
    return span.low is None or (-_MOST_EXACT <= span.low and span.high <= _MOST_EXACT)


def _is_nothing(span: Span) -> bool:
    return span.low is None or (span.low == "" == span.high)
