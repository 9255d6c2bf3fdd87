"""Several commands at once over the same pending uploads: each upload is ingested exactly once."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from pathlib import Path

import pytest

from lake_assets.lake import Lake
from lake_assets.samples import SampleFacts, write_samples
from lake_assets_tests.e2e.real_lake import contents, failed_checks, leftovers, ok, started

WAIT = ("process", "start", "--wait")
BUSY = 75


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleFacts:
    return write_samples(tmp_path_factory.mktemp("samples"), receipts=20)


@pytest.fixture(scope="module")
def staged(samples: SampleFacts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven uploads for three datasets; some of them the same."""
    home = tmp_path_factory.mktemp("staged") / "lake"
    deliveries = [
        (samples.monday.folder, "receipts"),
        (samples.tuesday.folder, "receipts"),
        (samples.monday.folder, "receipts"),
        (samples.ticks.path, "ticks"),
        (samples.ticks.path, "ticks"),
        (samples.tuesday.folder, "slips"),
        (samples.monday.folder, "slips"),
    ]
    with Lake.init(home) as lake:
        for path, dataset in deliveries:
            lake.upload_raw_data(path, provider="shop", dataset=dataset, create_provider=True)
    return home


@pytest.mark.parametrize("how_many", [2, 4])
def test_each_upload_is_ingested_once(
    how_many: int, staged: Path, samples: SampleFacts, tmp_path: Path
):
    home = shutil.copytree(staged, tmp_path / "lake")
    codes, told = _all_at_once(home, how_many, tmp_path)
    assert set(codes) <= {0, BUSY}, told
    ok(home, *WAIT)  # what a busy one left, if any
    found = contents(home)
    assert found.uploads == {"done": 7}
    assert leftovers(home) == []
    assert failed_checks(home) == []
    assert _runs_that_failed(home, codes) == []
    with Lake.open(home) as lake:
        ledger = lake.stores.tables.read("lake.uploads")["upload_id"].to_pylist()
        assert Counter(ledger) == {upload.id: 1 for upload in lake.uploads()}
        (ticks,) = lake.sql("select count(*) from shop.ticks").fetchone()
        (images,) = lake.sql(
            "select count(*) from lake.images where dataset = 'receipts'"
        ).fetchone()
    assert ticks == samples.ticks.rows - len(samples.ticks.ragged_rows)
    assert images == samples.distinct_images
    assert len(found.rows["lake.partitions"]) == 3


def _all_at_once(home: Path, how_many: int, folder: Path) -> tuple[list[int], str]:
    """Return the exit codes of so many commands at once, and what they said."""
    logs = [folder / f"{number}.log" for number in range(how_many)]
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(log.open("wb")) for log in logs]
        running = [stack.enter_context(started(home, *WAIT, output=output)) for output in outputs]
        codes = [process.wait(timeout=120) for process in running]
    return codes, "\n".join(log.read_text() for log in logs)


def _runs_that_failed(home: Path, codes: list[int]) -> list[str]:
    import dagster as dg

    if BUSY in codes:
        return []
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
        return [run.run_id for run in instance.get_runs(filters=failed)]
