"""Run the main job from the command line: in this process, or in one of its own.

Runs made here are ordinary Dagster runs: the UI shows them like those that the sensor asked for.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg

from lake_assets.contracts.names import Destination, VariantName, dataset_of
from lake_assets.defs import progress
from lake_assets.defs.ingestion.assets import ingest_dataset
from lake_assets.defs.ingestion.jobs import ingest_uploads
from lake_assets.defs.partitions import datasets, variant_key, variants_of
from lake_assets.defs.plain_names import plain_name
from lake_assets.defs.run_health import close_dead_runs
from lake_assets.defs.tasks.assets import job_name, task_key
from lake_assets.errors import LakeError, RetryableError, UnknownTask
from lake_assets.ingest import FailedUpload, Outcome
from lake_assets.ingest.model import outcome_from_plain
from lake_assets.lake import Lake
from lake_assets.storage.files import write_atomically
from lake_assets.storage.locks import exclusive_lock
from lake_assets.upkeep.catalog import refresh_catalog

_OPENING_S = 60.0
_SUPERSEDED = "Function `dev_command` is superseded"
"""`dg dev`, which supersedes it, wants a project of its own kind; this is its supported core."""
_EARLIER = frozenset({"7cd2e540966d986ead8780498b183dd2503e09a29768269abae8decb1cc522bd"})
"""SHA-256 of what earlier versions wrote as dagster.yaml."""
_INTERRUPTED = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What one run of the main job did."""

    name: Destination
    run_id: str
    """Empty: there could be none."""
    success: bool
    outcomes: tuple[Outcome, ...]
    """Uploads that this run ingested."""
    failures: tuple[FailedUpload, ...]
    failed_checks: tuple[str, ...]
    """Blocking checks that failed."""
    error: str | None
    """Why the run failed, if it did."""
    retryable: bool
    """Whether the same call may work later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundStart:
    """A command that was started on its own."""

    pid: int
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class UiCommand:
    """How to start the Dagster UI and daemon over a lake."""

    arguments: list[str]
    environment: dict[str, str]


def run_now(
    lake: Lake,
    *,
    upload_ids: frozenset[str] | None,
    names: Sequence[Destination],
    rebuild: bool,
    on_rows: Callable[[int], None],
    on_wait: Callable[[str], None],
    accepts_fewer_rows: bool = False,
    on_report: Callable[[RunReport], None] = lambda report: None,
) -> tuple[RunReport, ...]:
    """Run the main job, or a task's, in this process for each name in turn; say what became of it.

    Args:
        upload_ids: Only these of the pending uploads; None: all.
        names: Datasets, and variants of tasks, to bring up to date.
        rebuild: Read all their finished uploads again.
        on_rows: Called with the rows read so far of the present dataset.
        on_wait: Called with a dataset's name when another process is ingesting it.
        accepts_fewer_rows: Whether a rebuild may leave fewer accepted rows than there are.
        on_report: Called with what became of a dataset as soon as that is known.
    """
    from lake_assets.definitions import build_definitions

    definitions = build_definitions(str(lake.home))
    config = {
        "rebuild": rebuild,
        "accepts_fewer_rows": accepts_fewer_rows,
        "upload_ids": sorted(upload_ids or ()),
    }
    with lake_instance(lake) as instance:
        close_dead_runs(instance)
        _add_partitions(instance, names)
        reports = []
        for name in names:
            errors: list[LakeError] = []
            with _reporting(on_rows, on_wait, errors.append):
                refused = _refused(lake, name)
                job = None if refused else definitions.resolve_job_def(_job_name(name))
                report = refused or _run(lake, instance, job, name, config, errors)
            reports.append(report)
            on_report(report)
        return tuple(reports)


def _refused(lake: Lake, name: Destination) -> RunReport | None:
    """Return why there can be no run for ``name``: its task is gone; None: there can be one."""
    if not isinstance(name, VariantName):
        return None
    try:
        lake.registry.task(name.task)
    except UnknownTask as error:
        return RunReport(name=name, run_id="", success=False, outcomes=(), failures=(),
                         failed_checks=(), error=error.message, retryable=False)  # fmt: skip
    return None


def _job_name(name: Destination) -> str:
    return job_name(name.task) if isinstance(name, VariantName) else ingest_uploads.name


def _add_partitions(instance: dg.DagsterInstance, names: Sequence[Destination]) -> None:
    keys = sorted({str(dataset_of(name)) for name in names})
    instance.add_dynamic_partitions(str(datasets.name), keys)
    for name in names:
        if isinstance(name, VariantName):
            instance.add_dynamic_partitions(str(variants_of(name.task).name), [name.variant])


def _run(
    lake: Lake,
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    name: Destination,
    config: Mapping[str, object],
    errors: list[LakeError],
) -> RunReport:
    result = job.execute_in_process(
        partition_key=variant_key(name) if isinstance(name, VariantName) else str(name),
        instance=instance,
        run_config={
            "ops": {_step(name): {"config": config}},
            # The command prints what came of it; the events are in the UI.
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        tags={"lake/started_by": "lake process start"},
        raise_on_error=False,
    )
    outcomes = _outcomes(result, name)
    if not result.success and name in lake.stores.stale.names():
        # The uploads that are in the tables belong in the catalog, whatever became of the others.
        refresh_catalog(lake.stores, [name])
    failure = _failure(result)
    if failure and failure.kind in _INTERRUPTED:  # Dagster turns Ctrl-C into a failed run
        raise KeyboardInterrupt
    return RunReport(
        name=name,
        run_id=result.run_id,
        success=result.success,
        outcomes=outcomes,
        failures=_failures(failure),
        failed_checks=tuple(
            check.check_name
            for check in result.get_asset_check_evaluations()
            if check.blocking and not check.passed
        ),
        error=_explained(failure, errors),
        retryable=bool(errors) and isinstance(errors[-1], RetryableError),
    )


@contextmanager
def lake_instance(lake: Lake) -> Iterator[dg.DagsterInstance]:
    """Give the lake's own Dagster instance, which the UI and the daemon share."""
    home = prepare_dagster_home(lake)
    # Dagster makes its databases when they are opened first; of two processes that do, one fails.
    lock = lake.stores.layout.locks / "dagster.lock"
    with exclusive_lock(lock, timeout_s=_OPENING_S, what="Dagster's storage"):
        instance = dg.DagsterInstance.from_config(str(home))
    with instance:
        yield instance


def prepare_dagster_home(lake: Lake) -> Path:
    """Return the lake's DAGSTER_HOME.

    Its dagster.yaml is written if it is not there, or is as an earlier version wrote it.
    """
    home = plain_name(lake.stores.layout.dagster)
    target = home / "dagster.yaml"
    if not target.exists() or hashlib.sha256(target.read_bytes()).hexdigest() in _EARLIER:
        template = files("lake_assets.defs").joinpath("instance.yaml")
        write_atomically(target, template.read_bytes())
    return home


def start_in_background(lake: Lake, arguments: tuple[str, ...]) -> BackgroundStart:
    """Start ``lake --home … ARGUMENTS`` on its own; it outlives this process.

    Its output goes to a log below the lake's ``logs`` folder.
    """
    log = lake.stores.layout.logs / f"process-{datetime.now(tz=UTC):%Y%m%dT%H%M%S%fZ}.log"
    command = [sys.executable, "-m", "lake_assets.cli.main", "--home", str(lake.home), *arguments]
    with log.open("xb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return BackgroundStart(pid=process.pid, log=log)


def ui_command(lake: Lake, *, port: int) -> UiCommand:
    """Return the command that serves UI and daemon over ``lake`` on 127.0.0.1.

    The UI has no login of its own, so it is bound to this machine.
    """
    with lake_instance(lake):  # its databases are there before several servers open them
        home = prepare_dagster_home(lake)
    arguments = [
        sys.executable, "-W", f"ignore:{_SUPERSEDED}", "-m", "dagster", "dev",
        "--module-name", "lake_assets.definitions", "--log-level", "warning",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    environment = {"DAGSTER_HOME": str(home), "LAKE_HOME": str(lake.home)}
    return UiCommand(arguments=arguments, environment={**os.environ, **environment})


@contextmanager
def _reporting(
    on_rows: Callable[[int], None],
    on_wait: Callable[[str], None],
    on_error: Callable[[LakeError], None],
) -> Iterator[None]:
    rows, wait = progress.on_rows.set(on_rows), progress.on_wait.set(on_wait)
    error = progress.on_error.set(on_error)
    try:
        yield
    finally:
        progress.on_rows.reset(rows)
        progress.on_wait.reset(wait)
        progress.on_error.reset(error)


def _step(name: Destination) -> str:
    if isinstance(name, VariantName):
        return task_key(name.task).to_python_identifier()
    return ingest_dataset.op.name


def _outcomes(result: dg.ExecuteInProcessResult, name: Destination) -> tuple[Outcome, ...]:
    own = task_key(name.task) if isinstance(name, VariantName) else dg.AssetKey("raw")
    for event in result.get_asset_materialization_events():
        if event.asset_key == own:
            uploads: Any = event.materialization.metadata["uploads"].value
            return tuple(outcome_from_plain(item) for item in uploads)
    return ()


@dataclass(frozen=True, slots=True)
class _Failure:
    kind: str
    message: str
    metadata: Mapping[str, Any]


def _failure(result: dg.ExecuteInProcessResult) -> _Failure | None:
    """Return the first step's failure, in its own words."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            kind = (data.error.cls_name or "") if data.error else ""
            said = data.user_failure_data
            if said is not None:
                return _Failure(kind, said.description or "", said.metadata)
            return _Failure(kind, f"{event.step_key}: {data.error_display_string}", {})
    return None


def _explained(failure: _Failure | None, errors: list[LakeError]) -> str | None:
    if errors:
        return errors[-1].message
    return failure.message if failure else None


def _failures(failure: _Failure | None) -> tuple[FailedUpload, ...]:
    if failure is None or "failures" not in failure.metadata:
        return ()
    return tuple(FailedUpload(**item) for item in failure.metadata["failures"].value)
