"""The ledger: one row of ``lake.uploads`` per finished upload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from lake_assets.ingest.model import Prepared, PreparedUpload, TableChange
from lake_assets.storage.system_tables import UPLOADS
from lake_assets.storage.tables import Delivery
from lake_assets.stores import Stores

_COUNTS = ("rows_in", "accepted", "rejected", "duplicate", "images_in", "images_stored",
           "bytes_in", "image_bytes_in", "image_bytes_stored", "seconds", "run_id")  # fmt: skip


def ledger_change(stores: Stores, prepared: Prepared) -> TableChange:
    """Write the ledger rows of ``prepared`` as parts and return the change that commits them.

    After a crash it may be the second time: rows that the ledger has are not written again, and
    parts that were written but never committed are removed.
    """
    now = datetime.now(tz=UTC)
    name = prepared.name
    uploads = prepared.uploads
    if not prepared.rebuilt:  # a rebuild replaces rows whose keys the ledger has
        known = stores.tables.committed(UPLOADS.name, [item.upload.id for item in uploads])
        uploads = tuple(item for item in uploads if item.upload.id not in known)
        _remove_parts(stores, uploads)
    deliveries = [_delivery(stores, item, now) for item in uploads]
    where = {"provider": name.provider, "dataset": name.dataset}
    return TableChange(
        spec=UPLOADS,
        deliveries=tuple(deliveries),
        replaces=(where,) if prepared.rebuilt else None,
    )


def _remove_parts(stores: Stores, uploads: Sequence[PreparedUpload]) -> None:
    folder = stores.tables.data_folder(UPLOADS.name)
    for item in uploads:
        for part in folder.glob(f"{item.upload.id}-*.parquet"):
            part.unlink(missing_ok=True)


def _delivery(stores: Stores, item: PreparedUpload, now: datetime) -> Delivery:
    rows = pa.Table.from_pylist([_row(item, now)], schema=UPLOADS.schema)
    with stores.tables.part_writer(UPLOADS, stem=f"{item.upload.id}-{now:%Y%m%d%H%M%S%f}") as parts:
        parts.write(rows)
        return Delivery(key=item.upload.id, parts=parts.close())


def _row(item: PreparedUpload, now: datetime) -> dict[str, Any]:
    manifest, outcome = item.upload.manifest, item.outcome
    return {
        "upload_id": item.upload.id,
        "provider": manifest.name.provider,
        "dataset": manifest.name.dataset,
        "variant": manifest.variant,
        "description": manifest.description,
        "tags": list(manifest.tags),
        "source": manifest.source,
        "created_by": manifest.created_by,
        "created_at": manifest.created_at,
        "finished_at": now,
        **{name: getattr(outcome, name) for name in _COUNTS},
        "data_files": [asdict(file) for file in outcome.data_files],
    }
