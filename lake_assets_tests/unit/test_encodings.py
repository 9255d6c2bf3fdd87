"""Encodings of Parquet columns: dictionaries where values repeat, differences of whole numbers."""

import io
from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake_assets.storage.tables.encodings import DICTIONARY_BYTES, choose_encodings

COUNT = 1_000
NUMBERS = range(COUNT)
FEW = [n % 7 for n in NUMBERS]
DAY_0 = date(2026, 1, 1)
PAIR = pa.struct([("x", pa.int64()), ("y", pa.string())])

DICTIONARY, DELTA, PLAIN = "dictionary", "delta", "plain"
CASES = {
    "distinct integers": (pa.array(NUMBERS), {"a": DELTA}),
    "distinct short integers": (pa.array(NUMBERS, pa.int32()), {"a": DELTA}),
    "repeated integers": (pa.array(FEW), {"a": DICTIONARY}),
    "distinct instants": (pa.array(NUMBERS, pa.timestamp("us", "UTC")), {"a": DELTA}),
    "repeated days": (pa.array([DAY_0 + timedelta(n) for n in FEW]), {"a": DICTIONARY}),
    "distinct times": (pa.array(NUMBERS, pa.time64("us")), {"a": DELTA}),
    "distinct floats": (pa.array([n / 3 for n in NUMBERS]), {"a": PLAIN}),
    "repeated floats": (pa.array([n / 3 for n in FEW]), {"a": DICTIONARY}),
    "distinct texts": (pa.array([str(n) for n in NUMBERS]), {"a": PLAIN}),
    "repeated texts": (pa.array([str(n) for n in FEW]), {"a": DICTIONARY}),
    "a quarter distinct": (pa.array([str(n // 4) for n in NUMBERS]), {"a": DICTIONARY}),
    "a third distinct": (pa.array([str(n // 3) for n in NUMBERS]), {"a": PLAIN}),
    "few but large texts": (
        pa.array([f"{n:0{DICTIONARY_BYTES // 6}}" for n in FEW[:70]]),
        {"a": PLAIN},
    ),
    "bytes": (pa.array([str(n).encode() for n in NUMBERS]), {"a": PLAIN}),
    "fixed bytes": (pa.array([b"%04d" % n for n in NUMBERS], pa.binary(4)), {"a": PLAIN}),
    "decimals": (pa.array([Decimal(n) for n in NUMBERS], pa.decimal128(10, 2)), {"a": PLAIN}),
    "booleans": (pa.array([n % 2 == 0 for n in NUMBERS]), {"a": PLAIN}),
    "nulls": (pa.nulls(COUNT, pa.string()), {"a": DICTIONARY}),
    "lists": (pa.array([[n, n + COUNT] for n in range(0, COUNT, 2)]), {"a.list.element": DELTA}),
    "empty lists": (pa.array([[], None], pa.list_(pa.int64())), {"a.list.element": DICTIONARY}),
    "structs": (
        pa.array([{"x": n, "y": "s"} for n in NUMBERS], PAIR),
        {"a.x": DELTA, "a.y": DICTIONARY},
    ),
    "lists of structs": (
        pa.array([[{"x": n, "y": "s"}] for n in NUMBERS], pa.list_(PAIR)),
        {"a.list.element.x": DELTA, "a.list.element.y": DICTIONARY},
    ),
    "maps": (
        pa.array([[("k", n)] for n in NUMBERS], pa.map_(pa.string(), pa.int64())),
        {"a.key_value.key": DICTIONARY, "a.key_value.value": DELTA},
    ),
}  # fmt: skip


def chosen(table):
    found = choose_encodings(table)
    return dict.fromkeys(found.dictionaries, DICTIONARY) | dict.fromkeys(found.others, DELTA)


@pytest.mark.parametrize(("values", "expected"), CASES.values(), ids=CASES.keys())
def test_a_column_is_encoded_as_its_values_are(values, expected):
    others = {path: kind for path, kind in expected.items() if kind != PLAIN}
    assert chosen(pa.table({"a": values})) == others


@pytest.mark.parametrize("count", [2**14, 122_880, 500_000])
@pytest.mark.parametrize(
    ("value_of", "expected"),
    [
        (lambda n: n, DELTA),
        (lambda n: n // 2, DELTA),
        (lambda n: n // 6, DICTIONARY),
        (lambda n: None if n % 10 == 0 else n, DELTA),
        (lambda n: n if n % 5 == 0 else None, DICTIONARY),
        (lambda n, few=1_500: n % few, DICTIONARY),
        (lambda n, few=1_500: n // 9 if n % 9 else n % few, DICTIONARY),
    ],
    ids=[
        "distinct",
        "half distinct",
        "runs",
        "distinct and nulls",
        "nulls and distinct",
        "cycles",
        "runs and cycles",
    ],
)
def test_a_sample_of_many_values_says_what_all_of_them_would(value_of, expected, count):
    values = pa.array([value_of(n) for n in range(count)], pa.int32())
    assert chosen(pa.table({"a": values.slice(0, 122_880)})) == {"a": expected}


@pytest.mark.parametrize(("values", "expected"), CASES.values(), ids=CASES.keys())
def test_the_file_is_encoded_so_and_holds_the_same_values(values, expected):
    table = pa.table({"a": values})
    encodings = choose_encodings(table)
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        table.schema,
        use_dictionary=list(encodings.dictionaries),
        column_encoding=encodings.others,
    ) as writer:
        writer.write_table(table)
    file = pq.ParquetFile(sink)
    group = file.metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {column.path_in_schema: kind_of(column) for column in columns} == expected
    assert file.read().equals(table)


def kind_of(column):
    if column.has_dictionary_page:
        return DICTIONARY
    return DELTA if "DELTA_BINARY_PACKED" in column.encodings else PLAIN


def test_a_dot_in_a_name_is_no_path():
    table = pa.table({"a.b": list(NUMBERS), "c.d": FEW})
    assert chosen(table) == {"a.b": DELTA, "c.d": DICTIONARY}


@pytest.mark.parametrize(
    "values",
    [
        pa.nulls(3),
        pa.array(["x", "y"]).dictionary_encode(),
        pa.array(["x"], pa.string_view()),
        pa.array([b"0123456789abcdef"], pa.uuid()),
    ],
    ids=lambda values: str(values.type),
)
def test_types_that_cannot_be_counted_are_left_to_pyarrow(values):
    assert chosen(pa.table({"a": values})) == {"a": DICTIONARY}


def test_a_table_without_columns_has_no_encodings():
    assert chosen(pa.table({})) == {}
