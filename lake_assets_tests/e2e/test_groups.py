"""Uploads come into the tables in groups; one that kills its process keeps no other from them."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import FatalError, UploadsFailed
from lake_assets.ingest import Request, groups, ingest
from lake_assets.intake.manifest import Manifest
from lake_assets.intake.uploads import DEATHS_FILE, State, Upload
from lake_assets.lake import Lake
from lake_assets.storage.sealed_json import sealed_json

NAME = DatasetName("acme", "d")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    monkeypatch.setenv("LAKE_WORKERS", "1")
    with Lake.init(tmp_path / "lake") as lake:
        lake.create_provider("acme")
        yield lake


def stage(lake: Lake, value: int) -> str:
    table = pa.table({"a": [value]})
    return lake.upload_raw_data(table, provider="acme", dataset="d").id


def values(lake: Lake) -> list[int]:
    return [value for (value,) in lake.sql("SELECT a FROM acme.d ORDER BY a").fetchall()]


# -- which uploads go together


@pytest.fixture
def waiting(tmp_path: Path):
    """Return a function that makes an upload of so many bytes of which so many processes died."""

    def make(number: int, *, byte_count: int = 10, deaths: int = 0) -> Upload:
        folder = tmp_path / "pending" / str(number)
        folder.mkdir(parents=True)
        if deaths:
            (folder / DEATHS_FILE).write_text(sealed_json({"deaths": deaths}))
        manifest = Manifest(
            upload_id=f"{number:026d}", name=NAME, created_at=datetime.now(tz=UTC),
            created_by="me@here", source="x", file_count=1, byte_count=byte_count,
        )  # fmt: skip
        return Upload(manifest=manifest, state=State.PENDING, folder=folder)

    return make


def sizes(uploads: list[Upload]) -> list[int]:
    return [len(group) for group in groups.groups_of(uploads)]


def test_a_group_has_at_most_a_thousand_uploads(waiting):
    assert sizes([waiting(number) for number in range(2_001)]) == [1_000, 1_000, 1]


def test_a_group_has_at_most_a_gibibyte_or_one_upload(waiting):
    half = groups.GROUP_BYTES // 2
    counts = [half, half, 1, 5 * half, 1, 1]
    uploads = [waiting(number, byte_count=count) for number, count in enumerate(counts)]
    assert sizes(uploads) == [2, 1, 1, 2]


def test_nothing_pending_is_no_group():
    assert sizes([]) == []


def test_uploads_whose_processes_died_come_last_and_in_smaller_groups(waiting):
    uploads = [waiting(number, deaths=(3, 2, 1, 0)[number % 4]) for number in range(48)]
    assert sizes(uploads) == [12, 12, 10, 2, *[1] * 12]
    for group in groups.groups_of(uploads):
        assert [item.id for item in group] == sorted(item.id for item in group)
        assert len({item.deaths for item in group}) == 1


# -- several groups in one go


def test_all_groups_are_ingested_in_one_go(lake, monkeypatch):
    monkeypatch.setattr(groups, "GROUP_UPLOADS", 2)
    ids = [stage(lake, value) for value in range(5)]
    told: list[int] = []
    done = ingest(lake.stores, Request(name=NAME, on_rows=told.append))
    assert [outcome.upload_id for outcome in done.outcomes] == ids
    assert told[-1] == 5
    assert told == sorted(told)
    assert values(lake) == [0, 1, 2, 3, 4]
    assert {upload.state for upload in lake.uploads()} == {State.DONE}


def test_rows_of_an_earlier_group_are_known_to_the_next(lake, monkeypatch):
    monkeypatch.setattr(groups, "GROUP_UPLOADS", 1)
    for _ in range(3):
        stage(lake, 7)
    done = ingest(lake.stores, Request(name=NAME))
    assert [(item.accepted, item.duplicate) for item in done.outcomes] == [(1, 0), (0, 1), (0, 1)]
    assert values(lake) == [7]


def test_a_failed_upload_in_an_earlier_group_is_told_of(lake, monkeypatch):
    monkeypatch.setattr(groups, "GROUP_UPLOADS", 1)
    broken = stage(lake, 1)
    (file,) = (lake.stores.staging.find(broken).files_folder).iterdir()
    file.unlink()
    stage(lake, 2)
    with pytest.raises(UploadsFailed, match=broken):
        lake.ingest_pending()
    assert values(lake) == [2]


def test_a_rebuild_with_groups_pending_takes_all(lake, monkeypatch):
    monkeypatch.setattr(groups, "GROUP_UPLOADS", 1)
    stage(lake, 1)
    lake.ingest_pending()
    stage(lake, 2)
    stage(lake, 3)
    lake.rebuild(NAME)
    assert values(lake) == [1, 2, 3]
    assert lake.datasets_with_work() == ()


# -- one that kills


def _ingest_and_die_of(home: Path, poison: str) -> None:
    """Ingest what is pending; die without a word when ``poison`` comes up."""
    prepare = groups.prepare_upload

    def deadly(job, upload, rows):
        if upload.id == poison:
            os._exit(9)
        return prepare(job, upload, rows)

    groups.prepare_upload = deadly
    with Lake.open(home) as lake:
        lake.ingest_pending()


def test_an_upload_that_kills_its_process_is_found_out(lake):
    ids = [stage(lake, value) for value in range(12)]
    poison = ids[3]
    deaths, done = 0, {}
    context = multiprocessing.get_context("spawn")
    while deaths < 20:
        process = context.Process(target=_ingest_and_die_of, args=(lake.home, poison))
        process.start()
        process.join(timeout=60)
        if process.exitcode != 9:
            break
        deaths += 1
        done[deaths] = len(lake.uploads(State.DONE))
    assert deaths == groups.DEATHS_ALLOWED
    # It was in a group of a thousand, of a hundred and of ten, and then alone, in order of ids.
    assert done == {1: 0, 2: 0, 3: 0, 4: 5, 5: 11, 6: 11}
    assert values(lake) == [value for value in range(12) if value != 3]
    failed = lake.status(poison).upload
    assert failed.state is State.FAILED
    error = failed.error()
    assert error is not None
    assert "6 processes died" in error["message"]
    assert f"lake process retry {poison}" in error["message"]
    assert not list(lake.stores.layout.staging.glob("processing/*"))


def test_a_retry_forgets_the_deaths(lake, monkeypatch):
    upload_id = stage(lake, 1)
    upload = lake.stores.staging.find(upload_id)
    (upload.folder / DEATHS_FILE).write_text(sealed_json({"deaths": groups.DEATHS_ALLOWED}))
    with pytest.raises(UploadsFailed, match="6 processes died"):
        lake.ingest_pending()
    lake.retry(upload_id)
    lake.ingest_pending()
    assert values(lake) == [1]


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        sealed_json({"deaths": 3})[:5],
        sealed_json({"deaths": 1}).replace("1", "9", 1),
        sealed_json({"deaths": 3}).replace("deaths", "eeaths"),
        '{"deaths": null}',
        "[]",
    ],
)
def test_a_damaged_count_of_deaths_is_none(lake, damaged):
    upload = lake.stores.staging.find(stage(lake, 1))
    (upload.folder / DEATHS_FILE).write_text(damaged)
    assert upload.deaths == 0
    lake.ingest_pending()
    assert values(lake) == [1]


def test_an_upload_that_is_done_has_no_count_of_deaths(lake):
    upload_id = stage(lake, 1)
    folder = lake.stores.staging.find(upload_id).folder
    (folder / DEATHS_FILE).write_text(sealed_json({"deaths": 2}))
    lake.ingest_pending()
    assert not (lake.stores.staging.find(upload_id).folder / DEATHS_FILE).exists()


# -- what a run tells of several groups


def start(lake: Lake) -> subprocess.CompletedProcess[str]:
    """Run ``lake process start --wait`` with groups of two uploads."""
    code = (
        "import sys; from lake_assets.ingest import groups; groups.GROUP_UPLOADS = 2\n"
        "from lake_assets.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "--home", str(lake.home), "process", "start", "--wait",
         "--json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_run_tells_of_all_its_groups(lake):
    ids = [stage(lake, value) for value in range(5)]
    answer = start(lake)
    assert answer.returncode == 0, answer.stderr
    (run,) = json.loads(answer.stdout)["runs"]
    assert [outcome["upload_id"] for outcome in run["outcomes"]] == ids
    assert [entry["rows"] for entry in lake.catalog()] == [5]


def test_a_run_whose_last_group_fails_tells_of_the_others(lake):
    ids = [stage(lake, value) for value in range(5)]
    (file,) = lake.stores.staging.find(ids[4]).files_folder.iterdir()
    file.unlink()
    answer = start(lake)
    assert answer.returncode == 1, answer.stderr
    (run,) = json.loads(answer.stdout or answer.stderr)["runs"]
    assert [outcome["upload_id"] for outcome in run["outcomes"]] == ids[:4]
    assert [entry["rows"] for entry in lake.catalog()] == [4]


def test_a_catalog_that_is_damaged_is_not_sealed_anew(lake):
    stage(lake, 1)
    lake.ingest_pending()
    path = lake.stores.layout.catalog_file
    lake.close()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with Lake.open(lake.home) as other:
        stage(other, 2)
        with pytest.raises(FatalError, match=r"catalog\.db is damaged.*lake repair"):
            other.ingest_pending()
        assert [upload.state for upload in other.uploads()] == [State.DONE, State.PENDING]
