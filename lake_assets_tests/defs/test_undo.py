"""The job that takes an upload out of the tables, or puts it back."""

import dagster as dg
import pyarrow as pa
import pytest

from lake_assets.intake.uploads import State
from lake_assets_tests.defs.conftest import Shell


def run(shell: Shell, **config: object) -> dg.ExecuteInProcessResult:
    return shell.definitions.resolve_job_def("undo_upload").execute_in_process(
        instance=shell.instance,
        run_config={"ops": {"revise_dataset": {"config": config}}},
        raise_on_error=False,
    )


@pytest.fixture
def upload_id(lake) -> str:
    lake.create_provider("shop")
    for amounts in ([1, 2], [3]):
        rows = pa.table({"amount": amounts})
        upload = lake.upload_raw_data(rows, provider="shop", dataset="sales")
        lake.ingest(upload.id)
    return upload.id


def count(lake) -> int:
    ((rows,),) = lake.sql("select count(*) from shop.sales").fetchall()
    return rows


def test_a_run_takes_an_upload_out_and_another_puts_it_back(shell, lake, upload_id):
    assert run(shell, upload_id=upload_id, dry_run=True).success
    assert count(lake) == 3
    result = run(shell, upload_id=upload_id)
    assert result.success
    (event,) = (item for item in result.all_events if item.event_type_value == "STEP_OUTPUT")
    shown = {key: value.value for key, value in event.step_output_data.metadata.items()}
    assert (shown["rows before"], shown["rows"]) == (3, 2)
    assert (count(lake), lake.status(upload_id).upload.state) == (2, State.REMOVED)
    assert run(shell, upload_id=upload_id, redo=True).success
    assert (count(lake), lake.status(upload_id).upload.state) == (3, State.DONE)


def test_a_run_that_cannot_do_it_fails_and_says_why(shell, lake, upload_id):
    result = run(shell, upload_id=upload_id, redo=True)
    assert not result.success
    failures = [event for event in result.all_events if event.is_step_failure]
    assert "it is in the tables" in str(failures[0].event_specific_data)
    assert count(lake) == 3
