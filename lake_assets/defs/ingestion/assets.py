"""``raw``, ``images`` and ``quarantine``: one pass over the bytes of a delivery makes all three."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial

import dagster as dg

from lake_assets.contracts.names import DatasetName, Destination, dataset_of
from lake_assets.defs import pictures
from lake_assets.defs.ingestion.runs import IngestConfig, IngestRun
from lake_assets.defs.partitions import datasets
from lake_assets.defs.policies import many_partitions_per_run
from lake_assets.ingest import COMMIT_ORDER, Prepared, TableChange
from lake_assets.lake import Lake
from lake_assets.storage.system_tables import IMAGES, QUARANTINE

staged_uploads = dg.AssetSpec(
    "staged_uploads",
    group_name="ingestion",
    kinds={"file"},
    owners=["team:lake"],
    description="One folder per delivery that waits in staging. `lake upload raw` makes them.",
)


def _out(description: str) -> dg.AssetOut:
    return dg.AssetOut(
        group_name="ingestion",
        description=description,
        kinds={"iceberg", "parquet"},
        owners=["team:lake"],
        io_manager_key="iceberg",
        code_version="1",
    )


@dg.multi_asset(
    name="ingest_dataset",
    outs={
        "raw": _out(
            "One row per accepted raw record of a dataset, in the table `<provider>.<dataset>`: "
            "record id, upload, image, and the delivery's own columns."
        ),
        "images": _out(
            "One row per distinct image of a dataset, in `lake.images`: where it is stored, type, "
            "size, pHash and quality numbers."
        ),
        "quarantine": _out(
            "One row per rejected row or file, in `lake.quarantine`, with the rule that it broke."
        ),
    },
    deps=[staged_uploads],
    partitions_def=datasets,
    backfill_policy=many_partitions_per_run,
)
def ingest_dataset(
    context: dg.AssetExecutionContext, config: IngestConfig, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.Output[Sequence[TableChange]]]:
    """Bring datasets up to date: ingest what is pending; nothing pending is a success."""
    names = [DatasetName.parse(key) for key in sorted(context.partition_keys)]
    run = IngestRun(
        context=context,
        lake=lake,
        config=config,
        describe=partial(_describe, context, lake),
        describe_idle=partial(_describe_idle, context, lake),
    )
    with run.of(names) as held:
        for asset in COMMIT_ORDER:
            changes = [item.changes[asset] for item in held if asset in item.changes]
            yield dg.Output(changes, output_name=asset)


def _describe(context: dg.AssetExecutionContext, lake: Lake, prepared: Prepared) -> None:
    """Attach to each partition's materialisation what a person wants to see of it."""
    stores, name = lake.stores, dataset_of(prepared.name)
    own = {"provider": name.provider, "dataset": name.dataset}
    places = {"raw": (name.table, {}), "images": (IMAGES.name, own),
              "quarantine": (QUARANTINE.name, own)}  # fmt: skip
    ingested = (*prepared.recovered, *prepared.all_uploads)
    uploads = {"uploads": dg.MetadataValue.json([asdict(item.outcome) for item in ingested])}
    for asset, (table, where) in places.items():
        change = prepared.changes.get(asset)
        parts = prepared.parts(asset)
        metadata = pictures.counts_metadata(prepared)
        sample = pictures.row_sample(stores, table, parts, where)
        metadata["row sample"] = dg.MetadataValue.md(sample)
        if asset == "quarantine":
            metadata |= pictures.rejected_metadata(prepared)
        else:
            images = prepared.parts("images")
            metadata |= pictures.contact_sheet_metadata(stores, name, images)
        if asset == "raw":
            metadata |= pictures.schema_metadata(prepared) | pictures.beside_metadata(prepared)
        columns = change.spec.schema if change else None
        metadata |= pictures.table_metadata(stores, table, columns) | uploads
        context.add_asset_metadata(metadata, asset_key=asset, partition_key=str(name))


def _describe_idle(
    context: dg.AssetExecutionContext, lake: Lake, names: Sequence[Destination], are_all: bool
) -> None:
    """Say of datasets without work that there was none, and what columns their tables have.

    No samples and contact sheets: they are as they were, and would take 0.1 s for each dataset.

    Args:
        are_all: Whether the run has no other datasets. What is the same of all of them is then said
            once for the asset, as Dagster takes the longer to add something the more there is.
    """
    for asset, table in (("images", IMAGES.name), ("quarantine", QUARANTINE.name)):
        told = pictures.idle_metadata(lake.stores, table)
        for key in [None] if are_all else map(str, names):
            context.add_asset_metadata(told, asset_key=asset, partition_key=key)
    for name in names:
        told = pictures.idle_metadata(lake.stores, name.table)
        context.add_asset_metadata(told, asset_key="raw", partition_key=str(name))
