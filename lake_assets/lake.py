"""Lake: one object that people import. It opens a lake and offers what the command line offers.

from lake_assets import Lake

lake = Lake.open("data/lake")
upload = lake.upload_raw_data("receipts/", provider="icdar", dataset="sroie")
lake.ingest(upload.id)
lake.sql("select count(*) from icdar.sroie").fetchall()

What only some methods need is imported in them: with all of it a command takes a second to start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lake_assets.contracts.names import (
    DatasetName,
    Destination,
    VariantName,
    as_dataset,
    as_destination,
)
from lake_assets.contracts.registry import Registry, update_registry
from lake_assets.intake.uploads import State, Upload
from lake_assets.settings import LakeSettings, load_settings
from lake_assets.stores import Stores, found_stores, make_stores

if TYPE_CHECKING:
    import pandas as pd

    from lake_assets.contracts.tasks import TaskContract
    from lake_assets.ingest import Ingested
    from lake_assets.ingest.status import UploadStatus
    from lake_assets.intake.delivery import Delivery, OnFiles
    from lake_assets.query.duckdb import LakeSql
    from lake_assets.relocating import Relocation
    from lake_assets.replays import Trial
    from lake_assets.upkeep.check_model import Check, CheckResult
    from lake_assets.upkeep.quarantine import Wanted
    from lake_assets.upkeep.tasks import TaskRemains


class Lake:
    """One lake. Make it with ``Lake.open`` or ``Lake.init``; usable as a context manager."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores

    # -- opening

    @classmethod
    def init(cls, home: Path | str | None = None) -> Lake:
        """Make a lake at ``home``, or open the one that is there; nothing is overwritten."""
        return cls(make_stores(load_settings(home)))

    @classmethod
    def open(cls, home: Path | str | None = None) -> Lake:
        """Return the lake at ``home`` (default: ``LAKE_HOME``, else ``data/lake``).

        Raises:
            LakeNotFound: if there is none.
            InvalidSettings: if lake.toml or a LAKE_* variable is wrong.
            InvalidRegistry: if there is a lake, but its registry is missing.
        """
        return cls(found_stores(load_settings(home)))

    @property
    def settings(self) -> LakeSettings:
        """Settings of this lake."""
        return self.stores.settings

    @property
    def home(self) -> Path:
        """Folder of this lake, absolute."""
        return self.settings.home

    def close(self) -> None:
        """Close the catalog's connections."""
        self.stores.tables.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- registry

    @property
    def registry(self) -> Registry:
        """Providers and datasets, as config/schema.yaml has them now."""
        return self.stores.registry()

    def create_provider(self, provider: str) -> None:
        """Add a provider to the registry.

        Raises:
            InvalidName, AlreadyExists.
        """
        update_registry(
            self.stores.layout.registry_file, lambda registry: registry.with_provider(provider)
        )

    def create_task(self, task: str, contract: TaskContract) -> None:
        """Add a task to the registry; reloading Dagster's definitions shows its asset.

        Raises:
            InvalidName, AlreadyExists.
        """
        update_registry(
            self.stores.layout.registry_file, lambda registry: registry.with_task(task, contract)
        )

    def delete_task(self, task: str) -> TaskRemains:
        """Take a task out of the registry; its table and rows stay.

        Raises:
            UnknownTask.
            InvalidRequest: uploads for it wait or are being ingested.
        """
        from lake_assets.upkeep.tasks import delete_task

        return delete_task(self.stores, task)

    # -- uploads

    def upload_raw_data(
        self,
        data_file: Path | str | pd.DataFrame | Any,
        *,
        provider: str,
        dataset: str,
        dataset_description: str = "",
        variant: str = "",
        tags: Sequence[str] = (),
        create_provider: bool = False,
        image_column: str | None = None,
        label_from_folders: bool = False,
        header: bool = True,
        delimiter: str | None = None,
        on_files: OnFiles | None = None,
    ) -> Upload:
        """Stage a delivery and return it; nothing is in the tables before ``ingest``.

        Args:
            data_file: A Parquet, CSV, TSV, JSONL, JSON or Arrow file (``.gz``/``.zst`` where the
                format knows it), a folder of images or of such files, an archive of either, a
                ``pandas.DataFrame`` or a ``pyarrow.Table``.
            provider: Who delivers it; must be in the registry, or ``create_provider`` be true.
            dataset: What it is; made when it is new.
            dataset_description: Kept in the registry when the dataset is new or has none.
            variant: Kind of delivery (``image``, ``mixed``…); kept with the upload.
            tags: Kept with the upload and its images.
            create_provider: Add the provider to the registry if it is missing.
            image_column: Column that holds or names each row's image; None: found by content.
            label_from_folders: Whether sub-folder names become a ``label`` column.
            header: Whether CSV and TSV files begin with column names.
            delimiter: Field separator of CSV files; None: found out.
            on_files: Called with (files, bytes) copied so far.

        Raises:
            UnknownProvider, InvalidName, InvalidRequest, UnsupportedFormat, UnreadableSource: and
                then nothing is left in staging.
        """
        from lake_assets.intake.delivery import Delivery
        from lake_assets.intake.model import ReadOptions

        delivery = Delivery(
            source=Path(data_file) if isinstance(data_file, str) else data_file,
            name=DatasetName(provider, dataset),
            description=dataset_description,
            variant=variant,
            tags=tuple(tags),
            create_provider=create_provider,
            options=ReadOptions(
                image_column=image_column, label_from_folders=label_from_folders,
                header=header, delimiter=delimiter,
            ),
        )  # fmt: skip
        return self._stage(delivery, on_files)

    def upload_task_data(
        self,
        data_file: Path | str | pd.DataFrame | Any,
        *,
        provider: str,
        dataset: str,
        task: str,
        variant: str,
        meta: Mapping[str, str] | None = None,
        tags: Sequence[str] = (),
        on_files: OnFiles | None = None,
    ) -> Upload:
        """Stage annotations of a dataset and return them; none is in a table before ``ingest``.

        Args:
            data_file: A file, a folder or an archive of files. Of a task with a built-in record
                type: SROIE, FUNSD, XFUND, COCO (annotations or results), PAGE, ALTO, hOCR,
                PaddleOCR, Tesseract TSV or JSON Lines; of others: what ``upload_raw_data`` takes,
                but no images.
            provider: Who delivers the dataset.
            dataset: What they annotate; must exist.
            task: Kind of annotation; must be in the registry.
            variant: Version of the annotation; made when it is new.
            meta: What the task's contract asks for, as ``{"lang": "ko", "src": "real"}``.
            tags: Kept with the upload.
            on_files: Called with (files, bytes) copied so far.

        Raises:
            UnknownProvider, UnknownDataset, UnknownTask, InvalidMetadata, InvalidName,
            InvalidRequest, UnsupportedFormat, UnreadableSource: and then nothing is left in
                staging.
        """
        from lake_assets.intake.delivery import Delivery

        delivery = Delivery(
            source=Path(data_file) if isinstance(data_file, str) else data_file,
            name=VariantName(DatasetName(provider, dataset), task, variant),
            variant=variant,
            meta=dict(meta or {}),
            tags=tuple(tags),
        )
        return self._stage(delivery, on_files)

    def _stage(self, delivery: Delivery, on_files: OnFiles | None) -> Upload:
        from lake_assets.intake.archives import ArchiveLimits
        from lake_assets.intake.delivery import stage_delivery

        self.stores.require_here()
        return stage_delivery(
            delivery,
            staging=self.stores.staging,
            registry_file=self.stores.layout.registry_file,
            limits=ArchiveLimits(max_bytes=self.settings.max_unpacked_bytes),
            assets=self.stores.assets,
            on_files=on_files,
        )

    def uploads(self, *states: State, name: Destination | str | None = None) -> tuple[Upload, ...]:
        """Return the uploads in ``states`` (all, if none is given), by time of upload."""
        meant = None if name is None else as_destination(name)
        found = self.stores.staging.uploads(*states, name=meant)
        return tuple(sorted(found, key=lambda upload: upload.id))

    def status(self, upload_id: str) -> UploadStatus:
        """Return where an upload is and what became of it.

        Raises:
            UnknownUpload.
        """
        from lake_assets.ingest.status import upload_status

        return upload_status(self.stores, upload_id)

    def retry(self, upload_id: str) -> Upload:
        """Make a failed or cancelled upload pending again."""
        return self.stores.staging.retry(upload_id)

    def cancel(self, upload_id: str) -> Upload:
        """Take back an upload that is not being ingested yet."""
        return self.stores.staging.cancel(upload_id)

    # -- ingestion, in this process and without Dagster

    def ingest(self, upload_id: str) -> Ingested:
        """Ingest one pending upload in this process and return what became of it.

        One that was ingested before is left alone. `lake process start` does the same in a
        Dagster run, which the UI then shows.

        Raises:
            UploadsFailed: if it could not be ingested; its files are kept in ``failed/``.
            InvalidRequest: if it failed before, or was cancelled: ``retry`` makes it pending.
            UnknownUpload, DatasetBusy.
        """
        from lake_assets.ingest_here import ingest_upload

        return ingest_upload(self.stores, upload_id)

    def ingest_pending(self) -> tuple[Ingested, ...]:
        """Ingest all pending uploads, dataset by dataset, in this process.

        Annotations come after raw data; datasets that another process holds come last.

        Raises:
            UploadsFailed: if some could not be ingested; the others were.
            LakeError: whatever kept a dataset from being worked on, as ``DatasetBusy``; the others
                were ingested. Of several it is one that says them all.
        """
        from lake_assets.ingest_here import ingest_names

        return ingest_names(self.stores, self.datasets_with_work())

    def rebuild(self, name: Destination | str, *, accepts_fewer_rows: bool = False) -> Ingested:
        """Read all finished uploads again, replace its rows; ``FewerRows``: some would be lost."""
        from lake_assets.ingest_here import rebuild

        return rebuild(self.stores, as_destination(name), accepts_fewer_rows=accepts_fewer_rows)

    def relocate(self, *, dry_run: bool = False) -> Relocation:
        """Make the tables of a lake that was copied or moved name their files as they lie now."""
        from lake_assets.relocating import plan_relocation, relocate

        return plan_relocation(self.stores) if dry_run else relocate(self.stores)

    # -- the quarantine

    def quarantine(self, wanted: Wanted | None = None, *, limit: int | None = None) -> list[Any]:
        """Return rows of the quarantine (default: all open ones) as dicts, the newest first."""
        from lake_assets.upkeep.quarantine import rows_of

        return rows_of(self.stores, wanted, limit=limit)

    def replay_quarantine(self, wanted: Wanted | None = None) -> tuple[Upload, ...]:
        """Stage a replay of open rows (default: all) for each dataset and variant that has some.

        With the next ingestion those that pass by now go into their tables.
        """
        from lake_assets.replays import stage_replays

        return stage_replays(self.stores, wanted)

    def try_replay(self, wanted: Wanted | None = None) -> tuple[Trial, ...]:
        """Return what such replays would do. Nothing is changed."""
        from lake_assets.replays import try_replays

        return try_replays(self.stores, wanted)

    def datasets_with_work(self) -> tuple[Destination, ...]:
        """Return what has pending or abandoned work: datasets, then variants of tasks."""
        return self.stores.with_work()

    # -- looking

    def sql(self, query: str, parameters: Sequence[object] | None = None) -> Any:
        """Return the ``duckdb.DuckDBPyRelation`` that answers ``query``.

        Tables are named ``provider.dataset``, ``lake.images``, ``lake.uploads`` and so on.

        Raises:
            QueryFailed: also if it would write into the lake's folder.
            DamagedTable: a table's file is gone.
        """
        return self._sql().query(query, parameters)

    def records(
        self,
        name: Destination | str,
        *,
        where: str | None = None,
        parameters: Sequence[object] = (),
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield whole records of a dataset or variant: what is in ``…__variant`` in its place.

        Args:
            name: As ``provider/dataset``, or ``provider/dataset/task/variant``.
            where: Condition in SQL; ``?`` stands for a parameter.
            limit: At most so many.

        Raises:
            QueryFailed.
        """
        from lake_assets.query.records import records

        sql, tables, meant = self._sql(), self.stores.tables, as_destination(name)
        return records(sql, tables, meant, where=where, parameters=parameters, limit=limit)

    def _sql(self) -> LakeSql:
        from lake_assets.query.duckdb import LakeSql

        layout = self.stores.layout
        return LakeSql(self.stores.tables, scratch=layout.scratch, home=layout.home)

    def catalog(self) -> list[dict[str, Any]]:
        """Return the catalog, one entry per dataset and variant that exists, sorted by name."""
        from lake_assets.upkeep.catalog_entries import catalog_entries

        return catalog_entries(self.stores)

    def variants(self, names: Iterable[DatasetName | str] | None = None) -> tuple[VariantName, ...]:
        """Return the variants of tasks that these datasets (default: all) have, sorted."""
        from lake_assets.upkeep.catalog import variants_of

        return variants_of(self.stores, None if names is None else {*map(as_dataset, names)})

    def check(
        self, names: Iterable[DatasetName | str] | None = None
    ) -> list[tuple[Destination, Check, CheckResult]]:
        """Run every check on these datasets (default: all) and return what they found.

        What annotates them is checked too.
        """
        from lake_assets.upkeep.task_checks import check_all

        datasets = self.registry.dataset_names() if names is None else tuple(map(as_dataset, names))
        return check_all(self.stores, datasets, self.variants(datasets))
