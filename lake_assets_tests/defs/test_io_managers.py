"""Both IO managers, through Dagster: partitioned or not, read back after another was written."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from lake_assets.definitions import build_definitions
from lake_assets.lake import Lake
from lake_assets_tests.defs.conftest import DAGSTERS_OWN_WARNINGS

pytestmark = DAGSTERS_OWN_WARNINGS

PAIRS = dg.DynamicPartitionsDefinition(name="pairs")
AWKWARD = ["a/b", "..", "é", "../up", "x|2026-01-01", "v1.2", "a b%2F", "."]
ICEBERG = {"lake/table": "lake.things", "lake/partition_columns": "provider/dataset"}


class World:
    """Assets that give what the test says, and assets that read it."""

    def __init__(self, lake: Lake, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.resources = build_definitions(str(lake.home)).resources

    def write(self, keeper: str, value: object, partition: str | None = None) -> None:
        assert self.try_to_write(keeper, value, partition).success

    def try_to_write(
        self, keeper: str, value: object, partition: str | None = None
    ) -> dg.ExecuteInProcessResult:
        @dg.asset(
            name="things",
            io_manager_key=keeper,
            partitions_def=PAIRS if partition is not None else None,
            metadata=ICEBERG,
        )
        def things() -> object:
            return value

        return self._materialize([things], partition)

    def read(self, keeper: str, partition: str | None = None, *, is_parted: bool = False) -> object:
        """Return what an asset downstream is given; of all partitions, if it has none itself."""
        seen = []
        spec = dg.AssetSpec(
            "things",
            partitions_def=PAIRS if is_parted or partition is not None else None,
            metadata={**ICEBERG, "dagster/io_manager_key": keeper},
        )

        @dg.asset(partitions_def=PAIRS if partition is not None else None)
        def reader(things: object) -> None:
            seen.append(things)

        assert self._materialize([spec, reader], partition).success
        return seen[0]

    def _materialize(
        self, assets: list[object], partition: str | None
    ) -> dg.ExecuteInProcessResult:
        if partition is not None:
            self.instance.add_dynamic_partitions("pairs", [partition])
        return dg.materialize(
            assets,
            instance=self.instance,
            resources=self.resources,
            partition_key=partition,
            selection=[assets[-1]],
            raise_on_error=False,
        )


@pytest.fixture
def world(lake: Lake, instance: dg.DagsterInstance) -> World:
    return World(lake, instance)


def rows(*numbers: int, key: str = "a/b") -> pa.Table:
    provider, _, dataset = key.partition("/")
    return pa.table(
        {
            "provider": pa.array([provider] * len(numbers), pa.string()),
            "dataset": pa.array([dataset] * len(numbers), pa.string()),
            "n": pa.array(numbers, pa.int64()),
        }
    )


def same(left: object, right: pa.Table) -> bool:
    assert isinstance(left, pa.Table)
    order = [("provider", "ascending"), ("dataset", "ascending"), ("n", "ascending")]
    return left.sort_by(order).equals(right.sort_by(order))


@pytest.mark.parametrize("keeper", ["iceberg", "parquet"])
def test_a_table_without_partitions_is_replaced(keeper: str, world: World):
    world.write(keeper, rows(1, 2))
    assert same(world.read(keeper), rows(1, 2))
    world.write(keeper, rows(3))
    assert same(world.read(keeper), rows(3))
    world.write(keeper, rows())
    assert same(world.read(keeper), rows())


@pytest.mark.parametrize("keeper", ["iceberg", "parquet"])
def test_replacing_one_partition_leaves_the_other(keeper: str, world: World):
    first, second = rows(1, 2, key="a/b"), rows(3, key="a/c")
    world.write(keeper, first, "a/b")
    world.write(keeper, second, "a/c")
    assert same(world.read(keeper, "a/b"), first)
    world.write(keeper, rows(9, key="a/b"), "a/b")
    assert same(world.read(keeper, "a/b"), rows(9, key="a/b"))
    assert same(world.read(keeper, "a/c"), second)
    world.write(keeper, rows(key="a/b"), "a/b")
    assert same(world.read(keeper, "a/b"), rows(key="a/b"))
    assert same(world.read(keeper, "a/c"), second)


@pytest.mark.parametrize("keeper", ["iceberg", "parquet"])
def test_a_reader_without_partitions_gets_them_all(keeper: str, world: World):
    world.write(keeper, rows(1, 2, key="a/b"), "a/b")
    world.write(keeper, rows(3, key="a/c"), "a/c")
    everything = pa.concat_tables([rows(1, 2, key="a/b"), rows(3, key="a/c")])
    assert same(world.read(keeper, is_parted=True), everything)


@pytest.mark.parametrize("keeper", ["iceberg", "parquet"])
def test_partitions_may_differ_by_a_column(keeper: str, world: World):
    world.write(keeper, rows(1, key="a/b"), "a/b")
    late = rows(3, key="a/c").append_column("note", pa.array(["new"]))
    world.write(keeper, late, "a/c")
    found = world.read(keeper, is_parted=True)
    assert isinstance(found, pa.Table)
    assert found.sort_by("n")["note"].to_pylist() == [None, "new"]


def test_awkward_keys_are_kept_apart_in_files(world: World, lake: Lake):
    for number, key in enumerate(AWKWARD):
        world.write("parquet", rows(number), key)
    for number, key in enumerate(AWKWARD):
        assert same(world.read("parquet", key), rows(number))
    folder = lake.home / "files" / "things"
    assert len(list(folder.glob("partition=*/part.parquet"))) == len(AWKWARD)
    # Nothing lies outside of it, and nothing half-written in it.
    assert {path.name for path in (lake.home / "files").rglob("*") if path.is_file()} == {
        "part.parquet"
    }
    assert list((lake.home / "files").iterdir()) == [folder]


def test_files_of_partitions_and_one_without_are_kept_apart(world: World):
    world.write("parquet", rows(1))
    world.write("parquet", rows(2), "a/b")
    assert same(world.read("parquet"), rows(1))


@pytest.mark.parametrize("keeper", ["iceberg", "parquet"])
@pytest.mark.parametrize(
    "value",
    [7, "text", {"n": [1]}, [1, 2], pd.DataFrame({"n": [1]}), pd.DataFrame(), None],
    ids=["int", "str", "dict", "list", "frame", "empty frame", "none"],
)
def test_anything_but_a_table_is_refused(keeper: str, value: object, world: World):
    result = world.try_to_write(keeper, value)
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    error = failure.step_failure_data.error
    assert error
    assert error.cause
    assert error.cause.cls_name == "SchemaMismatch"
    assert "pyarrow.Table" in error.cause.message


def test_what_was_written_is_told(world: World, lake: Lake):
    world.write("parquet", rows(1, 2), "a/b")
    event = world.instance.get_latest_materialization_event(dg.AssetKey("things"))
    assert event
    assert event.asset_materialization
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == 2
    path = Path(str(metadata["path"].value))
    assert path == lake.home / "files/things/partition=a%2Fb/part.parquet"
