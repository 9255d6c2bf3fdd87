"""What a delivery would change in its table. Nothing is written.

It is found by the readers and rules of ingestion, so it is what ingesting it would do to the table
as it is now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake_assets.contracts.drift import fit_rows
from lake_assets.contracts.growth import type_words
from lake_assets.contracts.names import Destination, VariantName
from lake_assets.contracts.schema_changes import ChangeCount, Need, SchemaChange, lines_of, needs
from lake_assets.ingest.annotations import annotation_plan, sorted_annotations
from lake_assets.ingest.state import DatasetState, open_state
from lake_assets.intake.model import ReadOptions, StagedFile
from lake_assets.intake.readers import Unreadable, read_upload
from lake_assets.intake.uploads import Upload
from lake_assets.storage.files import hash_file
from lake_assets.stores import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaDiff:
    """What a delivery would change in a table."""

    is_new: bool
    """Whether there is no table yet: to make it is no change."""
    rows: int
    """Rows that were read, without those that no reader can use."""
    broken: int
    """Those of them that break a task's contract, whatever the table: they would be rejected. Which
    images there are is not looked at."""
    columns: tuple[tuple[str, str], ...]
    """(name, type) of the table's own columns afterwards."""
    changes: tuple[SchemaChange, ...]
    """With ``drift: evolve``."""
    needs: tuple[str, ...]
    """What ``drift: freeze`` would refuse, a line each."""
    rejected: int
    """Rows that ``drift: quarantine`` would reject beyond those."""
    unreadable: dict[str, str]
    """Files that cannot be read, and why."""


def schema_diff(stores: Stores, name: Destination, source: Path | Upload) -> SchemaDiff:
    """Return what a data file, or an upload that is staged, would change in a table.

    Raises:
        UnreadableSource, UnsupportedFormat: It is one file, and cannot be read.
        UnknownDataset, UnknownTask.
        SchemaMismatch: The task's contract and table, or the records' names, contradict each other.
    """
    contract = stores.registry().promise(name)
    unreadable: Unreadable = {}
    found: list[Need] = []
    rows = rejected = broken = 0
    with open_state(stores, name, contract, is_empty=False) as state:
        known = pa.schema([]) if state.table_columns is None else state.table_columns
        count, evolved = ChangeCount(known), known
        for table, bad in _tables(state, source, unreadable):
            rows += table.num_rows + bad
            broken += bad
            fitted = fit_rows(table, evolved, is_decided=True)
            evolved = fitted.schema
            count.add(fitted.rows)
            needed = needs(fit_rows(table, known, widen=False).rows, known)
            found += needed
            rejected += len({row for need in needed for row in need.rows.to_pylist()})
        is_new = state.table_schema is None
    if isinstance(source, Path) and unreadable:
        raise next(iter(unreadable.values()))
    return SchemaDiff(
        is_new=is_new,
        rows=rows,
        broken=broken,
        columns=tuple((field.name, type_words(field.type)) for field in evolved),
        changes=() if is_new else count.changes(),
        needs=() if is_new else tuple(lines_of(found)),
        rejected=0 if is_new else rejected,
        unreadable={file: error.message for file, error in unreadable.items()},
    )


def _tables(
    state: DatasetState, source: Path | Upload, unreadable: Unreadable
) -> Iterator[tuple[Any, int]]:
    """Yield rows that may go into the table, each with the number of those that may not."""
    meta: Mapping[str, str] = {}
    if isinstance(source, Path):
        root, options = source.parent, ReadOptions()
        files: tuple[StagedFile, ...] = (_as_staged(source),)
    else:
        root, options, meta = source.files_folder, source.manifest.options, source.manifest.meta
        files = source.files()
    if isinstance(state.name, VariantName):
        plan = annotation_plan(state, root=root, options=options, meta=meta)
        for part in sorted_annotations(plan.batches(files, unreadable), plan):
            yield part.rows.table, len(part.rejected)
        return
    settings = state.stores.settings
    own = state.own_columns
    for batch in read_upload(
        root, files, options, expected=own if len(own) else None, unreadable=unreadable,
        batch_rows=settings.batch_size, batch_bytes=settings.batch_bytes,
    ):  # fmt: skip
        yield batch.rows, 0


def _as_staged(path: Path) -> StagedFile:
    size = path.stat().st_size
    return StagedFile(name=path.name, byte_count=size, sha256=hash_file(path), role="data")
