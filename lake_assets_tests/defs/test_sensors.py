"""``staged_upload_arrived``: one run per dataset with uploads waiting, each asked for once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from lake_assets.contracts.names import DatasetName
from lake_assets.defs.ingestion import sensors
from lake_assets.defs.ingestion.sensors import staged_upload_sensor
from lake_assets.defs.run_health import close_dead_runs
from lake_assets.intake.uploads import State, Upload
from lake_assets.lake import Lake
from lake_assets.storage.processes import signature
from lake_assets_tests.defs.conftest import (
    DAGSTERS_OWN_WARNINGS,
    OTHER,
    RANGE,
    SHOPS,
    Shell,
    deliver,
)

pytestmark = DAGSTERS_OWN_WARNINGS

PEOPLE = pa.table({"name": ["Ada", "Alan", "Grace"], "age": [36, 41, 85]})
_CLAIM = """
import os, sys
from lake_assets.lake import Lake
stores = Lake.open(sys.argv[1]).stores
with stores.tables.leases.hold("shop/receipts", wait_s=0) as lease:
    stores.staging.claim(stores.staging.find(sys.argv[2]), token=lease.token)
    os._exit(17)
"""
_HOLD = """
import os, sys
from lake_assets.lake import Lake
with Lake.open(sys.argv[1]).stores.tables.leases.hold("shop/receipts", wait_s=0):
    os._exit(17)
"""


def tick(shell: Shell, *, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(
        instance=shell.instance, cursor=cursor, resources={"lake": shell.lake}
    )
    result = staged_upload_sensor(shell.lake.registry.tasks)(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def asked(result: dg.SensorResult | dg.SkipReason) -> dict[str, str]:
    """Return the run key of each partition that a run is asked for."""
    assert isinstance(result, dg.SensorResult)
    requests = result.run_requests or []
    keys = {str(request.partition_key): str(request.run_key) for request in requests}
    assert len(keys) == len(requests)
    return keys


def added(result: dg.SensorResult | dg.SkipReason) -> list[str]:
    assert isinstance(result, dg.SensorResult)
    requests = result.dynamic_partitions_requests or []
    return [key for request in requests for key in request.partition_keys]


def test_a_lake_that_was_copied_asks_for_no_run(shell: Shell, tmp_path: Path):
    deliver(shell.lake, PEOPLE)
    assert shell.run(SHOPS).success
    deliver(shell.lake, PEOPLE)
    home = shutil.copytree(shell.lake.home, tmp_path / "copy", symlinks=True)
    with Lake.open(home) as lake:
        copy = Shell(lake, shell.instance)
        result = tick(copy)
        assert isinstance(result, dg.SkipReason)
        assert "Run `lake relocate" in (result.skip_message or "")
        lake.relocate()
        assert list(asked(tick(copy))) == [str(SHOPS)]


def test_an_empty_lake_is_skipped(shell: Shell):
    result = tick(shell)
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "no uploads are waiting"


def test_one_run_per_dataset_and_its_partition_is_added(shell: Shell):
    deliver(shell.lake, PEOPLE, SHOPS)
    deliver(shell.lake, PEOPLE.slice(1), SHOPS)
    deliver(shell.lake, PEOPLE, OTHER)
    result = tick(shell)
    assert list(asked(result)) == ["shop/receipts", "shop/slips"]
    assert added(result) == ["shop/receipts", "shop/slips"]
    assert isinstance(result, dg.SensorResult)
    (first, _) = result.run_requests or []
    assert first.tags["lake/uploads"] == "2"


def test_asked_twice_it_names_the_same_runs(shell: Shell):
    deliver(shell.lake, PEOPLE, SHOPS)
    deliver(shell.lake, PEOPLE, OTHER)
    first = tick(shell)
    assert isinstance(first, dg.SensorResult)
    shell.add(SHOPS, OTHER)
    second = tick(shell, cursor=first.cursor)
    assert asked(second) == asked(first)
    assert added(second) == []


def test_another_upload_is_another_run_of_that_dataset_only(shell: Shell):
    deliver(shell.lake, PEOPLE, SHOPS)
    deliver(shell.lake, PEOPLE, OTHER)
    before = asked(tick(shell))
    deliver(shell.lake, PEOPLE, OTHER)
    after = asked(tick(shell))
    assert after["shop/receipts"] == before["shop/receipts"]
    assert after["shop/slips"] != before["shop/slips"]


def test_an_upload_that_was_given_back_asks_for_another_run(shell: Shell):
    upload_id = deliver(shell.lake, PEOPLE)
    before = asked(tick(shell))
    staging = shell.lake.stores.staging
    claimed = staging.claim(staging.find(upload_id), token=1)
    assert claimed
    assert staging.release(claimed)
    assert asked(tick(shell)) != before


def test_an_upload_that_is_retried_asks_for_another_run(shell: Shell):
    upload_id = deliver(shell.lake, PEOPLE)
    before = asked(tick(shell))
    shell.lake.cancel(upload_id)
    shell.add(SHOPS)
    assert isinstance(tick(shell), dg.SkipReason)
    shell.lake.retry(upload_id)
    assert asked(tick(shell)) != before


def test_what_is_being_ingested_is_left_alone(shell: Shell):
    upload_id = deliver(shell.lake, PEOPLE)
    shell.add(SHOPS)
    staging = shell.lake.stores.staging
    with shell.lake.stores.tables.leases.hold(str(SHOPS), wait_s=0) as lease:
        assert staging.claim(staging.find(upload_id), token=lease.token)
        assert isinstance(tick(shell), dg.SkipReason)


def test_an_upload_whose_process_died_asks_for_a_run(shell: Shell):
    upload_id = deliver(shell.lake, PEOPLE)
    before = asked(tick(shell))
    command = [sys.executable, "-c", _CLAIM, str(shell.lake.home), upload_id]
    assert subprocess.run(command, check=False).returncode == 17
    assert shell.lake.status(upload_id).upload.state is State.PROCESSING
    requested = asked(tick(shell))
    assert list(requested) == ["shop/receipts"]
    assert requested != before
    assert shell.run(SHOPS).success
    assert shell.lake.status(upload_id).upload.state is State.DONE


def test_after_the_run_there_is_nothing_to_ask_for(shell: Shell):
    deliver(shell.lake, PEOPLE)
    assert shell.run(SHOPS).success
    assert isinstance(tick(shell), dg.SkipReason)


def test_a_dataset_of_the_registry_becomes_a_partition_without_a_run(shell: Shell):
    shell.lake.cancel(deliver(shell.lake, PEOPLE))
    result = tick(shell)
    assert added(result) == ["shop/receipts"]
    assert asked(result) == {}


def on_its_way(shell: Shell, name: DatasetName) -> dg.DagsterRun:
    """Return a run of the main job for a dataset, by this process."""
    return shell.instance.create_run_for_job(
        shell.definitions.resolve_job_def("ingest_uploads"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": str(name), "lake/process": json.dumps(signature())},
    )


def test_a_dataset_with_a_run_is_not_asked_for_again(shell: Shell):
    deliver(shell.lake, PEOPLE, SHOPS)
    deliver(shell.lake, PEOPLE, OTHER)
    run = on_its_way(shell, SHOPS)
    assert list(asked(tick(shell))) == [str(OTHER)]
    shell.lake.cancel(shell.lake.uploads(State.PENDING, name=OTHER)[0].id)
    shell.add(SHOPS, OTHER)
    result = tick(shell)
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "datasets with uploads waiting: 1; runs on their way: 1"
    shell.instance.report_run_failed(run)
    assert list(asked(tick(shell))) == [str(SHOPS)]


def test_of_many_datasets_those_that_waited_longest_come_first(shell: Shell):
    names = [DatasetName("shop", f"d{number:02}") for number in reversed(range(20))]
    for name in names:
        deliver(shell.lake, PEOPLE, name)
    first = tick(shell)
    assert sorted(asked(first)) == sorted(str(name) for name in names[:16])
    assert len(added(first)) == 20
    for name in names[:3]:
        on_its_way(shell, name)
    assert sorted(asked(tick(shell))) == sorted(str(name) for name in names[3:16])


def tags_of(result: dg.SensorResult | dg.SkipReason) -> dict[str, str]:
    """Return the tags of the one run that is asked for."""
    assert isinstance(result, dg.SensorResult)
    (request,) = result.run_requests or []
    return {**request.tags, "dagster/run_key": str(request.run_key)}


def fail_once(shell: Shell, result: dg.SensorResult | dg.SkipReason) -> None:
    """Make the one run that is asked for, and let it fail."""
    run = shell.instance.create_run_for_job(
        shell.definitions.resolve_job_def("ingest_uploads"), tags=tags_of(result)
    )
    shell.instance.report_run_failed(run)


def test_uploads_that_wait_after_a_run_are_asked_for_without_end_and_ever_less_often(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    upload_id = deliver(shell.lake, PEOPLE)
    shell.add(SHOPS)
    staging = shell.lake.stores.staging
    clock = [float(round(time.time()))]  # what is stored of it is rounded
    monkeypatch.setattr(sensors.time, "time", lambda: clock[0])
    keys, waits_s = [], []
    for _ in range(13):
        waited_s = 0
        while isinstance(result := tick(shell), dg.SkipReason):
            assert "again later" in str(result.skip_message)
            waited_s, clock[0] = waited_s + 10, clock[0] + 10
        keys.append(asked(result)[str(SHOPS)])
        waits_s.append(waited_s)
        fail_once(shell, result)
        claimed = staging.claim(staging.find(upload_id), token=1)
        assert claimed
        assert staging.release(claimed)  # as after a full disk
    assert len(set(keys)) == 13
    assert waits_s[:8] == [0, 0, 20, 40, 80, 160, 320, 600]
    assert max(waits_s) == 600


def test_another_upload_is_asked_for_at_once(shell: Shell):
    deliver(shell.lake, PEOPLE)
    shell.add(SHOPS)
    for _ in range(2):
        fail_once(shell, tick(shell))
    assert isinstance(tick(shell), dg.SkipReason)
    deliver(shell.lake, PEOPLE.slice(1))
    assert list(asked(tick(shell))) == [str(SHOPS)]


def test_each_rebuild_that_was_left_asks_for_a_run(shell: Shell):
    deliver(shell.lake, PEOPLE)
    assert shell.run(SHOPS).success
    keys = set()
    for _ in range(2):
        shell.lake.stores.rebuilds.put(SHOPS)
        keys.add(asked(tick(shell))[str(SHOPS)])
        shell.lake.stores.rebuilds.remove(SHOPS)
        assert isinstance(tick(shell), dg.SkipReason)
    assert len(keys) == 2


# -- what a process left that died without any upload


def die_with_a_lease(shell: Shell) -> None:
    command = [sys.executable, "-c", _HOLD, str(shell.lake.home)]
    assert subprocess.run(command, check=False).returncode == 17


def leave_the_catalog_stale(shell: Shell) -> None:
    """As a process does that dies after its commits."""
    stale = shell.lake.stores.stale
    stale.put(SHOPS)
    (note,) = shell.lake.stores.layout.stale.iterdir()
    an_hour_ago = time.time() - 3600
    os.utime(note, (an_hour_ago, an_hour_ago))


def leave_a_rebuild(shell: Shell) -> None:
    shell.lake.stores.rebuilds.put(SHOPS)


@pytest.mark.parametrize("leave", [die_with_a_lease, leave_the_catalog_stale, leave_a_rebuild])
def test_what_a_dead_process_left_asks_for_one_run(shell: Shell, leave: Callable[[Shell], None]):
    deliver(shell.lake, PEOPLE)
    assert shell.run(SHOPS).success
    assert shell.lake.datasets_with_work() == ()
    leave(shell)
    assert shell.lake.datasets_with_work() == (SHOPS,)
    first = asked(tick(shell))
    assert list(first) == [str(SHOPS)]
    assert asked(tick(shell)) == first
    assert shell.run(SHOPS).success
    assert shell.lake.datasets_with_work() == ()
    assert isinstance(tick(shell), dg.SkipReason)


@pytest.mark.parametrize("leave", [die_with_a_lease, leave_the_catalog_stale, leave_a_rebuild])
def test_what_no_run_mends_is_asked_for_ever_less_often(
    shell: Shell, leave: Callable[[Shell], None]
):
    shell.add(SHOPS)
    leave(shell)
    for _ in range(2):
        fail_once(shell, tick(shell))
    assert "again later" in str(tick(shell).skip_message)
    # An upload does not wait for that.
    deliver(shell.lake, PEOPLE)
    assert list(asked(tick(shell))) == [str(SHOPS)]


def test_a_lease_that_a_living_process_holds_asks_for_nothing(shell: Shell):
    shell.add(SHOPS)
    with shell.lake.stores.tables.leases.hold(str(SHOPS), wait_s=0):
        assert isinstance(tick(shell), dg.SkipReason)


def test_whoever_ingests_has_a_minute_to_bring_the_catalog_up_to_date(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    shell.add(SHOPS)
    shell.lake.stores.stale.put(SHOPS)
    now = time.time()
    assert isinstance(tick(shell), dg.SkipReason)
    monkeypatch.setattr(sensors.time, "time", lambda: now + 61)
    assert list(asked(tick(shell))) == [str(SHOPS)]


def test_a_run_over_a_range_has_until_its_end(shell: Shell):
    shell.add(SHOPS)
    leave_the_catalog_stale(shell)
    run = shell.instance.create_run_for_job(
        shell.definitions.resolve_job_def("ingest_uploads"),
        status=dg.DagsterRunStatus.STARTED,
        tags={
            **dict.fromkeys(RANGE, str(SHOPS)),
            "lake/process": json.dumps(signature()),
        },
    )
    assert isinstance(tick(shell), dg.SkipReason)
    shell.instance.report_run_failed(run)
    assert list(asked(tick(shell))) == [str(SHOPS)]


def test_an_upload_that_moves_on_during_the_tick_is_left_out(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    upload_id = deliver(shell.lake, PEOPLE)
    deliver(shell.lake, PEOPLE, OTHER)

    def listed_and_gone(lake: Lake) -> list[Upload]:
        found = list(lake.stores.staging.uploads(State.PENDING))
        lake.cancel(upload_id)
        return found

    monkeypatch.setattr(sensors, "_uploads_to_ingest", listed_and_gone)
    assert list(asked(tick(shell))) == [str(OTHER)]


def test_it_is_on_from_the_start(shell: Shell):
    assert staged_upload_sensor([]).default_status is dg.DefaultSensorStatus.RUNNING
    assert shell.definitions.resolve_job_def("ingest_uploads") is not None


# -- runs whose process is gone


def begun(shell: Shell, process: dict[str, object] | None) -> dg.DagsterRun:
    """Return a run that is started, by this process."""
    tags = {"lake/process": json.dumps(process)} if process else {}
    return shell.instance.create_run_for_job(
        shell.definitions.resolve_job_def("ingest_uploads"),
        status=dg.DagsterRunStatus.STARTED,
        tags=tags,
    )


def dead_process() -> dict[str, object]:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return {"host": os.uname().nodename, "pid": ended.pid, "process_started": "1"}


def status(shell: Shell, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = shell.instance.get_run_by_id(run.run_id)
    assert found
    return found.status


def test_a_run_whose_process_is_gone_is_closed(shell: Shell):
    dead = begun(shell, dead_process())
    tick(shell)
    assert status(shell, dead) is dg.DagsterRunStatus.FAILURE
    assert close_dead_runs(shell.instance) == ()


def test_a_run_that_died_before_it_claimed_its_uploads_is_asked_for_again(shell: Shell):
    deliver(shell.lake, PEOPLE)
    result = tick(shell)
    requested = asked(result)
    run = begun(shell, dead_process())
    shell.instance.add_run_tags(run.run_id, tags_of(result))
    again = asked(tick(shell))
    assert status(shell, run) is dg.DagsterRunStatus.FAILURE
    assert again[str(SHOPS)] != requested[str(SHOPS)]


def test_runs_that_live_and_runs_of_others_are_left_alone(shell: Shell):
    elsewhere = begun(shell, dead_process() | {"host": "another-host"})
    unsigned = begun(shell, None)
    assert close_dead_runs(shell.instance) == ()
    for run in (elsewhere, unsigned):
        assert status(shell, run) is dg.DagsterRunStatus.STARTED


def test_a_run_that_never_signed_is_closed_after_a_while(shell: Shell):
    unsigned = begun(shell, None)
    living = begun(shell, {**signature(), "pid": os.getpid()})
    later = datetime.now(tz=UTC) + timedelta(minutes=11)
    assert close_dead_runs(shell.instance, later - timedelta(minutes=2)) == ()
    assert close_dead_runs(shell.instance, later) == (unsigned.run_id,)
    assert status(shell, unsigned) is dg.DagsterRunStatus.FAILURE
    assert status(shell, living) is dg.DagsterRunStatus.STARTED


def test_a_run_of_another_asset_signs_too(shell: Shell):
    deliver(shell.lake, PEOPLE)
    shell.add(SHOPS)
    result = shell.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=shell.instance,
        partition_key=str(SHOPS),
        asset_selection=[dg.AssetKey("catalog")],
    )
    run = shell.instance.get_run_by_id(result.run_id)
    assert run
    assert json.loads(run.tags["lake/process"])["pid"] == os.getpid()


def test_each_run_signs_with_its_process(shell: Shell):
    deliver(shell.lake, PEOPLE)
    result = shell.run(SHOPS)
    run = shell.instance.get_run_by_id(result.run_id)
    assert run
    signed = json.loads(run.tags["lake/process"])
    assert signed["pid"] == os.getpid()
    living = begun(shell, signed)
    assert close_dead_runs(shell.instance) == ()
    assert status(shell, living) is dg.DagsterRunStatus.STARTED
