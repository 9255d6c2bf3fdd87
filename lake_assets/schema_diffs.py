"""What a delivery would change in its table. Nothing is written.

It is found by the readers and rules of ingestion, so it is what ingesting it would do to the table
as it is now; but what is there twice, and which images there are, is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake_assets.contracts.drift import fit_rows
from lake_assets.contracts.growth import type_words
from lake_assets.contracts.names import Destination, VariantName
from lake_assets.contracts.schema_changes import ChangeCount, Need, SchemaChange, lines_of, needs
from lake_assets.contracts.tasks import TaskContract, require_metadata
from lake_assets.errors import InvalidRequest, UnreadableSource, UnsupportedFormat
from lake_assets.ingest.annotations import annotation_plan, sorted_annotations
from lake_assets.ingest.declared import typed_batches
from lake_assets.ingest.growing import Wishes
from lake_assets.ingest.state import DatasetState, open_state
from lake_assets.intake.model import Batch, ReadOptions, StagedFile
from lake_assets.intake.readers import Unreadable, read_upload
from lake_assets.intake.uploads import Upload
from lake_assets.storage.files import hash_file
from lake_assets.stores import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaDiff:
    """What a delivery would change in a table."""

    is_new: bool
    """Whether the table has no columns of its own yet: to make them is no change."""
    rows: int
    """All rows that were read."""
    unusable: int
    """Those of them that no reader, or no table, can use."""
    broken: int
    """Those that break the contract, whatever the table has."""
    columns: tuple[tuple[str, str], ...]
    """(name, type) of the table's own columns afterwards."""
    changes: tuple[SchemaChange, ...]
    """With ``drift: evolve``."""
    needs: tuple[str, ...]
    """What ``drift: freeze`` would refuse, a line each."""
    rejected: int
    """Rows that ``drift: quarantine`` would reject beyond the unusable and the broken."""
    unreadable: dict[str, str]
    """Files that cannot be read, and why."""

    @property
    def usable(self) -> int:
        """Rows for the table."""
        return self.rows - self.unusable - self.broken


def schema_diff(stores: Stores, name: Destination, source: Path | Upload) -> SchemaDiff:
    """Return what a data file, or an upload that is staged, would change in a table.

    Raises:
        UnreadableSource, UnsupportedFormat: It is one file, and cannot be read.
        UnknownDataset, UnknownTask.
        InvalidRequest: The upload is of another dataset or variant.
        InvalidMetadata, SchemaMismatch: The upload would fail as a whole.
    """
    if isinstance(source, Upload) and source.name != name:
        raise InvalidRequest(f"upload {source.id} is of {source.name}, not of {name}")
    unreadable: Unreadable = {}
    while True:
        try:
            return _diff(stores, name, source, unreadable)
        except (UnreadableSource, UnsupportedFormat) as error:  # once more without it, as ingested
            file = str(error.context.get("file", ""))
            if isinstance(source, Path) or not file or file in unreadable:
                raise
            unreadable[file] = error


def _diff(
    stores: Stores, name: Destination, source: Path | Upload, unreadable: Unreadable
) -> SchemaDiff:
    with open_state(stores, name, stores.registry().promise(name), is_empty=False) as state:
        found = _Found(state, state.own_columns)
        for table in _tables(state, _Source.of(source), unreadable, found):
            found.see(table)
        if found.wishes.come_true():  # read once more, as ingested
            found = _Found(state, found.before)
            for table in _tables(state, _Source.of(source), unreadable, found):
                found.see(table)
    if isinstance(source, Path) and unreadable:
        raise next(iter(unreadable.values()))
    return SchemaDiff(
        is_new=found.is_new,
        rows=found.rows,
        unusable=found.rejected_by_reader + found.misfits,
        broken=found.rows - found.rejected_by_reader - found.seen,
        columns=tuple((column.name, type_words(column.type)) for column in found.columns),
        changes=() if found.is_new else found.count.changes(),
        needs=() if found.is_new else tuple(lines_of(found.needs)),
        rejected=0 if found.is_new else found.rejected,
        unreadable={file: error.message for file, error in unreadable.items()},
    )


class _Found:
    """What is found of rows, as ``ingest.fitting.Fitting`` fits them in each of the modes."""

    def __init__(self, state: DatasetState, before: Any) -> None:
        self.before = before
        """``pyarrow.Schema``: the columns before any takes another type."""
        self.wishes = Wishes(state)
        known = pa.schema([]) if state.table_columns is None else state.table_columns
        self.is_new = len(known) == 0
        self.columns = state.own_columns
        self.count = ChangeCount(known)
        self.needs: list[Need] = []
        self.rows = self.rejected_by_reader = self.seen = self.misfits = self.rejected = 0

    def see(self, table: Any) -> None:
        """Take rows into account that break no contract."""
        self.wishes.see(table, has_images=False)
        fitted = fit_rows(table, self.columns, is_decided=True)
        self.columns = fitted.schema
        self.seen += table.num_rows
        self.misfits += len(fitted.misfits)
        self.count.add(fitted.rows)
        fixed = fit_rows(table, self.before, widen=False, is_decided=True)
        needed = needs(fixed.rows, self.before)
        self.needs += needed
        self.rejected += len({row for need in needed for row in need.rows.to_pylist()})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Files, and how they are to be read."""

    root: Path
    files: tuple[StagedFile, ...]
    options: ReadOptions = field(default_factory=ReadOptions)
    meta: Mapping[str, str] | None = None
    """What was said of them; None: nothing is known of it yet."""

    @classmethod
    def of(cls, source: Path | Upload) -> _Source:
        if isinstance(source, Path):
            size = source.stat().st_size
            file = StagedFile(
                name=source.name, byte_count=size, sha256=hash_file(source), role="data"
            )
            return cls(root=source.parent, files=(file,))
        given = source.manifest
        return cls(
            root=source.files_folder, files=source.files(), options=given.options, meta=given.meta
        )


def _tables(
    state: DatasetState, source: _Source, unreadable: Unreadable, found: _Found
) -> Iterator[Any]:
    """Yield the rows that break no contract, and count all."""
    if not isinstance(state.name, VariantName):
        batches = _counted(_raw_batches(state, source, unreadable), found)
        for batch in typed_batches(batches, state.declared):
            yield batch.rows
        return
    if source.meta is not None and isinstance(state.contract, TaskContract):
        require_metadata(state.name.task, state.contract, source.meta)
    plan = annotation_plan(state, root=source.root, options=source.options, meta=source.meta or {})
    batches = _counted(plan.batches(source.files, unreadable), found)
    for part in sorted_annotations(batches, plan):
        yield part.rows.table


def _raw_batches(state: DatasetState, source: _Source, unreadable: Unreadable) -> Iterator[Batch]:
    settings = state.stores.settings
    return read_upload(
        source.root, source.files, source.options, expected=state.expected,
        unreadable=unreadable, batch_rows=settings.batch_size, batch_bytes=settings.batch_bytes,
    )  # fmt: skip


def _counted(batches: Iterable[Batch], found: _Found) -> Iterator[Batch]:
    for batch in batches:
        found.rows += batch.rows.num_rows + len(batch.rejected)
        found.rejected_by_reader += len(batch.rejected)
        yield batch
