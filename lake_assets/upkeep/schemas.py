"""Schemas for people: which columns a table has since when, and how it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.growth import type_words
from lake_assets.contracts.variants import is_variant, main_name
from lake_assets.storage.system_tables import SCHEMA_CHANGES
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
    declared: str
    """Type that the dataset's contract declares; empty: none."""
    variant_of: str
    """Column whose values stand here if that cannot hold them; empty: it is none."""


def schema_log(
    stores: Stores, where: Mapping[str, str] | None = None, *, since: datetime | None = None
) -> list[dict[str, Any]]:
    """Return the rows of ``lake.schema_changes``, oldest first.

    Args:
        where: Only rows that have these values, column → value; None: of all tables.
        since: Only later ones; aware.
    """
    if not stores.tables.exists(SCHEMA_CHANGES.name):
        return []
    found = stores.tables.read(SCHEMA_CHANGES.name, where=dict(where or {})).to_pylist()
    kept = [row for row in found if since is None or row["changed_at"] >= since]
    return sorted(kept, key=lambda row: (row["changed_at"], row["upload_id"], row["path"]))


def schema_columns(
    stores: Stores, table: str, contract: DatasetContract | None = None
) -> list[ColumnFacts]:
    """Return the columns of a table, in its order; none: there is no such table.

    Args:
        contract: Of the dataset whose table it is; None: it is no dataset's.
    """
    schema = stores.tables.schema(table)
    promised = () if contract is None else contract.promised_columns()
    declared = {field.name.lower(): type_words(field.type) for field in promised}
    log = schema_log(stores, {"table_name": table})
    new = [row for row in reversed(log) if row["old_type"] is None]
    since = {row["path"]: row["upload_id"] for row in new}
    return [
        ColumnFacts(
            name=field.name,
            type=type_words(field.type),
            comment=(field.metadata or {}).get(b"doc", b"").decode(),
            since=since.get(field.name, ""),
            declared=declared.get(field.name.lower(), ""),
            variant_of=main_name(field.name) if is_variant(field.name) else "",
        )
        for field in schema or ()
    ]
