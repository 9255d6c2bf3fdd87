"""What Dagster loads: the lake's assets, checks, jobs and sensors, wired to one lake's stores."""

from __future__ import annotations

import dagster as dg

from lake_assets.contracts.registry import load_registry
from lake_assets.defs.catalog.assets import catalog
from lake_assets.defs.ingestion.assets import ingest_dataset, staged_uploads
from lake_assets.defs.ingestion.checks import dataset_checks
from lake_assets.defs.ingestion.jobs import ingest_uploads
from lake_assets.defs.ingestion.sensors import staged_upload_sensor
from lake_assets.defs.io_managers import IcebergIOManager, ParquetIOManager
from lake_assets.defs.quarantine.jobs import replay_quarantine
from lake_assets.defs.resources import LakeResource
from lake_assets.defs.tasks.assets import task_asset, task_job
from lake_assets.defs.tasks.checks import task_checks
from lake_assets.defs.upkeep.jobs import verify_lake, weekly_verification
from lake_assets.defs.upkeep.undo import undo_upload
from lake_assets.layout import LakeLayout
from lake_assets.settings import load_settings


def build_definitions(home: str | None = None) -> dg.Definitions:
    """Return the definitions of the lake at ``home`` (default: ``LAKE_HOME``, else data/lake)."""
    settings = load_settings(home)
    layout = LakeLayout(settings.home)
    lake = LakeResource(home=str(settings.home))
    tasks = load_registry(layout.registry_file).tasks
    return dg.Definitions(
        assets=[
            staged_uploads,
            ingest_dataset,
            catalog,
            *(task_asset(task, contract) for task, contract in tasks.items()),
        ],
        asset_checks=[*dataset_checks, *(check for task in tasks for check in task_checks(task))],
        jobs=[ingest_uploads, replay_quarantine, undo_upload, verify_lake, *map(task_job, tasks)],
        schedules=[weekly_verification],
        sensors=[
            staged_upload_sensor(tasks),
            dg.AutomationConditionSensorDefinition(
                "assets_follow",
                target=dg.AssetSelection.assets(catalog),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=30,
            ),
        ],
        resources={
            "lake": lake,
            "iceberg": IcebergIOManager(lake=lake),
            "parquet": ParquetIOManager(root=str(layout.home / "files")),
        },
        # A step takes milliseconds here; a process per step would take seconds.
        executor=dg.in_process_executor,
    )


defs = build_definitions()
