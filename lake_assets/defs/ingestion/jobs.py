"""The main job."""

from __future__ import annotations

import dagster as dg

from lake_assets.defs.catalog.assets import catalog
from lake_assets.defs.ingestion.assets import ingest_dataset

ingest_uploads = dg.define_asset_job(
    "ingest_uploads",
    selection=dg.AssetSelection.assets(ingest_dataset, catalog),
    description="Bring datasets up to date with the uploads that are pending for them.",
)
