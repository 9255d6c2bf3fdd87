"""Runs made by a command: what they report, and that the UI sees them like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from lake_assets.contracts.names import DatasetName
from lake_assets.defs.launch import (
    RunReport,
    lake_instance,
    prepare_dagster_home,
    run_now,
    ui_command,
)
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets_tests.defs.conftest import (
    DAGSTERS_OWN_WARNINGS,
    OTHER,
    SHOPS,
    damage,
    deliver,
)

pytestmark = DAGSTERS_OWN_WARNINGS

PEOPLE = pa.table({"name": ["Ada", "Alan", "Grace"], "age": [36, 41, 85]})


def run(
    lake: Lake,
    *names: DatasetName,
    upload_ids: frozenset[str] | None = None,
    rebuild: bool = False,
    on_rows: Callable[[int], None] = lambda _: None,
    on_wait: Callable[[str], None] = lambda _: None,
) -> tuple[RunReport, ...]:
    return run_now(
        lake,
        upload_ids=upload_ids,
        names=names,
        rebuild=rebuild,
        on_rows=on_rows,
        on_wait=on_wait,
    )


def test_each_dataset_is_a_run_that_reports_its_uploads(lake: Lake):
    first, second = deliver(lake, PEOPLE, SHOPS), deliver(lake, PEOPLE.slice(1), SHOPS)
    third = deliver(lake, PEOPLE, OTHER)
    counted: list[int] = []
    reports = run(lake, SHOPS, OTHER, on_rows=counted.append)
    assert [report.name for report in reports] == [SHOPS, OTHER]
    assert all(report.success and report.error is None for report in reports)
    assert all((report.failures, report.failed_checks) == ((), ()) for report in reports)
    told = [[(item.upload_id, item.accepted) for item in report.outcomes] for report in reports]
    assert told == [[(first, 3), (second, 2)], [(third, 3)]]
    assert all(item.run_id == report.run_id for report in reports for item in report.outcomes)
    assert counted == [3, 5, 3]


def test_the_runs_are_in_the_lakes_own_instance(lake: Lake):
    deliver(lake, PEOPLE, SHOPS)
    deliver(lake, PEOPLE, OTHER)
    reports = run(lake, SHOPS, OTHER)
    with lake_instance(lake) as instance:
        runs = {item.run_id: item for item in instance.get_runs()}
        assert set(runs) == {report.run_id for report in reports}
        for report in reports:
            found = runs[report.run_id]
            assert found.status is dg.DagsterRunStatus.SUCCESS
            assert found.job_name == "ingest_uploads"
            assert found.tags["dagster/partition"] == str(report.name)
            assert found.tags["lake/started_by"] == "lake process start"
        assert instance.get_dynamic_partitions("datasets") == ["shop/receipts", "shop/slips"]
        for asset in ("raw", "images", "quarantine", "catalog"):
            found_keys = instance.get_materialized_partitions(dg.AssetKey(asset))
            assert found_keys == {"shop/receipts", "shop/slips"}


def test_an_upload_that_fails_is_reported_with_its_reason(lake: Lake):
    good, bad = deliver(lake, PEOPLE), deliver(lake, PEOPLE.slice(1))
    damage(lake, bad)
    (report,) = run(lake, SHOPS)
    assert not report.success
    assert [item.upload_id for item in report.outcomes] == [good]
    (failure,) = report.failures
    assert failure.upload_id == bad
    assert bad in (report.error or "")
    # What is in the tables is in the catalog, though the run failed before it came to that.
    assert [row["rows"] for row in lake.catalog()] == [3]
    assert lake.status(good).upload.state is State.DONE


def test_a_dataset_whose_run_fails_does_not_keep_the_next_from_its_own(lake: Lake):
    damage(lake, deliver(lake, PEOPLE, SHOPS))
    deliver(lake, PEOPLE, OTHER)
    first, second = run(lake, SHOPS, OTHER)
    assert (first.success, second.success) == (False, True)


def test_a_check_that_fails_is_reported_by_name(lake: Lake, pictures: Callable[..., Path]):
    deliver(lake, pictures("monday", 2))
    run(lake, SHOPS)
    next(path for path in (lake.home / "assets").rglob("*.png")).unlink()
    (report,) = run(lake, SHOPS)
    assert not report.success
    assert report.failed_checks == ("every_image_is_stored",)


def test_a_warning_is_not_a_failure(lake: Lake, pictures: Callable[..., Path]):
    deliver(lake, pictures("monday", 1, broken=1))
    (report,) = run(lake, SHOPS)
    assert report.success
    assert report.failed_checks == ()


def test_a_busy_dataset_may_be_tried_again(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAKE_BUSY_TIMEOUT_S", "0.2")
    upload_id = deliver(lake, PEOPLE)
    waited: list[str] = []
    with lake.stores.tables.leases.hold(str(SHOPS), wait_s=0):
        (report,) = run(lake, SHOPS, on_wait=waited.append)
    assert not report.success
    assert report.retryable
    assert "shop/receipts" in (report.error or "")
    assert waited == ["shop/receipts"]
    assert lake.status(upload_id).upload.state is State.PENDING
    (report,) = run(lake, SHOPS)
    assert report.success


def test_a_rebuild_reports_all_uploads(lake: Lake):
    ids = [deliver(lake, PEOPLE), deliver(lake, PEOPLE.slice(1))]
    run(lake, SHOPS)
    (report,) = run(lake, SHOPS, rebuild=True)
    assert report.success
    assert [item.upload_id for item in report.outcomes] == ids


def test_only_the_uploads_asked_for(lake: Lake):
    first, second = deliver(lake, PEOPLE), deliver(lake, PEOPLE.slice(1))
    (report,) = run(lake, SHOPS, upload_ids=frozenset({second}))
    assert [item.upload_id for item in report.outcomes] == [second]
    assert lake.status(first).upload.state is State.PENDING


def test_dagsters_home_is_made_once_and_then_left_to_people(lake: Lake):
    home = prepare_dagster_home(lake)
    settings = home / "dagster.yaml"
    assert home == lake.home / "dagster"
    assert "telemetry:\n  enabled: false" in settings.read_text()
    assert "nux:\n  enabled: false" in settings.read_text()
    changed = settings.read_text().replace("max_concurrent_runs: 4", "max_concurrent_runs: 2")
    settings.write_text(changed)
    assert prepare_dagster_home(lake) == home
    assert settings.read_text() == changed
    with lake_instance(lake) as instance:
        assert instance.telemetry_enabled is False
        assert Path(instance.root_directory) == home


def test_settings_as_an_earlier_version_wrote_them_are_replaced(lake: Lake):
    settings = prepare_dagster_home(lake) / "dagster.yaml"
    now = settings.read_text()
    head, own, *rest = now.split("\n\n")
    assert "instance_class" in own
    earlier = f"{head}\n" + "\n\n".join(rest)
    settings.write_text(earlier)
    prepare_dagster_home(lake)
    assert settings.read_text() == now


def test_the_ui_is_for_this_machine_and_this_lake(lake: Lake):
    command = ui_command(lake, port=4321)
    words = " ".join(command.arguments)
    assert "--host 127.0.0.1 --port 4321" in words
    assert "lake_assets.definitions" in words
    assert command.environment["LAKE_HOME"] == str(lake.home)
    assert command.environment["DAGSTER_HOME"] == str(lake.home / "dagster")
    # The servers that it starts find Dagster's databases made.
    assert (lake.home / "dagster" / "history" / "runs.db").exists()
