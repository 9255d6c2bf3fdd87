"""Tasks in Dagster: an asset each, one partition per dataset and variant, lineage from raw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lake_assets.contracts.names import DatasetName, VariantName
from lake_assets.contracts.tasks import task_contract
from lake_assets.definitions import build_definitions
from lake_assets.defs.ingestion.sensors import staged_upload_sensor
from lake_assets.defs.partitions import variant_key, variant_name, variants_of
from lake_assets.defs.tasks.assets import task_key
from lake_assets.lake import Lake
from lake_assets.upkeep.task_checks import TASK_CHECKS
from lake_assets_tests.defs.conftest import (
    DAGSTERS_OWN_WARNINGS,
    OTHER,
    RANGE,
    SHOPS,
    Shell,
    deliver,
    rows_of,
)

pytestmark = DAGSTERS_OWN_WARNINGS

TAGS = task_contract(
    {"record_type": "layout", "description": "Where what is.", "required_fields": ["by"],
     "allowed_values": {"by": ["ann", "bo"]}}
)  # fmt: skip
BASE = VariantName(SHOPS, "tags", "base")


@pytest.fixture
def shell(lake: Lake, instance: dg.DagsterInstance, pictures: Any) -> Shell:
    """Two datasets with two images each, and a task."""
    for name in (SHOPS, OTHER):
        lake.ingest(deliver(lake, pictures(name.dataset, 2), name))
    lake.create_task("tags", TAGS)
    return Shell(lake, instance)


def annotate(lake: Lake, folder: Path, name: VariantName = BASE, *labels: str) -> str:
    """Stage one record per label, of the first image, and return the upload's id."""
    path = folder / f"{name.dataset} {name.variant} {'-'.join(labels)}.jsonl"
    records = [{"image": "000.png", "label": label, "box": [0, 0, 9, 9]} for label in labels]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return lake.upload_task_data(
        path, provider=name.provider, dataset=name.dataset, task=name.task, variant=name.variant,
        meta={"by": "ann"},
    ).id  # fmt: skip


def run(shell: Shell, *names: VariantName, rebuild: bool = False) -> dg.ExecuteInProcessResult:
    """Run the task's job for one partition or, in one run, for the range of some."""
    shell.add(*sorted({name.of for name in names}))
    variants = str(variants_of("tags").name)
    shell.instance.add_dynamic_partitions(variants, sorted({name.variant for name in names}))
    keys = [str(variant_key(name)) for name in names]
    several = len(keys) > 1
    return shell.definitions.resolve_job_def("ingest_task_tags").execute_in_process(
        instance=shell.instance,
        partition_key=None if several else variant_key(names[0]),
        tags=dict(zip(RANGE, (keys[0], keys[-1]), strict=True)) if several else {},
        run_config={"ops": {"tasks__tags": {"config": {"rebuild": rebuild}}}},
        raise_on_error=False,
    )


def shown(result: dg.ExecuteInProcessResult, name: VariantName) -> dict[str, Any]:
    (event,) = (
        item
        for item in result.get_asset_materialization_events()
        if item.partition == str(variant_key(name))
    )
    assert event.asset_key == task_key("tags")
    return {key: value.value for key, value in event.materialization.metadata.items()}


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {item.check_name: item.passed for item in result.get_asset_check_evaluations()}


def tick(shell: Shell, *, tasks: tuple[str, ...] = ("tags",)) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(instance=shell.instance, resources={"lake": shell.lake})
    result = staged_upload_sensor(tasks)(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def test_each_task_is_an_asset_with_its_job_and_checks(shell: Shell):
    shell.lake.create_task("words", task_contract({"record_type": "ocr"}))
    definitions = build_definitions(str(shell.lake.home))
    graph = definitions.resolve_asset_graph()
    for task in ("tags", "words"):
        asset = graph.get(task_key(task))
        partitions = asset.partitions_def
        assert isinstance(partitions, dg.MultiPartitionsDefinition)
        assert {item.name for item in partitions.partitions_defs} == {"dataset", "variant"}
        names = {key.name: graph.get(key).blocking for key in asset.check_keys}
        assert names == {check.name: check.blocking for check in TASK_CHECKS}
        assert definitions.resolve_job_def(f"ingest_task_{task}").partitions_def == partitions
    assert {
        "records_refer_to_known_images", "fields_hold_allowed_values", "keys_are_unique",
        "boxes_lie_inside_their_images", "required_fields_are_present",
    } <= {check.name for check in TASK_CHECKS if check.blocking}  # fmt: skip
    said = graph.get(task_key("tags")).description or ""
    assert said.startswith("One row per region of a page, in the table `tasks.tags`.")
    assert "Where what is." in said
    assert "* `by`: ann, bo" in said


def test_lineage_comes_from_raw_and_images(shell: Shell):
    graph = shell.definitions.resolve_asset_graph()
    parents = {key.to_user_string() for key in graph.get(task_key("tags")).parent_keys}
    assert parents == {"raw", "images"}
    assert task_key("tags") in graph.get(dg.AssetKey("raw")).child_keys


def test_a_partition_key_says_which_variant():
    assert variant_name("tags", str(variant_key(BASE))) == BASE


def test_a_partition_shows_its_numbers_and_rows(shell: Shell, tmp_path: Path):
    annotate(shell.lake, tmp_path, BASE, "logo", "total")
    result = run(shell, BASE)
    assert result.success
    found = shown(result, BASE)
    assert (found["rows in"], found["rows accepted"], found["rows rejected"]) == (2, 2, 0)
    assert found["dagster/table_name"] == "tasks.tags"
    assert "| logo |" in found["row sample"]
    assert {"label", "box", "by"} <= {c.name for c in found["dagster/column_schema"].columns}
    assert len(found["uploads"]) == 1
    assert evaluations(result) == {check.name: True for check in TASK_CHECKS}
    again = run(shell, BASE)
    assert again.success
    assert shown(again, BASE)["rows in"] == 0
    assert "Nothing was pending" in shown(again, BASE)["note"]


def test_checks_are_of_their_partition_alone(shell: Shell, tmp_path: Path):
    other = VariantName(SHOPS, "tags", "other")
    annotate(shell.lake, tmp_path, BASE, "logo")
    annotate(shell.lake, tmp_path, other, "total")
    assert run(shell, BASE).success
    assert run(shell, other).success
    stricter = TAGS.model_copy(update={"allowed_values": {"label": ("logo",), "by": ("ann",)}})
    shell.lake.delete_task("tags")
    shell.lake.create_task("tags", stricter)
    passed, failed = evaluations(run(shell, BASE)), run(shell, other)
    assert all(passed.values())
    assert [name for name, ok in evaluations(failed).items() if not ok] == [
        "fields_hold_allowed_values"
    ]


def test_a_backfill_takes_several_partitions_in_one_run(shell: Shell, tmp_path: Path):
    names = [VariantName(of, "tags", variant) for of in (SHOPS, OTHER) for variant in ("a", "b")]
    for name in names[:3]:
        annotate(shell.lake, tmp_path, name, name.variant)
    result = run(shell, names[0], *names[1:])
    assert result.success
    assert [shown(result, name)["rows in"] for name in names] == [1, 1, 1, 0]
    table = [(name.provider, name.dataset, name.variant) for name in names[:3]]
    found = shell.lake.sql("select provider, dataset, variant from tasks.tags order by all")
    assert found.fetchall() == sorted(table)
    rebuilt = run(shell, names[0], *names[1:], rebuild=True)
    assert rebuilt.success
    assert [shown(rebuilt, name)["rows in"] for name in names] == [1, 1, 1, 0]
    assert len(shell.lake.sql("select * from tasks.tags").fetchall()) == 3


def test_what_is_ingested_is_in_the_catalog(shell: Shell, tmp_path: Path):
    annotate(shell.lake, tmp_path, BASE, "logo")
    assert run(shell, BASE).success
    rows = {(row["task"], row["variant"]): row["rows"] for row in shell.lake.catalog()}
    assert rows[("tags", "base")] == 1


def test_the_sensor_asks_for_raw_before_what_annotates_it(
    shell: Shell, tmp_path: Path, pictures: Any
):
    annotate(shell.lake, tmp_path, BASE, "logo")
    deliver(shell.lake, pictures("later", 1), SHOPS)
    result = tick(shell)
    assert isinstance(result, dg.SensorResult)
    asked = [(item.job_name, str(item.partition_key)) for item in result.run_requests or []]
    assert asked == [
        ("ingest_uploads", "shop/receipts"), ("ingest_task_tags", "shop/receipts|base"),
    ][: len(asked)]  # fmt: skip
    assert asked[0] == ("ingest_uploads", "shop/receipts")
    added = {
        request.partitions_def_name: list(request.partition_keys)
        for request in result.dynamic_partitions_requests or []
    }
    assert added == {"datasets": ["shop/receipts", "shop/slips"], "variants_of_tags": ["base"]}


def test_the_sensor_asks_for_annotations_once_raw_is_in(shell: Shell, tmp_path: Path):
    annotate(shell.lake, tmp_path, BASE, "logo")
    result = tick(shell)
    assert isinstance(result, dg.SensorResult)
    (request,) = result.run_requests or []
    assert (request.job_name, str(request.partition_key)) == (
        "ingest_task_tags", "shop/receipts|base",
    )  # fmt: skip
    assert run(shell, BASE).success
    shell.add(SHOPS, OTHER)
    idle = tick(shell)
    assert isinstance(idle, dg.SkipReason)
    assert idle.skip_message == "no uploads are waiting"


def test_a_task_that_dagster_does_not_know_yet_is_told(shell: Shell, tmp_path: Path):
    annotate(shell.lake, tmp_path, BASE, "logo")
    shell.add(SHOPS, OTHER)
    idle = tick(shell, tasks=())
    assert isinstance(idle, dg.SkipReason)
    assert idle.skip_message == "reload the definitions to ingest tasks that are new: tags"
    assert len(shell.lake.uploads()) == 3


def test_the_command_line_runs_both_in_order(shell: Shell, tmp_path: Path, pictures: Any):
    from lake_assets.defs.launch import run_now

    lake = shell.lake
    annotate(lake, tmp_path, BASE, "logo")
    deliver(lake, pictures("later", 1), SHOPS)
    reports = run_now(
        lake, upload_ids=None, names=lake.datasets_with_work(), rebuild=False,
        on_rows=lambda rows: None, on_wait=lambda name: None,
    )  # fmt: skip
    assert [(str(item.name), item.success) for item in reports] == [
        ("shop/receipts", True), ("shop/receipts/tags/base", True),
    ]  # fmt: skip
    assert len(rows_of(lake, DatasetName("shop", "receipts"))) == 3
