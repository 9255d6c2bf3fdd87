"""``catalog``: what the lake holds, at a glance."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa

from lake_assets.contracts.names import DatasetName
from lake_assets.defs import pictures
from lake_assets.defs.ingestion.assets import ingest_dataset
from lake_assets.defs.partitions import datasets
from lake_assets.defs.policies import many_partitions_per_run, no_retry_when_fatal, try_again_later
from lake_assets.lake import Lake
from lake_assets.storage.system_tables import PARTITIONS
from lake_assets.upkeep.catalog import catalog_rows


@dg.asset(
    group_name="catalog",
    kinds={"iceberg", "parquet"},
    owners=["team:lake"],
    deps=[ingest_dataset],
    partitions_def=datasets,
    backfill_policy=many_partitions_per_run,
    retry_policy=try_again_later,
    automation_condition=dg.AutomationCondition.eager(),
    io_manager_key="iceberg",
    code_version="1",
    metadata={
        "lake/table": PARTITIONS.name,
        "lake/partition_columns": "provider/dataset",
        "dagster/table_name": PARTITIONS.name,
    },
)
def catalog(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult[pa.Table]:
    """One row per provider and dataset that exists: rows, bytes, images, columns, last upload."""
    names = [DatasetName.parse(key) for key in sorted(context.partition_keys)]
    with no_retry_when_fatal():
        rows = catalog_rows(lake.stores, names)
    sample = rows.slice(0, pictures.SAMPLE_ROWS)
    return dg.MaterializeResult(
        value=rows,
        metadata={"row sample": dg.MetadataValue.md(pictures.markdown_table(sample))},
    )
