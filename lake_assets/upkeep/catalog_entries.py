"""The catalog as it stands in its table. Imports neither DuckDB nor PyIceberg: commands list it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lake_assets.contracts.names import RAW
from lake_assets.storage.system_tables import PARTITIONS
from lake_assets.stores import Stores


def catalog_entries(stores: Stores) -> list[dict[str, Any]]:
    """Return the rows of ``lake.partitions``, by dataset: itself, then what annotates it."""
    from lake_assets.storage.tables.arrow_types import python_rows

    if not stores.tables.exists(PARTITIONS.name):
        return []
    rows = python_rows(stores.tables.read(PARTITIONS.name))
    return sorted(rows, key=_place)


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    names = (row["provider"], row["dataset"], row["task"], row["variant"])
    return (*names[:2], row["task"] != RAW, *names[2:])
