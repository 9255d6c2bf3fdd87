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
from lake_assets.storage.files import write_atomically
from lake_assets.storage.tables import Part
from lake_assets.stores import Stores

_SUFFIX = ".json"


def begin_rebuild(stores: Stores, name: DatasetName, parts: Sequence[Part]) -> None:
    """Note that ``name`` is being rebuilt from ``parts``, which are written already."""
    note = _note(stores, name)
    _remove_leftovers(stores, name, note)
    write_atomically(note, json.dumps([part.path for part in parts]).encode())


def end_rebuild(stores: Stores, name: DatasetName) -> None:
    """Forget the note: all tables have the rebuilt rows."""
    _note(stores, name).unlink(missing_ok=True)


def rebuild_is_unfinished(stores: Stores, name: DatasetName) -> bool:
    """Return whether a rebuild of ``name`` began and did not end. Asked under its lock."""
    return _note(stores, name).exists()


def unfinished_rebuilds(stores: Stores) -> tuple[DatasetName, ...]:
    """Return the datasets whose rebuild has begun and not ended, sorted."""
    notes = stores.layout.rebuilds.glob(f"*{_SUFFIX}")
    return tuple(sorted(DatasetName.parse(note.name.removesuffix(_SUFFIX)) for note in notes))


def _note(stores: Stores, name: DatasetName) -> Path:
    return stores.layout.rebuilds / f"{name.provider}.{name.dataset}{_SUFFIX}"


def _remove_leftovers(stores: Stores, name: DatasetName, note: Path) -> None:
    """Remove the parts of a rebuild that died, but those that its commits had reached."""
    if not note.exists():
        return
    used: set[str] = set()
    for asset in COMMIT_ORDER:
        table = table_of(asset, name)
        if stores.tables.exists(table):
            used.update(stores.tables.data_files(table))
    for path in json.loads(note.read_text()):
        if path not in used:
            Path(path).unlink(missing_ok=True)
