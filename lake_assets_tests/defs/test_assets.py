"""``raw``, ``images``, ``quarantine`` and ``catalog``, materialised by Dagster over a real lake."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import update_registry
from lake_assets.defs import progress
from lake_assets.defs.ingestion import runs
from lake_assets.defs.ingestion.assets import ingest_dataset
from lake_assets.defs.policies import dagster_errors
from lake_assets.errors import (
    CommitConflict,
    LakeError,
    RetryableError,
    SchemaMismatch,
    StorageUnavailable,
    UnknownOutcome,
)
from lake_assets.ingest import Prepared, Request, TableChange, commit, prepared_dataset
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.storage.tables import Commit
from lake_assets.stores import Stores
from lake_assets_tests.defs.conftest import (
    DAGSTERS_OWN_WARNINGS,
    OTHER,
    SHOPS,
    Shell,
    damage,
    deliver,
    failed_step,
    rows_of,
    shown,
)

pytestmark = DAGSTERS_OWN_WARNINGS

Pictures = Callable[..., Path]
TABLES = {"raw": "shop.receipts", "images": "lake.images", "quarantine": "lake.quarantine"}
SHEET_LIMIT_BYTES = 60_000
PEOPLE = pa.table({"name": ["Ada", "Alan", "Grace"], "age": [36, 41, 85]})


# -- what is there


def test_a_delivery_is_in_its_tables(shell: Shell, pictures: Pictures):
    upload_id = deliver(shell.lake, pictures("monday", 4, broken=1))
    result = shell.run(SHOPS)
    assert result.success
    assert [row[1] for row in rows_of(shell.lake, SHOPS)] == [upload_id] * 4
    images = shell.lake.stores.tables.read("lake.images")
    assert set(images["sha256"].to_pylist()) == {row[3] for row in rows_of(shell.lake, SHOPS)}
    (rejected,) = shell.lake.stores.tables.read("lake.quarantine").to_pylist()
    assert rejected["path"] == "broken0.jpg"
    assert shell.lake.status(upload_id).upload.state is State.DONE
    (ledger,) = shell.lake.stores.tables.read("lake.uploads").to_pylist()
    assert ledger["run_id"] == result.run_id


def test_materialised_without_a_job(shell: Shell):
    deliver(shell.lake, PEOPLE)
    shell.add(SHOPS)
    result = dg.materialize(
        [ingest_dataset],
        instance=shell.instance,
        resources=shell.definitions.resources,
        partition_key=str(SHOPS),
    )
    assert result.success
    assert len(rows_of(shell.lake, SHOPS)) == 3


def test_the_second_partition_leaves_the_first_alone(shell: Shell, pictures: Pictures):
    deliver(shell.lake, pictures("monday", 3), SHOPS)
    assert shell.run(SHOPS).success
    before = rows_of(shell.lake, SHOPS)
    images_before = _images(shell.lake, SHOPS)
    deliver(shell.lake, pictures("tuesday", 5, broken=1), OTHER)
    assert shell.run(OTHER).success
    assert rows_of(shell.lake, SHOPS) == before
    assert _images(shell.lake, SHOPS) == images_before
    assert (len(rows_of(shell.lake, OTHER)), len(_images(shell.lake, OTHER))) == (5, 5)
    assert {(row["dataset"], row["rows"]) for row in shell.lake.catalog()} == {
        ("receipts", 3),
        ("slips", 5),
    }


def test_only_the_uploads_asked_for_are_ingested(shell: Shell):
    first, second = deliver(shell.lake, PEOPLE), deliver(shell.lake, PEOPLE.slice(0, 1))
    assert shell.run(SHOPS, config={"upload_ids": [second]}).success
    assert shell.lake.status(first).upload.state is State.PENDING
    assert len(rows_of(shell.lake, SHOPS)) == 1


def test_uploads_asked_for_may_be_spelt_in_lower_case(shell: Shell):
    upload_id = deliver(shell.lake, PEOPLE)
    assert shell.run(SHOPS, config={"upload_ids": [upload_id.lower()]}).success
    assert shell.lake.status(upload_id).upload.state is State.DONE


@pytest.mark.parametrize("unknown", ["01J00000000000000000000000", "no id"])
def test_an_upload_asked_for_that_is_not_there_fails_the_run(unknown: str, shell: Shell):
    upload_id = deliver(shell.lake, PEOPLE)
    result = shell.run(SHOPS, config={"upload_ids": [upload_id, unknown]})
    assert not result.success
    assert unknown in failed_step(result).user_failure_data.description
    assert shell.lake.status(upload_id).upload.state is State.PENDING


# -- what is shown


@pytest.mark.parametrize("asset", TABLES)
def test_each_asset_shows_its_numbers_columns_and_rows(
    asset: str, shell: Shell, pictures: Pictures
):
    folder = pictures("monday", 4, broken=1)
    deliver(shell.lake, folder)
    metadata = shown(shell.run(SHOPS), asset, SHOPS)
    counts = [metadata[f"rows {what}"] for what in ("in", "accepted", "rejected", "duplicate")]
    assert counts == [5, 4, 1, 0]
    assert metadata["bytes in"] == sum(path.stat().st_size for path in folder.iterdir())
    assert metadata["seconds"] > 0
    assert metadata["rows per second"] > 0
    assert metadata["dagster/table_name"] == TABLES[asset]
    namespace, table = TABLES[asset].split(".")
    assert metadata["dagster/uri"].endswith(f"/tables/{namespace}/{table}")
    expected = shell.lake.stores.tables.schema(TABLES[asset]).names
    assert [column.name for column in metadata["dagster/column_schema"].columns] == expected
    comments = [column.description for column in metadata["dagster/column_schema"].columns]
    assert all(comments[:4])
    head, rule, *body = metadata["row sample"].splitlines()
    assert set(rule) == {"|", "-"}
    assert len(body) == (1 if asset == "quarantine" else 4)
    assert all(line.count("|") == head.count("|") for line in body)


def test_columns_of_a_table_are_named_alike_before_and_after_it_exists(shell: Shell):
    deliver(shell.lake, PEOPLE)
    first = shown(shell.run(SHOPS), "raw", SHOPS)["dagster/column_schema"]
    second = shown(shell.run(SHOPS), "raw", SHOPS)["dagster/column_schema"]
    assert first == second


def test_a_new_column_is_shown_by_the_run_that_brings_it(shell: Shell):
    deliver(shell.lake, PEOPLE)
    assert shell.run(SHOPS).success
    deliver(shell.lake, PEOPLE.append_column("city", pa.array(["London", "Oslo", "Bern"])))
    columns = shown(shell.run(SHOPS), "raw", SHOPS)["dagster/column_schema"].columns
    assert [column.name for column in columns][-3:] == ["name", "age", "city"]


@pytest.mark.parametrize(("count", "asset"), [(1, "raw"), (60, "images")])
def test_the_contact_sheet_is_a_small_markdown_image(
    count: int, asset: str, shell: Shell, pictures: Pictures
):
    deliver(shell.lake, pictures("monday", count))
    sheet = shown(shell.run(SHOPS), asset, SHOPS)["contact sheet"]
    assert sheet.startswith("![shop/receipts](data:image/jpeg;base64,/9j/")
    assert sheet.endswith(")")
    assert len(sheet) < SHEET_LIMIT_BYTES


def test_a_table_without_images_has_no_contact_sheet(shell: Shell):
    deliver(shell.lake, PEOPLE)
    metadata = shown(shell.run(SHOPS), "raw", SHOPS)
    assert "contact sheet" not in metadata
    assert "Ada" in metadata["row sample"]


def test_nothing_pending_is_a_success_that_says_so(shell: Shell, pictures: Pictures):
    deliver(shell.lake, pictures("monday", 3))
    assert shell.run(SHOPS).success
    before = rows_of(shell.lake, SHOPS)
    result = shell.run(SHOPS)
    assert result.success
    metadata = shown(result, "raw", SHOPS)
    assert metadata["note"] == "Nothing was pending: the dataset is up to date."
    assert metadata["rows in"] == 0
    # It still shows what is there.
    assert len(metadata["row sample"].splitlines()) == 5
    assert metadata["contact sheet"].startswith("![")
    assert rows_of(shell.lake, SHOPS) == before


def test_a_dataset_without_rows_is_a_success(shell: Shell):
    shell.lake.cancel(deliver(shell.lake, PEOPLE))
    result = shell.run(SHOPS)
    assert result.success
    assert shown(result, "raw", SHOPS)["row sample"] == "No rows."
    assert not shell.lake.stores.tables.exists(SHOPS.table)
    (row,) = shell.lake.catalog()
    assert row["rows"] == 0


# -- rebuilding


def test_a_rebuild_gives_the_same_rows_in_one_snapshot(shell: Shell, pictures: Pictures):
    monday = pictures("monday", 3, broken=1)
    deliver(shell.lake, monday)
    deliver(shell.lake, monday)
    deliver(shell.lake, pictures("tuesday", 2), OTHER)
    assert shell.run(SHOPS, OTHER).success
    columns = "_record_id, _upload_id, _image, file_name"
    before = rows_of(shell.lake, SHOPS, columns)
    images = _images(shell.lake, SHOPS)
    others = rows_of(shell.lake, OTHER)
    result = shell.run(SHOPS, config={"rebuild": True})
    assert result.success
    assert rows_of(shell.lake, SHOPS, columns) == before
    assert _images(shell.lake, SHOPS) == images
    assert rows_of(shell.lake, OTHER) == others
    metadata = shown(result, "raw", SHOPS)
    counts = [metadata[f"rows {what}"] for what in ("in", "accepted", "rejected", "duplicate")]
    assert counts == [8, 3, 2, 3]
    assert len(shell.lake.stores.tables.read("lake.quarantine")) == 2
    ledger = shell.lake.stores.tables.read("lake.uploads").to_pylist()
    assert sorted(row["rows_in"] for row in ledger) == [2, 4, 4]


def test_a_rebuild_takes_what_is_pending_too(shell: Shell):
    deliver(shell.lake, PEOPLE)
    assert shell.run(SHOPS).success
    late = deliver(shell.lake, PEOPLE.slice(0, 1))
    assert shell.run(SHOPS, config={"rebuild": True}).success
    assert len(rows_of(shell.lake, SHOPS)) == 4
    assert shell.lake.status(late).upload.state is State.DONE


def test_a_rebuild_that_would_lose_rows_is_refused(shell: Shell):
    upload_id = deliver(shell.lake, PEOPLE)
    assert shell.run(SHOPS).success
    before = rows_of(shell.lake, SHOPS)
    folder = shell.lake.stores.staging.find(upload_id).folder
    folder.rename(folder.parent.parent / "elsewhere")
    result = shell.run(SHOPS, config={"rebuild": True})
    assert not result.success
    assert "cannot be rebuilt" in failed_step(result).user_failure_data.description
    assert rows_of(shell.lake, SHOPS) == before


def test_a_rebuild_that_accepts_fewer_rows_asks_to_be_told_so(shell: Shell):
    deliver(shell.lake, PEOPLE)
    deliver(shell.lake, PEOPLE.slice(0, 1).append_column("more", [["x"]]))
    assert shell.run(SHOPS).success
    before = rows_of(shell.lake, SHOPS)
    contract = DatasetContract(unique_by=("name",))
    path = shell.lake.stores.layout.registry_file
    update_registry(path, lambda registry: registry.with_dataset(SHOPS, contract))
    result = shell.run(SHOPS, config={"rebuild": True})
    assert not result.success
    told = failed_step(result).user_failure_data.description
    assert f"would leave {len(before) - 1} of {len(before)} accepted rows" in told
    assert rows_of(shell.lake, SHOPS) == before
    assert shell.run(SHOPS, config={"rebuild": True, "accepts_fewer_rows": True}).success
    assert len(rows_of(shell.lake, SHOPS)) == len(before) - 1


def test_a_run_in_a_lake_that_was_copied_fails_and_its_uploads_wait(shell: Shell, tmp_path: Path):
    deliver(shell.lake, PEOPLE)
    assert shell.run(SHOPS).success
    late = deliver(shell.lake, PEOPLE.slice(0, 1))
    home = shutil.copytree(shell.lake.home, tmp_path / "copy", symlinks=True)
    with Lake.open(home) as lake:
        copy = Shell(lake, shell.instance)
        result = copy.run(SHOPS)
        assert not result.success
        description = failed_step(result).user_failure_data.description
        assert f"this lake was made at {shell.lake.home} and is at {home}" in description
        assert lake.status(late).upload.state is State.PENDING
        lake.relocate()
        assert copy.run(SHOPS).success
        assert (len(rows_of(lake, SHOPS)), len(rows_of(shell.lake, SHOPS))) == (4, 3)


# -- backfills


def test_a_backfill_of_a_range_is_one_run_that_tells_of_each_partition(
    shell: Shell, pictures: Pictures
):
    names = [DatasetName("shop", dataset) for dataset in ("receipts", "slips", "tills")]
    for count, name in enumerate(names, start=1):
        deliver(shell.lake, pictures(name.dataset, count), name)
    result = shell.run(*names)
    assert result.success
    for count, name in enumerate(names, start=1):
        metadata = shown(result, "raw", name)
        assert metadata["rows in"] == count
        assert metadata["dagster/table_name"] == name.table
        assert name.table.replace(".", "/") in metadata["dagster/uri"]
        assert [item["rows_in"] for item in metadata["uploads"]] == [count]
        assert shown(result, "images", name)["rows accepted"] == count
        assert len(rows_of(shell.lake, name)) == count
        assert shown(result, "catalog", name) is not None
    assert {row["dataset"]: row["rows"] for row in shell.lake.catalog()} == {
        "receipts": 1,
        "slips": 2,
        "tills": 3,
    }


def test_a_range_of_partitions_by_tags_alone(shell: Shell):
    shell.add(SHOPS, OTHER)
    deliver(shell.lake, PEOPLE, OTHER)
    result = dg.materialize(
        [ingest_dataset],
        instance=shell.instance,
        resources=shell.definitions.resources,
        tags={
            "dagster/asset_partition_range_start": str(SHOPS),
            "dagster/asset_partition_range_end": str(OTHER),
        },
    )
    assert result.success
    assert "note" in shown(result, "raw", SHOPS)
    assert "row sample" not in shown(result, "raw", SHOPS)
    assert shown(result, "raw", OTHER)["rows accepted"] == 3
    assert "Ada" in shown(result, "raw", OTHER)["row sample"]


def test_in_a_range_with_nothing_pending_each_partition_says_so_and_names_its_columns(
    shell: Shell,
):
    deliver(shell.lake, PEOPLE, SHOPS)
    assert shell.run(SHOPS).success
    shell.lake.cancel(deliver(shell.lake, PEOPLE, OTHER))
    result = shell.run(SHOPS, OTHER)
    assert result.success
    for asset in ("raw", "images", "quarantine"):
        for name in (SHOPS, OTHER):
            assert shown(result, asset, name)["note"].startswith("Nothing was pending")
    columns = shown(result, "raw", SHOPS)["dagster/column_schema"].columns
    assert {"name", "age"} <= {column.name for column in columns}
    assert len(rows_of(shell.lake, SHOPS)) == 3


def test_a_run_over_several_datasets_holds_one_at_a_time(shell: Shell, monkeypatch):
    held: list[str] = []

    @contextmanager
    def counted(stores: Stores, request: Request) -> Iterator[Prepared]:
        with prepared_dataset(stores, request) as prepared:
            assert held == []
            held.append(str(request.name))
            yield prepared
            held.clear()

    monkeypatch.setattr(runs, "prepared_dataset", counted)
    for name in (SHOPS, OTHER):
        deliver(shell.lake, PEOPLE, name)
    assert shell.run(SHOPS, OTHER).success
    assert [len(rows_of(shell.lake, name)) for name in (SHOPS, OTHER)] == [3, 3]


def test_in_a_backfill_a_bad_upload_of_one_dataset_leaves_the_other_alone(shell: Shell):
    bad, good = deliver(shell.lake, PEOPLE, SHOPS), deliver(shell.lake, PEOPLE, OTHER)
    damage(shell.lake, bad)
    result = shell.run(SHOPS, OTHER)
    assert not result.success
    assert shell.lake.status(good).upload.state is State.DONE
    assert len(rows_of(shell.lake, OTHER)) == 3


def test_in_a_range_what_keeps_one_dataset_from_being_worked_on_leaves_the_others_alone(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    """The first is held by another process, of the second the disk is full, the third is well."""
    monkeypatch.setenv("LAKE_BUSY_TIMEOUT_S", "0")
    third = DatasetName("shop", "tills")
    for name in (SHOPS, OTHER, third):
        deliver(shell.lake, PEOPLE, name)

    def full_for_one(stores: Stores, change: TableChange) -> Commit:
        if change.spec.name == OTHER.table:
            raise StorageUnavailable("no space left for slips")
        return commit(stores, change)

    monkeypatch.setattr(runs, "commit", full_for_one)
    said: list[LakeError] = []
    token = progress.on_error.set(said.append)
    try:
        with shell.lake.stores.tables.leases.hold(str(SHOPS), wait_s=0):
            result = shell.run(SHOPS, OTHER, third)
    finally:
        progress.on_error.reset(token)
    assert not result.success
    (error,) = said
    assert isinstance(error, RetryableError)
    assert "no space left for slips" in error.message
    assert "working on shop/receipts" in error.message
    assert len(rows_of(shell.lake, third)) == 3
    monkeypatch.setattr(runs, "commit", commit)
    assert shell.run(SHOPS, OTHER, third).success
    assert [len(rows_of(shell.lake, name)) for name in (SHOPS, OTHER)] == [3, 3]


def test_in_a_range_a_busy_dataset_comes_last(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    for name in (SHOPS, OTHER):
        deliver(shell.lake, PEOPLE, name)
    order: list[str] = []
    with ExitStack() as held:
        held.enter_context(shell.lake.stores.tables.leases.hold(str(SHOPS), wait_s=0))

        def give_back_once_waited_for(key: str) -> None:
            order.append(f"waits for {key}")
            held.close()

        def counted(stores: Stores, change: TableChange) -> Commit:
            order.append(change.spec.name)
            return commit(stores, change)

        monkeypatch.setattr(runs, "commit", counted)
        token = progress.on_wait.set(give_back_once_waited_for)
        try:
            assert shell.run(SHOPS, OTHER).success
        finally:
            progress.on_wait.reset(token)
    own = [item for item in order if not item.startswith("lake.")]
    assert own == ["shop.slips", "waits for shop/receipts", "shop.receipts"]


# -- failures


def test_an_upload_that_fails_fails_the_run_and_leaves_the_others(shell: Shell):
    good, bad, last = (deliver(shell.lake, PEOPLE.slice(n, 1)) for n in range(3))
    damage(shell.lake, bad)
    result = shell.run(SHOPS)
    assert not result.success
    said = failed_step(result).user_failure_data
    assert bad in said.description
    assert "lake process retry" in said.description
    (failure,) = said.metadata["failures"].value
    assert failure["upload_id"] == bad
    # The others are in the tables, and the run shows them.
    assert {row[1] for row in rows_of(shell.lake, SHOPS)} == {good, last}
    assert shown(result, "raw", SHOPS)["rows accepted"] == 2
    folder = shell.lake.stores.staging.find(bad).folder
    assert folder.parent.name == "failed"
    error = json.loads((folder / "error.json").read_text())
    assert error["message"] == failure["message"]
    assert not (folder / "lease.json").exists()
    # And the next run has nothing to do with it.
    assert shell.run(SHOPS).success


def test_a_busy_dataset_is_tried_again(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """Through Dagster's own direct call, which shows the request and does not wait for it."""
    monkeypatch.setenv("LAKE_BUSY_TIMEOUT_S", "0")
    deliver(shell.lake, PEOPLE)
    shell.add(SHOPS)
    with (
        shell.lake.stores.tables.leases.hold(str(SHOPS), wait_s=0),
        Lake.open(shell.lake.home) as lake,
        pytest.raises(dg.RetryRequested) as caught,
        dagster_errors(),
    ):
        lake.rebuild(SHOPS)
    assert (caught.value.max_retries, caught.value.seconds_to_wait) == (2, 10)


@pytest.mark.parametrize("kind", [SchemaMismatch, UnknownOutcome])
def test_what_does_not_pass_by_itself_fails_for_good(kind: type):
    with pytest.raises(dg.Failure) as caught, dagster_errors():
        raise kind("It is wrong.", table="a.b")
    assert caught.value.description == "It is wrong."
    assert caught.value.metadata["table"].value == "a.b"
    assert caught.value.allow_retries is False


def test_what_passes_by_itself_is_asked_for_again():
    with pytest.raises(dg.RetryRequested), dagster_errors():
        raise CommitConflict("Others were faster.")


def _images(lake: Lake, name: DatasetName) -> list[str]:
    where = {"provider": name.provider, "dataset": name.dataset}
    return sorted(lake.stores.tables.read("lake.images", where=where)["sha256"].to_pylist())
