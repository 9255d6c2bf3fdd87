"""The job that verifies the lake, and the schedule that asks for it once a week."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from lake_assets.defs.upkeep.jobs import weekly_verification
from lake_assets.storage.tables.catalog_file import seal_catalog
from lake_assets_tests.defs.conftest import (
    DAGSTERS_OWN_WARNINGS,
    SHOPS,
    deliver,
    failed_step,
)

pytestmark = DAGSTERS_OWN_WARNINGS


@pytest.fixture
def full_lake(lake, pictures):
    lake.ingest(deliver(lake, pictures("monday", 2), SHOPS))
    seal_catalog(lake.stores.layout.catalog_file)
    return lake


def run(shell, **config):
    job = shell.definitions.resolve_job_def("verify_lake")
    return job.execute_in_process(
        instance=shell.instance,
        run_config={"ops": {"verify_files": {"config": config}}} if config else {},
        raise_on_error=False,
    )


def shown(result):
    (event,) = (item for item in result.all_events if item.event_type_value == "STEP_OUTPUT")
    return {key: value.value for key, value in event.step_output_data.metadata.items()}


def test_a_run_shows_what_it_looked_at(shell, full_lake):
    result = run(shell, full=True)
    assert result.success
    metadata = shown(result)
    assert (metadata["damage"], metadata["warning"], metadata["findings"]) == (0, 0, "none")
    assert metadata["read"] == "every file"
    assert metadata["files"] >= metadata["read files"] > 10


def test_a_sample_is_read_where_nothing_is_said(shell, full_lake):
    assert shown(run(shell))["read"] == "500 files of each kind, seed 0"


def test_damage_fails_the_run_and_is_shown(shell, full_lake):
    path = sorted((full_lake.home / "assets").rglob("*.png"))[0]
    path.unlink()
    result = run(shell)
    assert not result.success
    failure = failed_step(result, "verify_files")
    name = path.relative_to(full_lake.home).as_posix()
    assert name in failure.user_failure_data.description
    metadata = failure.user_failure_data.metadata
    assert metadata["damage"].value == 1
    assert f"| damage | image | {name} | it is missing |" in metadata["findings"].value


def test_the_schedule_asks_for_a_full_run(shell):
    at = datetime(2026, 11, 22, 3, tzinfo=UTC)
    with dg.build_schedule_context(instance=shell.instance, scheduled_execution_time=at) as context:
        data = weekly_verification.evaluate_tick(context)
    (request,) = data.run_requests or ()
    assert request.run_config == {"ops": {"verify_files": {"config": {"full": True}}}}
