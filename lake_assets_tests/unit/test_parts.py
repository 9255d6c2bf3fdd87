"""Parts: one partition and one schema each, and nothing left of an attempt that failed."""

import os
import resource
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.errors import StorageUnavailable
from lake_assets.storage.tables import PartWriter
from lake_assets.storage.tables import parts as parts_module
from lake_assets.storage.tables.background import THREAD_NAME
from lake_assets.storage.tables.parts import LANES


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]
    assert left == []


def writer(folder, *partition_by):
    return PartWriter(folder / "data", stem="u", partition_by=partition_by)


def write(folder, *tables, by=()):
    with writer(folder, *by) as open_writer:
        for table in tables:
            open_writer.write(table)
        return open_writer.close()


def rows_of(part):
    return pq.read_table(part.path, partitioning=None).to_pylist()


def test_without_partitions_batches_become_one_part(tmp_path):
    (part,) = write(tmp_path, pa.table({"a": [1, 2]}), pa.table({"a": [3]}))
    assert rows_of(part) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert (part.rows, part.byte_count) == (3, Path(part.path).stat().st_size)


@pytest.mark.parametrize("tables", [[], [pa.table({"a": pa.array([], pa.int64())})]])
def test_no_rows_make_no_part_and_no_folder(tmp_path, tables):
    assert write(tmp_path, *tables) == ()
    assert list(tmp_path.iterdir()) == []


def at(*hours):
    start = datetime(2026, 1, 1)
    times = [None if hour is None else start + timedelta(hours=hour) for hour in hours]
    return pa.array(times, pa.timestamp("us"))


@pytest.mark.parametrize(
    ("transform", "values", "groups"),
    [
        ("identity", pa.array(["a", "b", "a", None]), [["a", "a"], ["b"], [None]]),
        ("identity", pa.array(["a/b", "..", "", "é"]), [["a/b"], [".."], [""], ["é"]]),
        ("day", at(1, 25, 2), [list(at(1, 2)), list(at(25))]),
        ("hour", at(1, 25, 1), [list(at(1, 1)), list(at(25))]),
        ("year", at(1, 25, None), [list(at(1, 25)), [None]]),
        ("month", at(1, 24 * 31), [list(at(1)), list(at(24 * 31))]),
    ],
)
def test_a_part_holds_one_partition(tmp_path, transform, values, groups):
    written = write(tmp_path, pa.table({"k": values}), by=[(transform, "k")])
    plain = [[v.as_py() if isinstance(v, pa.Scalar) else v for v in group] for group in groups]
    assert [[row["k"] for row in rows_of(part)] for part in written] == plain


def test_times_before_1970_go_to_their_own_day(tmp_path):
    values = [datetime(1969, 12, 31, 23, tzinfo=UTC), datetime(1970, 1, 1, 1, tzinfo=UTC)]
    written = write(tmp_path, pa.table({"k": values}), by=[("day", "k")])
    assert [part.rows for part in written] == [1, 1]


def test_a_day_is_one_of_utc(tmp_path):
    seoul = pa.timestamp("us", "Asia/Seoul")
    values = pa.array([datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (1, 23)], seoul)
    assert len(write(tmp_path, pa.table({"k": values}), by=[("day", "k")])) == 1


def test_rows_of_a_partition_go_on_in_its_part(tmp_path):
    first, second = pa.table({"k": ["a", "b"]}), pa.table({"k": ["b", "a"]})
    assert [part.rows for part in write(tmp_path, first, second, by=[("identity", "k")])] == [2, 2]


def test_a_new_column_begins_a_new_part(tmp_path):
    old, new = pa.table({"a": [1]}), pa.table({"a": [2], "b": ["x"]})
    written = write(tmp_path, old, old, new)
    assert [rows_of(part) for part in written] == [[{"a": 1}, {"a": 1}], [{"a": 2, "b": "x"}]]


def test_a_part_that_is_large_enough_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "MAX_PART_BYTES", 1)
    monkeypatch.setattr(parts_module, "ROW_GROUP_ROWS", 1)
    written = write(tmp_path, *(pa.table({"a": [n]}) for n in range(8)))
    assert len(written) > 2
    found = [[row["a"] for row in rows_of(part)] for part in written]
    assert all(part == sorted(part) for part in found)
    assert sorted(n for part in found for n in part) == list(range(8))


def test_an_error_removes_everything_that_was_written(tmp_path):
    with pytest.raises(RuntimeError), writer(tmp_path) as open_writer:
        open_writer.write(pa.table({"a": [1]}))
        open_writer.write(pa.table({"a": [1], "b": [1]}))  # the first part is closed by now
        raise RuntimeError
    assert list((tmp_path / "data").iterdir()) == []


def test_an_error_after_closing_removes_the_parts_too(tmp_path):
    with pytest.raises(RuntimeError), writer(tmp_path) as open_writer:
        open_writer.write(pa.table({"a": [1]}))
        open_writer.close()
        raise RuntimeError
    assert list((tmp_path / "data").iterdir()) == []


def test_parts_of_two_attempts_do_not_meet(tmp_path):
    (first,) = write(tmp_path, pa.table({"a": [1]}))
    with PartWriter(tmp_path / "data", stem="u-2") as other:
        other.write(pa.table({"a": [2]}))
        (second,) = other.close()
    assert first.path != second.path


# -- row groups


def groups_of(part):
    metadata = pq.read_metadata(part.path)
    return [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([3], [3]),
        ([10], [10]),
        ([25], [10, 10, 5]),
        ([4, 4, 4], [10, 2]),
        ([10, 1, 9], [10, 10]),
        ([7, 30], [10, 10, 10, 7]),
        ([10, 10, 4], [10, 10, 4]),
    ],
)
def test_row_groups_are_full_but_for_the_last(tmp_path, monkeypatch, sizes, groups):
    monkeypatch.setattr(parts_module, "ROW_GROUP_ROWS", 10)
    (part,) = write(tmp_path, *(pa.table({"a": list(range(size))}) for size in sizes))
    assert groups_of(part) == groups
    assert [row["a"] for row in rows_of(part)] == [n for size in sizes for n in range(size)]


def test_many_rows_go_to_two_parts_in_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "ROW_GROUP_ROWS", 10)
    sizes = [12, 8, 10, 10, 10, 10, 5]
    tables, first = [], 0
    for size in sizes:
        tables.append(pa.table({"a": list(range(first, first + size))}))
        first += size
    written = write(tmp_path, *tables)
    assert [groups_of(part) for part in written] == [[10, 10, 10, 10, 5], [10, 10]]
    assert [part.rows for part in written] == [45, 20]
    found = [[row["a"] for row in rows_of(part)] for part in written]
    assert found == [[*range(20), *range(30, 40), *range(50, 65)], [*range(20, 30), *range(40, 50)]]


def test_of_wide_rows_no_row_group_waits_for_its_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "ROW_GROUP_ROWS", 10)
    monkeypatch.setattr(parts_module, "LARGE_BYTES", 1_000)
    encode, may_encode, given = parts_module._OpenPart.encode, threading.Event(), []

    def encode_when_told(part, rows):
        may_encode.wait(10)
        encode(part, rows)

    def write_all():
        for number in range(8):
            open_writer.write(noise(10))
            given.append(number)

    monkeypatch.setattr(parts_module._OpenPart, "encode", encode_when_told)
    with writer(tmp_path) as open_writer:
        caller = threading.Thread(target=write_all)
        caller.start()
        caller.join(0.1)
        assert caller.is_alive()
        assert len(given) <= LANES
        may_encode.set()
        caller.join()
        written = open_writer.close()
    assert [groups_of(part) for part in written] == [[10] * 5, [10] * 3]


def test_the_error_of_one_part_is_said_by_what_goes_to_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "ROW_GROUP_ROWS", 10)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "u-00001.parquet").mkdir()  # a folder is where the second part should be
    with writer(tmp_path) as open_writer, pytest.raises(StorageUnavailable):
        for _ in range(100):
            open_writer.write(noise(10))
        open_writer.close()
    open_writer.abort()


def test_wide_rows_end_a_row_group_early(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "ROW_GROUP_BYTES", 1_000)
    wide, narrow = pa.table({"a": ["x" * 1_000]}), pa.table({"a": ["x"]})
    (part,) = write(tmp_path, wide, narrow, wide, narrow)
    assert groups_of(part) == [1, 2, 1]


def test_rows_that_wait_in_many_parts_are_written_too(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "MAX_WAITING_BYTES", 1)
    table = pa.table({"k": ["a", "b"]})
    written = write(tmp_path, table, table, by=[("identity", "k")])
    assert [groups_of(part) for part in written] == [[1, 1], [1, 1]]


def test_more_partitions_than_open_files_make_one_part_each(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "MAX_OPEN_PARTS", 2)
    table = pa.table({"k": list(range(5))})
    written = write(tmp_path, table, table, by=[("identity", "k")])
    assert [part.rows for part in written] == [2] * 5


def test_more_partitions_than_open_files_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "MAX_OPEN_PARTS", 2)
    monkeypatch.setattr(parts_module, "MAX_WAITING_BYTES", 1)  # each write makes files
    table = pa.table({"k": [n % 5 for n in range(20)], "n": list(range(20))})
    written = write(tmp_path, table, table, by=[("identity", "k")])
    found = [row["n"] for part in written for row in rows_of(part)]
    assert sorted(found) == sorted([*range(20), *range(20)])
    assert all(len({row["k"] for row in rows_of(part)}) == 1 for part in written)


ROW = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "f": st.none() | st.floats(allow_nan=False),
        "s": st.none() | st.text(st.characters(codec="utf-8"), max_size=5),
        "l": st.none() | st.lists(st.none() | st.integers(-5, 5), max_size=3),
        "d": st.none() | st.fixed_dictionaries({"x": st.none() | st.booleans()}),
    }
)
SCHEMA = pa.schema(
    [
        ("n", pa.int64()),
        ("f", pa.float64()),
        ("s", pa.string()),
        ("l", pa.list_(pa.int64())),
        ("d", pa.struct([("x", pa.bool_())])),
    ]
)


@given(st.lists(st.lists(ROW, min_size=1, max_size=8), min_size=1, max_size=4))
def test_what_was_written_is_read(tmp_path_factory, batches):
    tables = [pa.Table.from_pylist(batch, schema=SCHEMA) for batch in batches]
    (part,) = write(tmp_path_factory.mktemp("part"), *tables)
    assert pq.read_table(part.path, partitioning=None).equals(pa.concat_tables(tables))


# -- when the disk says no


def noise(rows):
    """Rows that do not compress."""
    return pa.table({"a": pa.array([os.urandom(100) for _ in range(rows)])})


@contextmanager
def limit(which, value):
    """Lower a limit of this process as ulimit does, for a while."""
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def left_in(folder):
    return sorted((folder / "data").iterdir())


def test_a_full_disk_is_said_at_the_end(tmp_path):
    full = tmp_path / "data" / "u-00000.parquet"
    full.parent.mkdir()
    full.symlink_to("/dev/full")  # every write to it says ENOSPC
    with pytest.raises(StorageUnavailable, match="No space left"), writer(tmp_path) as open_writer:
        open_writer.write(pa.table({"a": [1]}))
        open_writer.close()
    assert left_in(tmp_path) == []


def test_a_file_that_grows_too_large_is_said_by_a_later_write(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "ROW_GROUP_ROWS", 1_000)
    with (
        limit(resource.RLIMIT_FSIZE, 2**18),
        pytest.raises(StorageUnavailable, match="File too large"),
        writer(tmp_path) as open_writer,
    ):
        for _ in range(100):
            open_writer.write(noise(1_000))
        pytest.fail("10 MB went into a file of 256 KiB")
    assert left_in(tmp_path) == []


def test_a_footer_that_finds_no_room_is_said(tmp_path):
    table = noise(1_000)
    (whole,) = write(tmp_path / "first", table)
    with (
        limit(resource.RLIMIT_FSIZE, whole.byte_count - 10),
        pytest.raises(StorageUnavailable),
        writer(tmp_path) as open_writer,
    ):
        open_writer.write(table)
        open_writer.close()
    assert left_in(tmp_path) == []


def test_too_many_open_files_are_said(tmp_path):
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    with pytest.raises(StorageUnavailable), writer(tmp_path) as open_writer:
        open_writer.write(pa.table({"a": [1]}))
        with limit(resource.RLIMIT_NOFILE, lowest_free):
            open_writer.close()
    assert left_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable), writer(tmp_path / "file" / "below") as open_writer:
        open_writer.write(pa.table({"a": [1]}))


def test_a_folder_that_vanishes_is_said(tmp_path):
    with pytest.raises(StorageUnavailable), writer(tmp_path) as open_writer:
        open_writer.write(pa.table({"a": [1]}))
        (tmp_path / "data").rmdir()
        open_writer.close()


def test_after_an_error_there_are_no_parts(tmp_path):
    first, full = (tmp_path / "data" / f"u-0000{n}.parquet" for n in range(2))
    full.parent.mkdir()
    full.symlink_to("/dev/full")
    open_writer = writer(tmp_path)
    open_writer.write(pa.table({"a": [1]}))
    open_writer.write(pa.table({"b": [1]}))
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            open_writer.close()
    assert first.exists()
    open_writer.abort()
    assert left_in(tmp_path) == []


def test_an_interrupt_while_rows_are_encoded_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "ROW_GROUP_ROWS", 1_000)
    with pytest.raises(KeyboardInterrupt), writer(tmp_path) as open_writer:
        for _ in range(5):
            open_writer.write(noise(1_000))
        raise KeyboardInterrupt
    assert left_in(tmp_path) == []


def test_an_aborted_writer_begins_anew(tmp_path):
    open_writer = writer(tmp_path)
    open_writer.write(pa.table({"a": [1]}))
    open_writer.abort()
    open_writer.write(pa.table({"a": [2]}))
    (part,) = open_writer.close()
    assert rows_of(part) == [{"a": 2}]
    assert left_in(tmp_path) == [Path(part.path)]


def test_closing_again_gives_the_same_parts(tmp_path):
    with writer(tmp_path) as open_writer:
        open_writer.write(pa.table({"a": [1]}))
        assert open_writer.close() == open_writer.close()
