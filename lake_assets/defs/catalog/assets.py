"""``catalog``: what the lake holds, at a glance."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from lake_assets.contracts.names import DatasetName
from lake_assets.defs import pictures
from lake_assets.defs.ingestion.assets import ingest_dataset
from lake_assets.defs.partitions import datasets
from lake_assets.defs.policies import dagster_errors, many_partitions_per_run
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
) -> Iterator[dg.MaterializeResult[pa.Table]]:
    """One row per provider and dataset that exists: rows, bytes, images, columns, last upload."""
    names = [DatasetName.parse(key) for key in sorted(context.partition_keys)]
    with dagster_errors():
        rows = catalog_rows(lake.stores, names)
    sample = rows.slice(0, pictures.SAMPLE_ROWS)
    yield dg.MaterializeResult(
        value=rows,
        metadata={"row sample": dg.MetadataValue.md(pictures.markdown_table(sample))},
    )
    # It was committed at the yield.
    for name in names:
        lake.stores.stale.remove(name)
