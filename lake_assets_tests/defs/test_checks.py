"""The asset checks: they judge their own partition, and a blocking one holds back ``catalog``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake_assets.lake import Lake
from lake_assets.upkeep.checks import CHECKS
from lake_assets_tests.defs.conftest import (
    DAGSTERS_OWN_WARNINGS,
    OTHER,
    RANGE,
    SHOPS,
    Shell,
    deliver,
)

pytestmark = DAGSTERS_OWN_WARNINGS

Pictures = Callable[..., Path]
PEOPLE = pa.table({"name": ["Ada", "Alan", "Grace"], "age": [36, 41, 85]})


def judged(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """Return what each check of a run found."""
    return {item.check_name: item for item in result.get_asset_check_evaluations()}


def lose_an_image(lake: Lake) -> None:
    shard = next(path for path in (lake.home / "assets").rglob("*") if path.is_file())
    shard.unlink()


def test_each_check_runs_with_the_main_job_and_passes(shell: Shell, pictures: Pictures):
    deliver(shell.lake, pictures("monday", 3))
    found = judged(shell.run(SHOPS))
    assert set(found) == {check.name for check in CHECKS}
    for check in CHECKS:
        evaluation = found[check.name]
        assert evaluation.passed, evaluation.description
        assert evaluation.asset_key == dg.AssetKey(check.asset)
        assert evaluation.partition == str(SHOPS)
        assert evaluation.blocking is check.blocking
        severity = dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN
        assert evaluation.severity is severity
    assert found["every_image_is_stored"].metadata["images"].value == 3


def test_a_lost_image_blocks_the_catalog(shell: Shell, pictures: Pictures):
    deliver(shell.lake, pictures("monday", 3))
    assert shell.run(SHOPS).success
    lose_an_image(shell.lake)
    result = shell.run(SHOPS)
    assert not result.success
    evaluation = judged(result)["every_image_is_stored"]
    assert not evaluation.passed
    assert evaluation.metadata["missing"].value == 1
    keys = {event.asset_key for event in result.get_asset_materialization_events()}
    assert keys == {dg.AssetKey(name) for name in ("raw", "images", "quarantine")}


def test_a_lost_image_of_another_dataset_is_none_of_its_business(shell: Shell, pictures: Pictures):
    deliver(shell.lake, pictures("monday", 3), SHOPS)
    assert shell.run(SHOPS).success
    lose_an_image(shell.lake)
    deliver(shell.lake, pictures("tuesday", 2), OTHER)
    result = shell.run(OTHER)
    assert result.success
    assert {item.partition for item in judged(result).values()} == {str(OTHER)}


def test_many_rejected_rows_warn_and_block_nothing(shell: Shell, pictures: Pictures):
    deliver(shell.lake, pictures("monday", 4, broken=1))
    result = shell.run(SHOPS)
    assert result.success
    evaluation = judged(result)["rejected_share_is_small"]
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    assert not evaluation.blocking
    assert evaluation.metadata["rejected_share"].value == 0.2
    assert [row["rows"] for row in shell.lake.catalog()] == [4]


def test_the_limit_of_rejected_rows_is_a_setting(
    shell: Shell, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LAKE_REJECTED_SHARE_LIMIT", "0.2")
    deliver(shell.lake, pictures("monday", 4, broken=1))
    assert judged(shell.run(SHOPS))["rejected_share_is_small"].passed


def test_rows_that_are_gone_are_noticed(shell: Shell):
    """A part that another process replaced by an older one: fewer rows than the ledger says."""
    deliver(shell.lake, PEOPLE)
    assert shell.run(SHOPS).success
    tables = shell.lake.stores.tables
    (part,) = (Path(path) for path in tables.data_files(SHOPS.table))
    pq.write_table(pq.ParquetFile(part).read().slice(1), part)
    result = shell.run(SHOPS)
    assert not result.success
    assert not judged(result)["accepted_rows_are_in_the_table"].passed


RANGE_TAGS = dict(zip(RANGE, (str(SHOPS), str(OTHER)), strict=True))


@pytest.mark.parametrize(
    "tags",
    [{"dagster/partition": str(SHOPS)}, RANGE_TAGS],
    ids=["one dataset", "a range"],
)
def test_checks_run_by_themselves(tags: dict[str, str], shell: Shell):
    deliver(shell.lake, PEOPLE, SHOPS)
    deliver(shell.lake, PEOPLE, OTHER)
    assert shell.run(SHOPS, OTHER).success
    checks = dg.define_asset_job("checks", selection=dg.AssetSelection.all_asset_checks())
    with_job = dg.Definitions.merge(shell.definitions, dg.Definitions(jobs=[checks]))
    job = with_job.resolve_job_def("checks")
    result = job.execute_in_process(instance=shell.instance, tags=tags, raise_on_error=False)
    assert result.success
    found = judged(result)
    assert set(found) == {check.name for check in CHECKS}
    assert all(item.passed for item in found.values())
    assert not result.get_asset_materialization_events()
    told = found["rows_are_accounted_for"].description or ""
    assert str(SHOPS) in told
    assert (str(OTHER) in told) is ("dagster/partition" not in tags)


def test_in_a_backfill_one_bad_dataset_fails_the_check(shell: Shell, pictures: Pictures):
    deliver(shell.lake, pictures("monday", 2), SHOPS)
    assert shell.run(SHOPS).success
    lose_an_image(shell.lake)
    deliver(shell.lake, pictures("tuesday", 2), OTHER)
    result = shell.run(SHOPS, OTHER)
    assert not result.success
    evaluation = judged(result)["every_image_is_stored"]
    assert "shop/receipts: 1 images are not" in (evaluation.description or "")
