"""Parts: one partition and one schema each, and nothing left of an attempt that failed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake_assets.storage.tables import PartWriter
from lake_assets.storage.tables import parts as parts_module


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
    assert len(written) > 1
    assert [row for part in written for row in rows_of(part)] == [{"a": n} for n in range(8)]


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
