"""The places that a lake is made of, opened once and passed to everything that works on them."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lake_assets.contracts.names import Destination, dataset_of, in_order, parse_destination
from lake_assets.contracts.registry import NEW_REGISTRY_FILE, Registry, load_registry
from lake_assets.errors import InvalidRegistry, LakeNotFound, StorageUnavailable
from lake_assets.intake.staging import Staging
from lake_assets.intake.uploads import State, Upload
from lake_assets.layout import LakeLayout
from lake_assets.settings import NEW_SETTINGS_FILE, LakeSettings
from lake_assets.storage.files import storage_errors
from lake_assets.storage.notes import Notes
from lake_assets.storage.shards import ShardStore
from lake_assets.storage.tables import IcebergTables
from lake_assets.storage.tables.plans import require_here


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Settings, paths and stores of one lake."""

    settings: LakeSettings
    layout: LakeLayout
    staging: Staging
    tables: IcebergTables
    assets: ShardStore
    thumbnails: ShardStore
    rebuilds: Notes
    """Datasets that are being rebuilt."""
    stale: Notes
    """Datasets whose row of the catalog is older than their tables."""

    def registry(self) -> Registry:
        """Return the registry as it is now; people edit it while the lake runs."""
        return load_registry(self.layout.registry_file)

    def require_here(self) -> None:
        """Raise unless the lake is where its tables' metadata say.

        Raises:
            LakeMoved: It was copied or moved, and not relocated yet.
        """
        require_here(self.layout.catalog_file, self.layout.tables)

    def variants_of(self, name: Destination) -> tuple[Destination, ...]:
        """Return the variants of tasks that annotate a dataset; of a variant, none."""
        return in_order(self._of_datasets([name]) - {name})

    def _of_datasets(self, names: Collection[Destination]) -> set[Destination]:
        """Return these datasets, and the variants that annotate them."""
        there = self.staging.uploads(State.PROCESSING, State.DONE, State.REMOVED)
        return {upload.name for upload in there if dataset_of(upload.name) in names}

    def with_work(self) -> tuple[Destination, ...]:
        """Return what has pending uploads, or work that a dead process left: datasets, then
        variants of tasks.
        """
        waiting = self.staging.uploads(State.PENDING, State.PROCESSING)
        rebuilds = self.rebuilds.names()
        names = {upload.name for upload in waiting} | {
            *rebuilds,
            # A rebuild that was begun may ask for those of its variants.
            *(self._of_datasets(rebuilds) if rebuilds else ()),
            *self.stale.names(),
            *map(parse_destination, self.tables.left_leases()),
        }
        return in_order(names)

    def abandoned(self) -> tuple[Upload, ...]:
        """Return claimed uploads that no living process works on, as far as can be told here."""
        claimed = list(self.staging.uploads(State.PROCESSING))
        leases = self.tables.leases.look_at_all() if claimed else {}
        return tuple(
            upload
            for upload in claimed
            if str(upload.name) not in leases or not leases[str(upload.name)].is_held
        )


def make_stores(settings: LakeSettings) -> Stores:
    """Make a lake in ``settings.home`` and return its stores; nothing is overwritten.

    Raises:
        StorageUnavailable: when a folder or file cannot be made.
    """
    layout = LakeLayout(settings.home)
    try:
        layout.create()
        _write_if_absent(layout.settings_file, NEW_SETTINGS_FILE)
        _write_if_absent(layout.registry_file, NEW_REGISTRY_FILE)
    except OSError as error:
        raise StorageUnavailable(
            f"cannot make a lake at {settings.home}: {error.strerror}", home=str(settings.home)
        ) from error
    return open_stores(settings)


def found_stores(settings: LakeSettings) -> Stores:
    """Return the stores of the lake that is in ``settings.home``.

    Raises:
        LakeNotFound: if there is none.
        InvalidRegistry: if there is a lake, but its registry is missing.
    """
    layout = LakeLayout(settings.home)
    if not layout.registry_file.exists():
        _require_no_rest(layout)
        raise LakeNotFound(
            f"there is no lake at {settings.home}; make one with `lake init "
            f"{shlex.quote(str(settings.home))}`",
            home=str(settings.home),
        )
    return open_stores(settings)


def open_stores(settings: LakeSettings) -> Stores:
    """Return the stores of the lake in ``settings.home``; makes folders that are missing.

    Raises:
        StorageUnavailable: when one cannot be made.
    """
    layout = LakeLayout(settings.home)
    with storage_errors(layout.home):
        layout.create()
        return Stores(
            settings=settings,
            layout=layout,
            staging=Staging(layout.staging),
            tables=IcebergTables(
                layout.tables,
                layout.catalog_file,
                layout.plans,
                lease_timeout_s=settings.lease_timeout_s,
            ),
            assets=ShardStore(layout.assets),
            thumbnails=ShardStore(layout.thumbnails),
            rebuilds=Notes(layout.rebuilds),
            stale=Notes(layout.stale),
        )


def _require_no_rest(layout: LakeLayout) -> None:
    """Raise if a folder without a registry is a lake all the same.

    Raises:
        InvalidRegistry.
    """
    if layout.catalog_file.exists() or layout.settings_file.exists():
        raise InvalidRegistry(
            f"{layout.registry_file} is missing from the lake at {layout.home}. Put a copy of it "
            f"back; or `lake init {layout.home}` writes an empty one and overwrites nothing, and "
            "then providers and datasets, with their contracts, have to be entered again",
            path=str(layout.registry_file),
        )


def _write_if_absent(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        pass
