"""Dagster's event log, written in batches: it holds what Dagster's own would, also meanwhile."""

import inspect
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.methods.event_methods import EventMethods
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import deserialize_value, serialize_value

from lake_assets.defs import instance as lake_instances
from lake_assets.defs.event_log import BatchedEventLog, LakeStorage
from lake_assets.defs.instance import LakeInstance, partitions_read_once
from lake_assets_tests.defs.conftest import RANGE

THINGS = dg.DynamicPartitionsDefinition(name="things")
KEYS = [f"p/d{number:04}" for number in range(12)]
OWN = files("lake_assets.defs").joinpath("instance.yaml").read_text(encoding="utf-8")
DAGSTERS = "telemetry:\n  enabled: false\n"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dg.multi_asset(
    outs={name: dg.AssetOut(dagster_type=dg.Nothing, code_version="1") for name in ("a", "b")},
    partitions_def=THINGS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def two(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
    for key in context.partition_keys:
        context.add_asset_metadata({"of": key}, asset_key="a", partition_key=key)
    yield dg.Output(None, output_name="a")
    if context.run.tags.get("fail"):
        raise dg.Failure("as asked for")
    yield dg.Output(None, output_name="b")


with pytest.warns(dg.PreviewWarning):

    @dg.asset_check(asset="a", partitions_def=THINGS)
    def is_fine() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)


DEFINITIONS = dg.Definitions(
    assets=[two],
    asset_checks=[is_fine],
    jobs=[dg.define_asset_job("make", [two])],
    executor=dg.in_process_executor,
)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that opens an instance in a folder, with these settings."""
    instances = []

    def open_(settings: str = OWN, folder: str = "dagster") -> dg.DagsterInstance:
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        (home / "dagster.yaml").write_text(settings, encoding="utf-8")
        instances.append(dg.DagsterInstance.from_config(str(home)))
        return instances[-1]

    yield open_
    for instance in instances:
        instance.dispose()


def run(
    instance: dg.DagsterInstance, keys: list[str] = KEYS, **tags: str
) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions("things", keys)
    return DEFINITIONS.resolve_job_def("make").execute_in_process(
        instance=instance,
        tags={**dict(zip(RANGE, (keys[0], keys[-1]), strict=True)), **tags},
        run_config=QUIET,
        raise_on_error=False,
    )


def rows(instance: dg.DagsterInstance, file: str, sql: str) -> list[tuple[Any, ...]]:
    runs = Path(instance.root_directory) / "history" / "runs"
    with closing(sqlite3.connect(runs / f"{file}.db")) as connection:
        return connection.execute(sql).fetchall()


EVENTS = "SELECT dagster_event_type, asset_key, partition, step_key FROM event_logs ORDER BY id"
TAGS = """
SELECT e.dagster_event_type, e.partition, t.asset_key = e.asset_key, t.key, t.value
FROM asset_event_tags t JOIN event_logs e ON e.id = t.event_id ORDER BY t.event_id, t.key"""
LATEST = """
SELECT k.asset_key, json_extract(last_materialization, '$.storage_id') = max(e.id),
       k.last_run_id = (SELECT run_id FROM event_logs ORDER BY id DESC LIMIT 1),
       last_materialization_timestamp = max(e.timestamp)
FROM asset_keys k JOIN event_logs e USING (asset_key)
WHERE dagster_event_type = 'ASSET_MATERIALIZATION' GROUP BY 1 ORDER BY 1"""
CHECKED = """
SELECT asset_key, check_name, partition, execution_status,
       json_extract(evaluation_event, '$.dagster_event.event_type_value'),
       evaluation_event_timestamp IS NULL, evaluation_event_storage_id IS NULL,
       evaluation_event_storage_id IN (SELECT id FROM event_logs)
FROM asset_check_executions ORDER BY id"""


@pytest.fixture
def nothing_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster falls back to single events, with a line on stderr, if a batch cannot be written."""
    store_event = SqliteEventLogStorage.store_event

    def counted(self: SqliteEventLogStorage, event: Any) -> None:
        if isinstance(self, BatchedEventLog):
            assert not (event.dagster_event and event.dagster_event.partition)
        store_event(self, event)

    monkeypatch.setattr(SqliteEventLogStorage, "store_event", counted)


@pytest.mark.parametrize("size", [500, 5])
@pytest.mark.usefixtures("nothing_one_by_one")
def test_it_holds_what_dagsters_own_holds(opened, monkeypatch: pytest.MonkeyPatch, size: int):
    monkeypatch.setattr(lake_instances, "_EVENTS_AT_ONCE", size)
    found = []
    for settings, folder in ((OWN, "own"), (DAGSTERS, "dagsters")):
        instance = opened(settings, folder)
        run(instance)
        ids = [run(instance, fail=mark).run_id for mark in ("", "yes")]
        found.append(
            [rows(instance, "index", sql) for sql in (EVENTS, TAGS, LATEST, CHECKED)]
            + [rows(instance, run_id, EVENTS) for run_id in ids]
        )
        assert isinstance(instance, LakeInstance) is (settings is OWN)
    for own, dagsters in zip(*found, strict=True):
        assert own == dagsters
        assert own
    # The last run planned `b`, and failed before it was made.
    assert [row[1:] for row in found[0][2]] == [(1, 1, 1), (1, 1, 0)]


def test_each_partition_is_made_and_tells_of_itself(opened, capfd: pytest.CaptureFixture[str]):
    instance = opened()
    assert run(instance).success
    for asset in ("a", "b"):
        assert instance.get_materialized_partitions(dg.AssetKey(asset)) == set(KEYS)
    told = instance.fetch_materializations(dg.AssetKey("a"), limit=1000).records
    assert {
        item.partition_key: item.asset_materialization.metadata["of"].value for item in told
    } == {key: key for key in KEYS}
    assert "Exception while storing" not in capfd.readouterr().err


def test_either_class_continues_what_the_other_wrote(opened):
    for number, settings in enumerate((DAGSTERS, OWN, DAGSTERS, OWN)):
        instance = opened(settings)
        assert run(instance, KEYS[number * 3 : number * 3 + 3]).success
        assert instance.get_materialized_partitions(dg.AssetKey("b")) == set(KEYS[: number * 3 + 3])
        assert len(instance.get_runs()) == number + 1


def test_a_failed_run_keeps_what_was_made_before(opened):
    instance = opened()
    result = run(instance, fail="yes")
    assert not result.success
    assert instance.get_materialized_partitions(dg.AssetKey("a")) == set(KEYS)
    assert instance.get_materialized_partitions(dg.AssetKey("b")) == set()
    record = instance.get_run_record_by_id(result.run_id)
    assert record
    assert record.dagster_run.status is dg.DagsterRunStatus.FAILURE


def test_an_event_outside_a_batch_is_there_at_once(opened):
    instance = opened()
    made = DEFINITIONS.resolve_job_def("make")
    begun = instance.create_run_for_job(made)
    instance.report_engine_event("hello", begun)
    (event,) = [
        item
        for item in opened(DAGSTERS).all_logs(begun.run_id)
        if item.dagster_event and item.dagster_event.is_engine_event
    ]
    assert event.dagster_event.message == "hello"
    instance.report_run_failed(begun)
    run_now = opened(DAGSTERS).get_run_by_id(begun.run_id)
    assert run_now.status is dg.DagsterRunStatus.FAILURE


def test_a_batch_that_cannot_be_written_is_written_event_by_event(
    opened, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(BatchedEventLog, "_store_together", refuse)
    instance = opened()
    assert run(instance).success
    assert instance.get_materialized_partitions(dg.AssetKey("a")) == set(KEYS)


def test_batches_of_several_writers_keep_their_events_apart(opened):
    """Each row of tags names an event of its own partition and run, whoever wrote in between."""
    instance = opened()
    events = [
        item
        for item in instance.all_logs(run(instance).run_id)
        if item.dagster_event and item.dagster_event.is_step_materialization
    ]
    tags = len(rows(instance, "index", TAGS))
    assert tags >= len(events) == 2 * len(KEYS)
    logs = [opened().event_log_storage for _ in range(3)]

    def write(number: int) -> None:
        for part in range(0, len(events), 8):
            logs[number].store_event_batch(
                [item._replace(run_id=f"run{number}") for item in events[part : part + 8]]
            )

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    found = rows(instance, "index", TAGS)
    assert len(found) == 4 * tags
    assert all(row[0] == "ASSET_MATERIALIZATION" and row[2] for row in found)
    of_runs = "SELECT run_id, asset_key, partition FROM event_logs WHERE run_id LIKE 'run%'"
    for number in range(3):
        own = [row[1:] for row in rows(instance, "index", of_runs) if row[0] == f"run{number}"]
        assert own == [row[1:] for row in rows(instance, f"run{number}", of_runs)]
        assert len(own) == len(events)


READ = """
import sys
import dagster as dg
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    for _ in range(20):
        print(len(instance.get_materialized_partitions(dg.AssetKey("b"))))
"""


def test_another_process_reads_meanwhile(opened):
    instance = opened()
    instance.add_dynamic_partitions("things", KEYS)
    command = [sys.executable, "-W", "ignore", "-c", READ, instance.root_directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        for _ in range(3):
            assert run(instance).success
        out, _ = reader.communicate(timeout=120)
    assert reader.returncode == 0
    assert set(map(int, out.split())) <= {0, len(KEYS)}


def test_a_check_is_planned_for_any_number_of_partitions(opened):
    """Of more values than the 32,766 that a statement of SQLite may have."""
    instance = opened()
    keys = [f"p/d{number:05}" for number in range(5_000)]
    instance.add_dynamic_partitions("things", keys)
    instance.create_run_for_job(
        DEFINITIONS.resolve_job_def("make"),
        tags=dict(zip(RANGE, (keys[0], keys[-1]), strict=True)),
    )
    planned = "SELECT count(DISTINCT partition), max(length(evaluation_event))"
    ((count, longest),) = rows(instance, "index", f"{planned} FROM asset_check_executions")
    assert count == len(keys)
    assert longest < 2_000


def test_it_goes_with_the_reference_that_other_processes_are_given(opened):
    ref = deserialize_value(serialize_value(opened().get_ref()))
    with dg.DagsterInstance.from_ref(ref) as again:
        assert isinstance(again, LakeInstance)
        assert isinstance(again.event_log_storage, BatchedEventLog)


def test_keys_are_read_once_where_that_is_said(opened, monkeypatch: pytest.MonkeyPatch):
    instance = opened()
    instance.add_dynamic_partitions("things", ["b", "a"])
    with partitions_read_once():
        assert instance.get_dynamic_partitions("things") == ["b", "a"]
        instance.add_dynamic_partitions("things", ["c"])
        assert instance.get_dynamic_partitions("things") == ["b", "a"]
        assert not instance.has_dynamic_partition("things", "c")
        assert instance.has_dynamic_partition("things", "a")
        assert instance.get_dynamic_partitions("others") == []
    assert instance.get_dynamic_partitions("things") == ["b", "a", "c"]
    assert instance.has_dynamic_partition("things", "c")


OVERRIDDEN = [
    (BatchedEventLog, SqliteEventLogStorage, "store_event_batch"),
    (BatchedEventLog, SqliteEventLogStorage, "_store_asset_check_evaluation_planned"),
    (LakeStorage, DagsterSqliteStorage, "from_config_value"),
    (LakeInstance, dg.DagsterInstance, "get_dynamic_partitions"),
    (LakeInstance, dg.DagsterInstance, "has_dynamic_partition"),
    (LakeInstance, EventMethods, "_get_event_batch_size"),
]


@pytest.mark.parametrize(("own", "dagsters", "name"), OVERRIDDEN)
def test_what_is_overridden_is_still_dagsters(own: type, dagsters: type, name: str):
    mine, theirs = (inspect.signature(getattr(kind, name)) for kind in (own, dagsters))
    assert list(mine.parameters) == list(theirs.parameters)


USED = {
    "_event_to_row": ["self", "event"],
    "_store_asset_event": ["self", "conn", "event", "event_id"],
    "_store_asset_event_tags": ["self", "conn", "events", "event_ids"],
    "_event_insert_timestamp": ["self", "event"],
    "run_connection": ["self", "run_id"],
    "index_connection": ["self"],
    "index_transaction": ["self"],
}


@pytest.mark.parametrize("name", USED)
def test_what_is_used_of_dagsters_log_takes_what_it_took(name: str):
    assert list(inspect.signature(getattr(SqliteEventLogStorage, name)).parameters) == USED[name]
