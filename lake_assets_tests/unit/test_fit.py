"""Rows fit their table without a value changed or lost; those that do not are reported."""

from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.contracts.fit import fit_rows, grow_schema, grow_type

INT, LONG, FLOAT, DOUBLE, TEXT = pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string()


def struct(**fields):
    return pa.struct(list(fields.items()))


def fit(values, given_type, known):
    rows = pa.table({"a": pa.array(values, given_type)})
    return fit_rows(rows, pa.schema([("a", known)]))


@pytest.mark.parametrize(
    ("known", "delivered", "grown"),
    [
        pytest.param(INT, LONG, LONG, id="int to long"),
        pytest.param(FLOAT, DOUBLE, DOUBLE, id="float to double"),
        pytest.param(LONG, INT, LONG, id="long stays"),
        pytest.param(DOUBLE, FLOAT, DOUBLE, id="double stays"),
        pytest.param(LONG, DOUBLE, LONG, id="long never becomes double"),
        pytest.param(TEXT, LONG, TEXT, id="text stays"),
        pytest.param(LONG, TEXT, LONG, id="long never becomes text"),
        pytest.param(struct(x=INT), struct(x=LONG), struct(x=LONG), id="inside a struct"),
        pytest.param(struct(x=INT), struct(y=TEXT), struct(x=INT, y=TEXT), id="new struct field"),
        pytest.param(pa.list_(INT), pa.list_(LONG), pa.list_(LONG), id="inside a list"),
        pytest.param(
            pa.list_(struct(x=struct(y=INT))),
            pa.list_(struct(x=struct(y=LONG, z=TEXT))),
            pa.list_(struct(x=struct(y=LONG, z=TEXT))),
            id="three levels down",
        ),
        pytest.param(struct(x=INT), pa.list_(INT), struct(x=INT), id="a list is no struct"),
    ],
)
def test_a_type_grows_where_iceberg_can_widen_it(known, delivered, grown):
    assert grow_type(known, delivered).equals(grown)


def test_new_columns_come_last_in_the_order_of_delivery():
    known = pa.schema([("b", INT), ("a", TEXT)])
    delivered = pa.schema([("z", TEXT), ("a", TEXT), ("y", TEXT)])
    assert grow_schema(known, delivered).names == ["b", "a", "z", "y"]


INSTANT, WALL = pa.timestamp("us", tz="UTC"), pa.timestamp("us")


@pytest.mark.parametrize(
    ("known", "given_type", "values", "kept", "bad"),
    [
        pytest.param(LONG, LONG, [1, None], [1, None], [], id="the same type"),
        pytest.param(LONG, INT, [1, None], [1, None], [], id="int in long"),
        pytest.param(INT, LONG, [1, 2**40], [1, 2**40], [], id="long grows int"),
        pytest.param(LONG, DOUBLE, [1.0, 1.5, None], [1, None], [1], id="whole doubles in long"),
        pytest.param(LONG, DOUBLE, [float("nan"), 1e30, 2.0], [2], [0, 1], id="no long"),
        pytest.param(DOUBLE, LONG, [2**53, 2**53 + 1], [2**53], [1], id="long in double"),
        pytest.param(FLOAT, LONG, [2**24, 2**24 + 1], [2**24], [1], id="long in float"),
        pytest.param(LONG, TEXT, ["1", None], [None], [0], id="text in long"),
        pytest.param(TEXT, LONG, [1, None], [None], [0], id="long in text"),
        pytest.param(LONG, pa.bool_(), [True, None], [None], [0], id="bool in long"),
        pytest.param(pa.bool_(), LONG, [1, None], [None], [0], id="long in bool"),
        pytest.param(LONG, pa.null(), [None, None], [None, None], [], id="only nulls"),
        pytest.param(
            WALL, pa.date32(), [date(2026, 1, 2)], [datetime(2026, 1, 2)], [], id="date"
        ),  # fmt: skip
        pytest.param(INSTANT, pa.date32(), [date(2026, 1, 2)], [], [0], id="date, no instant"),
        pytest.param(INSTANT, WALL, [datetime(2026, 1, 2)], [], [0], id="wall, no instant"),
        pytest.param(WALL, pa.timestamp("ns"), [1, 1000], [datetime(1970, 1, 1, 0, 0, 0, 1)], [0],
                     id="too fine a time"),
        pytest.param(pa.decimal128(5, 1), pa.decimal128(9, 2), [Decimal("1.50"), Decimal("1.55")],
                     [Decimal("1.5")], [1], id="decimals"),
        pytest.param(pa.decimal128(3, 1), pa.decimal128(9, 1), [Decimal("99.9"), Decimal("100.0")],
                     [Decimal("99.9")], [1], id="decimals too large"),
        pytest.param(struct(x=LONG), struct(x=DOUBLE), [{"x": 1.0}, {"x": 1.5}, None],
                     [{"x": 1}, None], [1], id="inside a struct"),
        pytest.param(struct(x=LONG, y=TEXT), struct(y=TEXT), [{"y": "q"}, None],
                     [{"x": None, "y": "q"}, None], [], id="a struct that lacks a field"),
        pytest.param(struct(x=LONG, y=TEXT), struct(y=TEXT, x=LONG), [{"y": "q", "x": 1}],
                     [{"x": 1, "y": "q"}], [], id="struct fields in another order"),
        pytest.param(struct(x=LONG), struct(x=TEXT), [{"x": "q"}, None], [None], [0],
                     id="a struct that cannot fit"),
        pytest.param(pa.list_(LONG), pa.list_(DOUBLE), [[1.0], [1.5], [], None, [None]],
                     [[1], [], None, [None]], [1], id="inside a list"),
        pytest.param(pa.list_(struct(x=LONG)), pa.list_(struct(x=DOUBLE)),
                     [[{"x": 1.5}], [{"x": 2.0}], None], [[{"x": 2}], None], [0],
                     id="inside a struct in a list"),
        pytest.param(pa.list_(LONG), LONG, [1, None], [None], [0], id="no list"),
        pytest.param(LONG, DOUBLE, [], [], [], id="no rows"),
    ],
)  # fmt: skip
def test_values_are_kept_if_their_column_holds_them_exactly(known, given_type, values, kept, bad):
    fitted = fit(values, given_type, known)
    assert fitted.rows["a"].to_pylist() == kept
    assert [misfit.row for misfit in fitted.misfits] == bad
    assert fitted.rows.schema.equals(fitted.schema)


def test_a_misfit_says_what_was_expected_and_found():
    (misfit,) = fit(["three"], TEXT, LONG).misfits
    assert (misfit.column, misfit.expected) == ("a", "int64")
    assert misfit.actual == "'three' (string)"


def test_a_row_with_two_bad_values_is_one_misfit():
    rows = pa.table({"a": ["x", None], "b": ["y", "z"]})
    fitted = fit_rows(rows, pa.schema([("a", LONG), ("b", LONG)]))
    assert [(misfit.row, misfit.column) for misfit in fitted.misfits] == [(0, "a"), (1, "b")]
    assert fitted.rows.num_rows == 0


def test_a_column_that_the_delivery_lacks_is_null():
    fitted = fit_rows(pa.table({"b": [1]}), pa.schema([("a", TEXT), ("b", LONG)]))
    assert fitted.rows.to_pylist() == [{"a": None, "b": 1}]


@pytest.mark.parametrize(
    ("known", "values", "wanted"),
    [
        pytest.param(LONG, [1], [1], id="a column"),
        pytest.param(struct(x=LONG), [{"X": 1}, None], [{"x": 1}, None], id="a struct field"),
        pytest.param(pa.list_(struct(x=LONG)), [[{"X": 1}]], [[{"x": 1}]], id="in a list"),
    ],
)
def test_upper_and_lower_case_name_the_same_column(known, values, wanted):
    fitted = fit_rows(pa.table({"A": pa.array(values)}), pa.schema([("a", known)]))
    assert fitted.schema.equals(pa.schema([("a", known)]))
    assert fitted.rows.to_pylist() == [{"a": value} for value in wanted]


def test_positions_count_across_chunks():
    rows = pa.table({"a": pa.chunked_array([[1.0, 1.5], [2.0], [2.5, 3.0]])})
    fitted = fit_rows(rows, pa.schema([("a", LONG)]))
    assert fitted.kept.to_pylist() == [0, 2, 4]
    assert fitted.rows["a"].to_pylist() == [1, 2, 3]


FLOATS = st.floats(width=64) | st.integers(-(2**60), 2**60).map(float)
COLUMNS = st.one_of(
    st.tuples(st.just(LONG), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))),
    st.tuples(st.just(INT), st.lists(st.none() | st.integers(-(2**31), 2**31 - 1))),
    st.tuples(st.just(DOUBLE), st.lists(st.none() | FLOATS)),
    st.tuples(st.just(FLOAT), st.lists(st.none() | st.floats(width=32))),
    st.tuples(st.just(TEXT), st.lists(st.none() | st.text(st.characters(codec="utf-8")))),
    st.tuples(st.just(pa.list_(DOUBLE)), st.lists(st.none() | st.lists(st.none() | FLOATS))),
    st.tuples(
        st.just(struct(x=DOUBLE)),
        st.lists(st.none() | st.fixed_dictionaries({"x": st.none() | FLOATS})),
    ),
)
KNOWN = st.sampled_from(
    [INT, LONG, FLOAT, DOUBLE, TEXT, pa.list_(LONG), pa.list_(FLOAT), struct(x=LONG, y=TEXT)]
)


def same(given, kept):
    if isinstance(given, dict) and isinstance(kept, dict):
        return all(same(given.get(key), value) for key, value in kept.items())
    if isinstance(given, list) and isinstance(kept, list):
        return len(given) == len(kept) and all(map(same, given, kept))
    return given == kept or (given != given and kept != kept)


@given(st.lists(st.none() | st.lists(st.none() | st.sampled_from([1.0, 2.0, 2.5]))))
def test_a_bad_list_costs_no_good_one(lists):
    fitted = fit(lists, pa.list_(DOUBLE), pa.list_(LONG))
    good = [row for row, items in enumerate(lists) if 2.5 not in (items or ())]
    assert fitted.kept.to_pylist() == good


@given(COLUMNS, KNOWN)
def test_each_row_is_kept_unchanged_or_reported(column, known):
    kind, values = column
    fitted = fit(values, kind, known)
    reported = [misfit.row for misfit in fitted.misfits]
    assert sorted([*fitted.kept.to_pylist(), *reported]) == list(range(len(values)))
    kept = fitted.rows["a"].to_pylist()
    assert len(kept) == len(fitted.kept)
    for row, value in zip(fitted.kept.to_pylist(), kept, strict=True):
        assert same(values[row], value)
