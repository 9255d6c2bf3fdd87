"""A lake that was copied or moved touches nothing of the other, and becomes one of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.avro.file import AvroFile, AvroOutputFile
from pyiceberg.manifest import DataFileContent
from pyiceberg.table import StaticTable
from pyiceberg.typedef import Record

from lake_assets.errors import DamagedTable, DatasetBusy, LakeMoved, SchemaMismatch
from lake_assets.ingest import Request, prepared_dataset
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.relocating import Relocation
from lake_assets.storage.tables import locations
from lake_assets.storage.tables.catalog_file import read_catalog
from lake_assets.storage.tables.file_io import SealingFileIO
from lake_assets.upkeep.catalog import refresh_catalog
from lake_assets_tests.contract.small_lake import (
    PHOTOS,
    TICKS,
    SmallLake,
    flip,
    make,
    photos,
)

NAMES = ("호수 이 lake", "50%20 off 100%", "a?b=c&d", "a#b+c", "c[1]*d", 'it\'s "quoted"')


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake; copy it, and leave it as it is."""
    folder = tmp_path_factory.mktemp("made")
    make(folder / "lake", folder / "deliveries")
    return folder / "lake"


@pytest.fixture
def original(made: Path) -> Iterator[Path]:
    """The lake that copies are made of. Nothing of it has changed in the end."""
    before = _everything(made)
    yield made
    assert _everything(made) == before


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> SmallLake:
    return SmallLake(shutil.copytree(original, tmp_path / "호수 이 lake", symlinks=True))


def relocate(lake: SmallLake) -> Relocation:
    with Lake.open(lake.home) as opened:
        return opened.relocate()


def _everything(home: Path) -> dict[str, str]:
    """Return what lies in a lake, but for what looking at it writes."""
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file() and path.relative_to(home).parts[0] not in ("tmp", "verify", "dagster")
    }


def _more(lake: SmallLake, tmp_path: Path) -> None:
    """Deliver and ingest something of each kind."""
    with Lake.open(lake.home) as opened:
        opened.upload_raw_data(photos(tmp_path / "more", 1, 77), provider="acme", dataset="photos")
        opened.upload_raw_data(pa.table({"at": [9]}), provider="acme", dataset="ticks")
        opened.ingest_pending()


# -- before it is relocated

REFUSED: dict[str, Callable[[Lake], Any]] = {
    "sql": lambda lake: lake.sql("select * from acme.ticks"),
    "records": lambda lake: list(lake.records("acme/ticks")),
    "catalog": Lake.catalog,
    "check": Lake.check,
    "quarantine": Lake.quarantine,
    "upload": lambda lake: lake.upload_raw_data(
        pa.table({"at": [1]}), provider="acme", dataset="ticks"
    ),
    "upload of a new dataset": lambda lake: lake.upload_raw_data(
        pa.table({"at": [1]}), provider="acme", dataset="never_seen"
    ),
    "ingest": Lake.ingest_pending,
    "rebuild": lambda lake: lake.rebuild(TICKS),
    "replay": Lake.replay_quarantine,
    "refresh": lambda lake: refresh_catalog(lake.stores, [TICKS]),
}


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED)
def test_a_copy_says_what_to_run_and_changes_nothing(attempt, original, copy):
    before = _everything(copy.home)
    with Lake.open(copy.home) as lake, pytest.raises(LakeMoved) as raised:
        attempt(lake)
    message = raised.value.message
    assert f"was made at {original} and is at {copy.home}" in message
    assert f"`lake relocate --home '{copy.home}'`" in message
    assert _everything(copy.home) == before


def test_uploads_that_wait_in_a_copy_still_wait(copy):
    with Lake.open(copy.home) as lake:
        pending = lake.uploads(State.PENDING)
        with pytest.raises(LakeMoved):
            lake.ingest(pending[0].id)
        assert lake.uploads(State.PENDING) == pending


def test_a_copy_that_was_left_alone_is_told_by_verify_and_not_repaired(copy):
    found = copy.verify().of("damage")
    assert {item.kind for item in found} == {"table_outside"}
    assert all("run `lake relocate`" in item.message for item in found)
    plan = copy.plan()
    assert (plan.steps, len(plan.hopeless)) == ([], len(found))


# -- relocated


def test_a_relocated_lake_has_all_rows_and_goes_on(original, copy, tmp_path):
    rows = SmallLake(original).rows()
    with Lake.open(copy.home) as lake:
        planned = lake.relocate(dry_run=True)
    assert copy.damaged()
    done = relocate(copy)
    assert (planned.made_at, planned.tables) == (done.made_at, done.tables)
    assert done.made_at == (str(original),)
    assert done.tables == tuple(rows)
    assert copy.verify().findings == []
    assert copy.rows() == rows
    _more(copy, tmp_path)
    assert copy.verify().findings == []
    assert copy.rows() != rows


def test_a_lake_that_was_moved_goes_on(original, copy, tmp_path):
    """And is moved again, and back."""
    rows = SmallLake(original).rows()
    first, second = copy.home, tmp_path / "second"
    relocate(copy)
    for home in (second, first):
        moved = SmallLake(copy.home.rename(home))
        assert relocate(moved).tables == tuple(rows)
        assert moved.rows() == rows
        assert moved.verify().findings == []
        copy = moved


def test_what_was_relocated_is_left_alone(copy):
    assert relocate(copy).tables
    before = _everything(copy.home)
    done = relocate(copy)
    assert (done.made_at, done.tables, done.linked_files) == ((), (), 0)
    before.pop("catalog.db"), before.pop("catalog.db.seal")
    after = _everything(copy.home)
    assert {name: after[name] for name in before} == before


def test_all_states_of_a_table_stay(original, copy):
    def states(home: Path) -> dict[str, Any]:
        found = {}
        for table, path in read_catalog(home / "catalog.db").pointers.items():
            state = StaticTable.from_metadata(str(path))
            found[table] = {
                snapshot.snapshot_id: sorted(
                    map(str, state.scan(snapshot_id=snapshot.snapshot_id).to_arrow().to_pylist())
                )
                for snapshot in state.metadata.snapshots
            }
            found[f"{table}, schemas"] = state.metadata.schemas
            found[f"{table}, log"] = [entry.timestamp_ms for entry in state.metadata.metadata_log]
        return found

    before = states(original)
    relocate(copy)
    assert states(copy.home) == before
    assert any(len(found) > 1 for found in before.values())


def test_nothing_names_the_other_place(original, copy):
    relocate(copy)
    for path in copy.home.glob("tables/*/*/metadata/*"):
        content = path.read_bytes()
        if path.suffix == ".avro":
            continue  # compressed; `verify` reads them
        assert str(original).encode() not in content
        assert json.loads(content)["location"] == f"file://{path.parent.parent}"
    pointers = read_catalog(copy.home / "catalog.db").locations
    assert all(place.startswith(f"file://{copy.home}/tables/") for place in pointers.values())


def test_a_relocated_table_goes_back_to_its_last_good_state(original, copy):
    rows = SmallLake(original).rows()["acme.ticks"]
    relocate(copy)
    present = read_catalog(copy.home / "catalog.db").pointers["acme.ticks"]
    present.unlink()
    copy.repair()
    assert read_catalog(copy.home / "catalog.db").pointers["acme.ticks"] != present
    copy.ingest()  # its uploads are read again
    assert copy.rows()["acme.ticks"] == rows
    assert copy.damaged() == {}


def test_damage_of_before_is_told_after(original, copy):
    """An old manifest and a state's list: the present rows need neither."""
    oldest = _state_of(copy.home, "acme.ticks").metadata.snapshots[0]
    flip(copy.home / Path(oldest.manifest_list).relative_to(f"file://{original}"), 90)
    relocate(copy)
    assert list(copy.damaged().values()) == ["its SHA-256 is not that of its seal"]
    copy.repair()  # turns the bit back; what it names then lies in the other lake
    (message,) = copy.damaged().values()
    assert message.startswith(f"it names {original}/tables/acme/ticks/metadata/")
    copy.repair()
    assert copy.damaged() == {}
    assert copy.rows() == SmallLake(original).rows()


def test_a_present_state_that_is_damaged_is_repaired_after_it(original, copy):
    present = read_catalog(copy.home / "catalog.db").pointers["acme.ticks"]
    (copy.home / present.relative_to(original)).write_bytes(b"{}")
    relocate(copy)
    assert copy.damaged()
    copy.repair()
    copy.ingest()
    assert list(copy.damaged()) == [f"tables/acme/ticks/metadata/{present.name}"]
    assert copy.rows()["acme.ticks"] == SmallLake(original).rows()["acme.ticks"]


def test_a_table_that_was_not_copied_is_named(copy):
    shutil.rmtree(copy.home / "tables" / "acme" / "ticks")
    with pytest.raises(DamagedTable, match=r"acme\.ticks needs: the catalog has it at"):
        relocate(copy)


def test_a_table_with_delete_files_is_left_as_it_is(copy):
    """Which another program made: in them stand the locations of parts."""
    (copy.home / "tables" / "acme" / "ticks" / "seals.log").unlink()
    for path in copy.home.glob("tables/acme/ticks/metadata/*-m0.avro"):
        with AvroFile[Record](SealingFileIO().new_input(str(path))) as old:
            records, schema, meta = list(old), old.schema, dict(old.header.meta)
        for record in records:
            record[_field(schema, "data_file")][0] = DataFileContent.POSITION_DELETES.value
        path.unlink()
        io = SealingFileIO({"warehouse": str(copy.home / "tables")})
        with AvroOutputFile[Record](
            io.new_output(str(path)), schema, "manifest_entry", metadata=meta
        ) as new:
            new.write_block(records)
    before = read_catalog(copy.home / "catalog.db").locations["acme.ticks"]
    with pytest.raises(SchemaMismatch, match=r"acme\.ticks has delete files of another program"):
        relocate(copy)
    assert read_catalog(copy.home / "catalog.db").locations["acme.ticks"] == before


def _field(schema: Any, name: str) -> int:
    return [field.name for field in schema.fields].index(name)


def test_a_damaged_catalog_is_named(copy):
    flip(copy.home / "catalog.db", 24)
    with pytest.raises(DamagedTable, match="catalog.db is damaged: "):
        relocate(copy)
    plan = copy.plan()
    assert [item.path for item in plan.hopeless] == ["catalog.db"]
    assert [step.path for step in plan.steps if step.path.startswith(("catalog", "tables"))] == []


def test_a_copy_with_the_originals_tables_by_a_link_is_refused(original, copy):
    shutil.rmtree(copy.home / "tables")
    (copy.home / "tables").symlink_to(original / "tables")
    with pytest.raises(LakeMoved, match="is a link to the tables of the lake at"):
        relocate(copy)


def test_a_lake_may_be_opened_by_the_name_that_it_had(copy, tmp_path):
    relocate(copy)
    place = copy.home
    real = place.rename(tmp_path / "real")
    place.symlink_to(real)
    assert copy.verify().findings == []
    _more(copy, tmp_path)
    assert copy.verify().findings == []


# -- tables of earlier versions


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLake:
    """A lake whose tables have plain paths."""
    with monkeypatch.context() as patched:
        patched.setattr(locations, "_SCHEME", "")
        make(tmp_path / "lake", tmp_path / "deliveries")
    places = read_catalog(tmp_path / "lake" / "catalog.db").locations.values()
    assert all(place.startswith("/") for place in places)
    return SmallLake(tmp_path / "lake")


def test_a_table_of_an_earlier_version_goes_on_as_it_is(old, tmp_path):
    _more(old, tmp_path)
    assert old.verify().findings == []
    parts = [str(item) for item in _parts(old.home, "acme.ticks")]
    assert {part.startswith("file:///") for part in parts} == {True, False}
    ticks = old.rows()["acme.ticks"]
    with Lake.open(old.home) as lake:
        assert len(lake.sql("select * from acme.ticks").fetchall()) == len(ticks) == 11
        lake.rebuild(PHOTOS)
    assert old.verify().findings == []


def test_a_lake_of_an_earlier_version_is_brought_over_where_it_is(old, tmp_path):
    _more(old, tmp_path)
    rows = old.rows()
    done = relocate(old)
    assert (done.made_at, done.tables) == ((), tuple(rows))
    assert all(part.startswith(f"file://{old.home}/") for part in _parts(old.home, "acme.ticks"))
    assert old.rows() == rows
    assert old.verify().findings == []


def _state_of(home: Path, table: str) -> StaticTable:
    place = read_catalog(home / "catalog.db").pointers[table]
    return StaticTable.from_metadata(str(place))


def _parts(home: Path, table: str) -> list[str]:
    return [task.file.file_path for task in _state_of(home, table).scan().plan_files()]


# -- any name


@pytest.mark.parametrize("name", NAMES)
def test_a_home_may_have_any_name(name, tmp_path):
    lake = SmallLake(tmp_path / name)
    make(lake.home, tmp_path / "deliveries")
    # Patterns and escapes would lead to these.
    for other in ("a1b=c&d", "50 off 100%", "c1d"):
        shutil.copytree(lake.home, tmp_path / other)
    with Lake.open(lake.home) as opened:
        assert opened.sql('select "at" from acme.ticks order by 1').fetchall() == [
            (number,) for number in range(10)
        ]
        assert len(opened.quarantine()) == 1
    assert lake.verify().findings == []
    flip(lake.home / lake.file("tables/acme/ticks/metadata/*.json"), 30)
    assert len(lake.damaged()) == 1
    lake.repair()
    _more(lake, tmp_path)
    assert lake.verify().findings == []
    with Lake.open(lake.home) as opened:
        assert all(result.passed for _, check, result in opened.check() if check.blocking)
        Path(opened.stores.tables.data_files("acme.ticks")[0]).unlink()
        with pytest.raises(DamagedTable):
            opened.sql("select * from acme.ticks").fetchall()


# -- copied in the middle of an ingestion


def test_a_copy_made_in_the_middle_of_an_ingestion_heals(original, tmp_path):
    """Its leases are held, as its catalog says, by a process that lives: that of the original."""
    first = SmallLake(shutil.copytree(original, tmp_path / "first", symlinks=True))
    relocate(first)
    (first.home / "lake.toml").write_text("workers = 1\nlease_timeout_s = 1\nbusy_timeout_s = 0\n")
    with (
        Lake.open(first.home) as lake,
        prepared_dataset(lake.stores, Request(name=PHOTOS)) as prepared,
    ):
        assert prepared.uploads  # the journal is written, nothing is committed
        second = SmallLake(shutil.copytree(first.home, tmp_path / "second", symlinks=True))
        with pytest.raises(DatasetBusy):
            relocate(second)
        (second.home / "lake.toml").write_text("lease_timeout_s = 1\nbusy_timeout_s = 30\n")
        relocate(second)  # no heart beats in the copy
        second.ingest()
        with Lake.open(second.home) as healed:
            assert not healed.uploads(State.PENDING, State.PROCESSING)
        assert second.verify().findings == []
    first.ingest()
    assert second.rows() == first.rows()
    assert first.verify().findings == []


# -- images that are one file with what was staged


def test_equal_images_are_one_file_again(original, copy):
    staged = _staged(original)
    assert len(staged) > 3
    assert all(path.stat().st_nlink > 1 for path in staged)
    copies = _staged(copy.home)
    assert len(copies) == 0
    done = relocate(copy)
    assert len(_staged(copy.home)) == len(staged)
    assert done.linked_files == len(staged)
    assert done.linked_bytes == sum(path.stat().st_size for path in staged)
    assert copy.verify().findings == []


def test_an_image_that_differs_from_the_stored_one_is_not_linked(copy):
    staged = next(copy.home.glob("staging/done/*/files/2.png"))
    flip(staged, 200)
    broken = staged.read_bytes()
    relocate(copy)
    assert staged.read_bytes() == broken
    assert staged.stat().st_nlink == 1
    assert len(copy.damaged()) == 1


def _staged(home: Path) -> list[Path]:
    """Return the staged files that are one with a stored image."""
    stored = {path.stat().st_ino for path in (home / "assets").rglob("*.png")}
    files = home.glob("staging/*/*/files/*.png")
    return [path for path in files if path.stat().st_ino in stored]
