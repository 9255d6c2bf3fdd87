"""``catalog``: what the lake holds, at a glance."""

import dagster as dg

from lake_assets.contracts.names import DatasetName
from lake_assets.defs import pictures
from lake_assets.defs.ingestion.assets import ingest_dataset
from lake_assets.defs.partitions import datasets
from lake_assets.defs.policies import dagster_errors, many_partitions_per_run
from lake_assets.lake import Lake
from lake_assets.storage.system_tables import PARTITIONS
from lake_assets.upkeep.catalog import refresh_catalog


@dg.asset(
    group_name="catalog",
    kinds={"iceberg", "parquet"},
    owners=["team:lake"],
    deps=[ingest_dataset],
    partitions_def=datasets,
    backfill_policy=many_partitions_per_run,
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
) -> dg.MaterializeResult[None]:
    """One row per provider and dataset that exists: rows, bytes, images, columns, last upload."""
    names = [DatasetName.parse(key) for key in sorted(context.partition_keys)]
    # Not by the IO manager: the rows are made anew if another run changes the table meanwhile.
    with dagster_errors():
        done = refresh_catalog(lake.stores, names)
    if done is None:
        return dg.MaterializeResult()
    sample = done.rows.slice(0, pictures.SAMPLE_ROWS)
    return dg.MaterializeResult(
        metadata={
            "row sample": dg.MetadataValue.md(pictures.markdown_table(sample)),
            "committed rows": done.commit.rows,
            "snapshots": str(done.commit.snapshot_id),
        },
    )
