"""What makes the lake run by itself."""

import dagster as dg

from lake_assets.contracts.names import DatasetName
from lake_assets.defs.ingestion.arrivals import Waiting, next_runs, plan_runs
from lake_assets.defs.ingestion.jobs import ingest_uploads
from lake_assets.defs.partitions import datasets
from lake_assets.defs.run_health import close_dead_runs
from lake_assets.intake.uploads import State, Upload
from lake_assets.lake import Lake

_RUNS_PER_UPLOADS = 10
_RUNS_AT_ONCE = 16
"""Runs that wait or run because of this sensor. Dagster takes 10 to 30 ms to make one, in the
tick, so that asking for 2,000 at once would hold up every other sensor for a minute; and 4 run."""
_PARTITION = "dagster/partition"
_ACTIVE = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_ENDED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)


@dg.sensor(
    job=ingest_uploads,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def staged_upload_arrived(
    context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]
) -> dg.SensorResult | dg.SkipReason:
    """Ask for one run per dataset that has uploads waiting, and add datasets that are new.

    A dataset whose run waits or runs is left for a later tick: that run takes what is pending
    when it begins, and what came after it began is still pending when it has ended.
    """
    close_dead_runs(context.instance)
    lake.stores.staging.sweep_incoming()
    rebuilds = [_unfinished(name) for name in lake.stores.rebuilds.names()]
    planned = plan_runs([*map(_waiting, _uploads_to_ingest(lake)), *rebuilds])
    busy = _busy(context.instance)
    runs = next_runs(planned, busy=busy, most=_RUNS_AT_ONCE - len(busy))
    known = context.instance.get_dynamic_partitions(datasets.name)
    names = {str(name) for name in lake.registry.dataset_names()} | {
        str(run.name) for run in planned
    }
    new = sorted(names.difference(known))
    if not runs and not new:
        return dg.SkipReason(_why_idle(len(planned), len(busy)))
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=_run_key(context.instance, run.run_key),
                partition_key=str(run.name),
                tags={"lake/uploads": str(len(run.upload_ids))},
            )
            for run in runs
        ],
        dynamic_partitions_requests=[datasets.build_add_request(new)] if new else [],
    )


def _busy(instance: dg.DagsterInstance) -> frozenset[str]:
    """Return the partitions that have a run of this sensor's job."""
    filters = dg.RunsFilter(job_name=ingest_uploads.name, statuses=list(_ACTIVE))
    return frozenset(
        run.tags[_PARTITION] for run in instance.get_runs(filters) if _PARTITION in run.tags
    )


def _why_idle(planned: int, busy: int) -> str:
    if not planned:
        return "no uploads are waiting"
    return f"datasets with uploads waiting: {planned}; runs on their way: {busy}"


def _run_key(instance: dg.DagsterInstance, run_key: str) -> str:
    """Return the first key, of this one and some more, whose run has not ended.

    Dagster makes one run per key. If a run ends and its uploads wait all the same (it died before
    it claimed them, was cancelled, or the dataset was busy), another one is needed.
    """
    keys = [run_key, *(f"{run_key}:{number}" for number in range(1, _RUNS_PER_UPLOADS))]
    for key in keys:
        runs = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/run_key": key}))
        if not runs or any(run.status not in _ENDED for run in runs):
            return key
    return keys[-1]


def _uploads_to_ingest(lake: Lake) -> list[Upload]:
    return [*lake.stores.staging.uploads(State.PENDING), *lake.stores.abandoned()]


def _unfinished(name: DatasetName) -> Waiting:
    """Stand for a rebuild whose process died; a living one ends before the run gets the lock."""
    return Waiting(name=name, upload_id="rebuild", version="")


def _waiting(upload: Upload) -> Waiting:
    # Changes with every move into a state (the folder's own rename) and with its lease file; the
    # time of modification does not where an upload is cancelled and retried before it was claimed.
    version = str(upload.folder.stat().st_ctime_ns)
    return Waiting(name=upload.name, upload_id=upload.id, version=version)
