"""The places that a lake is made of, opened once and passed to everything that works on them."""

from __future__ import annotations

from dataclasses import dataclass

from lake_assets.contracts.registry import Registry, load_registry
from lake_assets.intake.staging import Staging
from lake_assets.intake.uploads import State, Upload
from lake_assets.layout import LakeLayout
from lake_assets.settings import LakeSettings
from lake_assets.storage.files import storage_errors
from lake_assets.storage.notes import Notes
from lake_assets.storage.shards import ShardStore
from lake_assets.storage.tables import IcebergTables


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

    def abandoned(self) -> tuple[Upload, ...]:
        """Return claimed uploads that no living process works on, as far as can be told here."""
        claimed = list(self.staging.uploads(State.PROCESSING))
        leases = self.tables.leases.look_at_all() if claimed else {}
        return tuple(
            upload
            for upload in claimed
            if str(upload.name) not in leases or not leases[str(upload.name)].is_held
        )


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
