"""From what a person hands over to a pending upload, or an error and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName, Destination, VariantName, check_name
from lake_assets.contracts.registry import (
    Registry,
    load_registry,
    update_registry,
)
from lake_assets.contracts.tasks import require_metadata
from lake_assets.intake.archives import ArchiveLimits
from lake_assets.intake.collect import Collected, collect
from lake_assets.intake.manifest import Manifest
from lake_assets.intake.model import ReadOptions
from lake_assets.intake.staged_folder import OwnShards
from lake_assets.intake.staging import Staging
from lake_assets.intake.uploads import Upload
from lake_assets.storage.processes import created_by
from lake_assets.storage.shards import ShardStore

OnFiles = Callable[[int, int], None]
"""Called with (files, bytes) copied so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What is handed over, and what is said of it."""

    source: Path | Any
    """A file, folder or archive, a ``pandas.DataFrame`` or a ``pyarrow.Table``."""
    name: Destination
    description: str = ""
    """Of the dataset; kept in the registry when it has none."""
    variant: str = ""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    """What is said of annotations."""
    create_provider: bool = False
    options: ReadOptions = ReadOptions()


def stage_delivery(
    delivery: Delivery,
    *,
    staging: Staging,
    registry_file: Path,
    limits: ArchiveLimits,
    assets: ShardStore | None = None,
    on_files: OnFiles | None = None,
) -> Upload:
    """Copy a delivery into staging and return it as a pending upload.

    Args:
        assets: The lake's images. One that is delivered again is read and hashed, and is then
            another name of its shard: it takes no room.

    Raises:
        UnknownProvider, UnknownDataset, UnknownTask, InvalidMetadata, InvalidName, InvalidRequest,
        UnsupportedFormat, UnreadableSource, StorageUnavailable: and then nothing is left in
        staging, nor new in the registry.
    """
    registry = load_registry(registry_file)
    if not delivery.create_provider:
        is_raw = isinstance(delivery.name, DatasetName)
        registry.require_provider(delivery.name.provider, may_create=is_raw)
    for tag in delivery.tags:
        check_name(tag, kind="tag")
    how = _how_to_collect(delivery, registry, assets)
    upload_id, files_folder = staging.open_incoming()
    try:
        collected = collect(
            delivery.source, files_folder, how.options, progress=on_files, limits=limits,
            are_annotations=how.are_annotations, shards=how.shards,
        )  # fmt: skip
        if isinstance(delivery.name, DatasetName):
            _register(delivery, delivery.name, registry_file)
        return staging.publish(_manifest(upload_id, delivery, collected), collected.files)
    except BaseException:
        staging.discard_incoming(upload_id)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    options: ReadOptions
    are_annotations: bool = False
    shards: OwnShards | None = None


def _how_to_collect(delivery: Delivery, registry: Registry, assets: ShardStore | None) -> _How:
    """Return how to collect a delivery.

    Raises:
        UnknownDataset, UnknownTask, InvalidMetadata: of annotations.
    """
    name = delivery.name
    if isinstance(name, VariantName):
        registry.contract(name.of)
        require_metadata(name.task, registry.task(name.task), delivery.meta)
        return _How(options=delivery.options, are_annotations=True)
    contract = registry.datasets.get(str(name), DatasetContract())
    column = delivery.options.image_column or contract.image_column
    return _How(
        options=replace(delivery.options, image_column=column),
        shards=_own_shards(name, contract, assets),
    )


def _own_shards(
    name: DatasetName, contract: DatasetContract, assets: ShardStore | None
) -> OwnShards | None:
    """Return where the dataset's images lie, if they lie there as they were delivered."""
    if assets is None or contract.images.store != "original":
        return None
    return OwnShards(name=name, store=assets)


def _register(delivery: Delivery, name: DatasetName, registry_file: Path) -> None:
    """Put provider and dataset into the registry if they are not in it as they should be."""

    def change(registry: Registry) -> Registry:
        if delivery.create_provider and name.provider not in registry.providers:
            registry = registry.with_provider(name.provider)
        present = registry.datasets.get(str(name))
        if present is None:
            return registry.with_dataset(name, DatasetContract(description=delivery.description))
        if delivery.description and not present.description:
            described = present.model_copy(update={"description": delivery.description})
            return registry.with_dataset(name, described)
        return registry

    registry = load_registry(registry_file)
    if change(registry) is not registry:  # most uploads change nothing: then nothing is written
        update_registry(registry_file, change)


def _manifest(upload_id: str, delivery: Delivery, collected: Collected) -> Manifest:
    return Manifest(
        upload_id=upload_id,
        name=delivery.name,
        created_at=datetime.now(tz=UTC),
        created_by=created_by(),
        # A path may hold bytes that are no UTF-8, which Python shows as lone surrogates.
        source=collected.source.encode("utf-8", "backslashreplace").decode(),
        file_count=len(collected.files),
        byte_count=sum(file.byte_count for file in collected.files),
        description=delivery.description,
        variant=delivery.variant,
        tags=delivery.tags,
        meta=delivery.meta,
        options=collected.options,
        refused=collected.refused,
        ignored=collected.ignored,
    )
