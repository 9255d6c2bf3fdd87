"""Rows fit their table without a value changed or lost, whatever types they come in."""

import math
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.contracts.drift import conform, fit_rows
from lake_assets.contracts.growth import grow_schema, grow_type
from lake_assets.contracts.schema_changes import needs
from lake_assets.contracts.variants import merged_rows

INT, LONG, FLOAT, DOUBLE, TEXT = pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string()
INSTANT, WALL = pa.timestamp("us", tz="UTC"), pa.timestamp("us")
DEC = pa.decimal128


def MAP(item):
    return pa.map_(TEXT, item)


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
        pytest.param(DEC(5, 1), DEC(9, 1), DEC(9, 1), id="more digits"),
        pytest.param(DEC(5, 1), DEC(9, 2), DEC(8, 1), id="more whole digits, the scale stays"),
        pytest.param(DEC(5, 2), DEC(3, 1), DEC(5, 2), id="digits enough"),
        pytest.param(DEC(38, 2), DEC(38, 0), DEC(38, 2), id="no more than 38 digits"),
        pytest.param(pa.date32(), WALL, pa.date32(), id="date stays"),
        pytest.param(MAP(INT), MAP(LONG), MAP(LONG), id="inside a map"),
    ],
)
def test_a_type_grows_where_iceberg_can_widen_it(known, delivered, grown):
    assert grow_type(known, delivered).equals(grown)


def test_new_columns_come_last_in_the_order_of_delivery():
    known = pa.schema([("b", INT), ("a", TEXT)])
    delivered = pa.schema([("z", TEXT), ("a", TEXT), ("y", TEXT)])
    assert grow_schema(known, delivered).names == ["b", "a", "z", "y"]


@pytest.mark.parametrize(
    ("known", "given_type", "values", "kept", "beside"),
    [
        pytest.param(LONG, LONG, [1, None], [1, None], {}, id="the same type"),
        pytest.param(LONG, INT, [1, None], [1, None], {}, id="int in long"),
        pytest.param(INT, LONG, [1, 2**40], [1, 2**40], {}, id="long grows int"),
        pytest.param(
            LONG, DOUBLE, [1.0, 1.5, None], [1, None, None], {1: "1.5"}, id="whole doubles in long"
        ),
        pytest.param(
            LONG,
            DOUBLE,
            [float("nan"), 1e30, 2.0],
            [None, None, 2],
            {0: '{"float": "NaN"}', 1: "1e+30"},
            id="no long",
        ),
        pytest.param(
            LONG,
            DOUBLE,
            [-(2.0**63), 2.0**63],
            [-(2**63), None],
            {1: "9.223372036854776e+18"},
            id="the ends of long",
        ),
        pytest.param(
            DOUBLE,
            LONG,
            [2**53, 2**53 + 1],
            [2**53, None],
            {1: "9007199254740993"},
            id="long in double",
        ),
        pytest.param(
            FLOAT, LONG, [2**24, 2**24 + 1], [2**24, None], {1: "16777217"}, id="long in float"
        ),
        pytest.param(LONG, TEXT, ["1", None], [None, None], {0: '"1"'}, id="text in long"),
        pytest.param(TEXT, LONG, [1, None], [None, None], {0: "1"}, id="long in text"),
        pytest.param(LONG, pa.bool_(), [True, None], [None, None], {0: "true"}, id="bool in long"),
        pytest.param(pa.bool_(), LONG, [1, None], [None, None], {0: "1"}, id="long in bool"),
        pytest.param(LONG, pa.null(), [None, None], [None, None], {}, id="only nulls"),
        pytest.param(INT, LONG, [None, None], [None, None], {}, id="only nulls of a wider type"),
        pytest.param(WALL, pa.date32(), [date(2026, 1, 2)], [datetime(2026, 1, 2)], {}, id="date"),
        pytest.param(
            pa.date32(),
            WALL,
            [datetime(2026, 1, 2, 3)],
            [None],
            {0: '"2026-01-02T03:00:00.000000"'},
            id="no date",
        ),
        pytest.param(
            INSTANT,
            pa.date32(),
            [date(2026, 1, 2)],
            [None],
            {0: '"2026-01-02"'},
            id="date, no instant",
        ),
        pytest.param(
            INSTANT,
            WALL,
            [datetime(2026, 1, 2)],
            [None],
            {0: '"2026-01-02T00:00:00.000000"'},
            id="wall, no instant",
        ),
        pytest.param(
            TEXT, INSTANT, [0], [None], {0: '"1970-01-01T00:00:00.000000Z"'}, id="instant, no text"
        ),
        pytest.param(
            WALL,
            pa.timestamp("ns"),
            [1, 1000],
            [None, datetime(1970, 1, 1, 0, 0, 0, 1)],
            {0: '"1970-01-01T00:00:00.000000001"'},
            id="too fine a time",
        ),
        pytest.param(
            DEC(5, 1),
            DEC(9, 2),
            [Decimal("1.50"), Decimal("1.55")],
            [Decimal("1.5"), None],
            {1: "1.55"},
            id="decimals",
        ),
        pytest.param(
            DEC(3, 1),
            DEC(9, 1),
            [Decimal("99.9"), Decimal("100.0")],
            [Decimal("99.9"), Decimal("100.0")],
            {},
            id="decimals of more digits",
        ),
        pytest.param(
            DEC(38, 30),
            DEC(38, 0),
            [Decimal(10**7), Decimal(10**30)],
            [Decimal(10**7), None],
            {1: str(10**30)},
            id="decimals too large",
        ),
        pytest.param(
            DEC(4, 1), LONG, [7, 10**6], [Decimal(7), None], {1: "1000000"}, id="long in decimal"
        ),
        pytest.param(LONG, DEC(4, 1), [Decimal("7.0")], [None], {0: "7.0"}, id="decimal, no long"),
        pytest.param(TEXT, pa.binary(), [b"\xff"], [None], {0: '{"base64": "/w=="}'}, id="binary"),
        pytest.param(
            TEXT,
            pa.list_(LONG),
            [[1, None], []],
            [None, None],
            {0: "[1, null]", 1: "[]"},
            id="list, no text",
        ),
        pytest.param(pa.list_(LONG), LONG, [1, None], [None, None], {0: "1"}, id="no list"),
        pytest.param(struct(x=LONG), pa.list_(LONG), [[1]], [None], {0: "[1]"}, id="no struct"),
        pytest.param(
            pa.list_(LONG),
            struct(x=LONG, y=TEXT),
            [{"x": 1}],
            [None],
            {0: '{"x": 1}'},
            id="struct, no list",
        ),
        pytest.param(
            struct(x=LONG, y=TEXT),
            struct(y=TEXT),
            [{"y": "q"}, None],
            [{"x": None, "y": "q"}, None],
            {},
            id="a struct that lacks a field",
        ),
        pytest.param(
            struct(x=LONG, y=TEXT),
            struct(y=TEXT, x=LONG),
            [{"y": "q", "x": 1}],
            [{"x": 1, "y": "q"}],
            {},
            id="struct fields in another order",
        ),
        pytest.param(
            pa.list_(LONG),
            pa.list_(DOUBLE),
            [[1.0], [1.5, 2], [], None, [None]],
            [[1], None, [], None, [None]],
            {1: "[1.5, 2]"},
            id="inside a list",
        ),
        pytest.param(
            pa.list_(pa.list_(LONG)),
            pa.list_(pa.list_(DOUBLE)),
            [[[1.0], [1.5]], [[], None]],
            [None, [[], None]],
            {0: "[[1], [1.5]]"},
            id="inside a list in a list",
        ),
        pytest.param(
            MAP(LONG),
            MAP(DOUBLE),
            [[("a", 1.0)], [("a", 1.5)]],
            [[("a", 1)], None],
            {1: '{"a": 1.5}'},
            id="in a map",
        ),
        pytest.param(
            LONG,
            MAP(LONG),
            [[("a", 1), ("b", None)]],
            [None],
            {0: '{"a": 1, "b": null}'},
            id="no map",
        ),
        pytest.param(
            pa.list_(LONG),
            pa.list_(pa.null()),
            [[], [None], None],
            [[], [None], None],
            {},
            id="lists of nothing",
        ),
        pytest.param(LONG, DOUBLE, [], [], {}, id="no rows"),
    ],
)
def test_what_a_column_cannot_hold_exactly_goes_beside_it(known, given_type, values, kept, beside):
    fitted = fit(values, given_type, known)
    assert fitted.misfits == ()
    assert fitted.rows["a"].to_pylist() == kept
    expected = [beside.get(row) for row in range(len(values))]
    assert (fitted.rows["a__variant"].to_pylist() if beside else fitted.rows.column_names) == (
        expected if beside else ["a"]
    )
    assert fitted.rows.schema.equals(fitted.schema)


@pytest.mark.parametrize(
    ("known", "given_type", "values", "kept"),
    [
        pytest.param(
            struct(x=LONG),
            struct(x=DOUBLE),
            [{"x": 1.0}, {"x": 1.5}, None],
            [{"x": 1, "x__variant": None}, {"x": None, "x__variant": "1.5"}, None],
            id="in a struct",
        ),
        pytest.param(
            struct(x=LONG),
            struct(x=TEXT),
            [{"x": "q"}, None],
            [{"x": None, "x__variant": '"q"'}, None],
            id="another class in a struct",
        ),
        pytest.param(
            pa.list_(struct(x=LONG)),
            pa.list_(struct(x=DOUBLE)),
            [[{"x": 1.5}, None], [{"x": 2.0}], None],
            [[{"x": None, "x__variant": "1.5"}, None], [{"x": 2, "x__variant": None}], None],
            id="in a struct in a list",
        ),
        pytest.param(
            struct(x=struct(y=LONG)),
            struct(x=struct(Y=TEXT, z=LONG)),
            [{"x": {"Y": "1", "z": 2}}],
            [{"x": {"y": None, "z": 2, "y__variant": '"1"'}}],
            id="two levels down",
        ),
        pytest.param(
            struct(x=LONG),
            struct(x=LONG, y=TEXT),
            [{"x": 1, "y": None}],
            [{"x": 1}],
            id="a new field that is null",
        ),
        pytest.param(
            struct(x=LONG),
            struct(y=pa.list_(pa.null())),
            [{"y": []}],
            [{"x": None, "y__variant": "[]"}],
            id="a new field without a type",
        ),
    ],
)
def test_a_variant_stands_next_to_its_field(known, given_type, values, kept):
    fitted = fit(values, given_type, known)
    assert fitted.schema.names == ["a"]
    assert fitted.rows["a"].to_pylist() == kept


@pytest.mark.parametrize(
    ("given_type", "values", "columns"),
    [
        pytest.param(LONG, [None, None], [], id="nulls"),
        pytest.param(pa.null(), [None], [], id="nulls without a type"),
        pytest.param(pa.list_(pa.null()), [[], [None], None], ["a__variant"], id="empty lists"),
        pytest.param(pa.list_(LONG), [[], [None]], ["a__variant"], id="empty lists of a type"),
        pytest.param(struct(x=LONG), [{"x": None}, None], ["a__variant"], id="empty structs"),
        pytest.param(pa.list_(struct(x=LONG)), [[{"x": 1}], [{}]], ["a"], id="one has a value"),
        pytest.param(LONG, [None, 1], ["a"], id="a value"),
    ],
)  # fmt: skip
def test_a_column_comes_with_its_first_value(given_type, values, columns):
    rows = pa.table({"b": pa.array(range(len(values))), "a": pa.array(values, given_type)})
    fitted = fit_rows(rows, pa.schema([]))
    assert fitted.schema.names == ["b", *columns]
    assert equal(merged_rows(fitted.rows), rows.to_pylist())


def test_variants_that_a_reader_brought_are_kept_and_others_join_them():
    rows = pa.table(
        {"A": pa.array([1.5, None, 2.0]), "A__variant": pa.array([None, '"x"', None]),
         "new__variant": pa.array(["[]", None, None]), "none__variant": pa.nulls(3, TEXT)}
    )  # fmt: skip
    fitted = fit_rows(rows, pa.schema([("a", LONG)]))
    assert fitted.rows.to_pydict() == {
        "a": [None, None, 2], "a__variant": ["1.5", '"x"', None],
        "new__variant": ["[]", None, None],
    }  # fmt: skip


SPELLED = pa.array([{"x": 1}, {"X": "b"}, {"X": None}, None], struct(x=LONG, X=TEXT))


@pytest.mark.parametrize("known", [[], [("a", struct(x=LONG))], [("A", struct(X=TEXT))]])
def test_columns_that_differ_only_in_case_are_one_and_lose_nothing(known):
    plain = pa.table({"b": pa.array([1, None, None, None], LONG), "B": [None, "2", None, None],
                      "a": SPELLED})  # fmt: skip
    rows = merged_rows(fit_rows(plain, pa.schema(known)).rows)
    found = [{name.lower(): inner for name, inner in row.items()} for row in rows]
    assert [row["b"] for row in found] == [1, "2", None, None]
    places = [row["a"] and {name.lower(): inner for name, inner in row["a"].items()}
              for row in found]  # fmt: skip
    assert places == [{"x": 1}, {"x": "b"}, {"x": None}, None]


@pytest.mark.parametrize("items", [LONG, struct(x=LONG)], ids=["numbers", "structs"])
def test_what_lies_beneath_a_null_list_is_none_of_its_items(items):
    values = pa.array([1, 2, 3, 4, 2**40], LONG)
    values = values if items == LONG else pa.StructArray.from_arrays([values], fields=list(items))
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 5], INT), values, mask=pa.array([False, True, False])
    )
    rows = pa.table({"n": [1, 2, 3], "a": lists})
    for known in (pa.list_(INT), pa.list_(struct(x=INT)), pa.list_(TEXT), TEXT):
        table = pa.schema([("n", LONG), ("a", known)])
        fitted = fit_rows(rows, table, widen=False)
        assert equal(merged_rows(fitted.rows), rows.to_pylist())
        assert {row for need in needs(fitted.rows, table) for row in need.rows.to_pylist()} <= {
            0,
            2,
        }


def test_only_what_is_kept_widens_a_list():
    given = pa.table({"a": [[{"x": 1, "y": 2**40}], [{"x": 1, "y": None}]]})
    odd = pa.table({"a": pa.array([[[1]], None])})
    known = fit_rows(given, pa.schema([("a", pa.list_(struct(x=INT, y=INT)))])).schema
    assert known.field("a").type.equals(pa.list_(struct(x=LONG, y=LONG)))
    assert fit_rows(odd, known).schema.names == ["a", "a__variant"]


def test_without_widening_what_is_too_wide_is_a_variant():
    rows = pa.table({"a": pa.array([1, 2**40])})
    fitted = fit_rows(rows, pa.schema([("a", INT)]), widen=False)
    assert fitted.rows.to_pydict() == {"a": [1, None], "a__variant": [None, str(2**40)]}


def test_rows_conform_to_a_schema_at_every_depth():
    rows = pa.table({"a": [[{"x": 1}], [], None], "b": [1, 2, 3]})
    schema = pa.schema([("c", TEXT), ("a", pa.list_(struct(y=TEXT, x=LONG)))])
    assert conform(rows, schema).to_pylist() == [
        {"c": None, "a": [{"y": None, "x": 1}]}, {"c": None, "a": []}, {"c": None, "a": None}
    ]  # fmt: skip
    assert conform(conform(rows, schema), rows.schema)["a"].equals(rows["a"])


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


FLOATS = st.floats(width=64) | st.integers(-(2**60), 2**60).map(float)
WORDS = st.text(st.characters(codec="utf-8"))
COLUMNS = st.one_of(
    st.tuples(st.just(LONG), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))),
    st.tuples(st.just(INT), st.lists(st.none() | st.integers(-(2**31), 2**31 - 1))),
    st.tuples(st.just(DOUBLE), st.lists(st.none() | FLOATS)),
    st.tuples(st.just(FLOAT), st.lists(st.none() | st.floats(width=32))),
    st.tuples(st.just(TEXT), st.lists(st.none() | WORDS)),
    st.tuples(st.just(DEC(9, 2)), st.lists(st.none() | st.decimals(-999999, 999999, places=2))),
    st.tuples(st.just(pa.list_(DOUBLE)), st.lists(st.none() | st.lists(st.none() | FLOATS))),
    st.tuples(
        st.just(struct(x=DOUBLE, Z=TEXT)),
        st.lists(
            st.none() | st.fixed_dictionaries({"x": st.none() | FLOATS, "Z": st.none() | WORDS})
        ),
    ),
    st.tuples(
        st.just(pa.list_(struct(x=TEXT))),
        st.lists(st.lists(st.none() | st.fixed_dictionaries({"x": st.none() | WORDS}))),
    ),
)
KNOWN = st.sampled_from(
    [INT, LONG, FLOAT, DOUBLE, TEXT, DEC(6, 1), pa.list_(LONG), pa.list_(FLOAT),
     struct(x=LONG, y=TEXT), pa.list_(struct(x=LONG, y=pa.list_(INT)))]
)  # fmt: skip


def equal(given, found):
    """Whether two values are one: numbers as numbers, fields that are null left out."""
    if isinstance(given, dict) and set(found or ()) == {"float"}:
        return False
    if isinstance(given, dict) and isinstance(found, dict):
        names = {name.lower() for name in (*given, *found)}
        left, right = ({name.lower(): v for name, v in one.items()} for one in (given, found))
        return all(equal(left.get(name), right.get(name)) for name in names)
    if isinstance(given, list) and isinstance(found, list):
        return len(given) == len(found) and all(map(equal, given, found))
    if isinstance(given, float) and not math.isfinite(given) and isinstance(found, dict):
        return math.isclose(float(found["float"]), given) or given != given
    if isinstance(given, Decimal) and isinstance(found, float):
        return float(given) == found
    return given == found or (given != given and found != found)


@given(COLUMNS, st.none() | KNOWN, st.booleans())
def test_reading_back_gives_what_went_in(column, known, widen):
    kind, values = column
    rows = pa.table({"n": pa.array(range(len(values))), "a": pa.array(values, kind)})
    schema = pa.schema([] if known is None else [("a", known)])
    fitted = fit_rows(rows, schema, widen=widen)
    assert fitted.misfits == ()
    assert equal(rows.to_pylist(), merged_rows(fitted.rows))


@given(st.lists(COLUMNS, max_size=4))
def test_batches_that_follow_each_other_lose_nothing(columns):
    schema, given, found = pa.schema([]), [], []
    for kind, values in columns:
        rows = pa.table({"n": pa.array(range(len(values))), "a": pa.array(values, kind)})
        fitted = fit_rows(rows, schema)
        for before in schema:  # nothing is dropped or renamed
            assert before.name in fitted.schema.names
        schema = fitted.schema
        given += rows.to_pylist()
        found.append(fitted.rows)
    everything = [row for rows in found for row in merged_rows(conform(rows, schema))]
    assert equal(given, everything)
