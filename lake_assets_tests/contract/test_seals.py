"""Seal logs: any changed byte of a line is found, a torn line is not damage, lines never mix."""

import multiprocessing
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.errors import LakeMoved, StorageUnavailable
from lake_assets.storage.seals import (
    SEAL_LOG,
    Seal,
    append_seals,
    read_seals,
    seal,
    seal_of,
    table_folder,
    write_seals,
)
from lake_assets.storage.tables.file_io import SealingFileIO

ONE, TWO = Seal(sha256="1" * 64, byte_count=1), Seal(sha256="2" * 64, byte_count=22)


@pytest.fixture
def table(tmp_path):
    for folder in ("data", "metadata"):
        (tmp_path / folder).mkdir()
    return tmp_path


def test_seals_come_back_and_the_last_one_counts(table):
    append_seals(table, {"data/a.parquet": ONE, "data/é b.parquet": TWO})
    append_seals(table, {"data/a.parquet": TWO})
    log = read_seals(table)
    assert dict(log.seals) == {"data/a.parquet": TWO, "data/é b.parquet": TWO}
    assert log.damaged_lines == ()


def test_a_table_without_a_log_has_no_seals(table):
    assert dict(read_seals(table).seals) == {}


def test_finished_files_are_sealed_in_the_log_of_their_table(table):
    (table / "data" / "a.parquet").write_bytes(b"abc")
    seal([table / "data" / "a.parquet"])
    assert read_seals(table).seals == {"data/a.parquet": seal_of(table / "data" / "a.parquet")}


def test_a_file_that_is_gone_cannot_be_sealed(table):
    with pytest.raises(StorageUnavailable):
        seal([table / "data" / "none.parquet"])


@pytest.mark.parametrize(
    ("path", "folder"),
    [("x/y/data/f", "x/y"), ("x/data/data/f", "x/data"), ("x/y/data/deep/er/f", "x/y")],
)
def test_the_folder_of_a_table_is_found(tmp_path, path, folder):
    assert table_folder(tmp_path / path) == tmp_path / folder


def test_what_is_in_no_table_has_no_folder(tmp_path):
    with pytest.raises(ValueError, match="no file of a table"):
        table_folder(tmp_path / "f")


def test_every_changed_byte_is_found(table):
    append_seals(table, {"data/a.parquet": ONE})
    append_seals(table, {"metadata/b.avro": TWO})
    log = table / SEAL_LOG
    content = log.read_bytes()
    for place in range(len(content)):
        for byte in {content[place] ^ 1, content[place] ^ 0x80, ord("\n"), ord("~"), 0}:
            if byte == content[place]:
                continue
            log.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
            assert read_seals(table).damaged_lines, (place, byte)


@given(st.integers(0, 10_000))
def test_a_torn_line_is_no_damage_and_the_next_one_counts(tmp_path_factory, cut):
    table = tmp_path_factory.mktemp("torn")
    append_seals(table, {"data/a.parquet": ONE, "data/b.parquet": TWO})
    log = table / SEAL_LOG
    content = log.read_bytes()
    log.write_bytes(content[: cut % len(content)])
    torn = read_seals(table)
    append_seals(table, {"data/c.parquet": TWO})
    after = read_seals(table)
    assert torn.damaged_lines == after.damaged_lines == ()
    assert after.seals == {**torn.seals, "data/c.parquet": TWO}


def test_a_log_can_be_written_anew(table):
    append_seals(table, {"data/a.parquet": ONE})
    write_seals(table, {"data/b.parquet": TWO})
    assert dict(read_seals(table).seals) == {"data/b.parquet": TWO}


def _append_many(table, number):
    chance = random.Random(number)
    for count in range(200):
        append_seals(table, {f"data/{number}-{count}-{'x' * chance.randrange(200)}": ONE})


def test_lines_of_several_processes_never_mix(table):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_many, args=(table, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    log = read_seals(table)
    assert (len(log.seals), log.damaged_lines) == (600, ())


# -- PyIceberg's files


def test_what_pyiceberg_writes_is_sealed(table):
    files = SealingFileIO({"warehouse": str(table.parent)})
    place = f"{table}/metadata/m.avro"
    with files.new_output(place).create(overwrite=True) as stream:
        stream.write(b"abc")
        stream.write(b"def")
    with files.new_input(place).open() as stream:
        assert stream.read() == b"abcdef"
    assert len(files.new_input(f"file://{place}")) == 6
    assert read_seals(table).seals["metadata/m.avro"] == seal_of(table / "metadata" / "m.avro")


def test_nothing_is_written_over(table):
    files = SealingFileIO({"warehouse": str(table.parent)})
    (table / "metadata" / "m.avro").write_bytes(b"old")
    with (
        pytest.raises(FileExistsError),
        files.new_output(f"{table}/metadata/m.avro").create(overwrite=True) as stream,
    ):
        stream.write(b"new")
    assert (table / "metadata" / "m.avro").read_bytes() == b"old"
    assert dict(read_seals(table).seals) == {}


def test_half_a_file_is_none(table):
    files = SealingFileIO({"warehouse": str(table.parent)})

    def write():
        with files.new_output(f"{table}/metadata/m.avro").create() as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not files.new_input(f"{table}/metadata/m.avro").exists()


def test_a_file_is_removed(table):
    files = SealingFileIO({"warehouse": str(table.parent)})
    (table / "metadata" / "m.avro").write_bytes(b"old")
    files.delete(f"{table}/metadata/m.avro")
    assert list((table / "metadata").iterdir()) == []
    with pytest.raises(FileNotFoundError):
        files.delete(f"{table}/metadata/m.avro")


# -- one lake never writes into another

ELSEWHERE = {
    "another lake": "{root}/other/tables/p/d/metadata/m.avro",
    "with a scheme": "file://{root}/other/tables/p/d/metadata/m.avro",
    "a name that begins alike": "{root}/lake2/tables/p/d/metadata/m.avro",
    "beside the tables": "{root}/lake/metadata/m.avro",
    "a way out": "{root}/lake/tables/../../other/tables/p/d/metadata/m.avro",
    "a lake in the lake": "{root}/lake/inner/tables/p/d/metadata/m.avro",
    "the lake around it": "{root}/tables/p/d/metadata/m.avro",
    "a link to a folder of another": "{root}/link/tables/p/d/metadata/m.avro",
    "relative": "other/tables/p/d/metadata/m.avro",
}


@pytest.mark.parametrize("location", ELSEWHERE.values(), ids=ELSEWHERE)
def test_nothing_is_written_or_removed_outside_of_the_lake(tmp_path, location):
    place = location.format(root=tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "other")
    files = SealingFileIO({"warehouse": f"{tmp_path}/lake/tables"})
    path = tmp_path / "other" / "tables" / "p" / "d" / "metadata" / "m.avro"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"theirs")
    with pytest.raises(LakeMoved):
        files.new_output(place)
    with pytest.raises(LakeMoved):
        files.delete(place)
    assert path.read_bytes() == b"theirs"


def test_a_lake_may_have_two_names(tmp_path):
    (tmp_path / "lake").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lake")
    files = SealingFileIO({"warehouse": f"{tmp_path}/lake/tables"})
    with files.new_output(f"file://{tmp_path}/link/tables/p/d/metadata/m.avro").create() as stream:
        stream.write(b"ours")
    assert (
        tmp_path / "lake" / "tables" / "p" / "d" / "metadata" / "m.avro"
    ).read_bytes() == b"ours"


def test_without_a_lake_nothing_is_written(tmp_path):
    with pytest.raises(KeyError):
        SealingFileIO().new_output(f"{tmp_path}/m.avro")
