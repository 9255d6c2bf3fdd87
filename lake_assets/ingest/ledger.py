"""What is told of finished uploads: their row of the ledger, and what they changed in schemas."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from ulid import ULID

from lake_assets.contracts.drift import conform
from lake_assets.contracts.names import VariantName
from lake_assets.ingest.changes import forgotten
from lake_assets.ingest.model import Outcome, Prepared, PreparedUpload, TableChange
from lake_assets.ingest.parts import part_stem
from lake_assets.intake.uploads import State, Upload
from lake_assets.storage.system_tables import SCHEMA_CHANGES, UNDONE, UPLOADS
from lake_assets.storage.tables import Delivery, TableSpec
from lake_assets.stores import Stores

_COUNTS = ("rows_in", "accepted", "rejected", "duplicate", "images_in", "images_stored",
           "bytes_in", "image_bytes_in", "image_bytes_stored", "seconds", "run_id")  # fmt: skip
_MERGE_EVERY = 16
"""Each ingestion adds a small file to the ledger, and the next one reads all of its dataset. So
every 16th token (about: as many ingestions) the dataset's rows are put into one file."""


def ledger_change(stores: Stores, prepared: Prepared) -> TableChange:
    """Write the ledger rows of ``prepared`` as a part and return the change that commits it.

    After a crash it may be the second time: rows that the ledger has are not written again.
    """
    name = prepared.name
    uploads = prepared.uploads
    if not prepared.rebuilt:  # a rebuild replaces rows whose keys the ledger has
        known = stores.tables.committed(UPLOADS.name, [item.upload.id for item in uploads])
        uploads = tuple(item for item in uploads if item.upload.id not in known)
    now = datetime.now(tz=UTC)
    plain = [_row(item, now) for item in uploads]
    if prepared.rebuilt:
        plain += [
            _undone_row(upload, now) for upload in stores.staging.uploads(State.REMOVED, name=name)
        ]
    rows = pa.Table.from_pylist(plain, schema=UPLOADS.schema)
    where = name.own_rows
    is_merged = bool(uploads) and not prepared.rebuilt and _is_due(stores, prepared, where)
    if is_merged:
        before = stores.tables.read(UPLOADS.name, where=where)
        # One that an earlier version made has fewer columns.
        rows = pa.concat_tables([conform(before, rows.schema), rows])
    keys = tuple(item.upload.id for item in uploads)
    return TableChange(
        spec=UPLOADS,
        deliveries=(_delivery(stores, prepared, UPLOADS, keys, rows),) if plain else (),
        replaces=(where,) if prepared.rebuilt or is_merged else None,
        forgets=forgotten(stores, name) if prepared.rebuilt else (),
        lease=prepared.lease,
    )


def schema_changes(stores: Stores, prepared: Prepared) -> TableChange | None:
    """Write the schema changes of ``prepared`` as a part and return what commits it; None: no news.

    What was told last of a place is not told again: a rebuild that died may have told it before it
    changed the table.
    """
    uploads = [item for item in (*prepared.uploads, *prepared.told) if item.outcome.schema_changes]
    if not uploads:
        return None
    ids = [item.upload.id for item in uploads]
    if prepared.rebuilt:
        told = _told_last(stores, prepared)
        keys: tuple[str, ...] = (f"rebuild-{ULID()}",)  # those of its uploads are there already
    else:
        told = {}
        known = stores.tables.committed(SCHEMA_CHANGES.name, ids)
        uploads = [item for item in uploads if item.upload.id not in known]
        keys = tuple(item.upload.id for item in uploads)
    now = datetime.now(tz=UTC)
    rows = [row for item in uploads for row in _change_rows(item, now)]
    rows = [row for row in rows if told.get(row["path"]) != _fact(row)]
    if not rows:
        return None
    table = pa.Table.from_pylist(rows, schema=SCHEMA_CHANGES.schema)
    return TableChange(
        spec=SCHEMA_CHANGES,
        deliveries=(_delivery(stores, prepared, SCHEMA_CHANGES, keys, table),),
        replaces=None,
        lease=prepared.lease,
    )


def _told_last(stores: Stores, prepared: Prepared) -> dict[str, tuple[Any, ...]]:
    """Return what was told last of each place of the table, by whichever upload."""
    if not stores.tables.exists(SCHEMA_CHANGES.name):
        return {}
    where = {"table_name": prepared.name.table}
    rows = stores.tables.read(SCHEMA_CHANGES.name, where=where).sort_by("changed_at").to_pylist()
    return {row["path"]: _fact(row) for row in rows}


def _fact(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["change"], row["new_type"]


def _change_rows(item: PreparedUpload, now: datetime) -> list[dict[str, Any]]:
    name = item.upload.name
    return [
        {
            "table_name": name.table,
            "provider": name.provider,
            "dataset": name.dataset,
            "task": name.task,
            "variant": name.variant if isinstance(name, VariantName) else "",
            "upload_id": item.upload.id,
            "changed_at": now,
            **asdict(change),
        }
        for change in item.outcome.schema_changes
    ]


def _is_due(stores: Stores, prepared: Prepared, where: dict[str, str]) -> bool:
    """Return whether the dataset's rows of the ledger are to be put into one file."""
    if prepared.lease.token % _MERGE_EVERY or not stores.tables.exists(UPLOADS.name):
        return False
    return len(stores.tables.data_files(UPLOADS.name, where=where)) > 1


def _delivery(
    stores: Stores, prepared: Prepared, spec: TableSpec, keys: tuple[str, ...], rows: Any
) -> Delivery:
    stem = f"{part_stem(prepared.name, prepared.lease.token)}{ULID()}"
    with stores.tables.part_writer(spec, stem=stem) as parts:
        parts.write(rows)
        return Delivery(keys=keys, parts=parts.close())


def _undone_row(upload: Upload, now: datetime) -> dict[str, Any]:
    """Return the ledger's row of an upload that was taken out: it was there, and counts none."""
    nothing = Outcome(upload_id=upload.id, run_id="")
    return _row(PreparedUpload(upload=upload, outcome=nothing), now) | {"kind": UNDONE}


def _row(item: PreparedUpload, now: datetime) -> dict[str, Any]:
    manifest, outcome = item.upload.manifest, item.outcome
    return {
        "upload_id": item.upload.id,
        "provider": manifest.name.provider,
        "dataset": manifest.name.dataset,
        "task": manifest.name.task,
        "variant": manifest.variant,
        "description": manifest.description,
        "tags": list(manifest.tags),
        "meta": list(manifest.meta.items()),
        "kind": "replay" if manifest.replays else "delivery",
        "source": manifest.source,
        "created_by": manifest.created_by,
        "created_at": manifest.created_at,
        "finished_at": now,
        **{name: getattr(outcome, name) for name in _COUNTS},
        "data_files": [asdict(file) for file in outcome.data_files],
        "beside": [asdict(item) for item in outcome.beside],
    }
