"""The catalog, ``lake.partitions``: what the lake holds, one row per provider and dataset.

A row is made from the tables themselves, so it can always be made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from ulid import ULID

from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import DatasetContract
from lake_assets.query.duckdb import LakeSql, connect, disk_errors
from lake_assets.storage.files import storage_errors
from lake_assets.storage.system_tables import IMAGES, PARTITIONS, QUARANTINE, UPLOADS
from lake_assets.storage.tables import Commit, Delivery, TableFacts
from lake_assets.storage.tables.catalog_file import seal_catalog
from lake_assets.stores import Stores


def catalog_rows(stores: Stores, names: Sequence[DatasetName]) -> Any:
    """Return the rows of ``lake.partitions`` for these datasets, as a ``pyarrow.Table``."""
    registry, known = stores.registry(), frozenset(stores.tables.names())
    ask = _Ask(stores, names)
    images = ask(IMAGES.name, "count(*), coalesce(sum(stored_byte_count), 0)::BIGINT")
    quarantined = ask(QUARANTINE.name, "count(*)")
    uploads = ask(UPLOADS.name, "count(*), max(upload_id), max(finished_at)")
    rows = []
    for name in names:
        facts = stores.tables.facts(name.table) if name.table in known else None
        row = _row(name, registry.contract(name), facts)
        row["images"], row["image_bytes"] = images.get(name, (0, 0))
        (row["quarantined"],) = quarantined.get(name, (0,))
        row["uploads"], row["last_upload_id"], row["last_ingested_at"] = uploads.get(
            name, (0, None, None)
        )
        rows.append(row)
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
    seal_catalog(stores.layout.catalog_file)
    for pair in pairs:
        stores.stale.remove(DatasetName(**pair))
    return done


def _row(name: DatasetName, contract: DatasetContract, facts: TableFacts | None) -> dict[str, Any]:
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
        "columns": [f"{column}: {kind}" for column, kind, _ in facts.columns] if facts else [],
    }


class _Ask:
    """Asks the tables that datasets share about some of them, all in one query."""

    def __init__(self, stores: Stores, names: Sequence[DatasetName]) -> None:
        scratch = stores.layout.scratch
        self._tables = stores.tables
        self._sql = LakeSql(stores.tables, scratch=scratch, connection=connect(scratch=scratch))
        self._keys = [str(name) for name in names]
        one = names[0] if len(names) == 1 else None
        self._prune = {"provider": one.provider, "dataset": one.dataset} if one else {}

    def __call__(self, table: str, what: str) -> dict[DatasetName, tuple[Any, ...]]:
        """Return ``what`` of each dataset that has rows in ``table``."""
        if not self._tables.exists(table):
            return {}
        with disk_errors():
            found = self._sql.query(
                f"""SELECT provider, dataset, {what} FROM {table}
                    WHERE provider || '/' || dataset IN (SELECT unnest($1)) GROUP BY ALL""",
                (self._keys,),
                prune=self._prune,
            ).fetchall()
        return {DatasetName(provider, dataset): tuple(rest) for provider, dataset, *rest in found}
