"""``tasks/<task>``: the annotations of a task, one partition per dataset and variant."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import dagster as dg

from lake_assets.contracts.names import TASKS, Destination, VariantName
from lake_assets.contracts.tasks import TaskContract
from lake_assets.defs import pictures
from lake_assets.defs.ingestion.runs import IngestConfig, IngestRun
from lake_assets.defs.partitions import task_partitions, variant_key, variant_name
from lake_assets.defs.policies import many_partitions_per_run
from lake_assets.errors import FatalError
from lake_assets.ingest import COMMIT_ORDER, Prepared, TableChange
from lake_assets.lake import Lake

_RULES = {
    "ocr": "One row per word or line of text",
    "kie": "One row per field of a document",
    "vqa": "One row per question about an image",
    "layout": "One row per region of a page",
    None: "One row per record",
}


def task_key(task: str) -> dg.AssetKey:
    """Return the key of a task's asset."""
    return dg.AssetKey([TASKS, task])


def task_asset(task: str, contract: TaskContract) -> dg.AssetsDefinition:
    """Return the asset of one task."""

    @dg.asset(
        key=task_key(task),
        group_name=TASKS,
        description=_description(task, contract),
        kinds={"iceberg", "parquet"},
        owners=["team:lake"],
        deps=[dg.AssetKey("raw"), dg.AssetKey("images")],
        partitions_def=task_partitions(task),
        backfill_policy=many_partitions_per_run,
        io_manager_key="iceberg",
        code_version="1",
    )
    def annotations(
        context: dg.AssetExecutionContext, config: IngestConfig, lake: dg.ResourceParam[Lake]
    ) -> Iterator[dg.Output[Sequence[TableChange]]]:
        run = IngestRun(
            context=context,
            lake=lake,
            config=config,
            describe=partial(_describe, context, lake),
            describe_idle=partial(_describe_idle, context, lake),
        )
        names = [variant_name(task, key) for key in sorted(context.partition_keys)]
        with run.of(names) as held:
            yield dg.Output(
                [item.changes[a] for item in held for a in COMMIT_ORDER if a in item.changes]
            )

    return annotations


@cache
def task_job(task: str) -> Any:
    """Return the job that ingests the annotations of one task; the same object each time."""
    return dg.define_asset_job(
        job_name(task),
        selection=dg.AssetSelection.assets(task_key(task)),
        description=f"Bring annotations of the task {task} up to date with pending uploads.",
    )


def job_name(task: str) -> str:
    """Return the name of the job that ingests the annotations of one task."""
    return f"ingest_task_{task}"


def _description(task: str, contract: TaskContract) -> str:
    said = [f"{_RULES[contract.record_type]}, in the table `{TASKS}.{task}`."]
    said += [contract.description] if contract.description else []
    for name in contract.required_fields:
        allowed = contract.allowed_values.get(name)
        said.append(f"* `{name}`: {', '.join(allowed) if allowed else 'any text'}")
    return "\n\n".join(said)


def _describe(context: dg.AssetExecutionContext, lake: Lake, prepared: Prepared) -> None:
    """Attach to the partition's materialisation what a person wants to see of it."""
    stores, name = lake.stores, prepared.name
    change = prepared.changes.get("raw")
    ingested = (*prepared.recovered, *prepared.all_uploads)
    sample = pictures.row_sample(stores, name.table, prepared.parts("raw"), name.table_rows)
    context.add_asset_metadata(
        {
            **pictures.counts_metadata(prepared),
            **pictures.rejected_metadata(prepared),
            **pictures.schema_metadata(prepared),
            **pictures.beside_metadata(prepared),
            **pictures.table_metadata(stores, name.table, change.spec.schema if change else None),
            "row sample": dg.MetadataValue.md(sample),
            "uploads": dg.MetadataValue.json([asdict(item.outcome) for item in ingested]),
        },
        asset_key=task_key(name.task),
        partition_key=_partition(name),
    )


def _describe_idle(
    context: dg.AssetExecutionContext, lake: Lake, names: Sequence[Destination], are_all: bool
) -> None:
    for name in names:
        context.add_asset_metadata(
            pictures.idle_metadata(lake.stores, name.table),
            asset_key=task_key(name.task),
            partition_key=_partition(name),
        )


def _partition(name: Destination) -> str:
    if not isinstance(name, VariantName):
        raise FatalError(f"{name} is no variant of a task")
    return str(variant_key(name))
