"""Fit the rows of one upload to their table, as the contract says: change it, fail, or reject.

Invariant: where the contract does not let a table evolve, nothing that an upload brings changes its
schema; what it would have changed is named.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.beside import Beside, BesideCount
from lake_assets.contracts.drift import conform, fit_rows
from lake_assets.contracts.growth import grow_schema
from lake_assets.contracts.rewrites import rewritten_places, with_types
from lake_assets.contracts.schema_changes import (
    ChangeCount,
    Need,
    SchemaChange,
    lines_of,
    needs,
)
from lake_assets.errors import SchemaMismatch
from lake_assets.ingest.growing import Wishes
from lake_assets.ingest.sorting import Rows, misfit_row, rejected_row
from lake_assets.ingest.state import DatasetState
from lake_assets.intake.model import RejectedRow
from lake_assets.storage.system_tables import columns_of, table_spec

_LINES = 50
"""Of a diff in a message; `lake schema diff` prints all."""


class Fitting:
    """What one upload makes of its table's columns."""

    def __init__(self, state: DatasetState) -> None:
        self._state = state
        self.columns = state.own_columns
        """``pyarrow.Schema`` of the table's own columns with those that the upload brings."""
        self.written = state.own_columns
        """Those of them that rows which go into the table brought."""
        # Of a table that only has the lake's own columns so far, as after a first upload of which
        # every row was rejected, nobody has decided any.
        is_made = state.table_columns is not None and len(state.table_columns) > 0
        # What a rebuild changes is told of all its uploads together.
        self._count = ChangeCount(state.table_columns) if is_made and not state.is_empty else None
        self._is_fixed = is_made and state.contract.drift != "evolve"
        self._needs: list[Need] = []
        self._wishes = Wishes(state)
        self._beside = BesideCount()

    def fit(self, rows: Rows) -> tuple[Rows, tuple[RejectedRow, ...]]:
        """Return the rows that fit, in the columns of the table, and the rejections of others."""
        if not self._is_fixed:
            self._wishes.see(rows.table, has_images=rows.has_images)
        fitted = fit_rows(rows.table, self.columns, widen=not self._is_fixed, is_decided=True)
        rejected = tuple(misfit_row(rows, item) for item in fitted.misfits)
        kept = rows.take(fitted.rows, fitted.kept)
        if not self._is_fixed:
            self.columns = fitted.schema
            return kept, rejected
        found = needs(kept.table, self.columns)
        if found and self._state.contract.drift == "quarantine":
            kept, others = _without(kept, found)
            rejected += others
        else:
            self._needs += found
        return kept.with_table(conform(kept.table, self.columns)), rejected

    def grows(self) -> bool:
        """Return whether the table's columns have other types from now on, as these rows need.

        They are to be read and fitted anew then.
        """
        return not self._is_fixed and self._wishes.come_true()

    def count(self, rows: Any) -> None:
        """Take in rows that go into the table, with the lake's columns (``pyarrow.Table``)."""
        if not rows.num_rows:
            return
        own = rows.drop_columns(columns_of(self._state.name).names)
        self._beside.add(own)
        if not own.schema.equals(self.written):
            self.written = grow_schema(self.written, own.schema)
        if self._count is not None:
            self._count.add(own)

    def changes(self) -> tuple[SchemaChange, ...]:
        """Return what the upload changes in its table's schema."""
        return self._count.changes() if self._count else ()

    def beside(self) -> tuple[Beside, ...]:
        """Return which values of rows that go into the table stand beside their columns."""
        return self._beside.found()

    def require_fit(self) -> None:
        """Raise unless the dataset's table can, and may, take the upload's columns.

        Raises:
            SchemaMismatch.
            SchemaChanged: it has other columns than those that rows were fitted to.
        """
        state = self._state
        if self._needs:
            raise _frozen(state, self._needs)
        # Columns as they were fitted before: asking costs as much as reading ten rows does.
        known = state.table_columns
        is_known = known is not None and len(known) > 0 and self.written.equals(known)
        if not state.is_empty and not is_known:
            # Of places that take another type, those that are there are written anew with it.
            changed = rewritten_places(state.table_schema or (), self.written)
            own = with_types(self.written, {steps: old for steps, (old, _) in changed.items()})
            spec = table_spec(state.name, state.contract, own)
            state.stores.tables.require_fit(spec, fitted_to=state.table_schema)


def _without(rows: Rows, found: tuple[Need, ...]) -> tuple[Rows, tuple[RejectedRow, ...]]:
    """Return ``rows`` without those that need something, and their rejections, by row."""
    first: dict[int, tuple[Need, int]] = {}
    for need in found:
        for number, row in enumerate(need.rows.to_pylist()):
            first.setdefault(row, (need, number))
    rejected = tuple(
        rejected_row(
            rows, row, rule="row_fits_the_schema", path=need.path, expected=need.expected,
            actual=need.examples[number].as_py(),
        )
        for row, (need, number) in sorted(first.items())
    )  # fmt: skip
    everything = pa.arange(0, len(rows.shas))
    kept = everything.filter(pc.invert(pc.is_in(everything, pa.array(list(first), pa.int64()))))
    return rows.take(rows.table.take(kept), kept), rejected


def _frozen(state: DatasetState, found: list[Need]) -> SchemaMismatch:
    lines = lines_of(found)
    more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
    listed = "\n  ".join([*lines[:_LINES], *more])
    return SchemaMismatch(
        f"the contract of {state.name} says drift: freeze, and this upload needs another schema "
        f"than {state.name.table} has:\n  {listed}\nMend the delivery; or set drift: evolve (or "
        "quarantine, which rejects those rows alone) for it in config/schema.yaml, then "
        "`lake process retry` its upload",
        table=state.name.table,
    )
