"""The catalog, ``lake.partitions``: what the lake holds, one row per provider and dataset.

A row is made from the tables themselves, so it can always be made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from ulid import ULID

from lake_assets.contracts.names import DatasetName
from lake_assets.query.duckdb import LakeSql
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
    numbers = _numbers(stores, name)
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
        "images": numbers.get("images", 0),
        "image_bytes": numbers.get("image_bytes", 0),
        "quarantined": numbers.get("quarantined", 0),
        "uploads": numbers.get("uploads", 0),
        "columns": [f"{column}: {kind}" for column, kind, _ in facts.columns] if facts else [],
        "last_upload_id": numbers.get("last_upload_id"),
        "last_ingested_at": numbers.get("last_ingested_at"),
    }


_COUNTED = {
    IMAGES.name: "count(*) AS images, coalesce(sum(stored_byte_count), 0)::BIGINT AS image_bytes",
    QUARANTINE.name: "count(*) AS quarantined",
    UPLOADS.name: "count(*) AS uploads, max(upload_id) AS last_upload_id, "
    "max(finished_at) AS last_ingested_at",
}


def _numbers(stores: Stores, name: DatasetName) -> dict[str, Any]:
    """Return what the lake's own tables have of a dataset; one query, so one snapshot of each."""
    counted = [
        f"(SELECT {what} FROM {table} WHERE provider = $provider AND dataset = $dataset)"
        for table, what in _COUNTED.items()
        if stores.tables.exists(table)
    ]
    if not counted:
        return {}
    own = {"provider": name.provider, "dataset": name.dataset}
    sql = LakeSql(stores.tables, scratch=stores.layout.scratch)
    found = sql.query(f"SELECT * FROM {' CROSS JOIN '.join(counted)}", own, prune=own)
    return dict(zip(found.columns, found.fetchone(), strict=True))
