"""``raw``, ``images`` and ``quarantine``: one pass over the bytes of a delivery makes all three."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

import dagster as dg
from pydantic import Field

from lake_assets.contracts.names import DatasetName
from lake_assets.defs import pictures, progress
from lake_assets.defs.instance import partitions_read_once
from lake_assets.defs.partitions import datasets
from lake_assets.defs.policies import dagster_errors, many_partitions_per_run
from lake_assets.errors import LakeError, RetryableError
from lake_assets.ingest import (
    COMMIT_ORDER,
    FailedUpload,
    Prepared,
    Request,
    TableChange,
    as_one,
    commit,
    failed_uploads,
    finish,
    in_turn,
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
    """Bring datasets up to date: ingest what is pending; nothing pending is a success.

    One dataset is committed by the IO manager, at the yields. Of several each is done with before
    the next is begun, so that a run holds one dataset at a time, however many it is for.
    """
    names = [DatasetName.parse(key) for key in sorted(context.partition_keys)]
    held: list[Prepared] = []
    failures: list[FailedUpload] = []
    errors: tuple[LakeError, ...] = ()
    with dagster_errors(), ExitStack() as stack:
        wanted = _request(context, config, lake, names[0])
        if len(names) == 1:
            held.append(stack.enter_context(prepared_dataset(lake.stores, wanted)))
            _describe(context, lake, held[0])
        else:
            with partitions_read_once():
                failed, errors = _bring_up_to_date(context, lake, names, wanted)
            failures += failed
        for asset in COMMIT_ORDER:
            changes = [item.changes[asset] for item in held if asset in item.changes]
            yield dg.Output(changes, output_name=asset)
        # Each output was committed at its yield.
        for item in held:
            finish(lake.stores, item)
            failures += item.failures
        _raise_failures(failures, errors)


def _bring_up_to_date(
    context: dg.AssetExecutionContext, lake: Lake, names: list[DatasetName], wanted: Request
) -> tuple[list[FailedUpload], tuple[LakeError, ...]]:
    """Ingest dataset after dataset; return uploads that failed, and why datasets were left."""
    working = frozenset(names if wanted.rebuild else lake.datasets_with_work())

    def work(name: DatasetName, wait_s: float | None) -> tuple[FailedUpload, ...]:
        request = replace(
            wanted, name=name, wait_s=wait_s, on_wait=lambda: _say_waiting(context, str(name))
        )
        with prepared_dataset(lake.stores, request) as item:
            _describe(context, lake, item)
            for change in item.changes.values():
                commit(lake.stores, change)
            finish(lake.stores, item)
        return item.failures

    done = in_turn([name for name in names if name in working], work)
    idle = [name for name in names if name not in working]
    _describe_idle(context, lake, idle, are_all=idle == names)
    return [failure for failures in done.results for failure in failures], done.errors


def _request(
    context: dg.AssetExecutionContext, config: IngestConfig, lake: Lake, name: DatasetName
) -> Request:
    """Return what a run is to do for a dataset.

    Raises:
        UnknownUpload: an id in the config is of no upload: it would be left out without a word.
    """
    find = lake.stores.staging.find
    return Request(
        name=name,
        upload_ids=frozenset(find(upload_id).id for upload_id in config.upload_ids) or None,
        rebuild=config.rebuild,
        run_id=context.run.run_id,
        on_rows=progress.on_rows.get(),
        on_wait=lambda: _say_waiting(context, str(name)),
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
            metadata |= pictures.schema_metadata(prepared)
        columns = change.spec.schema if change else None
        metadata |= pictures.table_metadata(stores, table, columns) | uploads
        context.add_asset_metadata(metadata, asset_key=asset, partition_key=str(name))


def _describe_idle(
    context: dg.AssetExecutionContext, lake: Lake, names: Sequence[DatasetName], *, are_all: bool
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


def _raise_failures(failures: Sequence[FailedUpload], errors: Sequence[LakeError]) -> None:
    """Fail the run if an upload or a dataset failed; the others are committed by now.

    Raises:
        RetryableError: if all that failed is worth another try.
        dagster.Failure: else; it tells the command that started the run which they are.
    """
    failed = [failed_uploads(failures)] if failures else []
    if not failed and not errors:
        return
    error = as_one([*failed, *errors])
    if isinstance(error, RetryableError) or not failures:
        raise error
    raise dg.Failure(
        error.message,
        metadata={"failures": dg.MetadataValue.json([asdict(failure) for failure in failures])},
        allow_retries=False,
    )
