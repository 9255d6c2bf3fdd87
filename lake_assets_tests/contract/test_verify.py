"""Verification: silent on a good lake, and one changed byte in any file is found and named."""

import os
import random
import time

import pyarrow as pa
import pytest

from lake_assets.ingest import Request as Ingestion
from lake_assets.ingest import commit, finish, prepared_dataset
from lake_assets.lake import Lake
from lake_assets.upkeep.verify import Choice, Request, verify
from lake_assets_tests.contract.small_lake import (
    FULL,
    PHOTOS,
    SmallLake,
    flip,
    lake_and_copy,
    photos,
    png,
    restore,
)

SEED = 20_261_121
EVERY = 97 if os.environ.get("LAKE_TEST_FULL") else None
"""With LAKE_TEST_FULL=1, every so-many-th byte of every file."""
KINDS = {
    "metadata": "tables/*/*/metadata/*.metadata.json",
    "manifest list": "tables/*/*/metadata/snap-*.avro",
    "manifest": "tables/*/*/metadata/*-m0.avro",
    "part": "tables/*/*/data/*.parquet",
    "seal log": "tables/*/*/seals.log",
    "image": "assets/**/*.png",
    "thumbnail": "thumbnails/**/*.jpg",
    "staged file": "staging/*/*/files/*",
    "manifest.json": "staging/*/*/manifest.json",
    "files.jsonl": "staging/*/*/files.jsonl",
    "outcome": "staging/done/*/outcome.json",
    "error": "staging/failed/*/error.json",
    "catalog": "catalog.db",
    "catalog's seal": "catalog.db.seal",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKE_WORKERS", "1")
        with lake_and_copy(tmp_path_factory.mktemp("verified")) as pair:
            yield pair


@pytest.fixture
def lake(made, monkeypatch) -> SmallLake:
    monkeypatch.setenv("LAKE_WORKERS", "2")
    restore(*made)
    return made[0]


def summary(report):
    return [(str(item.severity), str(item.kind), item.path) for item in report.findings]


def test_a_good_lake_has_no_findings(lake):
    report = lake.verify()
    assert summary(report) == []
    read = {name: tally.read_files for name, tally in report.tallies.items()}
    assert read["images"] == read["thumbnails"] == 4
    assert read["tables"] == len(lake.files("tables/**/*")) - len(
        lake.files("tables/*/*/seals.log")
    )


def test_a_new_lake_has_no_findings(tmp_path):
    Lake.init(tmp_path / "new").close()
    assert summary(SmallLake(tmp_path / "new").verify()) == []


def test_every_file_of_the_lake_is_of_a_kind_that_is_tested(lake):
    tested = {name for pattern in KINDS.values() for name in lake.files(pattern)}
    assert set(lake.files()) - tested == set()


PLACES = {
    "first byte": lambda size, chance: 0,
    "last byte": lambda size, chance: size - 1,
    "any byte": lambda size, chance: chance.randrange(size),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_flipped_byte_is_found_and_its_file_named(place, lake):
    """One file of every kind at once: each is named, and none for another's sake."""
    chance = random.Random(f"{SEED} {place}")
    print(f"seed {SEED}")  # noqa: T201
    names = {one_of(lake, kind, chance) for kind in KINDS if kind != "catalog"}
    for name in names:
        path = lake.home / name
        flip(path, PLACES[place](path.stat().st_size, chance), 1 << chance.randrange(8))
    assert set(lake.damaged()) == names | others_of_the_same_inode(lake, names)


APART = {
    # One damaged file can hide another: what a broken manifest names, or a seal log vouches for.
    "metadata": "tables/acme/ticks/metadata/*.metadata.json",
    "manifest list": "tables/acme/photos/metadata/snap-*.avro",
    "manifest": "tables/lake/quarantine/metadata/*-m0.avro",
    "part": "tables/lake/uploads/data/*.parquet",
    "seal log": "tables/lake/partitions/seals.log",
    "staged file": "staging/done/*/files/*",
    "manifest.json": "staging/pending/*/manifest.json",
    "files.jsonl": "staging/cancelled/*/files.jsonl",
}


def one_of(lake, kind, chance):
    return chance.choice(lake.files(APART.get(kind, KINDS[kind])))


def others_of_the_same_inode(lake, names):
    inodes = {(lake.home / name).stat().st_ino for name in names}
    return {name for name in lake.files() if (lake.home / name).stat().st_ino in inodes}


def test_a_flipped_byte_of_the_catalog_is_found(lake):
    size = (lake.home / "catalog.db").stat().st_size
    for place in (0, 26, size // 2, size - 1):
        flip(lake.home / "catalog.db", place)
        assert list(lake.damaged(Choice(count=1))) == ["catalog.db"], place
        flip(lake.home / "catalog.db", place)


@pytest.mark.skipif(EVERY is None, reason="takes an hour; LAKE_TEST_FULL=1 runs it")
@pytest.mark.parametrize("kind", KINDS)
def test_every_so_many_th_byte_of_every_file(kind, lake):
    for name in lake.files(KINDS[kind]):
        path = lake.home / name
        for place in range(0, path.stat().st_size, EVERY or 1):
            flip(path, place)
            assert name in lake.damaged(), f"byte {place} of {name}"
            flip(path, place)


def test_missing_files_are_found_without_reading_any(lake):
    chance = random.Random(SEED)
    needless = ("catalog", "seal log", "catalog's seal", "outcome")
    names = {one_of(lake, kind, chance) for kind in KINDS if kind not in needless}
    for name in names:
        (lake.home / name).unlink()
    assert names <= set(lake.damaged(Choice(count=1)))


def test_a_missing_catalog_is_found(lake):
    (lake.home / "catalog.db").unlink()
    assert lake.damaged(Choice(count=1)) == {"catalog.db": "it is missing, but there are tables"}


def test_files_of_another_size_are_found_without_reading_them(lake):
    names = {lake.file(KINDS[kind]) for kind in ("part", "image", "staged file")}
    for name in names:
        path = lake.home / name
        path.chmod(0o644)
        path.write_bytes(path.read_bytes() + b"x")
    found = lake.damaged(Choice(count=1))
    assert {name: "bytes, should have" in found.get(name, "") for name in names} == dict.fromkeys(
        names, True
    )


def test_a_pipe_in_the_place_of_a_file_is_damage_and_not_waited_for(lake):
    name = lake.file(KINDS["image"])
    (lake.home / name).unlink()
    os.mkfifo(lake.home / name)
    assert name in lake.damaged()


def test_what_nothing_refers_to_is_listed_with_its_age(lake):
    orphans = {
        "tables/acme/photos/data/left-00000.parquet": "orphan",
        "tables/acme/photos/metadata/left.avro": "orphan",
        f"assets/provider=acme/dataset=photos/ab/cd/abcd{'0' * 60}.png": "orphan",
        "thumbnails/.draft-1": "draft",
        "notes.txt": "strange_file",
        "tables/acme/photos/README": "strange_file",
        f"staging/done/{upload_ids(lake)[0]}/files/more.png": "strange_file",
        f"staging/done/{upload_ids(lake)[0]}/.draft-2": "draft",
    }  # fmt: skip
    for name in orphans:
        (lake.home / name).parent.mkdir(parents=True, exist_ok=True)
        (lake.home / name).write_bytes(png(77))
    wait_until_older(lake.home / "notes.txt")
    report = lake.verify()
    assert {item.path: str(item.kind) for item in report.findings} == orphans
    assert all(item.age_s is not None and item.age_s >= 0 for item in report.findings)
    assert report.is_good


def wait_until_older(path):
    """Files that are as new as the look at them belong to what runs just now."""
    while time.time() <= path.stat().st_ctime:
        pass


def upload_ids(lake):
    return sorted(path.name for path in (lake.home / "staging" / "done").iterdir())


def test_rows_that_are_not_those_of_the_ledger_are_damage(lake):
    with Lake.open(lake.home) as opened:
        from lake_assets.storage.tables import Delivery, TableSpec

        tables = opened.stores.tables
        rows = tables.read("acme.ticks").slice(1)
        spec = TableSpec(name="acme.ticks", schema=rows.schema)
        with tables.part_writer(spec, stem="tampered") as parts:
            parts.write(rows)
            tables.replace(spec, [Delivery(keys=("tampered",), parts=parts.close())])
    found = [item for item in lake.verify().findings if item.kind == "counts"]
    assert [(str(item.severity), item.about) for item in found] == [("damage", "acme/ticks")]


def test_a_table_that_lies_elsewhere_is_damage(lake, tmp_path):
    lake.home.rename(tmp_path / "moved")
    try:
        found = {
            item.path: str(item.kind) for item in SmallLake(tmp_path / "moved").verify().findings
        }
        assert found["tables/acme/photos"] == "table_outside"
    finally:
        (tmp_path / "moved").rename(lake.home)


def test_work_that_a_dead_process_left_is_told(lake):
    with Lake.open(lake.home) as opened:
        opened.stores.rebuilds.put(PHOTOS)
        opened.stores.stale.put(PHOTOS)
    report = lake.verify()
    assert {str(item.kind) for item in report.findings} == {"unfinished", "stale_catalog"}
    assert report.is_good


def test_a_hand_edited_manifest_is_called_so(lake):
    path = lake.home / lake.file("staging/pending/*/manifest.json")
    path.write_text(path.read_text().replace('"variant": ""', '"variant": "x"'))
    message = lake.damaged()[path.relative_to(lake.home).as_posix()]
    assert "by hand" in message and '"seal"' in message


def test_a_manifest_without_a_seal_is_a_notice(lake):
    path = lake.home / lake.file("staging/pending/*/manifest.json")
    head, _, _ = path.read_text().rpartition(",\n")
    path.write_text(f"{head}\n}}\n")
    (found,) = lake.verify().findings
    assert (str(found.severity), str(found.kind)) == ("notice", "unsealed")


def test_tables_of_an_earlier_version_have_no_seals_and_are_good(lake):
    for name in lake.files("tables/*/*/seals.log"):
        (lake.home / name).unlink()
    report = lake.verify()
    assert {(str(item.severity), str(item.kind)) for item in report.findings} == {
        ("notice", "unsealed")
    }
    assert lake.damaged() == {}


def test_settings_are_validated_and_edits_told(lake):
    lake.verify()
    with (lake.home / "config" / "schema.yaml").open("a") as file:
        file.write("# an edit\n")
    (found,) = lake.verify().findings
    assert (found.path, str(found.severity)) == ("config/schema.yaml", "notice")
    assert lake.verify().findings == []
    (lake.home / "config" / "schema.yaml").write_text("providers: 7\n")
    assert "config/schema.yaml" in lake.damaged()


def test_a_stale_seal_of_the_catalog_is_no_damage(lake):
    with Lake.open(lake.home) as opened:
        rows = pa.table({"at": [100], "price": [1.0]})
        opened.ingest(opened.upload_raw_data(rows, provider="acme", dataset="ticks").id)
    found = [item for item in lake.verify().findings if item.severity != "notice"]
    assert {str(item.kind) for item in found} <= {"catalog_seal"}


# -- which files are read


def test_the_same_seed_reads_the_same_files(lake):
    counts = [
        lake.verify(Choice(share=0.5, seed=seed)).to_plain()["sections"] for seed in (1, 1, 2)
    ]
    assert counts[0] == counts[1] != counts[2]


def test_a_count_is_of_each_kind(lake):
    sections = lake.verify(Choice(count=2, seed=1)).tallies
    assert {
        sections[name].read_files for name in ("tables", "images", "thumbnails", "uploads")
    } == {2}


# -- going on


def test_an_interrupted_full_run_is_gone_on_with(lake, monkeypatch):
    flip(lake.home / lake.file("tables/acme/photos/data/*"), 50)
    monkeypatch.setattr("lake_assets.upkeep.verify.reading._UNIT_FILES", 4)
    total = sum(tally.read_files for tally in lake.verify().tallies.values())

    class Killed(BaseException):
        pass

    def die(section, files, read_bytes):
        if section == "images":
            raise Killed

    with Lake.open(lake.home) as opened, pytest.raises(Killed):
        verify(opened.stores, Request(choice=FULL, on_progress=die))
    (left,) = (lake.home / "verify").glob("full-*.jsonl")
    with left.open("ab") as file:
        file.write(b"0123abcd {torn")
    report = lake.verify(resume=True)
    assert report.resumed_files > 0
    assert report.resumed_files + sum(t.read_files for t in report.tallies.values()) == total
    assert lake.file("tables/acme/photos/data/*") in {item.path for item in report.of("damage")}
    assert list((lake.home / "verify").glob("full-*.jsonl")) == []


def test_without_an_interrupted_run_resuming_begins_anew(lake):
    assert lake.verify(resume=True).resumed_files == 0


# -- while others write


def test_after_a_run_that_fails_the_catalog_is_sealed_too(lake):
    """As Dagster's does, once what could be used is in the tables."""
    with Lake.open(lake.home) as opened:
        with (
            pytest.raises(ValueError, match="an upload failed"),
            prepared_dataset(opened.stores, Ingestion(name=PHOTOS)) as held,
        ):
            for change in held.changes.values():
                commit(opened.stores, change)
            finish(opened.stores, held)
            raise ValueError("an upload failed")
    kinds = {str(item.kind) for item in lake.verify().findings}
    assert "catalog_seal" not in kinds


def test_an_upload_that_is_ingested_meanwhile_is_no_damage(lake, tmp_path):
    """Each section is looked at before and after another upload came in."""
    source = photos(tmp_path / "more", 20, 21)

    def ingest_once(section, files, read_bytes):
        if section == "tables" and not done:
            done.append(section)
            with Lake.open(lake.home) as other:
                other.ingest(other.upload_raw_data(source, provider="acme", dataset="photos").id)

    done: list[str] = []
    with Lake.open(lake.home) as opened:
        report = verify(opened.stores, Request(choice=FULL, on_progress=ingest_once))
    assert done == ["tables"]
    assert [item for item in report.findings if item.kind != "catalog_seal"] == []


def test_parts_and_images_of_a_living_ingestion_are_not_called_orphans(lake):
    with Lake.open(lake.home) as opened:
        (upload,) = opened.uploads("pending")
        with opened.stores.tables.leases.hold(str(upload.name), wait_s=0) as lease:
            claimed = opened.stores.staging.claim(upload, token=lease.token)
            part = opened.stores.tables.data_folder("acme.photos") / f"{upload.id}-00000.parquet"
            part.write_bytes(b"not finished")
            wait_until_older(part)
            assert [item for item in lake.verify().findings if item.kind != "catalog_seal"] == []
            opened.stores.staging.release(claimed)
    found = [str(item.kind) for item in lake.verify().findings]
    assert [kind for kind in found if kind != "catalog_seal"] == ["orphan"]
