"""A real lake in a temporary folder, and Dagster's own ways to run what stands over it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from PIL import Image

from lake_assets.contracts.names import DatasetName
from lake_assets.definitions import build_definitions
from lake_assets.defs.partitions import datasets
from lake_assets.lake import Lake

DAGSTERS_OWN_WARNINGS = [
    # Dagster 1.13 uses it itself where one resource is nested in another.
    pytest.mark.filterwarnings(
        "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
    ),
    # As in defs/policies.py: assets of tasks are made in a test, where that filter is not.
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Specifying a partitions_def on:dagster.PreviewWarning"),
]

SHOPS = DatasetName("shop", "receipts")
OTHER = DatasetName("shop", "slips")
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dataclass
class Shell:
    """The lake's definitions over one lake, and one instance."""

    lake: Lake
    instance: dg.DagsterInstance
    definitions: dg.Definitions = field(init=False)

    def __post_init__(self) -> None:
        self.definitions = build_definitions(str(self.lake.home))

    def add(self, *names: DatasetName) -> None:
        """Add partitions, in this order."""
        self.instance.add_dynamic_partitions(str(datasets.name), [str(name) for name in names])

    def run(
        self,
        *names: DatasetName,
        job: str = "ingest_uploads",
        config: Mapping[str, object] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job for one dataset or, in one run, for the range from the first to the last."""
        self.add(*names)
        several = len(names) > 1
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=None if several else str(names[0]),
            tags=dict(zip(RANGE, (str(names[0]), str(names[-1])), strict=True)) if several else {},
            run_config={"ops": {"ingest_dataset": {"config": dict(config or {})}}}
            if job == "ingest_uploads"
            else {},
            raise_on_error=False,
        )


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("LAKE_", "DAGSTER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LAKE_WORKERS", "1")


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with Lake.init(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def shell(lake: Lake, instance: dg.DagsterInstance) -> Shell:
    return Shell(lake, instance)


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a folder of so many small images, all different."""

    def make(name: str, count: int, *, broken: int = 0) -> Path:
        folder = tmp_path / "deliveries" / name
        folder.mkdir(parents=True)
        for number in range(count):
            noise = random.Random(f"{name} {number}").randbytes(40 * 30 * 3)
            Image.frombytes("RGB", (40, 30), noise).save(folder / f"{number:03}.png")
        for number in range(broken):
            (folder / f"broken{number}.jpg").write_bytes(b"no image %d" % number)
        return folder

    return make


def deliver(lake: Lake, source: object, name: DatasetName = SHOPS) -> str:
    """Stage a delivery and return its id."""
    return lake.upload_raw_data(
        source, provider=name.provider, dataset=name.dataset, create_provider=True
    ).id


def damage(lake: Lake, upload_id: str) -> None:
    """Lose a staged file, so that the upload cannot be ingested."""
    file, *_ = lake.stores.staging.find(upload_id).files()
    (lake.stores.staging.find(upload_id).files_folder / file.name).unlink()


def shown(result: dg.ExecuteInProcessResult, asset: str, name: DatasetName) -> dict[str, Any]:
    """Return what a run shows of one partition of an asset."""
    (event,) = (
        item
        for item in result.get_asset_materialization_events()
        if item.asset_key == dg.AssetKey(asset) and item.partition == str(name)
    )
    return {key: value.value for key, value in event.materialization.metadata.items()}


def rows_of(lake: Lake, name: DatasetName, columns: str = "*") -> list[tuple[Any, ...]]:
    """Return the rows of a dataset's table, sorted."""
    found: Sequence[tuple[Any, ...]] = lake.sql(
        f"select {columns} from {name.table} order by all"
    ).fetchall()
    return list(found)


def failed_step(result: dg.ExecuteInProcessResult, step: str = "ingest_dataset") -> Any:
    """Return the failure of a step."""
    (event,) = (item for item in result.all_events if item.is_step_failure)
    assert event.step_key == step
    return event.step_failure_data
