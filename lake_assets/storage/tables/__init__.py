"""Iceberg tables: parts are written first, then committed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lake_assets.storage.tables.model import (
    Commit,
    Delivery,
    Lease,
    LeaseFacts,
    Part,
    TableFacts,
    TableSpec,
    partition_field_name,
)
from lake_assets.storage.tables.store import IcebergTables

if TYPE_CHECKING:
    from lake_assets.storage.tables.parts import PartWriter

__all__ = [
    "Commit",
    "Delivery",
    "IcebergTables",
    "Lease",
    "LeaseFacts",
    "Part",
    "PartWriter",
    "TableFacts",
    "TableSpec",
    "partition_field_name",
]


def __getattr__(name: str) -> object:
    # Lazy: it imports pyarrow.compute, and readers need no writer.
    if name == "PartWriter":
        from lake_assets.storage.tables.parts import PartWriter

        return PartWriter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
