"""Relocation of a whole lake that was copied or moved, or made by an earlier version.

Invariant: every table is relocated by one change of its pointer, with every dataset held; so
whatever cuts this off, doing it again finishes it, and nothing outside of the lake is touched.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lake_assets.contracts.names import dataset_of
from lake_assets.errors import DamagedTable, InvalidManifest, LakeMoved
from lake_assets.intake.uploads import State
from lake_assets.storage.files import storage_errors
from lake_assets.storage.tables.catalog_file import read_catalog, seal_catalog
from lake_assets.storage.tables.locations import home_around, own_path
from lake_assets.storage.tables.relocation import TablePlace, relocate_table, remove_superseded
from lake_assets.stores import Stores
from lake_assets.upkeep.repair import held, known_names

_AT_REST = (State.PENDING, State.DONE, State.FAILED, State.CANCELLED, State.REMOVED)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocation:
    """What was done, or would be."""

    made_at: tuple[str, ...]
    """Other folders that the lake's tables named as theirs."""
    tables: tuple[str, ...]
    """Those whose metadata are written anew."""
    linked_files: int
    """Staged images that become one file with the stored ones again."""
    linked_bytes: int
    """Of them, what was on the disk twice."""


def plan_relocation(stores: Stores) -> Relocation:
    """Return what ``relocate`` would do. Nothing is changed, and no image is read: those that only
    have the size of the stored one are counted too.

    Raises:
        DamagedTable: the catalog is damaged.
        StorageUnavailable.
    """
    pairs = [staged for _, staged in _unlinked(stores)]
    with storage_errors(stores.layout.staging):
        byte_count = sum(_own_bytes(staged) for staged in pairs)
    return _told(stores, _unsettled(stores), files=len(pairs), byte_count=byte_count)


def relocate(stores: Stores) -> Relocation:
    """Make all tables name the files of this lake's own folder, and link equal images again.

    Waits for ingestions that are under way, and keeps others out meanwhile.

    Raises:
        DatasetBusy: when an ingestion took longer than ``busy_timeout_s``; nothing was done then.
        DamagedTable: the catalog is damaged, or a table's metadata were not copied.
        LakeMoved: its folder of tables is a link to that of the other lake.
        SchemaMismatch: a table has delete files of another program.
        StorageUnavailable: the disk is full. To repeat it goes on.
    """
    catalog_file = stores.layout.catalog_file
    with held(stores, known_names(stores)), storage_errors(stores.layout.home):
        unsettled = _unsettled(stores)
        told = _told(stores, unsettled)
        for place in unsettled:
            _log.info("%s", place.table)
            relocate_table(catalog_file, place)
        stores.tables.close()
        for place in _places(stores):
            remove_superseded(place)
        linked = [
            byte_count
            for location, staged in _unlinked(stores)
            for byte_count in [_own_bytes(staged)]
            if stores.assets.link_over(location, staged)
        ]
    seal_catalog(catalog_file)  # after the last write to it, which gives the leases back
    return Relocation(
        made_at=told.made_at,
        tables=told.tables,
        linked_files=len(linked),
        linked_bytes=sum(linked),
    )


def _places(stores: Stores) -> list[TablePlace]:
    state = read_catalog(stores.layout.catalog_file)
    if state.damage:
        raise DamagedTable(
            f"catalog.db is damaged: {state.damage}. Copy it again from the lake that this one was "
            "copied from, then run `lake relocate` again",
            path=str(stores.layout.catalog_file),
        )
    tables = stores.layout.tables
    return [
        TablePlace(table=table, pointer=pointer, warehouse=tables)
        for table, pointer in state.locations.items()
    ]


def _unsettled(stores: Stores) -> list[TablePlace]:
    return [place for place in _places(stores) if not place.is_settled()]


def _told(
    stores: Stores, places: list[TablePlace], *, files: int = 0, byte_count: int = 0
) -> Relocation:
    tables = stores.layout.tables
    other = {
        home_around(place.pointer) for place in places if own_path(place.pointer, tables) is None
    }
    for home in other:
        _require_own_files(Path(home), stores)
    return Relocation(
        made_at=tuple(sorted(other)),
        tables=tuple(place.table for place in places),
        linked_files=files,
        linked_bytes=byte_count,
    )


def _require_own_files(home: Path, stores: Stores) -> None:
    """Raise if both lakes have one folder of tables, by a link that was copied as a link.

    Raises:
        LakeMoved.
    """
    tables = stores.layout.tables
    if os.path.realpath(home / tables.name) == os.path.realpath(tables):
        raise LakeMoved(
            f"{tables} is a link to the tables of the lake at {home}, so both have the same files. "
            f"Put a copy of what it leads to in its place, then run `lake relocate` again",
            home=str(stores.layout.home),
        )


def _unlinked(stores: Stores) -> Iterator[tuple[str, Path]]:
    """Yield (location of a stored image, staged file of its hash and size) of two files each."""
    for upload in stores.staging.uploads(*_AT_REST):
        try:
            files = upload.files()
        except InvalidManifest as error:  # `lake verify` tells of it
            _log.warning("left out: %s", error.message)
            continue
        for file in files:
            location = stores.assets.find(dataset_of(upload.name), file.sha256)
            staged = upload.files_folder / file.name
            if location is None or not staged.is_file():
                continue
            one, two = staged.stat(), stores.assets.path(location).stat()
            if one.st_ino != two.st_ino and one.st_size == two.st_size:
                yield location, staged


def _own_bytes(path: Path) -> int:
    status = path.stat()
    return status.st_size if status.st_nlink == 1 else 0
