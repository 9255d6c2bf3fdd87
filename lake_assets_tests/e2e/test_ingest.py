"""Ingestion in a real lake: every row is accounted for, whatever is delivered and what crashes."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import update_registry
from lake_assets.errors import (
    FatalError,
    FewerRows,
    InvalidRequest,
    RetryableError,
    StorageUnavailable,
    UploadsFailed,
)
from lake_assets.ingest import COMMIT_ORDER, Request, commit, groups, ingest, prepared_dataset
from lake_assets.ingest import parts as ingest_parts
from lake_assets.ingest import session as ingest_session
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.storage.tables import PartWriter

NAME = DatasetName("acme", "d")
COUNTS = ("rows_in", "accepted", "rejected", "duplicate")


def image(seed, *, form="PNG", size=(40, 30)):
    pixels = random.Random(seed).randbytes(size[0] * size[1] * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", size, pixels).save(buffer, form)
    return buffer.getvalue()


BROKEN = image(99)[:200]


@pytest.fixture
def lake(tmp_path, monkeypatch):
    monkeypatch.setenv("LAKE_WORKERS", "1")
    with Lake.init(tmp_path / "lake") as lake:
        lake.create_provider("acme")
        yield lake


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a folder of files."""

    def make(files, name="delivery"):
        for path, data in files.items():
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data if isinstance(data, bytes) else data.encode())
        return tmp_path / name

    return make


def promise(lake, **contract):
    path = lake.stores.layout.registry_file
    made = DatasetContract.model_validate(contract)
    update_registry(path, lambda registry: registry.with_dataset(NAME, made))


def stage(lake, source, **options):
    return lake.upload_raw_data(source, provider="acme", dataset="d", **options)


def deliver(lake, source, **options):
    """Ingest one delivery and return its (rows in, accepted, rejected, duplicate)."""
    done = lake.ingest(stage(lake, source, **options).id)
    return counts(done.outcomes[-1])


def counts(outcome):
    return tuple(getattr(outcome, name) for name in COUNTS)


def rows(lake, columns="*", table="acme.d"):
    return sorted(lake.sql(f"SELECT {columns} FROM {table}").fetchall(), key=str)


def ledger(lake):
    return lake.sql(f"SELECT {', '.join(COUNTS)} FROM lake.uploads ORDER BY upload_id").fetchall()


def states(lake):
    return [upload.state.value for upload in lake.uploads()]


def assert_sound(lake):
    wrong = [(check.name, found.summary) for _, check, found in lake.check([NAME])
             if check.blocking and not found.passed]  # fmt: skip
    assert wrong == []
    assert all(total == sum(parts) for total, *parts in ledger(lake))
    assert orphans(lake) == set()


def orphans(lake):
    """Return Parquet files that lie in a table's folder but that no table names."""
    tables = lake.stores.tables
    found = {str(path) for path in lake.stores.layout.tables.rglob("*.parquet")}
    kept = {file for name in tables.names() for file in every_file(tables, name)}
    return found - kept


def every_file(tables, name):
    # Also those of earlier snapshots, which stay until the table is maintained.
    table = tables._find(name)
    for snapshot in table.metadata.snapshots:
        for manifest in snapshot.manifests(table.io):
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
                yield entry.data_file.file_path.removeprefix("file://")


# -- rows, images, duplicates


def test_a_table_is_accepted_row_by_row(lake):
    assert deliver(lake, pa.table({"a": [1, 1, 2]})) == (3, 3, 0, 0)
    assert rows(lake, "a, _image") == [(1, None), (1, None), (2, None)]
    assert_sound(lake)


def test_images_are_stored_once_and_broken_ones_are_rejected(lake, folder):
    files = {"a.png": image(1), "copy.png": image(1), "b.png": image(2), "x.png": BROKEN}
    assert deliver(lake, folder(files)) == (4, 3, 1, 0)
    assert rows(lake, "count(*), count(DISTINCT sha256)", "lake.images") == [(2, 2)]
    assert rows(lake, "path", "lake.quarantine") == [("x.png",)]
    assert_sound(lake)


def test_the_same_images_again_are_duplicates_and_the_broken_one_is_rejected_again(lake, folder):
    delivery = folder({"a.png": image(1), "x.png": BROKEN})
    assert deliver(lake, delivery) == (2, 1, 1, 0)
    assert deliver(lake, delivery) == (2, 0, 1, 1)
    assert_sound(lake)


def test_duplicates_within_an_upload_and_across_uploads_of_one_run(lake, folder):
    line = '{"image": "a.png", "text": "x"}\n'
    stage(lake, folder({"rows.jsonl": line * 2, "a.png": image(1)}, "first"))
    stage(lake, folder({"rows.jsonl": line * 3, "a.png": image(1)}, "second"))
    (done,) = lake.ingest_pending()
    assert [counts(outcome) for outcome in done.outcomes] == [(2, 1, 0, 1), (3, 0, 0, 3)]
    assert_sound(lake)


def test_an_unusable_image_is_rejected_in_each_upload_of_a_run(lake, folder):
    for name in ("first", "second"):
        stage(lake, folder({f"{name}.png": image(name), "x.png": BROKEN}, name))
    (done,) = lake.ingest_pending()
    assert [counts(outcome) for outcome in done.outcomes] == [(2, 1, 1, 0)] * 2
    assert len(rows(lake, "quarantine_id", "lake.quarantine")) == 2
    assert_sound(lake)


def damage(path):
    """Turn one bit of a file, which gets a name of its own first."""
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_a_copy_that_was_damaged_in_staging_does_not_spoil_a_good_one(lake, folder):
    damaged = stage(lake, folder({"a.png": image(1), "b.png": image(2)}, "first"))
    stage(lake, folder({"a.png": image(1)}, "second"))
    damage(damaged.files_folder / "a.png")
    (done,) = lake.ingest_pending()
    assert [counts(outcome) for outcome in done.outcomes] == [(2, 1, 1, 0), (1, 1, 0, 0)]
    assert rows(lake, "path, rule", "lake.quarantine") == [("a.png", "file_is_as_it_was_delivered")]
    assert rows(lake, "count(*)", "lake.images") == [(2,)]
    assert_sound(lake)


def test_what_a_failed_upload_found_unusable_is_forgotten(lake, folder):
    failing = stage(lake, folder({"a.png": image(1), "x.parquet": b"PAR1 and no more"}, "first"))
    stage(lake, folder({"a.png": image(1)}, "second"))
    damage(failing.files_folder / "a.png")
    with pytest.raises(UploadsFailed):
        lake.ingest_pending()
    assert states(lake) == ["failed", "done"]
    assert ledger(lake) == [(1, 1, 0, 0)]
    assert_sound(lake)


@pytest.mark.parametrize("form", ["files", "rows"])
def test_a_shard_without_its_content_that_a_crash_left_is_replaced(lake, folder, form):
    data = image(1)
    shard = lose_content(lake, data)
    delivery = folder({"a.png": data}) if form == "files" else pa.table({"image": [data]})
    assert deliver(lake, delivery) == (1, 1, 0, 0)
    assert shard.read_bytes() == data
    assert_sound(lake)


def test_a_stored_image_that_lost_its_content_is_mended_by_its_redelivery(lake, folder):
    data = image(1)
    delivery = folder({"a.png": data, "b.png": image(2)})
    deliver(lake, delivery)
    shard = lose_content(lake, data)
    assert deliver(lake, delivery) == (2, 0, 0, 2)
    assert shard.read_bytes() == data
    assert_sound(lake)


def lose_content(lake, data):
    """Leave zeros where an image is stored, as a power cut does, and return the place."""
    location = lake.stores.assets.location(NAME, hashlib.sha256(data).hexdigest(), "png")
    shard = lake.stores.assets.path(location)
    shard.parent.mkdir(parents=True, exist_ok=True)
    shard.unlink(missing_ok=True)
    shard.write_bytes(bytes(len(data)))
    return shard


def test_a_file_that_came_before_is_a_duplicate_as_a_whole(lake, folder):
    first = folder({"a.csv": "a\n1\n1\n"}, "first")
    assert deliver(lake, first) == (2, 2, 0, 0)
    again = folder({"renamed.csv": "a\n1\n1\n", "new.csv": "a\n1\n"}, "second")
    assert deliver(lake, again) == (3, 1, 0, 2)
    assert_sound(lake)


def test_a_file_that_is_twice_in_one_upload_is_a_duplicate_too(lake, folder):
    assert deliver(lake, folder({"a.csv": "a\n1\n2\n", "b.csv": "a\n1\n2\n"})) == (4, 2, 0, 2)
    assert_sound(lake)


@pytest.mark.parametrize("workers", ["2"])
def test_a_pool_of_workers_brings_the_same(lake, folder, monkeypatch, workers):
    monkeypatch.setenv("LAKE_WORKERS", workers)
    files = {f"{number:02}.png": image(number % 7) for number in range(20)}
    with Lake.open(lake.home) as pooled:
        assert deliver(pooled, folder(files | {"x.png": BROKEN})) == (21, 20, 1, 0)
        assert rows(pooled, "count(*)", "lake.images") == [(7,)]
        assert_sound(pooled)


# -- forms of delivery


def test_labels_come_from_folders(lake, folder):
    files = {"cat/1.png": image(1), "dog/2.png": image(2)}
    deliver(lake, folder(files), label_from_folders=True)
    assert rows(lake, "label, file_name") == [("cat", "cat/1.png"), ("dog", "dog/2.png")]
    assert_sound(lake)


@pytest.mark.parametrize("form", ["zip", "gztar"])
def test_an_archive_is_what_is_in_it(lake, folder, tmp_path, form):
    delivery = folder({"cat/1.png": image(1), "x.png": BROKEN})
    archive = shutil.make_archive(str(tmp_path / "archive"), form, delivery)
    assert deliver(lake, archive) == (2, 1, 1, 0)
    assert deliver(lake, delivery) == (2, 0, 1, 1)
    assert_sound(lake)


def test_image_bytes_in_parquet_become_images(lake, tmp_path):
    images = [{"bytes": image(1), "path": "a.png"}, {"bytes": image(1), "path": "a.png"},
              {"bytes": b"nonsense", "path": "x.png"}, None]  # fmt: skip
    path = tmp_path / "hf.parquet"
    pq.write_table(pa.table({"image": images, "label": [0, 0, 1, 2]}), path)
    assert deliver(lake, path) == (4, 2, 1, 1)
    assert rows(lake, "count(*)", "lake.images") == [(1,)]
    assert rows(lake, "label, _image IS NULL") == [(0, False), (2, True)]
    assert_sound(lake)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(pa.table({"a": pa.array([], pa.int64())}), id="no rows"),
        pytest.param({"a.csv": "a,b\n", "b.jsonl": ""}, id="a header only"),
    ],
)
@pytest.mark.parametrize("contract", [{}, {"partition_by": ["day(at)"]}], ids=["plain", "parted"])
def test_an_upload_without_rows_is_finished(lake, folder, source, contract):
    promise(lake, **contract)
    source = folder(source) if isinstance(source, dict) else source
    assert deliver(lake, source) == (0, 0, 0, 0)
    assert deliver(lake, pa.table({"at": [datetime(2026, 1, 1)]})) == (1, 1, 0, 0)
    assert_sound(lake)


@pytest.mark.parametrize(
    "contract",
    [{}, {"partition_by": ["day(at)"]}, {"unique_by": ["at"]}],
    ids=["plain", "parted", "unique"],
)
def test_a_first_upload_of_which_all_is_rejected_is_quarantined(lake, folder, contract):
    bad = {"x.jsonl": "{\n[\n"} if contract else {"x.png": BROKEN}
    promise(lake, **contract)
    total, accepted, rejected, _ = deliver(lake, folder(bad))
    assert (total, accepted) == (rejected, 0)
    assert len(rows(lake, "row_json", "lake.quarantine")) == rejected > 0
    assert deliver(lake, pa.table({"at": [datetime(2026, 1, 1)]})) == (1, 1, 0, 0)
    assert_sound(lake)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no names that are not UTF-8")
def test_paths_that_are_not_utf_8_are_no_obstacle(lake, tmp_path):
    strange = os.fsencode(tmp_path) + b"/d\xff"
    Path(os.fsdecode(strange)).mkdir()
    for name in (b"/good.png", b"/\xfe.png"):
        Path(os.fsdecode(strange + name)).write_bytes(image(1))
    assert deliver(lake, Path(os.fsdecode(strange))) == (2, 1, 1, 0)
    assert_sound(lake)


# -- contracts


def test_unique_by_says_which_rows_are_the_same(lake):
    promise(lake, unique_by=["id"])
    assert deliver(lake, pa.table({"id": [1, 1, 2], "a": ["x", "y", "z"]})) == (3, 2, 0, 1)
    assert deliver(lake, pa.table({"a": ["n", "o"], "ID": [2, 3]})) == (2, 1, 0, 1)
    assert rows(lake, "id, a") == [(1, "x"), (2, "z"), (3, "o")]
    assert_sound(lake)


LACKING = pa.table({"a": ["x", "y"]})


@pytest.mark.parametrize(
    ("contract", "good", "bad", "said"),
    [
        pytest.param({"unique_by": ["id"]}, pa.table({"id": [1]}), LACKING,
                     "delivery lacks id", id="unique_by"),
        pytest.param({"partition_by": ["day(at)"]}, None, LACKING,
                     "partitioned by 'at', which the delivery lacks", id="partition_by"),
        pytest.param({"partition_by": ["day(a)"]}, None, LACKING,
                     "a is string in the delivery", id="a text has no day"),
        pytest.param({"partition_by": ["hour(a)"]}, None, pa.table({"a": [date(2026, 1, 1)]}),
                     "a is date32", id="a day has no hours"),
        pytest.param({"partition_by": ["identity(a)"]}, None, pa.table({"a": [[1]]}),
                     "a is list", id="a list is no partition"),
    ],
)  # fmt: skip
def test_an_upload_that_its_contract_cannot_take_fails_by_itself(lake, contract, good, bad, said):
    promise(lake, **contract)
    if good:
        deliver(lake, good)
    before = len(lake.stores.tables.names())
    upload = stage(lake, bad)
    with pytest.raises(UploadsFailed, match=said):
        lake.ingest(upload.id)
    assert lake.stores.staging.find(upload.id).state is State.FAILED
    assert said in lake.status(upload.id).error
    assert len(lake.stores.tables.names()) == before
    # Nothing of it stands in the way of others.
    promise(lake)
    assert deliver(lake, LACKING)[1] == 2
    assert_sound(lake)


def test_an_upload_that_lacks_a_known_partition_column_has_nulls_there(lake):
    promise(lake, partition_by=["day(at)"])
    deliver(lake, pa.table({"at": [datetime(2026, 1, 1)], "at_day": [1]}))
    assert deliver(lake, pa.table({"a": [1]})) == (1, 1, 0, 0)
    assert_sound(lake)


def test_an_upload_that_failed_is_ingested_once_it_is_retried(lake):
    promise(lake, unique_by=["id"])
    upload = stage(lake, LACKING)
    with pytest.raises(UploadsFailed):
        lake.ingest(upload.id)
    with pytest.raises(InvalidRequest, match=f"lake process retry {upload.id}"):
        lake.ingest(upload.id)
    promise(lake)
    lake.retry(upload.id)
    assert counts(lake.ingest(upload.id).outcomes[0]) == (2, 2, 0, 0)
    assert lake.ingest(upload.id).outcomes == ()
    assert_sound(lake)


STORES = [
    ({"store": "webp:80"}, "webp"),
    ({"store": "jpeg:85", "longest_side_px": 20}, "jpg"),
    ({"store": "lossless"}, None),
]


@pytest.mark.parametrize(("policy", "extension"), STORES, ids=lambda value: str(value))
def test_images_are_stored_as_the_contract_says(lake, folder, policy, extension):
    promise(lake, images=policy)
    assert deliver(lake, folder({"a.png": image(1), "b.jpg": image(2, form="JPEG")})) == (
        2,
        2,
        0,
        0,
    )
    for (location,) in rows(lake, "location", "lake.images"):
        stored = lake.stores.assets.path(location)
        with Image.open(stored) as opened:
            assert max(opened.size) <= policy.get("longest_side_px", 40)
        assert extension is None or stored.suffix == f".{extension}"
    assert_sound(lake)


# -- schemas


def test_columns_come_and_widen_and_what_does_not_fit_stands_beside_them(lake):
    deliver(lake, pa.table({"n": pa.array([1], pa.int32())}))
    assert deliver(lake, pa.table({"n": [2**40], "t": ["new"]})) == (1, 1, 0, 0)
    assert deliver(lake, pa.table({"n": ["x", None], "t": ["a", "b"]})) == (2, 2, 0, 0)
    assert deliver(lake, pa.table({"n": [1.5, 2.0]})) == (2, 2, 0, 0)
    assert rows(lake, "n, n__variant, t") == [
        (1.0, None, None), (1.5, None, None), (2.0**40, None, "new"), (2.0, None, None),
        (None, '"x"', "a"), (None, None, "b"),
    ]  # fmt: skip
    assert_sound(lake)


def test_a_column_spelled_in_another_case_is_the_same(lake):
    deliver(lake, pa.table({"Name": ["a"], "S": [{"Inner": 1}]}))
    assert deliver(lake, pa.table({"NAME": ["b"], "s": [{"inner": 2}]})) == (1, 1, 0, 0)
    assert rows(lake, "name, s.inner") == [("a", 1), ("b", 2)]
    assert_sound(lake)


def test_a_row_that_grew_by_nulls_is_still_a_duplicate(lake, folder):
    deliver(lake, folder({"r.jsonl": '{"image": "a.png"}\n', "a.png": image(1)}, "first"))
    grown = '{"image": "a.png", "text": null, "n": 1}\n{"image": "a.png", "text": null}\n'
    assert deliver(lake, folder({"r.jsonl": grown, "a.png": image(1)}, "second")) == (2, 1, 0, 1)
    assert_sound(lake)


# -- failures in the middle of a run


def test_an_upload_that_fails_in_the_middle_leaves_the_others_whole(lake, folder, monkeypatch):
    line = '{"image": "a.png", "text": "x"}\n'
    files = {"rows.jsonl": line, "a.png": image(1)}
    bad = stage(lake, folder(files, "bad"))
    good = stage(lake, folder(files, "good"))
    close = PartWriter.close

    def fail_at_the_end(self):
        parts = close(self)
        if bad.id in self._stem:
            raise RuntimeError("disk on fire")
        return parts

    monkeypatch.setattr(PartWriter, "close", fail_at_the_end)
    monkeypatch.setattr(ingest_parts, "SMALL_BYTES", 0)  # each upload has parts of its own
    with pytest.raises(UploadsFailed, match="disk on fire"):
        lake.ingest_pending()
    # What the bad one had was forgotten, so the good one's row and image are no duplicates.
    assert ledger(lake) == [(1, 1, 0, 0)]
    assert lake.stores.staging.find(good.id).state is State.DONE
    assert "RuntimeError" in lake.stores.staging.find(bad.id).error()["traceback"]
    assert rows(lake, "count(*)", "lake.images") == [(1,)]
    assert_sound(lake)


def half_a_parquet(path, *, rows=60_000):
    """Write a file of which the first row groups can be read and the last cannot."""
    texts = [random.Random(n).randbytes(12).hex() for n in range(rows)]
    pq.write_table(pa.table({"a": texts}), path, row_group_size=20_000, compression="zstd")
    last = pq.read_metadata(path).row_group(2).column(0)
    begin = last.data_page_offset + 40
    data = bytearray(path.read_bytes())
    data[begin : begin + 5000] = bytes(5000)
    path.write_bytes(data)


@pytest.mark.parametrize("small", [8 * 2**20, 0], ids=["waiting in memory", "in parts of its own"])
def test_a_file_damaged_in_its_middle_is_one_rejected_row(lake, tmp_path, monkeypatch, small):
    monkeypatch.setattr(ingest_parts, "SMALL_BYTES", small)
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"a": ["good"]}), tmp_path / "d" / "good.parquet")
    half_a_parquet(tmp_path / "d" / "half.parquet")
    assert deliver(lake, tmp_path / "d") == (2, 1, 1, 0)
    assert rows(lake, "a") == [("good",)]
    assert rows(lake, "file, row", "lake.quarantine") == [("half.parquet", None)]
    assert_sound(lake)
    # It is not known as delivered: if it comes again, mended or not, it is looked at.
    assert deliver(lake, tmp_path / "d") == (2, 0, 1, 1)


def test_each_copy_of_a_file_that_cannot_be_read_is_accounted_for(lake, tmp_path):
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"a": ["good"]}), tmp_path / "d" / "good.parquet")
    half_a_parquet(tmp_path / "d" / "half.parquet")
    shutil.copy(tmp_path / "d" / "half.parquet", tmp_path / "d" / "copy.parquet")
    assert deliver(lake, tmp_path / "d") == (3, 1, 2, 0)
    assert_sound(lake)


def test_an_upload_of_which_nothing_can_be_read_fails(lake, tmp_path):
    half_a_parquet(tmp_path / "half.parquet")
    with pytest.raises(UploadsFailed, match="half.parquet"):
        deliver(lake, tmp_path / "half.parquet")
    assert (states(lake), orphans(lake)) == (["failed"], set())


def test_a_file_that_was_damaged_in_staging_is_not_taken_for_the_deliverers_fault(lake, tmp_path):
    upload = stage(lake, pa.table({"a": range(100)}))
    (staged,) = upload.files_folder.iterdir()
    staged.chmod(0o644)
    staged.write_bytes(staged.read_bytes()[:-20])
    with pytest.raises(UploadsFailed, match="damaged in staging"):
        lake.ingest(upload.id)


def test_a_lake_has_one_name_however_it_is_reached(lake, tmp_path):
    """Recovery compares paths: a link to the lake must not make its files look unused."""
    stage(lake, pa.table({"a": [1]}))
    crash(lake, "ledger")
    (tmp_path / "link").symlink_to(lake.home)
    with Lake.open(tmp_path / "link") as other:
        assert other.home == lake.home
        other.ingest_pending()
    assert rows(lake, "a") == [(1,)]
    assert_sound(lake)


def test_a_group_of_which_an_upload_is_gone_is_not_committed(lake):
    first, second = stage(lake, pa.table({"a": [1]})), stage(lake, pa.table({"a": [2]}))
    crash(lake, "half a journal")
    (folder,) = (lake.home / "staging/processing").glob(f"{second.id}.*")
    manifest = (folder / "manifest.json").rename(lake.home / "aside")
    with pytest.raises(FatalError, match=second.id):
        lake.ingest_pending()
    (folder,) = (lake.home / "staging/processing").glob(f"{second.id}.*")
    manifest.rename(folder / "manifest.json")
    lake.ingest_pending()
    assert rows(lake, "a, _upload_id") == [(1, first.id), (2, second.id)]
    assert_sound(lake)


def test_what_two_crashes_in_a_row_left_is_removed(lake):
    stage(lake, pa.table({"a": [1]}))
    crash(lake, "claim")
    crash(lake, "claim")
    lake.ingest_pending()
    assert_sound(lake)


def test_a_rebuild_that_fails_leaves_no_parts(lake, monkeypatch):
    deliver(lake, pa.table({"a": [1]}))

    def full(*_, **__):
        raise StorageUnavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(type(lake.stores.tables), "replace", full)
        with pytest.raises(StorageUnavailable):
            lake.rebuild(NAME)
    lake.rebuild(NAME)
    assert rows(lake, "a") == [(1,)]
    assert_sound(lake)


def test_a_file_of_which_every_row_was_rejected_is_looked_at_again(lake, tmp_path):
    (tmp_path / "rows.csv").write_text("id,a\n1\n2\n")
    assert deliver(lake, tmp_path / "rows.csv") == (2, 0, 2, 0)
    assert deliver(lake, tmp_path / "rows.csv") == (2, 0, 2, 0)


def test_the_ledger_of_many_ingestions_is_few_files(lake):
    for number in range(20):
        deliver(lake, pa.table({"a": [number]}))
    assert len(ledger(lake)) == 20
    assert lake.stores.tables.facts("lake.uploads").file_count <= 16
    known = lake.stores.tables.committed("lake.uploads", [item.id for item in lake.uploads()])
    assert len(known) == 20
    assert_sound(lake)


def test_the_outcome_of_a_rebuild_is_told(lake, folder):
    upload = stage(lake, pa.table({"a": [1, 2]}))
    lake.ingest(upload.id)
    promise(lake, unique_by=["a"])
    lake.rebuild(NAME)
    assert lake.status(upload.id).outcome.run_id == ""
    (upload.folder.parents[1] / "done" / upload.id / "outcome.json").write_text("{")
    assert lake.status(upload.id).outcome is None


def test_uploads_that_share_a_part_which_cannot_be_written_all_wait(lake, folder, monkeypatch):
    first, second = stage(lake, pa.table({"a": [1]})), stage(lake, pa.table({"b": [2]}))
    write = PartWriter.write

    def disk_is_full(self, table):
        if "-group" in self._stem:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, table)

    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "write", disk_is_full)
        with pytest.raises(StorageUnavailable, match="No space left"):
            lake.ingest_pending()
    assert (states(lake), orphans(lake)) == (["pending", "pending"], set())
    lake.ingest_pending()
    assert rows(lake, "a, b, _upload_id") == [(1, None, first.id), (None, 2, second.id)]
    assert_sound(lake)


def test_many_small_uploads_make_few_files(lake):
    for number in range(30):
        stage(lake, pa.table({"a": [number]}))
    lake.ingest_pending()
    facts = lake.stores.tables.facts("acme.d")
    assert (facts.rows, facts.file_count) == (30, 1)
    assert lake.stores.tables.facts("lake.uploads").file_count == 1
    # Made with the first upload, empty; nothing is committed to it again.
    assert lake.stores.tables.facts("lake.images").file_count == 0
    assert_sound(lake)


def test_a_dataset_with_failures_does_not_hold_up_others(lake):
    promise(lake, unique_by=["id"])
    stage(lake, LACKING)
    lake.upload_raw_data(LACKING, provider="acme", dataset="e")
    with pytest.raises(UploadsFailed):
        lake.ingest_pending()
    assert states(lake) == ["failed", "done"]


# -- rebuilding


def test_a_rebuild_brings_what_the_contract_says_now(lake):
    table = pa.table({"id": [1, 1], "a": ["x", "y"]})
    deliver(lake, table)
    deliver(lake, pa.table({"id": [1, 2], "a": ["z", "w"]}))
    promise(lake, unique_by=["id"])
    with pytest.raises(FewerRows, match=r"2 of 4 accepted rows \(2 are duplicates\)"):
        lake.rebuild(NAME)
    assert len(rows(lake, "id")) == 4
    done = lake.rebuild(NAME, accepts_fewer_rows=True)
    assert [counts(outcome) for outcome in done.outcomes] == [(2, 1, 0, 1), (2, 1, 0, 1)]
    assert rows(lake, "id, a") == [(1, "x"), (2, "w")]
    assert ledger(lake) == [(2, 1, 0, 1), (2, 1, 0, 1)]
    assert_sound(lake)


def test_a_rebuild_changes_nothing_else(lake, folder):
    files = folder({"a.png": image(1), "x.png": BROKEN})
    deliver(lake, files)
    lake.ingest(lake.upload_raw_data(files, provider="acme", dataset="other").id)
    other = rows(lake, "*", "acme.other")
    tables = ("acme.d", "lake.images", "lake.quarantine", "lake.uploads", "lake.partitions")
    before = {table: len(rows(lake, "*", table)) for table in tables}
    lake.rebuild(NAME)
    lake.rebuild(NAME)
    assert {table: len(rows(lake, "*", table)) for table in tables} == before
    assert rows(lake, "*", "acme.other") == other
    assert_sound(lake)


@pytest.mark.parametrize("before", [{}, {"store": "webp:80"}], ids=str)
def test_a_rebuild_stores_images_in_the_new_way(lake, folder, before):
    promise(lake, images=before)
    deliver(lake, folder({"a.png": image(1), "b.jpg": image(2, form="JPEG", size=(64, 48))}))
    for policy in ({"store": "jpeg:10"} if not before else {"store": "webp:10"}, {}):
        promise(lake, images=policy)
        lake.rebuild(NAME)
        assert_sound(lake)


def test_a_rebuild_takes_uploads_in_another_order_than_they_came(lake):
    text, number = stage(lake, pa.table({"a": ["x"]})), stage(lake, pa.table({"a": [3]}))
    lake.ingest(number.id)
    lake.ingest(text.id)
    assert rows(lake, "a, a__variant") == [(3, None), (None, '"x"')]
    lake.rebuild(NAME)
    assert rows(lake, "a, a__variant") == [("x", None), (None, "3")]
    assert_sound(lake)


def test_a_rebuild_that_is_interrupted_leaves_the_old_rows(lake, monkeypatch):
    deliver(lake, pa.table({"a": [1]}))

    def interrupted(job, upload, rows):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(groups, "prepare_upload", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lake.rebuild(NAME)
    assert rows(lake, "a") == [(1,)]
    assert states(lake) == ["done"]
    assert_sound(lake)


def test_a_rebuild_without_all_archived_uploads_is_refused(lake):
    deliver(lake, pa.table({"a": [1]}))
    deliver(lake, pa.table({"a": [2]}))
    first = lake.uploads()[0]
    shutil.rmtree(first.folder)
    with pytest.raises(InvalidRequest, match=first.id):
        lake.rebuild(NAME)
    assert rows(lake, "a") == [(1,), (2,)]


def test_a_rebuild_of_a_dataset_without_uploads_changes_nothing(lake):
    promise(lake)
    assert lake.rebuild(NAME).outcomes == ()
    assert states(lake) == []


# -- interruptions and crashes


def test_an_upload_that_is_interrupted_waits_for_the_next_run(lake, monkeypatch):
    stage(lake, pa.table({"a": [1]}))
    prepare = groups.prepare_upload

    def interrupted(job, upload, rows):
        prepare(job, upload, rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(groups, "prepare_upload", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lake.ingest_pending()
    assert (states(lake), orphans(lake)) == (["pending"], set())
    lake.ingest_pending()
    assert ledger(lake) == [(1, 1, 0, 0)]
    assert_sound(lake)


CRASH = """
import os, sys
from pathlib import Path
from lake_assets.contracts.names import DatasetName
from lake_assets.ingest import Request, commit, prepared_dataset
from lake_assets.ingest import groups
from lake_assets.ingest.ledger import ledger_change
from lake_assets.ingest.model import Group
from lake_assets.lake import Lake

lake, crash_after, rebuild = Lake.open(sys.argv[1]), sys.argv[2], sys.argv[3] == "rebuild"
stores = lake.stores

def crash_if(step):
    if step == crash_after:
        os._exit(17)

if crash_after == "claim":
    groups.prepare_upload = lambda job, upload, rows: crash_if("claim")
if crash_after == "half a journal":
    write = Group.write_journal
    def write_and_crash(self):
        write(self)
        crash_if("half a journal")
    Group.write_journal = write_and_crash
with prepared_dataset(stores, Request(name=DatasetName("acme", "d"), rebuild=rebuild)) as prepared:
    for asset, change in prepared.changes.items():
        commit(stores, change)
        crash_if(asset)
    commit(stores, ledger_change(stores, prepared))
    crash_if("ledger")
    stores.staging.finish([prepared.uploads[0].upload])
    crash_if("half finished")
"""
STEPS = ["claim", "half a journal", "images", "raw", "ledger", "half finished"]


def crash(lake, after, what="ingest"):
    command = [sys.executable, "-c", CRASH, str(lake.home), after, what]
    assert subprocess.run(command, check=False, timeout=120).returncode == 17


def two_uploads(lake, folder):
    """Two deliveries of which the second repeats some of the first."""
    line = '{"image": "a.png", "text": "x"}\n'
    files = {"a.png": image(1), "x.png": BROKEN, "rows.jsonl": line + '{"image": "x.png"}\n'}
    more = {"a.png": image(1), "b.png": image(2), "rows.jsonl": line + '{"image": "b.png"}\n'}
    stage(lake, folder(files, "first"))
    stage(lake, folder(more, "second"))


CONTENT = {
    "acme.d": "_record_id, _upload_id, _image, image, text",
    "lake.images": "* EXCLUDE (upload_time)",
    "lake.quarantine": "* EXCLUDE (rejected_at)",
    "lake.uploads": f"upload_id, {', '.join(COUNTS)}, images_stored",
}


@pytest.mark.parametrize("after", STEPS)
def test_a_crash_after_any_step_changes_nothing_in_the_end(lake, folder, after):
    two_uploads(lake, folder)
    crash(lake, after)
    lake.ingest_pending()
    assert lake.datasets_with_work() == ()
    assert states(lake) == ["done", "done"]
    assert ledger(lake) == [(2, 1, 1, 0), (2, 1, 0, 1)]
    assert rows(lake, "text IS NULL, count(*)", "acme.d GROUP BY ALL") == [
        (False, 1), (True, 1),
    ]  # fmt: skip
    assert rows(lake, "count(*), count(DISTINCT sha256)", "lake.images") == [(2, 2)]
    assert len(rows(lake, "*", "lake.quarantine")) == 1
    assert orphans(lake) == set()
    before = {table: rows(lake, columns, table) for table, columns in CONTENT.items()}
    ingest(lake.stores, Request(name=NAME))
    assert {table: rows(lake, columns, table) for table, columns in CONTENT.items()} == before


@pytest.mark.parametrize("after", ["images", "quarantine"])
def test_a_rebuild_that_crashed_can_be_done_again(lake, folder, after):
    two_uploads(lake, folder)
    lake.ingest_pending()
    before = {table: rows(lake, columns, table) for table, columns in CONTENT.items()}
    crash(lake, after, "rebuild")
    assert rows(lake, "count(*)") == [(2,)]
    lake.rebuild(NAME)
    assert {table: rows(lake, columns, table) for table, columns in CONTENT.items()} == before
    assert states(lake) == ["done", "done"]


def test_a_rebuild_that_crashed_is_finished_by_whoever_comes_next(lake, folder):
    two_uploads(lake, folder)
    lake.ingest_pending()
    before = {table: rows(lake, columns, table) for table, columns in CONTENT.items()}
    crash(lake, "raw", "rebuild")
    assert lake.datasets_with_work() == (NAME,)
    lake.ingest_pending()
    assert {table: rows(lake, columns, table) for table, columns in CONTENT.items()} == before
    assert lake.datasets_with_work() == ()
    assert_sound(lake)


def test_columns_that_no_table_can_have_fail_before_anything_is_committed(lake):
    picture = image(1)
    deliver(lake, pa.table({"img": [picture], "a.b": [1]}))
    clash = stage(lake, pa.table({"img": [image(2)], "a": [{"b": 2}]}))
    with pytest.raises(UploadsFailed, match=r"two columns of the path a\.b"):
        lake.ingest(clash.id)
    assert rows(lake, "count(*)", "lake.images") == [(1,)]
    assert deliver(lake, pa.table({"img": [image(3)], "a.b": [2]})) == (1, 1, 0, 0)
    assert_sound(lake)


def test_rows_without_a_key_are_rejected_and_not_taken_for_duplicates(lake):
    promise(lake, unique_by=["id"])
    assert deliver(lake, pa.table({"id": [None, None, "a", "a"]})) == (4, 1, 2, 1)
    assert rows(lake, "rule, count(*)", "lake.quarantine GROUP BY ALL") == [
        ("unique_key_is_present", 2)
    ]
    assert_sound(lake)


def test_more_partitions_than_files_may_be_open(lake):
    promise(lake, partition_by=["identity(k)"])
    keys = [f"k{number % 100}" for number in range(300)]
    assert deliver(lake, pa.table({"k": keys})) == (300, 300, 0, 0)
    assert rows(lake, "count(*), count(DISTINCT k)") == [(300, 100)]
    assert_sound(lake)


def test_commits_that_are_made_twice_are_made_once(lake, folder):
    two_uploads(lake, folder)
    with prepared_dataset(lake.stores, Request(name=NAME)) as prepared:
        assert json.loads((prepared.uploads[0].upload.folder / "prepared.json").read_text())
        for _ in range(2):
            for asset in COMMIT_ORDER:
                commit(lake.stores, prepared.changes[asset])
        ingest_session.finish(lake.stores, prepared)
        with suppress(Exception):
            ingest_session.finish(lake.stores, prepared)
    assert ledger(lake) == [(2, 1, 1, 0), (2, 1, 0, 1)]
    assert len(rows(lake)) == 2


def test_only_the_uploads_that_are_meant_are_ingested(lake):
    first, second = stage(lake, pa.table({"a": [1]})), stage(lake, pa.table({"a": [2]}))
    lake.ingest(second.id)
    assert rows(lake, "a") == [(2,)]
    assert lake.status(first.id).upload.state is State.PENDING
    status = lake.status(second.id)
    assert (status.upload.state, counts(status.outcome)) == (State.DONE, (1, 1, 0, 0))


def test_what_is_told_of_an_upload_is_in_the_ledger(lake):
    stage(lake, pa.table({"a": [1]}), tags=("x", "y"), variant="v", dataset_description="Ticks.")
    lake.ingest_pending()
    told: Sequence[tuple[object, ...]] = rows(
        lake, "variant, tags, description, created_at < finished_at", "lake.uploads"
    )
    assert told == [("v", ["x", "y"], "Ticks.", True)]
    (entry,) = lake.catalog()
    assert (entry["rows"], entry["uploads"], entry["description"]) == (1, 1, "Ticks.")
    assert entry["last_ingested_at"] < datetime.now(tz=UTC)


def test_a_dataset_that_cannot_be_worked_on_keeps_no_other_from_it(lake, monkeypatch):
    """The first by name is held, the second finds the disk full, the third is well."""
    monkeypatch.setenv("LAKE_BUSY_TIMEOUT_S", "0")
    for dataset in ("aaa", "bbb", "ccc"):
        lake.upload_raw_data(
            pa.table({"a": [1]}), provider="acme", dataset=dataset, create_provider=True
        )

    def full_for_one(stores, change):
        if change.spec.name == "acme.bbb":
            raise StorageUnavailable("no space left for bbb")
        return commit(stores, change)

    monkeypatch.setattr(ingest_session, "commit", full_for_one)
    with (
        Lake.open(lake.home) as other,
        lake.stores.tables.leases.hold("acme/aaa", wait_s=0),
        pytest.raises(RetryableError, match="no space left for bbb; .*working on acme/aaa"),
    ):
        other.ingest_pending()
    assert lake.stores.tables.facts("acme.ccc").rows == 1
    monkeypatch.setattr(ingest_session, "commit", commit)
    assert [item.name.dataset for item in lake.ingest_pending()] == ["aaa", "bbb"]
    assert_sound(lake)
