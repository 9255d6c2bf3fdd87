"""Times that a lake has a value for, and those that it has none for."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lake_assets.contracts.calendar import rows_outside_calendar
from lake_assets.contracts.drift import fit_rows

DAY_US = 86_400_000_000
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
DATE, TIME, WALL, INSTANT = (
    pa.date32(), pa.time64("us"), pa.timestamp("us"), pa.timestamp("us", tz="UTC")
)  # fmt: skip


def counted(kind, *counts):
    return pa.array(counts, pa.int32() if kind == DATE else pa.int64()).view(kind)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        (DATE, FIRST_DAY, LAST_DAY),
        (WALL, FIRST_DAY * DAY_US, (LAST_DAY + 1) * DAY_US - 1),
        (INSTANT, FIRST_DAY * DAY_US, (LAST_DAY + 1) * DAY_US - 1),
        (TIME, 0, DAY_US - 1),
    ],
    ids=str,
)
def test_the_first_and_the_last_time_are_inside_and_their_neighbours_are_not(kind, least, most):
    column = counted(kind, least - 1, least, None, most, most + 1)
    assert rows_outside_calendar(column) == (0, 4)
    assert column[1].as_py() is not None
    assert column[3].as_py() is not None


@pytest.mark.parametrize("kind", [DATE, WALL, INSTANT], ids=str)
def test_python_has_nothing_for_the_day_after(kind):
    with pytest.raises(OverflowError):
        counted(kind, (LAST_DAY + 1) * (1 if kind == DATE else DAY_US))[0].as_py()


def test_positions_count_over_chunks():
    bad = counted(DATE, 0, LAST_DAY + 1)
    assert rows_outside_calendar(pa.chunked_array([bad, counted(DATE, 0), bad])) == (1, 4)


def test_times_are_found_at_any_depth():
    far = counted(INSTANT, 0, 2**62, 1, 2)
    nested = pa.ListArray.from_arrays(pa.array([0, 1, 2, 2, 4]), far)
    struct = pa.StructArray.from_arrays([nested, pa.array(range(4))], ["when", "n"])
    entries = pa.MapArray.from_arrays([0, 1, 2, 2, 4], pa.array(list("abcd")), far)
    fixed = pa.FixedSizeListArray.from_arrays(far, 2)
    assert [rows_outside_calendar(column) for column in (nested, struct, entries, fixed)] == [
        (1,), (1,), (1,), (0,)
    ]  # fmt: skip
    assert rows_outside_calendar(struct[2:]) == ()


def test_what_lies_beneath_a_null_does_not_count():
    far = counted(DATE, LAST_DAY + 1, 0)
    hidden = pa.StructArray.from_arrays([far], ["day"], mask=pa.array([True, False]))
    assert rows_outside_calendar(hidden) == ()


@pytest.mark.parametrize("column", [pa.array([1, 2]), pa.nulls(2), pa.array([], DATE)], ids=str)
def test_other_columns_have_no_such_rows(column):
    assert rows_outside_calendar(column) == ()


def test_a_date_beyond_the_calendar_stands_beside_its_column():
    rows = pa.table({"day": counted(DATE, 0, LAST_DAY + 1, -800_000), "n": [1, 2, 3]})
    fitted = fit_rows(rows, pa.schema([]))
    assert fitted.misfits == ()
    assert fitted.rows["day"].null_count == 2
    assert fitted.rows["day__variant"].to_pylist() == [None, '"+10000-01-01"', '"-0221-09-04"']


def test_a_date_beyond_the_calendar_in_a_list_takes_its_list_along():
    far = pa.ListArray.from_arrays([0, 2, 3], counted(INSTANT, 0, 2**62, 1))
    fitted = fit_rows(pa.table({"at": far}), pa.schema([("at", far.type)]))
    assert fitted.rows["at__variant"].to_pylist() == [
        '["1970-01-01T00:00:00.000000Z", "+148108-07-06T14:00:27.387904Z"]', None
    ]  # fmt: skip
    assert fitted.rows["at"].null_count == 1


@pytest.mark.parametrize(("kind", "count"), [(TIME, DAY_US), (TIME, -1), (WALL, -(2**63))], ids=str)
def test_a_row_with_a_time_that_nothing_can_say_is_a_misfit(kind, count):
    rows = pa.table({"at": counted(kind, 0, count), "n": [1, 2]})
    fitted = fit_rows(rows, pa.schema([]))
    assert fitted.rows["n"].to_pylist() == [1]
    assert [(item.row, item.path) for item in fitted.misfits] == [(1, "at")]
    assert str(count) in fitted.misfits[0].actual
