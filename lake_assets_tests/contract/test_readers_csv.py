"""CSV as the world writes it: every physical record is a row or a rejected row."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_assets.errors import InvalidRequest, UnreadableSource
from lake_assets_tests.contract.readers_harness import Staged


@pytest.fixture
def staged(tmp_path):
    return Staged(tmp_path)


WELL_FORMED = {
    "crlf": (b"a,b\r\nx,y\r\nz,w\r\n", [("x", "y"), ("z", "w")]),
    "old_mac_line_ends": (b"a,b\rx,y\rz,w", [("x", "y"), ("z", "w")]),
    "no_line_end_at_the_end": (b"a,b\nx,y", [("x", "y")]),
    "empty_lines": (b"\n\na,b\n\nx,y\n\r\n\n", [("x", "y")]),
    "quoted_line_break": (b'a,b\n"x\r\nx",y\n', [("x\r\nx", "y")]),
    "quoted_delimiter_and_quote": (b'a,b\n"x,""x""",y\n', [('x,"x"', "y")]),
    "quote_inside_an_unquoted_field": (b'a,b\n5" pipe,y\n', [('5" pipe', "y")]),
    "empty_is_null": (b"a,b\n,y\nx,\n", [(None, "y"), ("x", None)]),
    "quoted_empty_is_a_string": (b'a,b\n"",y\nx,""\n', [("", "y"), ("x", "")]),
    "quoted_empty_next_to_null": (
        b'a,b\n"",\n,""\n"x""y",""\n',
        [("", None), (None, ""), ('x"y', "")],
    ),
    "spaces_stay": (b"a,b\n x , y\n", [(" x ", " y")]),
    "byte_order_mark": (b'\xef\xbb\xbf"a",b\nx,y\n', [("x", "y")]),
    "utf_16_little": ("\ufeffa,b\nä,y\n".encode("utf-16-le"), [("ä", "y")]),
    "utf_16_big": ("\ufeffa,b\nä,y\n".encode("utf-16-be"), [("ä", "y")]),
    "four_byte_characters": ("a,b\n😀,y\n".encode(), [("😀", "y")]),
    "line_separator_is_no_line_end": ("a,b\nx\u2028x\x85,y\n".encode(), [("x\u2028x\x85", "y")]),
    "header_only": (b"a,b\n", []),
    "header_without_line_end": (b"a,b", []),
}


@pytest.mark.parametrize("case", WELL_FORMED)
def test_a_well_formed_file_is_read_as_written(staged, case):
    content, expected = WELL_FORMED[case]
    staged.add("rows.csv", content)
    result = staged.read()
    assert [(row.get("a"), row.get("b")) for row in result.rows] == expected
    assert result.rejected == []


FIELDS, QUOTES = "row_has_as_many_fields_as_the_header", "line_is_valid_csv"
UTF8, NUL = "line_is_valid_utf8", "line_has_no_nul_characters"
BROKEN = {
    "too_few": (b"a,b\nx\nk,l\n", [("k", "l")], [(0, FIELDS)]),
    "too_many": (b"a,b\nk,l\nx,y,z\n", [("k", "l")], [(1, FIELDS)]),
    "several_in_a_row": (
        b"a,b\nx\ny\nk,l\nz\n",
        [("k", "l")],
        [(0, FIELDS), (1, FIELDS), (3, FIELDS)],
    ),
    "unterminated_at_the_end": (b'a,b\nk,l\n"x,y', [("k", "l")], [(1, QUOTES)]),
    "unterminated_in_the_middle": (
        b'a,b\n"x,y\nk,l\nm,n\n',
        [("k", "l"), ("m", "n")],
        [(0, QUOTES)],
    ),
    "unterminated_before_a_quoted_row": (
        b'a,b\n"x,y\nk,l\n"m","n"\n',
        [("k", "l"), ("m", "n")],
        [(0, QUOTES)],
    ),
    "text_after_a_closing_quote": (b'a,b\n"x"x,y\nk,l\n', [("k", "l")], [(0, QUOTES)]),
    "bad_utf8": (b"a,b\nx\xff,y\nk,l\n", [("k", "l")], [(0, UTF8)]),
    "latin_1": ("a,b\nk,l\nGrün,y\n".encode("latin-1"), [("k", "l")], [(1, UTF8)]),
    "nul": (b"a,b\nx\0,y\nk,l\n", [("k", "l")], [(0, NUL)]),
    "half_a_surrogate_pair": (
        "\ufeffa,b\nx\ud800,y\nk,l\n".encode("utf-16-le", "surrogatepass"),
        [("k", "l")],
        [(0, UTF8)],
    ),
    "empty_lines_have_no_number": (b"a,b\n\nx\n\nk,l\n", [("k", "l")], [(0, FIELDS)]),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("batch_rows", [1, 2, 8192])
def test_a_broken_record_is_rejected_and_the_others_are_read(staged, case, batch_rows):
    content, rows, rules = BROKEN[case]
    staged.add("rows.csv", content)
    result = staged.read(batch_rows=batch_rows)
    assert [(row["a"], row["b"]) for row in result.rows] == rows
    assert sorted(result.rules) == rules
    assert sorted(result.numbers + [row.row for row in result.rejected]) == list(
        range(len(rows) + len(rules))
    )


def test_a_rejected_record_keeps_its_raw_text(staged):
    staged.add("rows.csv", b'a,b\n"x\ny",1,2\n\xfe,1\n')
    raw = [json.loads(row.row_json) for row in staged.read().rejected]
    assert raw == ['"x\ny",1,2\n', "\\udcfe,1\n"]


TYPES = {
    "integers": (["1", "-20", "0"], pa.int64(), [1, -20, 0]),
    "largest_integer": (["9223372036854775807"], pa.int64(), [2**63 - 1]),
    "beyond_the_largest": (["9223372036854775808"], pa.string(), ["9223372036854775808"]),
    "leading_zeros": (["007", "010"], pa.string(), ["007", "010"]),
    "leading_zeros_late": (["7"] * 5000 + ["007"], pa.string(), ["7"] * 5000 + ["007"]),
    "plus": (["+5"], pa.string(), ["+5"]),
    "minus_zero": (["-0"], pa.float64(), [-0.0]),
    "hexadecimal": (["0x10"], pa.string(), ["0x10"]),
    "numbers": (["1", "2.5", "-.5", "1e3"], pa.float64(), [1.0, 2.5, -0.5, 1000.0]),
    "leading_zeros_and_numbers": (["0001", "1.5"], pa.string(), ["0001", "1.5"]),
    "fifteen_digits": (["0.123456789012345"], pa.float64(), [0.123456789012345]),
    "sixteen_digits": (["0.1234567890123456"], pa.string(), ["0.1234567890123456"]),
    "too_large_for_a_double": (["1e999", "1"], pa.string(), ["1e999", "1"]),
    "too_small_for_a_double": (["1e-999"], pa.string(), ["1e-999"]),
    "not_a_number": (["nan", "1.5"], pa.string(), ["nan", "1.5"]),
    "infinity": (["inf"], pa.string(), ["inf"]),
    "booleans": (["true", "FALSE", "True"], pa.bool_(), [True, False, True]),
    "zero_and_one_are_numbers": (["0", "1"], pa.int64(), [0, 1]),
    "yes_and_no_are_text": (["yes", "no"], pa.string(), ["yes", "no"]),
    "dates": (["2024-02-29"], pa.date32(), [date(2024, 2, 29)]),
    "no_such_date": (["2023-02-29"], pa.string(), ["2023-02-29"]),
    "year_zero": (["0000-01-01"], pa.string(), ["0000-01-01"]),
    "naive_times": (
        ["2024-01-01 10:00", "2024-01-01T10:00:00.5"],
        pa.timestamp("us"),
        [
            datetime.fromisoformat("2024-01-01T10:00"),
            datetime.fromisoformat("2024-01-01T10:00:00.500"),
        ],
    ),
    "instants": (
        ["2024-01-01T10:00:00Z", "2024-01-01T10:00:00+02:00"],
        pa.timestamp("us", "UTC"),
        [datetime(2024, 1, 1, 10, tzinfo=UTC), datetime(2024, 1, 1, 8, tzinfo=UTC)],
    ),
    "naive_and_instants": (["2024-01-01T10:00:00", "2024-01-01T10:00:00Z"], pa.string(), None),
    "nanoseconds": (["2024-01-01T10:00:00.123456789"], pa.string(), None),
    "dates_and_times": (["2024-01-01", "2024-01-01T10:00:00"], pa.string(), None),
    "nulls_between": (["", "5", ""], pa.int64(), [None, 5, None]),
    "spaces": ([" 5"], pa.string(), [" 5"]),
    "other_digits": (["٣"], pa.string(), ["٣"]),
}


@pytest.mark.parametrize("case", TYPES)
@pytest.mark.parametrize("batch_rows", [2, 8192])
def test_a_type_is_inferred_over_the_whole_file_and_loses_nothing(staged, case, batch_rows):
    written, kind, values = TYPES[case]
    staged.add("rows.csv", ("k,v\n" + "".join(f"x,{v}\n" for v in written)).encode())
    result = staged.read(batch_rows=batch_rows)
    assert {batch.rows.schema.field("v").type for batch in result.batches} == {kind}
    assert [row["v"] for row in result.rows] == (written if values is None else values)
    assert result.rejected == []


def test_a_column_without_values_is_left_out_but_its_rows_are_not(staged):
    staged.add("a.csv", b"a,b\n,\n,\n")
    result = staged.read()
    assert result.row_count == 2
    assert result.rows == [{}, {}]
    assert result.numbers == [0, 1]


def test_a_column_without_values_keeps_the_type_of_the_table(staged):
    staged.add("a.csv", b"a,b\n1,\n")
    result = staged.read(expected=pa.schema([("b", pa.date32())]))
    assert result.types == {"a": "int64", "b": "date32[day]"}


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        pytest.param(b"a;b;c\n1,5;2,5;x\n", None, id="decimal_commas"),
        pytest.param(b"a|b|c\n1,2|x;y|z\n", None, id="pipes"),
        pytest.param(b"a,b,c\n1;2;3;4,x,y\n", None, id="semicolons_inside"),
        pytest.param(b"a\tb\tc\n1,1\tx, y\tz\n", None, id="tabs"),
        pytest.param(b"a:b:c\n1,2:x:y\n", ":", id="given"),
    ],
)
def test_the_delimiter_is_found_out_when_it_is_not_given(staged, content, delimiter):
    staged.add("rows.csv", content)
    result = staged.read(delimiter=delimiter)
    assert list(result.types) == ["a", "b", "c"]
    assert result.row_count == 1


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n"])
def test_a_delimiter_is_one_character(staged, delimiter):
    staged.add("rows.csv", b"a,b\n1,2\n")
    with pytest.raises(InvalidRequest, match="one character"):
        staged.read(delimiter=delimiter)


def test_without_a_header_columns_are_numbered(staged):
    staged.add("rows.csv", b'"x\ny",1\nz,2\n')
    result = staged.read(header=False)
    assert result.rows == [{"column0": "x\ny", "column1": 1}, {"column0": "z", "column1": 2}]
    assert result.numbers == [0, 1]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        pytest.param(b"a,b,a", "a, a", id="twice"),
        pytest.param(b",a,b", "index=False", id="pandas_index"),
        pytest.param(b"a,b,", "no name", id="trailing_comma"),
        pytest.param(b"a,\xff", "not valid", id="bad_utf8"),
        pytest.param(b'a,"b"b', "not valid", id="bad_quotes"),
        pytest.param(b"a,b\0", "not valid", id="nul"),
    ],
)
def test_a_header_that_cannot_name_columns_is_unreadable(staged, header, message):
    staged.add("rows.csv", header + b"\n1,2,3\n")
    with pytest.raises(UnreadableSource, match=message):
        staged.read()


def test_a_field_may_be_long(staged):
    # The parser's own default limit is 128 KiB.
    staged.add("rows.csv", b"a,b\n" + b"x" * 300_000 + b',"' + b"y\n" * 200_000 + b'"\n')
    (row,) = staged.read().rows
    assert (len(row["a"]), len(row["b"])) == (300_000, 400_000)


fields = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
unlimited = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@unlimited
@given(
    rows=st.lists(st.lists(fields, min_size=2, max_size=2), max_size=12),
    delimiter=st.sampled_from(",;|\t"),
    batch_rows=st.integers(1, 5),
)
def test_any_text_comes_back_as_written(tmp_path_factory, rows, delimiter, batch_rows):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b"], *rows])
    staged = Staged(tmp_path_factory.mktemp("csv"))
    staged.add("rows.csv", buffer.getvalue().encode())
    strings = pa.schema([("a", pa.string()), ("b", pa.string())])
    result = staged.read(delimiter=delimiter, expected=strings, batch_rows=batch_rows)
    assert [[row["a"], row["b"]] for row in result.rows] == rows
    assert result.rejected == []


@unlimited
@given(
    lines=st.lists(
        st.binary(max_size=12).filter(lambda b: not set(b) & set(b'\r\n"')), max_size=20
    ),
    batch_rows=st.integers(1, 5),
)
def test_every_line_is_accepted_or_rejected(tmp_path_factory, lines, batch_rows):
    staged = Staged(tmp_path_factory.mktemp("csv"))
    staged.add("rows.csv", b"a,b\n" + b"".join(line + b"\n" for line in lines))
    result = staged.read(batch_rows=batch_rows)
    numbers = result.numbers + [row.row for row in result.rejected]
    assert sorted(numbers) == list(range(sum(line != b"" for line in lines)))


@unlimited
@given(content=st.text('ab,"\n\r;', max_size=60), batch_rows=st.integers(1, 4))
def test_no_character_is_lost_whatever_the_quotes(tmp_path_factory, content, batch_rows):
    staged = Staged(tmp_path_factory.mktemp("csv"))
    staged.add("rows.csv", b"k,v\n" + content.encode())
    strings = pa.schema([("k", pa.string()), ("v", pa.string())])
    result = staged.read(delimiter=",", expected=strings, batch_rows=batch_rows)
    numbers = result.numbers + [row.row for row in result.rejected]
    assert sorted(numbers) == list(range(len(numbers)))
    kept = "".join(f"{row['k'] or ''}{row['v'] or ''}" for row in result.rows)
    kept += "".join(json.loads(row.row_json) for row in result.rejected)
    letters = sorted(char for char in content if char in "ab;")
    assert sorted(char for char in kept if char in "ab;") == letters
