"""Schemas for people: since when a table has a column, what changed, what a delivery would change.

Nothing is written. What a delivery would change is found by the readers and rules of ingestion, so
it is what ingesting it would do to the table as it is now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake_assets.contracts.drift import fit_rows
from lake_assets.contracts.growth import type_words
from lake_assets.contracts.names import DatasetName, Destination
from lake_assets.contracts.schema_changes import ChangeCount, Need, SchemaChange, lines_of, needs
from lake_assets.contracts.variants import is_variant, main_name
from lake_assets.intake.model import Batch, ReadOptions, StagedFile
from lake_assets.intake.readers import Unreadable, read_upload
from lake_assets.intake.uploads import Upload
from lake_assets.storage.files import hash_file
from lake_assets.storage.system_tables import RAW_COLUMNS, SCHEMA_CHANGES
from lake_assets.stores import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """One column of a table."""

    name: str
    type: str
    """In Iceberg's words."""
    comment: str
    since: str
    """Upload that added it; empty: it is as old as the table."""
    variant_of: str
    """Column whose values stand here if that cannot hold them; empty: it is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaDiff:
    """What a delivery would change in a table."""

    is_new: bool
    """Whether there is no table yet: to make it is no change."""
    rows: int
    """Rows that were read, without those that no reader can use."""
    columns: tuple[tuple[str, str], ...]
    """(name, type) of the table's own columns afterwards."""
    changes: tuple[SchemaChange, ...]
    """With ``drift: evolve``."""
    needs: tuple[str, ...]
    """What ``drift: freeze`` would refuse, a line each."""
    rejected: int
    """Rows that ``drift: quarantine`` would reject."""
    unreadable: dict[str, str]
    """Files that cannot be read, and why."""


def schema_log(
    stores: Stores, name: Destination | None = None, *, since: datetime | None = None
) -> list[dict[str, Any]]:
    """Return the rows of ``lake.schema_changes``, oldest first.

    Args:
        name: Only of this dataset or variant; None: of all tables.
        since: Only later ones; aware.
    """
    if not stores.tables.exists(SCHEMA_CHANGES.name):
        return []
    found = stores.tables.read(SCHEMA_CHANGES.name, where=name.own_rows if name else {}).to_pylist()
    kept = [row for row in found if since is None or row["changed_at"] >= since]
    return sorted(kept, key=lambda row: (row["changed_at"], row["upload_id"], row["path"]))


def schema_columns(stores: Stores, name: Destination) -> list[ColumnFacts]:
    """Return the columns of a dataset's or task's table, in its order; none: there is no table."""
    schema = stores.tables.schema(name.table)
    log = [row for row in schema_log(stores) if row["table_name"] == name.table]
    since = {row["path"]: row["upload_id"] for row in reversed(log) if row["change"] != "widened"}
    return [
        ColumnFacts(
            name=field.name,
            type=type_words(field.type),
            comment=(field.metadata or {}).get(b"doc", b"").decode(),
            since=since.get(field.name, ""),
            variant_of=main_name(field.name) if is_variant(field.name) else "",
        )
        for field in schema or ()
    ]


def schema_diff(stores: Stores, name: DatasetName, source: Path | Upload) -> SchemaDiff:
    """Return what a data file, or an upload that is staged, would change in a dataset's table.

    Raises:
        UnreadableSource, UnsupportedFormat: it is one file, and cannot be read.
    """
    schema = stores.tables.schema(name.table)
    known = pa.schema([field for field in schema or () if field.name not in RAW_COLUMNS.names])
    unreadable: Unreadable = {}
    count, evolved = ChangeCount(known), known
    found: list[Need] = []
    rows = rejected = 0
    for batch in _batches(stores, source, known, unreadable):
        rows += batch.rows.num_rows
        fitted = fit_rows(batch.rows, evolved, is_decided=True)
        evolved = fitted.schema
        count.add(fitted.rows)
        needed = needs(fit_rows(batch.rows, known, widen=False).rows, known)
        found += needed
        rejected += len({row for need in needed for row in need.rows.to_pylist()})
    is_new = schema is None
    return SchemaDiff(
        is_new=is_new,
        rows=rows,
        columns=tuple((field.name, type_words(field.type)) for field in evolved),
        changes=() if is_new else count.changes(),
        needs=() if is_new else tuple(lines_of(found)),
        rejected=0 if is_new else rejected,
        unreadable={file: error.message for file, error in unreadable.items()},
    )


def _batches(
    stores: Stores, source: Path | Upload, known: Any, unreadable: Unreadable
) -> Iterator[Batch]:
    files: tuple[StagedFile, ...]
    if isinstance(source, Path):
        files = (_as_staged(source),)
    else:
        files = source.files()
    return read_upload(
        source.parent if isinstance(source, Path) else source.files_folder,
        files,
        ReadOptions() if isinstance(source, Path) else source.manifest.options,
        expected=known if len(known) else None,
        batch_rows=stores.settings.batch_size,
        batch_bytes=stores.settings.batch_bytes,
        unreadable=None if isinstance(source, Path) else unreadable,
    )


def _as_staged(path: Path) -> StagedFile:
    size = path.stat().st_size
    return StagedFile(name=path.name, byte_count=size, sha256=hash_file(path), role="data")
