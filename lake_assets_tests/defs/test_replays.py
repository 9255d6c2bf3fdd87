"""The job that has rejected rows tried again: it stages, and the main job ingests."""

from __future__ import annotations

import dagster as dg
import pytest

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.registry import update_registry
from lake_assets_tests.defs.conftest import DAGSTERS_OWN_WARNINGS, OTHER, Shell, deliver

pytestmark = DAGSTERS_OWN_WARNINGS


def promise(lake, drift):
    contract = DatasetContract.model_validate({"drift": drift})
    update_registry(
        lake.stores.layout.registry_file,
        lambda registry: registry.with_dataset(OTHER, contract),
    )


@pytest.fixture
def rejected(lake, tmp_path):
    """Two rows that are let in by now, and one that is no JSON."""
    lake.create_provider("shop")
    for drift, name, lines in (
        ("quarantine", "first.jsonl", ['{"n": 1, "k": 1}']),
        ("quarantine", "more.jsonl", ['{"n": 2, "k": "a"}', '{"n": 3, "k": "b"}', "{no"]),
        ("evolve", "", []),
    ):
        promise(lake, drift)
        if name:
            (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
            lake.ingest(deliver(lake, tmp_path / name, OTHER))


def run(shell: Shell, **config: object) -> dg.ExecuteInProcessResult:
    return shell.definitions.resolve_job_def("replay_quarantine").execute_in_process(
        instance=shell.instance,
        run_config={"ops": {"stage_replays": {"config": config}}} if config else {},
        raise_on_error=False,
    )


def shown(result):
    (event,) = (item for item in result.all_events if item.event_type_value == "STEP_OUTPUT")
    return {key: value.value for key, value in event.step_output_data.metadata.items()}


def test_a_run_stages_replays_that_the_main_job_ingests(shell, lake, rejected):
    found = shown(run(shell))
    (upload,) = lake.uploads(name=OTHER)[-1:]
    assert found["replays"] == [{"upload_id": upload.id, "of": "shop/slips"}]
    assert shell.run(OTHER).success
    assert [row["rule"] for row in lake.quarantine()] == ["line_is_valid_json"]
    assert lake.sql("select count(*) from shop.slips").fetchall() == [(3,)]


def test_a_second_run_stages_no_second_replay(shell, lake, rejected):
    assert shown(run(shell))["replays"] == shown(run(shell))["replays"]


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"provider_dataset": "shop/slips"}, 1),
        ({"provider_dataset": "shop/receipts"}, 0),
        ({"task": "raw", "rule": "row_fits_the_schema"}, 1),
        ({"task": "ocr"}, 0),
        ({"rule": "no_such_rule"}, 0),
    ],
    ids=str,
)
def test_a_run_can_be_narrowed(shell, lake, rejected, config, count):
    found = shown(run(shell, **config))
    assert len(found["replays"]) == count
    assert count or found["what"] == "nothing to replay"


def test_a_dry_run_says_what_would_pass_and_stages_nothing(shell, lake, rejected):
    found = shown(run(shell, dry_run=True))
    assert found["what"] == "2 of 3 rows would pass"
    assert found["trials"] == [
        {"of": "shop/slips", "passed": 2, "stayed": {"line_is_valid_json": 1}}
    ]
    assert lake.datasets_with_work() == ()


def test_a_name_that_is_none_fails_the_run(shell, lake, rejected):
    assert not run(shell, provider_dataset="shop").success
