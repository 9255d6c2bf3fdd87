"""`lake process start`: the plan, the report, and runs in Dagster."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake_assets.cli.run_report import account, trouble
from lake_assets.cli.work import expected_rows, plan_datasets, plan_jobs
from lake_assets.contracts.names import DatasetName
from lake_assets.defs.launch import RunReport
from lake_assets.errors import FatalError, RetryableError
from lake_assets.ingest import FailedUpload, Outcome
from lake_assets.lake import Lake
from lake_assets.samples import SampleFacts
from lake_assets_tests.cli.conftest import Run

RECEIPTS = DatasetName("shops", "receipts")


def deliver(lake: Lake, path: Path | pa.Table, dataset: str = "receipts") -> str:
    return lake.upload_raw_data(path, provider="shops", dataset=dataset, create_provider=True).id


def report(**changes: object) -> RunReport:
    values: dict[str, object] = {"name": RECEIPTS, "run_id": "run", "success": True,
                                 "outcomes": (), "failures": (), "failed_checks": (),
                                 "error": None, "retryable": False}  # fmt: skip
    return RunReport(**{**values, **changes})


def failure(*, will_retry: bool) -> FailedUpload:
    return FailedUpload(upload_id="01A", message="why", will_retry=will_retry)


# -- nothing to do


def test_nothing_pending_is_0_and_needs_no_dagster(typed: Run):
    assert typed("process", "start", "--wait").out == "Nothing is pending\n"
    assert typed("process", "start").out == "Nothing is pending\n"
    document = typed("process", "start", "--wait", "--json").json
    assert document == {"jobs": [], "done": [], "runs": []}


def test_a_job_that_is_done_is_0(typed: Run, lake: Lake, people: Path):
    upload_id = deliver(lake, people)
    lake.ingest(upload_id)
    answer = typed("process", "start", "--job", upload_id, "--wait")
    assert answer.code == 0
    assert "is done already" in answer.out


def test_a_job_that_failed_is_1_with_its_reason(typed: Run, lake: Lake, people: Path):
    upload = lake.stores.staging.find(deliver(lake, people))
    claimed = lake.stores.staging.claim(upload, token=1)
    assert claimed
    lake.stores.staging.fail(claimed, {"error": "Broken", "message": "it is broken."})
    start = typed("process", "start", "--job", upload.id)
    assert start.code == 1
    assert "it is broken." in start.err
    assert f"lake process retry {upload.id}" in start.err
    assert "it is broken." in typed("process", "status", upload.id).out


def test_jobs_and_datasets_exclude_each_other(typed: Run):
    assert typed("process", "start", "--job", "x", "--dataset", "a/b").code == 2
    assert typed("process", "start", "--job", "x", "--rebuild").code == 2


# -- the plan


def test_a_plan_for_jobs_leaves_others_alone(lake: Lake, people: Path):
    mine, _other = deliver(lake, people), deliver(lake, people)
    plan = plan_jobs(lake, [mine, mine])
    assert (plan.names, plan.upload_ids) == ((RECEIPTS,), frozenset({mine}))


def test_a_plan_for_datasets_takes_all_that_waits(lake: Lake, people: Path):
    deliver(lake, people)
    deliver(lake, people, "other")
    other = DatasetName("shops", "other")
    assert plan_datasets(lake, [], rebuild=False).names == (other, RECEIPTS)
    assert plan_datasets(lake, [other], rebuild=False).names == (other,)
    assert plan_datasets(lake, [], rebuild=False).upload_ids is None


def test_a_rebuild_needs_nothing_pending(lake: Lake, people: Path):
    lake.ingest(deliver(lake, people))
    assert plan_datasets(lake, [], rebuild=False).names == ()
    plan = plan_datasets(lake, [RECEIPTS], rebuild=True)
    assert plan.names == (RECEIPTS,)
    assert expected_rows(lake, plan) == 3


def test_rows_to_come_are_known_where_that_is_cheap(lake: Lake, people: Path, tmp_path: Path):
    pq.write_table(pa.table({"n": range(5)}), tmp_path / "five.parquet")
    deliver(lake, tmp_path / "five.parquet", "five")
    assert expected_rows(lake, plan_datasets(lake, [], rebuild=False)) == 5
    deliver(lake, people)
    assert expected_rows(lake, plan_datasets(lake, [], rebuild=False)) is None


# -- what is told


def test_every_row_is_accounted_for_in_words():
    outcome = Outcome(upload_id="01A", run_id="r", rows_in=746, accepted=620, rejected=6,
                      duplicate=120, images_in=740, images_stored=620, image_bytes_in=3_000_000,
                      image_bytes_stored=1_000_000, seconds=12.0,
                      rejected_by_rule={"row_is_short": 2, "image_is_complete": 4})  # fmt: skip
    assert account(outcome) == [
        "01A: 746 rows in = 620 accepted + 6 rejected + 120 duplicates; "
        "620 images stored, 2.0 MB saved; 12.00 s",
        "  rejected: 4 by image_is_complete",
        "  rejected: 2 by row_is_short",
    ]


@pytest.mark.parametrize(
    ("reports", "kind"),
    [
        ([report()], type(None)),
        ([report(success=False, failures=(failure(will_retry=True),), error="x")], RetryableError),
        ([report(success=False, failures=(failure(will_retry=False),), error="x")], FatalError),
        (
            [report(failures=(failure(will_retry=True), failure(will_retry=False)))],
            FatalError,
        ),
        ([report(failed_checks=("every_image_is_stored",))], FatalError),
        ([report(success=False, error="broken")], FatalError),
        (
            [report(failures=(failure(will_retry=True),)), report(success=False, error="x")],
            FatalError,
        ),
    ],
    ids=["none", "retried", "failed", "both", "check", "run", "retried and run"],
)
def test_what_went_wrong_decides_the_exit_code(reports: list[RunReport], kind: type):
    assert isinstance(trouble(reports, []), kind)


# -- runs in Dagster


def test_a_delivery_is_ingested_and_told(process: Run, lake: Lake, samples: SampleFacts):
    monday, tuesday = deliver(lake, samples.monday.folder), deliver(lake, samples.tuesday.folder)
    answer = process("process", "start", "--wait")
    assert answer.code == 0, answer.err
    assert f"{monday}: {samples.monday.rows} rows in" in answer.out
    assert f"{samples.tuesday.repeated_rows} duplicates" in answer.out
    assert "img/s" in answer.out
    assert "\x1b" not in answer.out
    document = process("process", "status", tuesday, "--json").json
    assert document["state"] == "done"
    assert document["outcome"]["duplicate"] == samples.tuesday.repeated_rows
    assert process("process", "start", "--wait", "--job", monday).out.endswith("done already\n")


def test_only_the_job_asked_for_is_ingested(process: Run, lake: Lake, people: Path):
    mine, other = deliver(lake, people), deliver(lake, people, "other")
    answer = process("process", "start", "--wait", "--json", "--job", mine)
    assert answer.code == 0, answer.err
    (run,) = answer.json["runs"]
    assert [item["upload_id"] for item in run["outcomes"]] == [mine]
    assert lake.status(other).upload.state == "pending"


def test_an_upload_that_fails_is_1(process: Run, lake: Lake, people: Path):
    upload_id = deliver(lake, people)
    (staged,) = lake.stores.staging.find(upload_id).files_folder.iterdir()
    staged.unlink()
    answer = process("process", "start", "--wait")
    assert answer.code == 1
    assert upload_id in answer.err
    assert lake.status(upload_id).upload.state == "failed"


def test_a_rebuild_reads_finished_uploads_again(process: Run, lake: Lake, people: Path):
    lake.ingest(deliver(lake, people))
    answer = process("process", "start", "--wait", "--rebuild", "--dataset", "shops/receipts")
    assert answer.code == 0, answer.err
    assert "3 accepted" in answer.out


def test_without_wait_it_goes_on_in_the_background(process: Run, lake: Lake, people: Path):
    upload_id = deliver(lake, people)
    started = process("process", "start", "--json")
    assert started.code == 0, started.err
    assert started.json["jobs"] == [upload_id]
    _wait_for(started.json["pid"])
    assert lake.status(upload_id).upload.state == "done"
    assert "3 accepted" in Path(started.json["log"]).read_text()


def _wait_for(pid: int) -> None:
    """Return when a process that is not our child has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)
