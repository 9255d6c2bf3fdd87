"""Parquet and Arrow: every type becomes one that a table of the lake can have, or is refused."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lake_assets.errors import UnreadableSource, UnsupportedFormat
from lake_assets_tests.contract.readers_harness import Staged


@pytest.fixture
def staged(tmp_path):
    return Staged(tmp_path)


def arrow_file(table):
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet_file(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def column(values, kind):
    return pa.array(values, kind)


NS = pa.timestamp("ns")
AT = datetime.fromisoformat("2024-01-01T12:30:00.000005")
TYPES = {
    "dictionary": (pa.array(["x", None, "x"]).dictionary_encode(), pa.string(), ["x", None, "x"]),
    "dictionary_of_large": (
        pa.array(["x"], pa.large_string()).dictionary_encode(),
        pa.string(),
        ["x"],
    ),
    "dictionary_of_views": (
        pa.DictionaryArray.from_arrays(pa.array([1, None]), pa.array(["x", "y"], pa.string_view())),
        pa.string(),
        ["y", None],
    ),
    "run_ends": (pc.run_end_encode(pa.array([1, 1, 2])), pa.int64(), [1, 1, 2]),
    "large_string": (column(["x", None], pa.large_string()), pa.string(), ["x", None]),
    "string_view": (column(["x", None], pa.string_view()), pa.string(), ["x", None]),
    "large_binary": (column([b"x"], pa.large_binary()), pa.binary(), [b"x"]),
    "binary_view": (column([b"x"], pa.binary_view()), pa.binary(), [b"x"]),
    "fixed_binary": (column([b"xy"], pa.binary(2)), pa.binary(2), [b"xy"]),
    "int8": (column([-128, None], pa.int8()), pa.int32(), [-128, None]),
    "int16": (column([-1], pa.int16()), pa.int32(), [-1]),
    "uint8": (column([255], pa.uint8()), pa.int32(), [255]),
    "uint16": (column([65535], pa.uint16()), pa.int32(), [65535]),
    "uint32": (column([2**32 - 1], pa.uint32()), pa.int64(), [2**32 - 1]),
    "uint64": (column([2**63 - 1], pa.uint64()), pa.int64(), [2**63 - 1]),
    "float16": (pa.array(np.array([1.5], np.float16)), pa.float32(), [1.5]),
    "seconds": (
        column([datetime.fromisoformat("2024-01-01")], pa.timestamp("s")),
        pa.timestamp("us"),
        [datetime.fromisoformat("2024-01-01")],
    ),
    "nanoseconds": (column([AT], NS), pa.timestamp("us"), [AT]),
    "zoned": (
        column([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ms", "Asia/Seoul")),
        pa.timestamp("us", "UTC"),
        [datetime(2024, 1, 1, tzinfo=UTC)],
    ),
    "time32": (column([time(1, 2, 3)], pa.time32("s")), pa.time64("us"), [time(1, 2, 3)]),
    "time64_ns": (column([time(1, 2, 3, 4)], pa.time64("ns")), pa.time64("us"), [time(1, 2, 3, 4)]),
    "date64": (column([date(2024, 1, 1)], pa.date64()), pa.date32(), [date(2024, 1, 1)]),
    "decimal256": (
        column([Decimal("1.50")], pa.decimal256(38, 2)),
        pa.decimal128(38, 2),
        [Decimal("1.50")],
    ),
    "decimal32": (
        column([Decimal("1.50")], pa.decimal32(5, 2)),
        pa.decimal128(5, 2),
        [Decimal("1.50")],
    ),
    "large_list": (
        column([[1], None], pa.large_list(pa.int8())),
        pa.list_(pa.int32()),
        [[1], None],
    ),
    "fixed_list": (column([[1, 2]], pa.list_(pa.int64(), 2)), pa.list_(pa.int64()), [[1, 2]]),
    "struct": (
        column(
            [{"a": 1, "b": {"c": "x"}, "n": None}],
            pa.struct(
                [("a", pa.uint8()), ("b", pa.struct([("c", pa.large_string())])), ("n", pa.null())]
            ),
        ),
        pa.struct([("a", pa.int32()), ("b", pa.struct([("c", pa.string())]))]),
        [{"a": 1, "b": {"c": "x"}}],
    ),
    "map": (
        column([[("k", 1)]], pa.map_(pa.large_string(), pa.int16())),
        pa.map_(pa.string(), pa.int32()),
        [[("k", 1)]],
    ),
    "list_of_dictionaries": (
        column([["x"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.list_(pa.string()),
        [["x"]],
    ),
    "uuid": (column([b"0123456789abcdef"], pa.uuid()), pa.binary(16), [b"0123456789abcdef"]),
    "json_extension": (column(["{}"], pa.json_()), pa.string(), ["{}"]),
}


@pytest.mark.parametrize("case", TYPES)
def test_a_type_becomes_one_that_tables_have(staged, case):
    values, kind, expected = TYPES[case]
    table = pa.table({"v": values})
    staged.add("a.arrow", arrow_file(table))
    result = staged.read()
    assert result.batches[0].rows.schema.field("v").type == kind
    assert [row["v"] for row in result.rows] == expected
    assert result.rejected == []


@pytest.mark.parametrize(
    "case", sorted(TYPES.keys() - {"run_ends", "decimal32", "dictionary_of_views"})
)
def test_parquet_brings_the_same_types(staged, case):
    values, _, expected = TYPES[case]
    staged.add("a.parquet", parquet_file(pa.table({"v": values})))
    assert [row["v"] for row in staged.read().rows] == expected


INEXACT = {
    "uint64": (column([1, 2**63, 3], pa.uint64()), str(2**63)),
    "uint64_in_a_list": (
        column([[1], [2, 2**64 - 1], []], pa.list_(pa.uint64())), f"[2, {2**64 - 1}]"
    ),
    "uint64_dictionary": (column([1, 2**63, 3], pa.uint64()).dictionary_encode(), str(2**63)),
    "nanoseconds": (
        column([1000, 1001, 2000], pa.int64()).view(NS),
        '"1970-01-01T00:00:00.000001001"',
    ),
    "nanoseconds_in_a_struct": (
        pa.StructArray.from_arrays([column([1000, 1001, 2000], pa.int64()).view(NS)], ["t"]),
        '{"t": "1970-01-01T00:00:00.000001001"}',
    ),
    "time_in_nanoseconds": (
        column([0, 1, 1000], pa.int64()).view(pa.time64("ns")), '"00:00:00.000000001"'
    ),
    "seconds_out_of_range": (
        column([0, 2**60, 1], pa.int64()).view(pa.timestamp("s")),
        '"+36534630048-05-13T13:56:16"',
    ),
    "date_with_a_time": (
        column([0, 1, 86_400_000], pa.int64()).view(pa.date64()), '"1970-01-01T00:00:00.001"'
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INEXACT)
@pytest.mark.parametrize("batch_rows", [1, 2, 8192])
def test_a_value_that_would_change_stands_beside_its_column(staged, case, batch_rows):
    values, text = INEXACT[case]
    table = pa.table({"k": ["a", "b", "c"], "v": values})
    staged.add("a.arrow", arrow_file(table))
    result = staged.read(batch_rows=batch_rows)
    assert [row["k"] for row in result.rows] == ["a", "b", "c"]
    assert [row.get("v__variant") for row in result.rows] == [None, text, None]
    assert result.rows[1]["v"] is None
    assert result.rejected == []


def test_a_time_of_day_that_has_no_words_rejects_its_row(staged):
    values = column([0, 86_400_000_000_001, 1000], pa.int64()).view(pa.time64("ns"))
    staged.add("a.arrow", arrow_file(pa.table({"k": ["a", "b", "c"], "v": values})))
    result = staged.read()
    assert [row["k"] for row in result.rows] == ["a", "c"]
    assert result.rules == [(1, "value_fits_its_column")]
    (rejected,) = result.rejected
    assert rejected.path == "v"
    assert json.loads(rejected.row_json)["k"] == "b"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(column([1], pa.duration("s")), id="duration"),
        pytest.param(column([[1]], pa.list_(pa.duration("s"))), id="duration_in_a_list"),
        pytest.param(column([Decimal(1)], pa.decimal256(60, 2)), id="wide_decimal"),
        pytest.param(column([[1]], pa.list_view(pa.int64())), id="list_view"),
        pytest.param(column([(1, 2, 3)], pa.month_day_nano_interval()), id="interval"),
        pytest.param(pa.nulls(1, pa.list_(pa.uuid())), id="extension_inside"),
    ],
)
def test_a_type_that_no_table_has_is_refused_by_name(staged, values):
    staged.add("a.arrow", arrow_file(pa.table({"k": [1], "v": values})))
    with pytest.raises(UnsupportedFormat, match="Column v"):
        staged.read()


def test_columns_of_nulls_are_left_out_but_their_rows_are_not(staged):
    staged.add("a.parquet", parquet_file(pa.table({"n": pa.nulls(3)})))
    result = staged.read()
    assert (result.row_count, result.numbers, result.types) == (3, [0, 1, 2], {})


def test_a_pandas_index_stays_a_column(staged):
    staged.add("a.parquet", parquet_file(pa.table({"a": [1], "__index_level_0__": ["x"]})))
    assert staged.read().rows == [{"a": 1, "__index_level_0__": "x"}]


@pytest.mark.parametrize("names", [["a", "a"], ["a", "A"]], ids=["twice", "but_for_case"])
@pytest.mark.parametrize("write", [arrow_file, parquet_file])
def test_the_same_column_twice_is_unreadable(staged, names, write):
    staged.add("a.data", write(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names)))
    with pytest.raises(UnreadableSource, match=", ".join(names)):
        staged.read()


def test_fields_that_differ_by_case_only_are_unreadable(staged):
    kind = pa.struct([("a", pa.int64()), ("A", pa.int64())])
    staged.add("a.arrow", arrow_file(pa.table({"s": pa.array([None], kind)})))
    with pytest.raises(UnreadableSource, match="in s"):
        staged.read()


def test_wide_rows_are_read_few_at_a_time(staged):
    values = [bytes([i]) * 100_000 for i in range(40)]
    staged.add("a.parquet", parquet_file(pa.table({"k": range(40), "blob": values})))
    result = staged.read(batch_bytes=500_000)
    assert max(batch.rows.nbytes for batch in result.batches) <= 500_000
    assert [row["blob"] for row in result.rows] == values
