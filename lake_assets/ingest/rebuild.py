"""A rebuild that is under way: from its beginning to its last commit a note of it is on disk.

It replaces the rows of several tables, one after the other. If its process dies in between, the
note tells whoever comes next to do it again; what the dead one had written is known by its token.
"""

from __future__ import annotations

from lake_assets.contracts.names import Destination
from lake_assets.stores import Stores


def begin_rebuild(stores: Stores, name: Destination) -> None:
    """Note that the tables of ``name`` are about to be replaced."""
    stores.rebuilds.put(name)


def end_rebuild(stores: Stores, name: Destination) -> None:
    """Forget the note: all tables have the rebuilt rows."""
    stores.rebuilds.remove(name)


def rebuild_is_unfinished(stores: Stores, name: Destination) -> bool:
    """Return whether a rebuild of ``name`` began and did not end. Asked under its lease."""
    return stores.rebuilds.has(name)
