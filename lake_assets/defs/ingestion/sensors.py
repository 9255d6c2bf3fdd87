"""What makes the lake run by itself."""

import dagster as dg

from lake_assets.defs.ingestion.arrivals import Waiting, plan_runs
from lake_assets.defs.ingestion.jobs import ingest_uploads
from lake_assets.defs.partitions import datasets
from lake_assets.defs.run_health import close_dead_runs
from lake_assets.intake.uploads import State, Upload
from lake_assets.lake import Lake


@dg.sensor(
    job=ingest_uploads,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def staged_upload_arrived(
    context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]
) -> dg.SensorResult | dg.SkipReason:
    """Ask for one run per dataset that has uploads waiting, and add datasets that are new."""
    close_dead_runs(context.instance)
    lake.stores.staging.sweep_incoming()
    runs = plan_runs(_waiting(upload) for upload in _uploads_to_ingest(lake))
    known = context.instance.get_dynamic_partitions(datasets.name)
    names = {str(name) for name in lake.registry.dataset_names()} | {str(run.name) for run in runs}
    new = sorted(names.difference(known))
    if not runs and not new:
        return dg.SkipReason("no uploads are waiting")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=run.run_key,
                partition_key=str(run.name),
                tags={"lake/uploads": str(len(run.upload_ids))},
            )
            for run in runs
        ],
        dynamic_partitions_requests=[datasets.build_add_request(new)] if new else [],
    )


def _uploads_to_ingest(lake: Lake) -> list[Upload]:
    return [*lake.stores.staging.uploads(State.PENDING), *lake.stores.staging.abandoned()]


def _waiting(upload: Upload) -> Waiting:
    # Changes with every move into a state (the folder's own rename) and with its lease file; the
    # time of modification does not where an upload is cancelled and retried before it was claimed.
    version = str(upload.folder.stat().st_ctime_ns)
    return Waiting(name=upload.name, upload_id=upload.id, version=version)
