"""The catalog, ``lake.partitions``: what the lake holds, one row per provider and dataset.

A row is made from the tables themselves, so it can always be made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from ulid import ULID

from lake_assets.contracts.names import DatasetName
from lake_assets.query.duckdb import LakeSql, disk_errors
from lake_assets.storage.files import storage_errors
from lake_assets.storage.system_tables import IMAGES, PARTITIONS, QUARANTINE, UPLOADS
from lake_assets.storage.tables import Commit, Delivery
from lake_assets.stores import Stores


def catalog_rows(stores: Stores, names: Sequence[DatasetName]) -> Any:
    """Return the rows of ``lake.partitions`` for these datasets, as a ``pyarrow.Table``."""
    rows = [_row(stores, name) for name in names]
    return pa.Table.from_pylist(rows, schema=PARTITIONS.schema)


def refresh_catalog(stores: Stores, names: Sequence[DatasetName]) -> Commit | None:
    """Replace the rows of these datasets in ``lake.partitions``."""
    return replace_catalog(stores, catalog_rows(stores, names)) if names else None


def replace_catalog(stores: Stores, rows: Any) -> Commit:
    """Put ``rows`` in the place of those of the same datasets."""
    pairs = rows.select(["provider", "dataset"]).to_pylist()
    key = str(ULID())
    with storage_errors(stores.layout.tables):
        with stores.tables.part_writer(PARTITIONS, stem=key) as parts:
            parts.write(rows)
            delivery = Delivery(keys=(key,), parts=parts.close())
    done = stores.tables.replace(PARTITIONS, [delivery], where=pairs)
    for pair in pairs:
        stores.stale.remove(DatasetName(**pair))
    return done


def _row(stores: Stores, name: DatasetName) -> dict[str, Any]:
    contract = stores.registry().contract(name)
    facts = stores.tables.facts(name.table) if stores.tables.exists(name.table) else None
    images, image_bytes = _one(
        stores, name, IMAGES.name, "count(*), coalesce(sum(stored_byte_count), 0)::BIGINT"
    ) or (0, 0)
    quarantined = _one(stores, name, QUARANTINE.name, "count(*)") or (0,)
    last = _one(stores, name, UPLOADS.name, "count(*), max(upload_id), max(finished_at)")
    uploads, last_upload, last_at = last or (0, None, None)
    return {
        "provider": name.provider,
        "dataset": name.dataset,
        "task": "raw",
        "variant": "",
        "table_name": name.table,
        "description": contract.description,
        "owner": contract.owner,
        "rows": facts.rows if facts else 0,
        "table_bytes": facts.byte_count if facts else 0,
        "images": images,
        "image_bytes": image_bytes,
        "quarantined": quarantined[0],
        "uploads": uploads,
        "columns": [f"{column}: {kind}" for column, kind, _ in facts.columns] if facts else [],
        "last_upload_id": last_upload,
        "last_ingested_at": last_at,
    }


def _one(stores: Stores, name: DatasetName, table: str, what: str) -> tuple[Any, ...] | None:
    if not stores.tables.exists(table):
        return None
    sql = LakeSql(stores.tables, scratch=stores.layout.scratch)
    with disk_errors():
        found: tuple[Any, ...] | None = sql.query(
            f"SELECT {what} FROM {table} WHERE provider = ? AND dataset = ?",
            (name.provider, name.dataset),
            prune={"provider": name.provider, "dataset": name.dataset},
        ).fetchone()
    return found
