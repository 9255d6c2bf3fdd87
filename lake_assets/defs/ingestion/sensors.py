"""What makes the lake run by itself."""

import time
from collections.abc import Container, Iterable, Iterator

import dagster as dg

from lake_assets.contracts.names import (
    RAW,
    Destination,
    VariantName,
    dataset_of,
    parse_destination,
)
from lake_assets.defs.ingestion.arrivals import (
    PlannedRun,
    Waiting,
    back_off_s,
    next_runs,
    plan_runs,
)
from lake_assets.defs.ingestion.jobs import ingest_uploads
from lake_assets.defs.partitions import datasets, variant_key, variant_name, variants_of
from lake_assets.defs.run_health import close_dead_runs
from lake_assets.defs.tasks.assets import job_name, task_job
from lake_assets.errors import LakeMoved
from lake_assets.intake.uploads import State, Upload
from lake_assets.lake import Lake

_RUNS_AT_ONCE = 16
"""Runs that wait or run because of this sensor. Dagster takes 10 to 30 ms to make one, in the
tick, so that asking for 2,000 at once would hold up every other sensor for a minute; and 4 run."""
_PARTITION = "dagster/partition"
_RUN_KEY = "dagster/run_key"
_WAITS_FOR = "lake/waits_for"
_TRIES_LOOKED_AT = 8
_TRIES_WITHIN_S = 3600.0
_RANGE = "dagster/asset_partition_range_start"
_STALE_FOR_S = 60.0
"""Whoever ingests a dataset brings its row of the catalog up to date within seconds."""
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


def staged_upload_sensor(tasks: Iterable[str]) -> dg.SensorDefinition:
    """Return the sensor that has what is staged ingested.

    Args:
        tasks: Those that Dagster has an asset of.
    """
    loaded = frozenset(tasks)

    @dg.sensor(
        name="staged_upload_arrived",
        jobs=[ingest_uploads, *map(task_job, sorted(loaded))],
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def staged_upload_arrived(
        context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]
    ) -> dg.SensorResult | dg.SkipReason:
        """Ask for one run per dataset or variant of a task that has uploads waiting.

        Datasets and variants that are new are added. One whose run waits or runs is left for a
        later tick: that run takes what is pending when it begins, and what came after it began is
        still pending when it has ended.
        """
        return _asked_for(context, lake, loaded)

    return staged_upload_arrived


def _asked_for(
    context: dg.SensorEvaluationContext, lake: Lake, loaded: frozenset[str]
) -> dg.SensorResult | dg.SkipReason:
    close_dead_runs(context.instance)
    try:
        lake.stores.require_here()
    except LakeMoved as error:
        return dg.SkipReason(error.message)
    lake.stores.staging.sweep_incoming()
    active = _active(context.instance, loaded)
    busy = frozenset(name for name in map(_name_of, active) if name)
    waiting = [*_waiting(_uploads_to_ingest(lake)), *_unfinished(lake)]
    # A run over a range brings the catalog up to date at its end, of all its datasets.
    if not any(_RANGE in run.tags for run in active):
        waiting += _stale(lake, time.time())
    planned = plan_runs(waiting)
    unknown = {run.name.task for run in planned} - loaded - {RAW}
    if unknown:
        context.log.warning(
            f"tasks that Dagster does not know yet: {', '.join(sorted(unknown))}; reload the "
            "definitions in the UI (Deployment, Reload)"
        )
    runs = next_runs(
        [run for run in planned if run.name.task not in unknown],
        busy=busy,
        most=_RUNS_AT_ONCE - len(busy),
        is_due=lambda run: _is_due(_tries(context.instance, run), time.time()),
    )
    new = list(_new_partitions(context.instance, lake, [run.name for run in planned], unknown))
    if not runs and not new:
        return dg.SkipReason(_why_idle(len(planned), len(busy), unknown))
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=_run_key(context.instance, run),
                job_name=_job_of(run.name),
                partition_key=_partition_of(run.name),
                tags={"lake/uploads": str(len(run.upload_ids)), _WAITS_FOR: run.waits_for},
            )
            for run in runs
        ],
        dynamic_partitions_requests=new,
    )


def _job_of(name: Destination) -> str:
    return job_name(name.task) if isinstance(name, VariantName) else ingest_uploads.name


def _partition_of(name: Destination) -> str:
    return variant_key(name) if isinstance(name, VariantName) else str(name)


def _name_of(run: dg.DagsterRun) -> str | None:
    """Return the name of the dataset or variant that a run is for; None: it is for many."""
    key = run.tags.get(_PARTITION)
    if key is None or run.job_name == ingest_uploads.name:
        return key
    return str(variant_name(run.job_name.removeprefix(job_name("")), key))


def _new_partitions(
    instance: dg.DagsterInstance, lake: Lake, names: Iterable[Destination], unknown: Container[str]
) -> Iterator[dg.AddDynamicPartitionsRequest]:
    """Yield requests for partitions that Dagster does not know yet."""
    names = list(names)
    wanted = {str(name) for name in lake.registry.dataset_names()}
    wanted |= {str(dataset_of(name)) for name in names}
    new = sorted(wanted.difference(instance.get_dynamic_partitions(str(datasets.name))))
    if new:
        yield datasets.build_add_request(new)
    variants: dict[str, set[str]] = {}
    for name in names:
        if isinstance(name, VariantName) and name.task not in unknown:
            variants.setdefault(name.task, set()).add(name.variant)
    for task, found in sorted(variants.items()):
        definition = variants_of(task)
        missing = sorted(found.difference(instance.get_dynamic_partitions(str(definition.name))))
        if missing:
            yield definition.build_add_request(missing)


def _active(instance: dg.DagsterInstance, tasks: Iterable[str]) -> list[dg.DagsterRun]:
    """Return the runs of this sensor's jobs that wait or run."""
    jobs = {ingest_uploads.name, *map(job_name, tasks)}
    runs = instance.get_runs(dg.RunsFilter(statuses=list(_ACTIVE)))
    return [run for run in runs if run.job_name in jobs]


def _why_idle(planned: int, busy: int, unknown: Iterable[str]) -> str:
    if unknown:
        return f"reload the definitions to ingest tasks that are new: {', '.join(sorted(unknown))}"
    if not planned:
        return "no uploads are waiting"
    tried = "; the others were tried, and are again later" if planned > busy else ""
    return f"datasets with uploads waiting: {planned}; runs on their way: {busy}{tried}"


def _tries(instance: dg.DagsterInstance, run: PlannedRun) -> list[dg.RunRecord]:
    """Return the latest runs that were asked for the same newest upload, newest first."""
    filters = dg.RunsFilter(tags={_WAITS_FOR: run.waits_for})
    return list(instance.get_run_records(filters, limit=_TRIES_LOOKED_AT))


def _is_due(tries: Iterable[dg.RunRecord], now: float) -> bool:
    """Return whether it is time for another run after ``tries``; ``now`` in seconds."""
    ended = [_ended_at(record) for record in tries if record.dagster_run.status in _ENDED]
    ages_s = [abs(now - at) for at in ended]  # a clock that was set back is no reason to wait
    recent = [age_s for age_s in ages_s if age_s < _TRIES_WITHIN_S]
    return not recent or min(recent) >= back_off_s(len(recent))


def _ended_at(record: dg.RunRecord) -> float:
    return record.end_time or record.update_timestamp.timestamp()


def _run_key(instance: dg.DagsterInstance, run: PlannedRun) -> str:
    """Return the key of the run to ask for: another one after each that ended.

    Dagster makes one run per key. If a run ends and its uploads wait all the same (it died before
    it claimed them, was cancelled, the disk was full, or the dataset busy), another one is needed.
    """
    latest = next(iter(_tries(instance, run)), None)
    if latest is None:
        return run.run_key
    if latest.dagster_run.status not in _ENDED:  # made, and not begun: Dagster begins it
        return latest.dagster_run.tags.get(_RUN_KEY, run.run_key)
    return f"{run.run_key}:{latest.dagster_run.run_id}"


def _uploads_to_ingest(lake: Lake) -> list[Upload]:
    return [*lake.stores.staging.uploads(State.PENDING), *lake.stores.abandoned()]


def _unfinished(lake: Lake) -> Iterator[Waiting]:
    """Stand for work whose process died; a living one ends before the run gets the dataset."""
    stores = lake.stores
    for name in stores.rebuilds.names():
        begun_at = stores.rebuilds.changed_at_ns(name)
        if begun_at is not None:
            yield Waiting(name=name, upload_id="(rebuild)", version=str(begun_at))
    for key in stores.tables.left_leases():
        token = stores.tables.leases.look(key).token
        yield Waiting(name=parse_destination(key), upload_id="(lease)", version=str(token))


def _stale(lake: Lake, now: float) -> Iterator[Waiting]:
    """Stand for rows of the catalog that a process should have made anew before it died.

    Args:
        now: In seconds since 1970.
    """
    for name in lake.stores.stale.names():
        since = lake.stores.stale.changed_at_ns(name)
        if since is not None and abs(now - since / 1e9) >= _STALE_FOR_S:
            yield Waiting(name=name, upload_id="(catalog)", version=str(since))


def _waiting(uploads: Iterable[Upload]) -> Iterator[Waiting]:
    """Yield what waits for a run; an upload that moved on since it was listed does not."""
    for upload in uploads:
        # Changes with every move into a state (the folder's own rename); the time of modification
        # does not where an upload is cancelled and retried before it was claimed.
        try:
            version = str(upload.folder.stat().st_ctime_ns)
        except FileNotFoundError:
            continue
        yield Waiting(name=upload.name, upload_id=upload.id, version=version)
