"""``raw``, ``images`` and ``quarantine``: one pass over the bytes of a delivery makes all three."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict

import dagster as dg
from pydantic import Field

from lake_assets.contracts.names import DatasetName
from lake_assets.defs import pictures, progress
from lake_assets.defs.partitions import datasets
from lake_assets.defs.policies import dagster_errors, many_partitions_per_run
from lake_assets.defs.run_health import sign_run
from lake_assets.ingest import (
    COMMIT_ORDER,
    Prepared,
    Request,
    TableChange,
    failed_uploads,
    finish,
    prepared_dataset,
)
from lake_assets.lake import Lake
from lake_assets.storage.system_tables import IMAGES, QUARANTINE

staged_uploads = dg.AssetSpec(
    "staged_uploads",
    group_name="ingestion",
    kinds={"file"},
    owners=["team:lake"],
    description="One folder per delivery that waits in staging. `lake upload raw` makes them.",
)


class IngestConfig(dg.Config):
    """How to bring a dataset up to date."""

    rebuild: bool = Field(
        default=False,
        description="Read all finished uploads again and replace what the tables have of them, "
        "as after a change of code or contract.",
    )
    upload_ids: list[str] = Field(
        default=[], description="Ingest only these of the pending uploads; empty: all."
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
    sign_run(context.instance, context.run)
    with dagster_errors(), ExitStack() as stack:
        # In the order of names: two runs that hold several datasets cannot wait for each other.
        prepared = [
            stack.enter_context(prepared_dataset(lake.stores, _request(context, config, key)))
            for key in sorted(context.partition_keys)
        ]
        for item in prepared:
            _describe(context, lake, item)
        for asset in COMMIT_ORDER:
            changes = [item.changes[asset] for item in prepared if asset in item.changes]
            yield dg.Output(changes, output_name=asset)
        # Each output was committed at its yield.
        for item in prepared:
            finish(lake.stores, item)
        _raise_failures(prepared)


def _request(context: dg.AssetExecutionContext, config: IngestConfig, key: str) -> Request:
    return Request(
        name=DatasetName.parse(key),
        upload_ids=frozenset(config.upload_ids) or None,
        rebuild=config.rebuild,
        run_id=context.run.run_id,
        on_rows=progress.on_rows.get(),
        on_wait=lambda: _say_waiting(context, key),
    )


def _say_waiting(context: dg.AssetExecutionContext, key: str) -> None:
    context.log.info(f"{key}: another process is ingesting this dataset; waiting for it")
    progress.on_wait.get()(key)


def _describe(context: dg.AssetExecutionContext, lake: Lake, prepared: Prepared) -> None:
    """Attach to each partition's materialisation what a person wants to see of it."""
    stores, name = lake.stores, prepared.name
    own = {"provider": name.provider, "dataset": name.dataset}
    places = {"raw": (name.table, {}), "images": (IMAGES.name, own),
              "quarantine": (QUARANTINE.name, own)}  # fmt: skip
    uploads = {
        "uploads": dg.MetadataValue.json([asdict(item.outcome) for item in prepared.uploads])
    }
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
        columns = change.spec.schema if change else None
        metadata |= pictures.table_metadata(stores, table, columns) | uploads
        context.add_asset_metadata(metadata, asset_key=asset, partition_key=str(name))


def _raise_failures(prepared: Sequence[Prepared]) -> None:
    """Fail the run if an upload failed; those that did not are committed by now.

    Raises:
        StorageUnavailable: if all of them are pending again.
        dagster.Failure: else; it tells the command that started the run which they are.
    """
    failures = [failure for item in prepared for failure in item.failures]
    if not failures:
        return
    if all(failure.will_retry for failure in failures):
        raise failed_uploads(failures)
    raise dg.Failure(
        failed_uploads(failures).message,
        metadata={"failures": dg.MetadataValue.json([asdict(failure) for failure in failures])},
        allow_retries=False,
    )
