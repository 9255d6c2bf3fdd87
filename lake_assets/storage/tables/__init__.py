"""Iceberg tables: parts are written first, then committed once."""

from __future__ import annotations

from lake_assets.storage.tables.leases import Lease, LeaseFacts, Leases
from lake_assets.storage.tables.model import (
    Commit,
    Delivery,
    Part,
    TableFacts,
    TableSpec,
    partition_field_name,
)
from lake_assets.storage.tables.parts import PartWriter
from lake_assets.storage.tables.store import IcebergTables

__all__ = [
    "Commit",
    "Delivery",
    "IcebergTables",
    "Lease",
    "LeaseFacts",
    "Leases",
    "Part",
    "PartWriter",
    "TableFacts",
    "TableSpec",
    "partition_field_name",
]
