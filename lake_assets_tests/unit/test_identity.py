"""Record ids: equal rows have equal ids, different rows different ones."""

import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.contracts.identity import (
    ID_HEX_DIGITS,
    keyed_record_ids,
    positional_record_ids,
)


def ids(rows, images=None):
    return keyed_record_ids(pa.table(rows), images=images)


def id_of(value, kind=None):
    return ids({"a": pa.array([value], kind)})[0]


def test_an_id_is_128_bits_in_hex():
    assert len(id_of(1)) == ID_HEX_DIGITS
    int(id_of(1), 16)


def test_the_order_of_columns_does_not_matter():
    assert ids({"a": [1], "b": ["x"]}) == ids({"b": ["x"], "a": [1]})


def test_the_order_of_struct_fields_does_not_matter():
    pair = pa.struct([("x", pa.int64()), ("y", pa.int64())])
    turned = pa.struct([("y", pa.int64()), ("x", pa.int64())])
    assert id_of({"x": 1, "y": 2}, pair) == id_of({"y": 2, "x": 1}, turned)


def test_a_column_of_nulls_does_not_matter():
    assert ids({"a": [1]}) == ids({"a": [1], "b": pa.array([None], pa.string())})


def test_a_null_struct_field_does_not_matter():
    grown = pa.struct([("x", pa.int64()), ("y", pa.string())])
    assert id_of({"x": 1}, pa.struct([("x", pa.int64())])) == id_of({"x": 1, "y": None}, grown)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((1, pa.int32()), (1, pa.int64()), id="widths of integers"),
        pytest.param((1, pa.int64()), (1.0, pa.float64()), id="1 and 1.0"),
        pytest.param((-0.0, pa.float64()), (0, pa.int64()), id="minus zero"),
        pytest.param((0.5, pa.float32()), (0.5, pa.float64()), id="widths of floats"),
        pytest.param(([1], pa.list_(pa.int64())), ([1.0], pa.list_(pa.float64())), id="in a list"),
        pytest.param((float("nan"), pa.float64()), (float("nan"), pa.float64()), id="NaN"),
        pytest.param((b"a", pa.binary()), (b"a", pa.large_binary()), id="bytes"),
        pytest.param(("é", pa.string()), ("é", pa.large_string()), id="text"),
    ],
)
def test_ways_to_write_one_value_have_one_id(first, second):
    assert id_of(*first) == id_of(*second)


DIFFERENT = {
    "one": 1,
    "text one": "1",
    "true": True,
    "one and a half": 1.5,
    "empty text": "",
    "null": None,
    "date": date(2026, 1, 2),
    "text of the date": "2026-01-02",
    "midnight": datetime(2026, 1, 2),
    "midnight UTC": datetime(2026, 1, 2, tzinfo=UTC),
    "time": time(1, 2),
    "decimal": Decimal("1.5"),
    "bytes": b"1",
    "text of the bytes": "MQ==",
    "no bytes": b"",
    "list": [1],
    "list of two": [1, None],
    "empty list": [],
    "nan": float("nan"),
    "text nan": "nan",
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "struct": {"x": 1},
    "struct of text": {"x": "1"},
    "composed": "\u00e9",
    "decomposed": "e\u0301",
    "zero byte": "\0",
}


def test_different_values_have_different_ids():
    found = {name: id_of(value) for name, value in DIFFERENT.items()}
    assert len(set(found.values())) == len(DIFFERENT)


def test_the_name_of_a_column_is_part_of_its_value():
    assert ids({"a": [1]}) != ids({"b": [1]})


def test_the_image_is_part_of_the_key_where_there_are_images():
    rows = {"a": [1, 1, 1]}
    first, second, none = ids(rows, images=["aa", "bb", None])
    assert len({first, second, none}) == 3
    assert none == ids(rows)[0]


def test_a_uuid_has_an_id():
    kind = pa.uuid()
    value = uuid.UUID(int=1)
    assert id_of(value.bytes, kind) != id_of(str(value))


def test_no_rows_have_no_ids():
    assert ids({"a": pa.array([], pa.int64())}) == []


def test_without_a_key_an_id_says_where_the_row_came_from():
    found = positional_record_ids("01J", 2, pa.array([0, 7], pa.int64()))
    assert found.to_pylist() == ["01J-2-0", "01J-2-7"]


ROWS = st.fixed_dictionaries(
    {
        "number": st.none() | st.integers(-(2**63), 2**63 - 1),
        "text": st.none() | st.text(st.characters(codec="utf-8")),
        "share": st.none() | st.floats(allow_nan=False),
        "data": st.none() | st.binary(),
        "tags": st.none() | st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=3)),
    }
)
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("text", pa.string()),
        ("share", pa.float64()),
        ("data", pa.binary()),
        ("tags", pa.list_(pa.string())),
    ]
)


@given(st.lists(ROWS, max_size=5))
def test_rows_have_one_id_exactly_if_they_are_equal(rows):
    found = keyed_record_ids(pa.Table.from_pylist(rows, schema=SCHEMA), images=None)
    for row, row_id in zip(rows, found, strict=True):
        for other, other_id in zip(rows, found, strict=True):
            assert (row == other) == (row_id == other_id)


@given(ROWS, ROWS)
def test_an_id_does_not_depend_on_the_rows_beside_it(row, other):
    alone = pa.Table.from_pylist([row], schema=SCHEMA)
    beside = pa.Table.from_pylist([other, row], schema=SCHEMA).select(SCHEMA.names[::-1])
    assert keyed_record_ids(alone, images=None)[0] == keyed_record_ids(beside, images=None)[1]
