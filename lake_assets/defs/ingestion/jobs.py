"""The main job."""

from __future__ import annotations

import dagster as dg

from lake_assets.defs.catalog.assets import catalog
from lake_assets.defs.ingestion.assets import ingest_dataset
from lake_assets.defs.partitions import datasets

ingest_uploads = dg.define_asset_job(
    "ingest_uploads",
    selection=dg.AssetSelection.assets(ingest_dataset, catalog),
    partitions_def=datasets,
    description="Bring datasets up to date with the uploads that are pending for them.",
)

check_datasets = dg.define_asset_job(
    "check_datasets",
    selection=dg.AssetSelection.checks_for_assets(ingest_dataset),
    partitions_def=datasets,
    description="Run every check of a dataset without ingesting anything.",
)
