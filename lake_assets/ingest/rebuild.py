"""A rebuild that is under way: from its first commit to its last a note of it is on disk.

It replaces the rows of several tables, one after the other. If its process dies in between, the
note tells whoever comes next to do it again, and which files the dead one left.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lake_assets.contracts.names import DatasetName
from lake_assets.ingest.changes import table_of
from lake_assets.ingest.model import COMMIT_ORDER
from lake_assets.storage.tables import Part
from lake_assets.stores import Stores


def begin_rebuild(stores: Stores, name: DatasetName, parts: Sequence[Part]) -> None:
    """Note that ``name`` is being rebuilt from ``parts``, which are written already."""
    left = stores.rebuilds.read(name)
    if left is not None:
        _remove_unused(stores, name, json.loads(left))
    stores.rebuilds.put(name, json.dumps([part.path for part in parts]))


def end_rebuild(stores: Stores, name: DatasetName) -> None:
    """Forget the note: all tables have the rebuilt rows."""
    stores.rebuilds.remove(name)


def rebuild_is_unfinished(stores: Stores, name: DatasetName) -> bool:
    """Return whether a rebuild of ``name`` began and did not end. Asked under its lock."""
    return stores.rebuilds.read(name) is not None


def _remove_unused(stores: Stores, name: DatasetName, paths: Sequence[str]) -> None:
    """Remove the parts of a rebuild that died, but those that its commits had reached."""
    used: set[str] = set()
    for asset in COMMIT_ORDER:
        table = table_of(asset, name)
        if stores.tables.exists(table):
            used.update(stores.tables.data_files(table))
    for path in paths:
        if path not in used:
            Path(path).unlink(missing_ok=True)
