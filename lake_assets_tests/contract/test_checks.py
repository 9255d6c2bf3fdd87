"""Checks: each passes on a good lake, and fails once the thing that it is about is broken."""

import io
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import update_registry
from lake_assets.errors import DamagedTable, QueryFailed
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.storage.system_tables import IMAGES, QUARANTINE, UPLOADS
from lake_assets.storage.tables import Delivery, TableSpec
from lake_assets.upkeep.checks import CHECKS

NAME, OTHER = DatasetName("acme", "receipts"), DatasetName("acme", "other")
OWN = {"provider": "acme", "dataset": "receipts"}


def png(seed):
    image = Image.frombytes("RGB", (40, 30), random.Random(seed).randbytes(3600))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def lake(tmp_path, monkeypatch):
    monkeypatch.setenv("LAKE_WORKERS", "1")
    monkeypatch.setenv("LAKE_REJECTED_SHARE_LIMIT", "0.3")
    with Lake.init(tmp_path / "lake") as lake:
        lake.create_provider("acme")
        for dataset, first in (("receipts", 0), ("other", 10)):
            folder = tmp_path / dataset
            folder.mkdir()
            for number in range(3):
                (folder / f"{number}.png").write_bytes(png(first + number))
            (folder / "broken.png").write_bytes(png(first)[:200])
            deliver(lake, folder, dataset)
        yield lake


def deliver(lake, source, dataset="receipts"):
    lake.ingest(lake.upload_raw_data(source, provider="acme", dataset=dataset).id)


def failing(lake, name=NAME):
    return {check.name for _, check, result in lake.check([name]) if not result.passed}


def rewrite(lake, table, change, where=None):
    """Replace the rows of a table by what ``change`` makes of them."""
    tables = lake.stores.tables
    rows = change(tables.read(table, where=where))
    spec = TableSpec(name=table, schema=rows.schema, partition_by=tables.partition_by(table))
    with tables.part_writer(spec, stem="tampered") as parts:
        parts.write(rows)
        new = Delivery(keys=("tampered",), parts=parts.close())
    tables.replace(spec, [new], where=None if where is None else [where])


def with_value(column, value):
    def change(rows):
        number = rows.column_names.index(column)
        kind = rows.schema.field(column)
        return rows.set_column(number, kind, pa.array([value] * rows.num_rows, kind.type))

    return change


def test_a_good_lake_passes_every_check(lake):
    assert failing(lake) == failing(lake, OTHER) == set()
    assert len(CHECKS) == 7


def test_a_lake_without_uploads_passes_every_check(tmp_path):
    with Lake.init(tmp_path / "empty") as lake:
        lake.create_provider("acme")
        lake.upload_raw_data(pa.table({"a": [1]}), provider="acme", dataset="receipts")
        assert failing(lake) == set()


def image_rows(lake):
    return lake.stores.tables.read("lake.images", where=OWN).to_pylist()


def remove_shard(lake):
    lake.stores.assets.path(image_rows(lake)[0]["location"]).unlink()


def cut_shard(lake):
    path = lake.stores.assets.path(image_rows(lake)[0]["location"])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def remove_thumbnail(lake):
    lake.stores.thumbnails.path(image_rows(lake)[0]["thumbnail"]).unlink()


def forget_an_image(lake):
    rewrite(lake, IMAGES.name, lambda rows: rows.slice(1), OWN)


def drop_a_row(lake):
    rewrite(lake, NAME.table, lambda rows: rows.slice(1))


def double_the_rows(lake):
    rewrite(lake, NAME.table, lambda rows: pa.concat_tables([rows, rows]))


def add_rows_of_no_upload(lake):
    rewrite(lake, NAME.table, lambda rows: pa.concat_tables(
        [rows, with_value("_upload_id", "nobody")(rows)]))  # fmt: skip


def forget_a_rejected_row(lake):
    rewrite(lake, QUARANTINE.name, lambda rows: rows.slice(1), OWN)


def tell_more_rows_in(lake):
    rewrite(lake, UPLOADS.name, with_value("rows_in", 99), OWN)


def tell_more_accepted(lake):
    rewrite(lake, UPLOADS.name, with_value("accepted", 99), OWN)


def forget_an_upload(lake):
    rewrite(lake, UPLOADS.name, lambda rows: rows.slice(1), OWN)


def promise_a_column(lake):
    contract = DatasetContract(time_column="at")
    path = lake.stores.layout.registry_file
    update_registry(path, lambda registry: registry.with_dataset(NAME, contract))


@pytest.mark.parametrize(
    ("breaks", "found_by"),
    [
        (remove_shard, {"every_image_is_stored"}),
        (cut_shard, {"every_image_is_stored"}),
        (remove_thumbnail, {"every_image_is_stored"}),
        (forget_an_image, {"every_image_is_stored"}),
        (drop_a_row, {"accepted_rows_are_in_the_table"}),
        (double_the_rows, {"accepted_rows_are_in_the_table"}),
        (add_rows_of_no_upload, {"accepted_rows_are_in_the_table"}),
        (forget_a_rejected_row, {"rows_are_accounted_for"}),
        (tell_more_rows_in, {"rows_are_accounted_for"}),
        (tell_more_accepted, {"rows_are_accounted_for", "accepted_rows_are_in_the_table"}),
        (forget_an_upload, {"rows_are_accounted_for", "accepted_rows_are_in_the_table"}),
        (promise_a_column, {"schema_matches_table"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_damage_is_found_and_blamed_on_its_own_dataset(lake, breaks, found_by):
    breaks(lake)
    assert failing(lake) == found_by
    assert failing(lake, OTHER) == set()


def test_rows_whose_table_is_gone_are_missed(lake):
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("lake", uri=f"sqlite:///{lake.stores.layout.catalog_file}")
    for table in (NAME.table, QUARANTINE.name):
        catalog.drop_table(table)
    catalog.close()
    assert failing(lake) == {"accepted_rows_are_in_the_table", "rows_are_accounted_for"}


def lose_a_part(lake, table):
    (path,) = (Path(path) for path in lake.stores.tables.data_files(table))
    path.unlink()
    return path


def tear_a_part(lake, table):
    (path,) = (Path(path) for path in lake.stores.tables.data_files(table))
    path.write_bytes(b"torn")
    return path


def lose_the_metadata(lake, table):
    return _forget_and_lose(lake, table, "*.metadata.json")


def lose_the_manifest_list(lake, table):
    return _forget_and_lose(lake, table, "snap-*.avro")


def _forget_and_lose(lake, table, which):
    """Remove files of a table's metadata, and what was kept of them."""
    shutil.rmtree(lake.stores.layout.plans)
    paths = list((lake.stores.tables.data_folder(table).parent / "metadata").glob(which))
    for path in paths:
        path.unlink()
    return max(paths)


LOSSES = pytest.mark.parametrize(
    "lose", [lose_a_part, tear_a_part, lose_the_metadata, lose_the_manifest_list]
)


@LOSSES
def test_a_damaged_table_fails_the_checks_of_its_dataset_alone(lake, lose):
    lost = lose(lake, NAME.table)
    with Lake.open(lake.home) as opened:  # which remembers no plan
        found = opened.check()
    failed = {(name, check.name): result for name, check, result in found if not result.passed}
    assert {name for name, _ in failed} == {NAME}
    assert {"accepted_rows_are_in_the_table", "schema_matches_table"} <= {key for _, key in failed}
    for result in failed.values():
        assert lost.name in result.summary
        assert "`lake verify`, then `lake repair`" in result.summary


@LOSSES
def test_sql_over_a_damaged_table_says_which_file_it_is(lake, lose):
    lost = lose(lake, NAME.table)
    with Lake.open(lake.home) as opened, pytest.raises(DamagedTable, match=lost.name):
        opened.sql(f"SELECT max(_record_id) FROM {NAME.table}").fetchall()


@pytest.mark.parametrize("lose", [lose_a_part, lose_the_metadata])
def test_a_damaged_table_fails_no_upload_and_keeps_no_other_dataset_back(lake, lose):
    contract = DatasetContract(unique_by=("a",))  # so that its parts are asked for keys
    path = lake.stores.layout.registry_file
    update_registry(path, lambda registry: registry.with_dataset(NAME, contract))
    lose(lake, NAME.table)
    with Lake.open(lake.home) as opened:
        for name in (OTHER, NAME):
            rows = pa.table({"a": [1]})
            opened.upload_raw_data(rows, provider=name.provider, dataset=name.dataset)
        with pytest.raises(DamagedTable, match="lake repair"):
            opened.ingest_pending()
        assert [len(opened.uploads(State.PENDING, name=name)) for name in (OTHER, NAME)] == [0, 1]
        assert not opened.uploads(State.FAILED)


def test_a_missing_file_that_a_person_names_is_no_damage(lake, tmp_path):
    with pytest.raises(QueryFailed, match="No files found"):
        lake.sql(f"SELECT * FROM '{tmp_path}/nothing.parquet'")


def test_too_many_rejected_rows_are_a_warning(lake, tmp_path):
    folder = tmp_path / "worse"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(20 + number)[:100])
    deliver(lake, folder)
    assert failing(lake) == {"rejected_share_is_small"}
    warnings = [check.name for check in CHECKS if not check.blocking]
    assert warnings == [
        "schema_has_not_drifted", "no_value_stands_beside_its_column", "rejected_share_is_small"
    ]  # fmt: skip


def test_every_check_says_what_is_true_when_it_passes():
    assert all(check.description.endswith(".") for check in CHECKS)
