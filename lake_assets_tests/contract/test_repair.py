"""Repair: what is damaged is put back as it was, or said to be lost; verify then is silent."""

import errno
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import CommitConflict, StorageUnavailable
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.query.duckdb import disk_errors
from lake_assets.storage.seals import Seal, append_seals
from lake_assets.upkeep.repair import Action
from lake_assets.upkeep.verify import Choice
from lake_assets_tests.contract.small_lake import (
    FULL,
    SmallLake,
    flip,
    lake_and_copy,
    photos,
    png,
    restore,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKE_WORKERS", "1")
        with lake_and_copy(tmp_path_factory.mktemp("repaired")) as pair:
            (pair[0].home / "staging" / "pending" / pending(pair[0])).rename(
                pair[0].home / "staging" / "cancelled" / pending(pair[0])
            )  # so that what is ingested after a repair is a rebuild and nothing else
            shutil.rmtree(pair[1])
            shutil.copytree(pair[0].home, pair[1], symlinks=True)
            yield pair


def pending(lake):
    (name,) = (path.name for path in (lake.home / "staging" / "pending").iterdir())
    return name


@pytest.fixture
def lake(made, monkeypatch) -> SmallLake:
    monkeypatch.setenv("LAKE_WORKERS", "1")
    restore(*made)
    return made[0]


@pytest.fixture(scope="module")
def expected(made):
    restore(*made)  # another test may have been here first
    return made[0].rows()


def scramble(path):
    """Damage more than one bit, so that it cannot be turned back."""
    for place in range(20, min(40, path.stat().st_size)):
        flip(path, place, 0b1010_1010)


def actions(plan):
    return {(str(step.action), step.path) for step in plan.steps}


def assert_whole(lake, expected=None):
    report = lake.verify()
    assert [item for item in report.findings if item.severity != "notice"] == []
    if expected is not None:
        assert lake.rows() == expected


def test_a_good_lake_needs_no_repair(lake):
    plan = lake.plan()
    assert (plan.steps, plan.hopeless, plan.is_needed) == ([], [], False)


def test_planning_changes_nothing(lake):
    (lake.home / lake.file("thumbnails/**/*.jpg")).unlink()
    before = {name: (lake.home / name).stat().st_mtime_ns for name in lake.files()}
    assert lake.plan().steps
    assert {name: (lake.home / name).stat().st_mtime_ns for name in lake.files()} == before


# -- contents


@pytest.mark.parametrize("damage", [os.unlink, scramble], ids=["missing", "changed"])
@pytest.mark.parametrize("pattern", ["assets/**/*.png", "thumbnails/**/*.jpg"])
def test_images_and_thumbnails_come_back(pattern, damage, lake, expected):
    path = lake.home / lake.file(pattern)
    content = path.read_bytes()
    damage(path)
    lake.repair()
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o444
    assert_whole(lake, expected)


def test_a_staged_file_comes_back_from_its_image(lake):
    name = next(name for name in lake.files("staging/done/*/files/*.png") if "broken" not in name)
    content = (lake.home / name).read_bytes()
    scramble(lake.home / name)
    plan = lake.repair()
    assert actions(plan) == {("restore", name)}
    assert (lake.home / name).read_bytes() == content
    assert_whole(lake)


def test_an_image_of_which_all_copies_are_damaged_is_said_to_be_lost_until_delivered_again(
    lake, tmp_path
):
    """Four comes in one upload only."""
    shard = next(name for name in lake.files("assets/**/*.png") if content_is(lake, name, png(4)))
    staged = next(name for name in lake.files("staging/done/*/files/4.png"))
    for name in (shard, staged):
        scramble(lake.home / name)
    plan = lake.repair()
    assert {item.path for item in plan.hopeless} == {shard, staged}
    assert set(lake.damaged()) == {shard, staged}
    with Lake.open(lake.home) as opened:
        again = opened.upload_raw_data(
            photos(tmp_path / "again", 4), provider="acme", dataset="photos"
        )
        opened.ingest(again.id)
    lake.repair()
    assert_whole(lake)


def content_is(lake, name, content):
    return (lake.home / name).read_bytes() == content


def test_a_remade_thumbnail_that_differs_from_its_row_is_sealed(lake, monkeypatch):
    """As with a later Pillow, or from an image that was stored smaller."""
    path = lake.home / lake.file("thumbnails/**/*.jpg")
    path.unlink()
    monkeypatch.setattr("lake_assets.media.inspect.THUMBNAIL_QUALITY", 40)
    lake.repair()
    assert_whole(lake)
    flip(path, 99)
    assert list(lake.damaged()) == [path.relative_to(lake.home).as_posix()]


@pytest.mark.parametrize(
    "pattern",
    ["staging/cancelled/*/manifest.json", "staging/done/*/files.jsonl",
     "staging/failed/*/error.json", "tables/acme/ticks/metadata/*-m0.avro"],
)  # fmt: skip
def test_one_flipped_bit_of_a_small_file_is_turned_back(pattern, lake, expected):
    path = lake.home / lake.file(pattern)
    content = path.read_bytes()
    flip(path, len(content) // 2)
    lake.repair()
    assert path.read_bytes() == content
    assert_whole(lake, expected)


# -- tables


def newest(lake, table):
    return lake.files(f"tables/{table}/metadata/*.metadata.json")[-1]


@pytest.mark.parametrize("damage", [os.unlink, scramble], ids=["missing", "changed"])
@pytest.mark.parametrize(
    "table", ["acme/ticks", "acme/photos", "lake/images", "lake/quarantine", "lake/uploads"]
)
def test_a_table_goes_back_to_its_last_good_state_and_is_rebuilt(table, damage, lake, expected):
    damage(lake.home / newest(lake, table))
    plan = lake.repair()
    assert ("roll back") in {str(step.action) for step in plan.steps}
    lake.ingest()
    lake.repair(older_than_s=0)
    assert_whole(lake)
    assert lake.rows() == expected


def test_a_table_that_went_back_asks_for_what_it_lost(lake):
    scramble(lake.home / newest(lake, "acme/ticks"))
    lake.repair()
    assert proved(lake, "acme.ticks") == {"0"}
    lake.ingest()
    assert proved(lake, "acme.ticks") == {"0", "1"}


def proved(lake, table):
    """Return which uploads of a dataset, by their number, its table has taken in."""
    with Lake.open(lake.home) as opened:
        done = opened.stores.staging.uploads(State.DONE, name=DatasetName.parse(table))
        ids = sorted(upload.id for upload in done)
        known = opened.stores.tables.committed(table, ids)
        return {str(number) for number, key in enumerate(ids) if key in known}


def test_a_table_without_any_good_state_is_made_anew(lake, expected):
    scramble(lake.home / lake.file("tables/acme/ticks/data/*.parquet"))
    for name in lake.files("tables/acme/ticks/metadata/snap-*.avro"):
        scramble(lake.home / name)
    plan = lake.repair()
    assert {"roll back", "rebuild"} <= {str(step.action) for step in plan.steps}
    lake.ingest()
    lake.repair()
    assert_whole(lake)
    assert lake.rows() == expected


def test_rows_are_not_given_up_where_the_archive_is_not_whole(lake):
    """The part's other rows stay; a state without them would be worse."""
    for folder in (lake.home / "staging" / "done").iterdir():
        shutil.rmtree(folder)
    part = lake.files("tables/acme/ticks/data/*.parquet")[-1]
    scramble(lake.home / part)
    plan = lake.repair()
    assert plan.steps == []
    assert {item.path for item in plan.hopeless} == {part}


def test_an_older_state_that_is_damaged_is_given_up_without_loss(lake, expected):
    name = lake.files("tables/acme/ticks/metadata/*.metadata.json")[0]
    scramble(lake.home / name)
    plan = lake.repair()
    assert actions(plan) == {("move away", name)}
    assert_whole(lake, expected)


def test_the_catalog_table_is_made_anew_from_the_others(lake, expected):
    scramble(lake.home / newest(lake, "lake/partitions"))
    lake.repair()
    assert_whole(lake)
    assert lake.rows() == expected


@pytest.mark.parametrize("damage", [os.unlink, scramble], ids=["missing", "changed"])
def test_catalog_db_is_made_anew(damage, lake, expected):
    damage(lake.home / "catalog.db")
    plan = lake.repair()
    assert actions(plan) == {("remake", "catalog.db")}
    assert_whole(lake, expected)


def test_catalog_db_and_the_newest_metadata_of_a_table_are_gone(lake, expected):
    (lake.home / "catalog.db").unlink()
    (lake.home / newest(lake, "acme/ticks")).unlink()
    plan = lake.repair()
    assert any("acme/ticks" in step.what and step.action is Action.REBUILD for step in plan.steps)
    lake.ingest()
    lake.repair(older_than_s=0)
    assert_whole(lake)
    assert lake.rows() == expected


# -- seals


def test_seals_are_written_for_files_of_earlier_versions(lake):
    logs = lake.files("tables/*/*/seals.log")
    for name in logs:
        (lake.home / name).unlink()
    lake.repair()
    assert lake.verify().findings == []
    flip(lake.home / lake.file("tables/acme/ticks/data/*.parquet"), 30)
    assert list(lake.damaged()) == [lake.file("tables/acme/ticks/data/*.parquet")]


def test_a_damaged_seal_log_is_written_anew(lake):
    log = lake.home / lake.file("tables/acme/ticks/seals.log")
    flip(log, 3)
    lake.repair()
    assert lake.verify().findings == []


def test_a_manifest_without_a_seal_is_sealed(lake):
    path = lake.home / lake.file("staging/cancelled/*/manifest.json")
    sealed = path.read_text()
    head, _, _ = sealed.rpartition(",\n")
    path.write_text(f"{head}\n}}\n")
    lake.repair()
    assert path.read_text() == sealed


def test_a_missing_seal_of_the_catalog_is_written(lake):
    (lake.home / "catalog.db.seal").unlink()
    assert actions(lake.repair()) == {("seal", "catalog.db.seal")}
    assert lake.verify().findings == []


# -- tidying


def orphan(lake):
    path = lake.home / "assets/provider=acme/dataset=photos/ab/cd" / f"abcd{'0' * 60}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(77))
    while time.time() <= path.stat().st_ctime:
        pass
    return path


def test_orphans_are_moved_and_not_deleted(lake):
    path = orphan(lake)
    assert lake.repair().steps == []
    lake.repair(older_than_s=0)
    (moved,) = (path for path in (lake.home / "removed").rglob("*.png"))
    assert (path.exists(), moved.read_bytes()) == (False, png(77))
    assert moved.relative_to(lake.home).parts[2:] == path.relative_to(lake.home).parts
    assert_whole(lake)


def test_an_orphan_that_an_upload_came_to_use_stays(lake, tmp_path):
    """Between plan and deed somebody delivered the very image; ingestion found it stored."""
    from lake_assets.upkeep.repair import Request, carry_out, plan_repair

    content = png("found again")
    with Lake.open(lake.home) as opened:
        import hashlib

        from lake_assets_tests.contract.small_lake import PHOTOS

        sha256 = hashlib.sha256(content).hexdigest()
        location = opened.stores.assets.location(PHOTOS, sha256, "png")
        opened.stores.assets.put(location, content)
        while time.time() <= opened.stores.assets.path(location).stat().st_ctime:
            pass
        plan = plan_repair(opened.stores, Request(older_than_s=0))
        assert [step.action for step in plan.steps] == [Action.MOVE]
        source = photos(tmp_path / "found", "found again")
        opened.ingest(opened.upload_raw_data(source, provider="acme", dataset="photos").id)
        assert carry_out(opened.stores, plan) == 0
        assert opened.stores.assets.size(location) == len(content)
    assert lake.damaged() == {}


def test_a_repair_waits_for_ingestion(lake, monkeypatch):
    from lake_assets.errors import DatasetBusy

    monkeypatch.setenv("LAKE_BUSY_TIMEOUT_S", "0")
    (lake.home / lake.file("thumbnails/**/*.jpg")).unlink()
    with (
        Lake.open(lake.home) as other,
        other.stores.tables.leases.hold("acme/photos", wait_s=0),
        pytest.raises(DatasetBusy),
    ):
        lake.repair()
    assert lake.damaged()


# -- what cannot be read just now is not damaged


def refuse(monkeypatch, owner, name, where):
    """Have a call fail, as for want of the right to, when its first argument is in ``where``."""
    real = getattr(owner, name)

    def refused(path, *arguments, **named):
        if str(path).startswith(str(where)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(owner, name, refused)


@pytest.mark.parametrize(
    "where", ["assets", "thumbnails", "tables/lake/images", "tables/acme/ticks", "staging/done"]
)
def test_a_folder_that_cannot_be_read_is_told_and_nothing_is_repaired(where, lake, monkeypatch):
    (lake.home / lake.file("staging/cancelled/*/files.jsonl")).unlink()
    before = lake.files()
    with monkeypatch.context() as patch:
        refuse(patch, os, "scandir", lake.home / where)
        report = lake.verify()
        with pytest.raises(StorageUnavailable, match="Nothing was repaired"):
            lake.repair()
    told = {(str(item.kind), item.path.split("/")[0]) for item in report.of("damage")}
    assert told == {("unreadable", where.split("/")[0]), ("upload_document", "staging")}
    assert lake.files() == before


def test_scratch_that_cannot_be_used_is_no_damage_of_a_table(lake, monkeypatch, expected):
    import duckdb

    from lake_assets.query.duckdb import LakeSql

    def full(*_, **__):
        with disk_errors(Path()):
            raise duckdb.IOException("IO Error: Could not write all bytes to file")

    with monkeypatch.context() as patch:
        patch.setattr(LakeSql, "query", full)
        report = lake.verify()
        assert report.is_unknown
        with pytest.raises(StorageUnavailable, match="Nothing was repaired"):
            lake.repair()
    assert_whole(lake, expected)


@pytest.mark.parametrize("table", ["acme/ticks", "lake/images"])
def test_metadata_that_cannot_be_read_is_no_reason_to_go_back(table, lake, monkeypatch, expected):
    with monkeypatch.context() as patch:
        refuse(patch, Path, "open", lake.home / newest(lake, table))
        assert lake.verify().is_unknown
        with pytest.raises(StorageUnavailable, match="Nothing was repaired"):
            lake.repair()
    assert_whole(lake, expected)


@pytest.mark.parametrize("pattern", ["assets/**/*.png", "staging/done/*/manifest.json"])
def test_a_file_that_cannot_be_read_is_not_called_damaged(pattern, lake, monkeypatch, expected):
    with monkeypatch.context() as patch:
        for call in ("open", "read_bytes"):
            refuse(patch, Path, call, lake.home / lake.file(pattern))
        assert lake.verify().is_unknown
        with pytest.raises(StorageUnavailable, match="Nothing was repaired"):
            lake.repair()
    assert_whole(lake, expected)


def test_a_finding_that_names_no_file_takes_no_table_away(lake):
    """A part that DuckDB cannot read, and of which the sample did not read the content."""
    name = lake.files("tables/lake/images/data/*.parquet")[-1]
    path = lake.home / name
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:4] + b"\xff" * (len(content) // 4) + content[4 + len(content) // 4 :])
    plan = lake.plan(choice=Choice(count=0))
    assert {item.path for item in plan.hopeless} == {"tables/lake/images"}
    assert [step.path for step in plan.steps if step.path.startswith("tables/lake/images")] == []


# -- what was changed after the plan was made


@pytest.fixture
def opened(lake):
    with Lake.open(lake.home) as found:
        yield found


def add_rows(opened):
    upload = opened.upload_raw_data(pa.table({"at": [99], "price": [2.5]}), provider="acme",
                                    dataset="ticks")  # fmt: skip
    opened.ingest(upload.id)


@pytest.mark.parametrize("is_anew", [False, True], ids=["to an older state", "anew"])
def test_a_table_does_not_go_back_behind_a_later_commit(is_anew, lake, opened):
    from lake_assets.upkeep.repair import Request, carry_out, plan_repair

    part = lake.home / lake.files("tables/acme/ticks/data/*.parquet")[-1]
    thumbnail = lake.home / lake.file("thumbnails/**/*.jpg")
    held_back = {path: path.read_bytes() for path in
                 (part, *lake.home.glob("tables/acme/ticks/metadata/snap-*.avro"))}  # fmt: skip
    for path in held_back if is_anew else [part]:
        scramble(path)
    thumbnail.unlink()
    plan = plan_repair(opened.stores, Request(choice=FULL))
    assert "roll back" in {str(step.action) for step in plan.steps}
    for path, content in held_back.items():  # as if a disk had come back
        path.chmod(0o644)
        path.write_bytes(content)
    before = opened.stores.tables.read("acme.ticks").num_rows
    add_rows(opened)
    with pytest.raises(CommitConflict, match="Run `lake repair` again"):
        carry_out(opened.stores, plan)
    assert opened.stores.tables.read("acme.ticks").num_rows == before + 1
    assert thumbnail.exists(), "the other steps are done"


def test_history_stays_where_its_table_was_changed_meanwhile(lake, opened):
    from lake_assets.upkeep.repair import Request, carry_out, plan_repair

    path = lake.home / lake.files("tables/acme/ticks/metadata/*.metadata.json")[0]
    scramble(path)
    plan = plan_repair(opened.stores, Request(choice=FULL))
    assert [step.action for step in plan.steps] == [Action.MOVE]
    add_rows(opened)
    with pytest.raises(CommitConflict, match=r"acme\.ticks was changed meanwhile"):
        carry_out(opened.stores, plan)
    assert path.exists()


def test_a_catalog_that_is_whole_again_is_not_made_anew(lake):
    from lake_assets.upkeep.repair import carry_out

    catalog = lake.home / "catalog.db"
    catalog.rename(lake.home / "catalog.kept")
    plan = lake.plan()
    (lake.home / "catalog.kept").rename(catalog)
    with Lake.open(lake.home) as opened, pytest.raises(CommitConflict, match="whole by now"):
        carry_out(opened.stores, plan)
    assert not list((lake.home / "removed").rglob("catalog.db"))


def test_a_catalog_that_is_only_locked_is_not_made_anew(lake, monkeypatch):
    monkeypatch.setattr("lake_assets.storage.tables.catalog_file._WAIT_S", 0.1)
    with closing(sqlite3.connect(lake.home / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for question in (lake.plan, lake.verify):
            with pytest.raises(StorageUnavailable, match="database is locked"):
                question()
    assert lake.plan().steps == []


# -- what lies in the place of something else


@pytest.mark.parametrize("pattern", ["thumbnails/**/*.jpg", "assets/**/*.png"])
def test_a_folder_in_the_place_of_a_file_is_moved_aside(pattern, lake, expected):
    path = lake.home / lake.file(pattern)
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"kept")
    (lake.home / lake.files("thumbnails/**/*.jpg")[-1]).unlink()
    lake.repair()
    assert path.read_bytes() == content
    assert [item.read_bytes() for item in (lake.home / "removed").rglob("inside")] == [b"kept"]
    assert_whole(lake, expected)


@pytest.mark.parametrize("name", ["manifest.json", "files.jsonl"])
def test_a_folder_in_the_place_of_a_document_is_told(name, lake):
    path = lake.home / lake.file(f"staging/cancelled/*/{name}")
    path.unlink()
    path.mkdir()
    plan = lake.plan()
    assert [lake.home / item.path for item in plan.hopeless] == [path]


def test_a_link_to_a_file_that_was_moved_is_replaced_by_the_file(lake, expected):
    path = lake.home / newest(lake, "acme/ticks")
    moved = path.with_name(f"moved-{path.name}")
    content = path.read_bytes()
    path.rename(moved)
    path.symlink_to(moved.name)
    plan = lake.repair(older_than_s=0)
    assert actions(plan) == {("restore", path.relative_to(lake.home).as_posix())}
    assert (path.is_symlink(), path.read_bytes()) == (False, content)
    lake.repair(older_than_s=0)
    assert not moved.exists()
    assert_whole(lake, expected)


@pytest.mark.parametrize("name", ["deaths.json", "lease.json", "error.json", "outcome.json"])
def test_a_damaged_document_that_no_rebuild_reads_is_moved_away(name, lake, expected):
    for folder in (lake.home / "staging/done").iterdir():
        (folder / name).write_bytes(b"{")
    scramble(lake.home / newest(lake, "acme/ticks"))
    plan = lake.repair()
    assert plan.hopeless == []
    assert Action.REBUILD in {step.action for step in plan.steps}
    lake.ingest()
    lake.repair(older_than_s=0)
    assert_whole(lake, expected)


def test_a_manifest_of_a_later_version_asks_for_an_upgrade(lake):
    path = lake.home / lake.file("staging/cancelled/*/manifest.json")
    path.write_text(path.read_text().replace('"version": 1', '"version": 99'))
    (item,) = lake.plan().hopeless
    assert item.advice == "a later version of lake_assets wrote it: upgrade lake_assets"


def test_what_two_findings_ask_to_move_is_moved_once(lake, expected):
    """Metadata of a commit that lost a race: nothing names it, and its content is damaged."""
    first = lake.home / lake.files("tables/acme/ticks/metadata/*.metadata.json")[0]
    path = first.with_name("00000-lost.metadata.json")
    path.write_bytes(first.read_bytes())
    seal = Seal(sha256="1" * 64, byte_count=path.stat().st_size)
    append_seals(first.parent.parent, {f"metadata/{path.name}": seal})
    while time.time() <= path.stat().st_ctime:
        pass
    name = path.relative_to(lake.home).as_posix()
    assert {item.kind for item in lake.verify().findings if item.path == name} == {
        "orphan",
        "table_file",
    }
    plan = lake.repair(older_than_s=0)
    assert [(step.action, step.path) for step in plan.steps] == [(Action.MOVE, name)]
    assert_whole(lake, expected)


def test_a_document_that_was_changed_meanwhile_stays(lake):
    from lake_assets.upkeep.repair import carry_out

    path = lake.home / lake.file("staging/failed/*/error.json")
    flip(path, 10)
    plan = lake.plan()
    path.parent.rename(path.parent.parent.parent / "cancelled" / path.parent.name)
    with Lake.open(lake.home) as opened, pytest.raises(CommitConflict, match="no longer in failed"):
        carry_out(opened.stores, plan)
    assert not path.parent.exists()
