"""CSV as the world writes it: every physical record is a row or a rejected row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lake_assets.contracts.variants import is_variant
from lake_assets.errors import InvalidRequest, LakeError, UnreadableSource
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.model import ReadOptions, RejectedRow
from lake_assets.intake.readers.delimited import DelimitedFile
from lake_assets.intake.readers.places import KeyOrder, places_of
from lake_assets.intake.readers.source import Chunk, DataFile, KeptBytes, Limits
from lake_assets.intake.readers.text_types import TypeGuess, parse_column
from lake_assets.intake.readers.values import fit_text
from lake_assets_tests.contract.readers_harness import Staged, without_unused


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
    "null_next_to_quoted_without_line_end": (b'a,b\nk,l\n"",', [("k", "l"), ("", None)]),
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
unlimited = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


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


# -- one way to read a file, or the other


@dataclass(frozen=True)
class Outcome:
    """All that a file gives; values as text, so that -0.0 is not 0.0."""

    schema: pa.Schema | None
    rows: list[tuple[int, str]]
    rejected: list[RejectedRow]
    error: tuple[type[LakeError], str] | None = None


def read_delimited(file: DataFile, plain_bytes: int = 2**22, kept_bytes: int = 2**27):
    """All chunks of a file that is an upload by itself."""
    opened = DelimitedFile(file, KeptBytes(kept_bytes), plain_bytes=plain_bytes)
    guesses = opened.survey()
    places = places_of(guesses.shape(), file.expected, KeyOrder(), is_certain=False)
    yield from opened.chunks({name: place.kind for name, place in places.items()})


def outcome(file: DataFile, **how: int) -> Outcome:
    chunks: list[Chunk] = []
    error = None
    try:
        chunks.extend(read_delimited(file, **how))
    except LakeError as problem:
        error = (type(problem), str(problem))
    # A variant is there in those chunks that need it.
    schemas = {pa.schema([f for f in c.rows.schema if not is_variant(f.name)]) for c in chunks}
    assert len(schemas) <= 1
    for chunk in chunks:
        chunk.rows.validate(full=True)
        assert chunk.rows.num_rows == len(chunk.numbers) <= file.limits.rows
    return Outcome(
        schema=schemas.pop() if schemas else None,
        rows=[
            (number, repr(without_unused(row)))
            for chunk in chunks
            for number, row in zip(chunk.numbers.to_pylist(), chunk.rows.to_pylist(), strict=True)
        ],
        rejected=[row for chunk in chunks for row in chunk.rejected],
        error=error,
    )


GOOD_FIELDS = (
    ["", "0", "1", "-20", "999999999999999", "1000000000000000", "9223372036854775807"],
    ["", "1", "2.5", "-0", "-.5", "0.000", "1e3", "1e-310", "123456789012345.6", "1E-2", "5."],
    ["true", "FALSE", "tRue", ""],
    ["2024-02-29", "0001-01-01", "9999-12-31", ""],
    ["2024-01-01 10:00", "2024-01-01T10:00:00.5", ""],
    ["2024-01-01T10:00:00Z", "2024-01-01T10:00:00+02:00", ""],
    ["", '""', "x", " x ", "é", "\u2028", "😀", '"a""b"', '"a\nb"', '"a\r\nb"', '"a,b"', '"""x"""'],
    ["", "", '""'],
)
ODD_FIELDS = (
    *("007", "+5", "-0", "9223372036854775808", "1e999", "0x10", "nan", "2023-02-29", " 5", "5 "),
    *("0000-01-01", "2024-01-01T10:00:00.123456789", "1_000", "٣", "true ", "a;b", '"5"', '"\r"'),
    *('5" pipe', '"x"x', ' "x"', '"x" ', '"', '""x', 'x""', "a,b", "\0", "\ufeff", "\x85", "\x1c"),
    *(
        "\udcff",
        "\udce2\udc82",
        '"a\rb"',
        '"\n\n"',
        '"x\udcffx\n"',
        '\ufeff"a"',
        '"\0"',
        "",
        ",",
        "\\",
    ),
)
KINDS = [pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.date32(), pa.int32()]
KINDS += [pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.decimal128(5, 2), pa.list_(pa.int64())]

some = st.integers(1, 4)
line_ends = st.sampled_from(["\n"] * 6 + ["\r\n", "\r\n", "\r", "\n\n", "\r\n\n", "\n\r", " \n"])


@st.composite
def tables(draw: st.DrawFn) -> str:
    """Rows of one width with columns of one kind, but for a few fields, rows and line ends."""
    columns = draw(st.lists(st.sampled_from(GOOD_FIELDS), min_size=1, max_size=3))
    delimiter = draw(st.sampled_from(",,,,;|\t"))
    oddity = draw(st.sampled_from([0, 0, 5, 20]))
    end = draw(line_ends)
    text = delimiter.join("abc"[: len(columns)]) + end
    for _ in range(draw(st.integers(0, 25))):
        fields = [draw(st.sampled_from(column)) for column in columns]
        if draw(st.integers(0, 99)) < oddity:
            fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from(ODD_FIELDS))
        if draw(st.integers(0, 99)) < oddity // 2:
            fields = draw(st.sampled_from([fields[1:], [*fields, "z"], [*fields, ""]]))
        text += delimiter.join(fields) + (draw(line_ends) if oddity else end)
    return text if draw(st.booleans()) else text.rstrip("\r\n")


def encoded(text: str, encoding: str) -> bytes:
    if encoding.startswith("utf-16"):
        return ("\ufeff" + text).encode(encoding, "surrogatepass")
    return text.encode(encoding, "surrogateescape")


contents = st.one_of(
    st.builds(
        encoded, tables(), st.sampled_from(["utf-8"] * 4 + ["utf-8-sig", "utf-16-le", "utf-16-be"])
    ),
    st.text('ab1,"\n\r;\0é', max_size=80).map(lambda text: ("k,v\n" + text).encode()),
    st.binary(max_size=40).map(lambda content: b"k,v\n" + content),
)


@st.composite
def delimited_files(draw: st.DrawFn, folder: Path) -> DataFile:
    content = draw(contents)
    packed = draw(st.integers(0, 9)) == 0
    path = folder / ("rows.csv.gz" if packed else "rows.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    expected = draw(st.dictionaries(st.sampled_from("abckv"), st.sampled_from(KINDS), max_size=2))
    delimiter = draw(st.sampled_from([None] * 8 + [",", ";", "a", " ", "é", "1"]))
    return DataFile(
        name="rows.csv",
        path=path,
        format=draw(st.sampled_from([DataFormat.CSV] * 9 + [DataFormat.TSV])),
        options=ReadOptions(header=draw(st.integers(0, 9)) > 0, delimiter=delimiter),
        expected=pa.schema(list(expected.items())) if expected else None,
        limits=Limits(rows=draw(st.sampled_from([1, 2, 3, 7, 8192])), byte_count=2**26),
    )


def ways(draw: st.DrawFn) -> dict[str, int]:
    """What decides where a file is cut and how much of it is read twice."""
    return {
        "plain_bytes": draw(st.sampled_from([1, 8, 16, 24, 40, 64, 100, 300, 2**22])),
        "kept_bytes": draw(st.sampled_from([0, 1, 200, 2**27])),
    }


@unlimited
@given(data=st.data())
def test_a_file_gives_the_same_at_once_and_record_by_record(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("csv")
    file = data.draw(delimited_files(folder))
    how: dict[str, Any] = ways(data.draw)
    assert outcome(file, **how) == outcome(file, plain_bytes=0, kept_bytes=0)


def one_file(folder: Path, content: bytes, rows: int = 8192) -> DataFile:
    path = folder / "rows.csv"
    path.write_bytes(content)
    return DataFile(
        name="rows.csv",
        path=path,
        format=DataFormat.CSV,
        options=ReadOptions(),
        limits=Limits(rows=rows, byte_count=2**26),
    )


BAD_LINES = {
    "ragged": b"1,2\n",
    "bad_utf8": b"1,\xff,x\n",
    "nul": b"1,\0,x\n",
    "stray_quote": b'1,5" pipe,x\n',
    "text_behind_a_quote": b'1,"x"x,y\n',
    "open_quote": b'1,"x,y\n',
    "lone_cr": b"1,x,y\r1,z,w\n",
    "mark": b"\xef\xbb\xbf1,x,y\n",
    "long": b"1," + b"x" * 9000 + b",y\n",
    "long_and_quoted": b'1,"' + b"x\n" * 4500 + b'",y\n',
    "only_line_ends": b"\n" * 9000,
}


@pytest.mark.parametrize("case", BAD_LINES)
@pytest.mark.parametrize("kept_bytes", [0, 20_000, 2**27])
def test_what_is_not_plain_leaves_the_rest_as_it_is(tmp_path, case, kept_bytes):
    lines = [b'%d,"a,""b""\n",2024-01-01\n' % number for number in range(3000)]
    for place in (1, 1500, 1501, 2999):
        lines[place] = BAD_LINES[case] + lines[place]
    file = one_file(tmp_path, b"a,b,c\n" + b"".join(lines))
    fast = outcome(file, plain_bytes=4096, kept_bytes=kept_bytes)
    assert fast == outcome(file, plain_bytes=0, kept_bytes=0)
    numbers = [number for number, _ in fast.rows] + [row.row for row in fast.rejected]
    assert sorted(numbers) == list(range(len(numbers)))
    assert len(numbers) >= 3000


LATE_VALUES = {
    "after_integers": ("5", ["7", "2.5", "007", "x", "1000000000000000", '""', "-0"]),
    "after_numbers": ("1.50", ["7", "1e999", "x", "0.1234567890123456"]),
    "after_booleans": ("TRUE", ["1", "false", "x"]),
    "after_dates": ("2024-01-01", ["0000-01-01", "2023-02-29", "2024-01-01T10:00"]),
    "after_nulls": ("", ["5", "x", "true", '""', "2024-01-01T10:00Z"]),
}


@pytest.mark.parametrize("case", LATE_VALUES)
@pytest.mark.parametrize("kept_bytes", [0, 1000, 2**27])
def test_a_late_value_decides_for_rows_that_were_kept(tmp_path, case, kept_bytes):
    early, late = LATE_VALUES[case]
    for value in late:
        content = "k,v\n" + f"k,{early}\n" * 500 + f"k,{value}\n"
        file = one_file(tmp_path, content.encode())
        fast = outcome(file, plain_bytes=256, kept_bytes=kept_bytes)
        assert fast == outcome(file, plain_bytes=0, kept_bytes=0)
        assert fast.rejected == []


@pytest.mark.parametrize(
    ("integer", "kind"),
    [
        ("999999999999999", pa.float64()),
        ("-999999999999999", pa.float64()),
        ("1000000000000000", pa.string()),
        ("-1000000000000000", pa.string()),
    ],
)
def test_integers_become_doubles_later_only_if_their_digits_are_few(tmp_path, integer, kind):
    # 64 bytes are three of these lines, so that no piece has both.
    content = "k,v\n" + f"x,{integer}\n" * 18 + "x,2.5\n" * 100
    file = one_file(tmp_path, content.encode())
    schema = outcome(file, plain_bytes=64).schema
    assert schema is not None
    assert schema.field("v").type == kind


def test_a_mark_is_only_one_at_the_start_of_the_file(tmp_path):
    file = one_file(tmp_path, "\ufeffa,b\n".encode() + "\ufeffx,y\n".encode() * 100)
    result = outcome(file, plain_bytes=16)
    assert [row for _, row in result.rows] == [repr({"a": "\ufeffx", "b": "y"})] * 100


def test_a_field_beyond_the_limit_is_rejected_and_a_line_beyond_its_own_ends_the_file(tmp_path):
    file = one_file(tmp_path, b"a,b\nx,y\n" + b"x" * (16 * 2**20 + 1) + b",y\nz,w\n")
    result = outcome(file)
    assert [row.rule for row in result.rejected] == [QUOTES]
    assert [number for number, _ in result.rows] == [0, 2]
    with file.path.open("r+b") as sparse:
        sparse.truncate(2**31)
    assert outcome(file).error is not None


WRITTEN_AS = {
    pa.bool_(): ("true", "(?i:true|false)"),
    pa.int64(): ("5", "0|-?[1-9][0-9]*"),
    pa.float64(): (
        "1.5",
        r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?",
    ),
    pa.date32(): ("2024-01-01", "(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    pa.timestamp("us"): (
        "2024-01-01T10:00",
        r"(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?",
    ),
    pa.timestamp("us", "UTC"): (
        "2024-01-01T10:00Z",
        r"(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
        r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)",
    ),
}
BEGINNINGS = ["", "0", "-", "+", "00", "0x", "-0", "2024-01-01", "0000-01-01", "2024-01-01T10"]
BEGINNINGS += ["2024-01-01 10:00", "0000-12-31T23:00", "2024-01-01T10:00:00", "tru", "fals", "1e"]


@settings(unlimited, max_examples=300)
@given(
    kind=st.sampled_from(list(WRITTEN_AS)),
    beginning=st.sampled_from(BEGINNINGS),
    end=st.text("0123456789-+.:eETZ xinf", max_size=7),
)
@example(kind=pa.bool_(), beginning="1", end="")
@example(kind=pa.int64(), beginning="007", end="")
@example(kind=pa.int64(), beginning="-0", end="")
@example(kind=pa.int64(), beginning="0x", end="10")
@example(kind=pa.float64(), beginning="+", end="5")
@example(kind=pa.float64(), beginning="-0", end="5.0")
@example(kind=pa.float64(), beginning="00", end="")
@example(kind=pa.date32(), beginning="0000-01-01", end="")
@example(kind=pa.timestamp("us"), beginning="2024-01-01", end="")
@example(kind=pa.timestamp("us"), beginning="2024-01-01T10", end="")
@example(kind=pa.timestamp("us"), beginning="0000-12-31T23:00", end="")
@example(kind=pa.timestamp("us", "UTC"), beginning="2024-01-01T10", end="+02:00")
@example(kind=pa.timestamp("us", "UTC"), beginning="0000-12-31T23:00", end="-02:00")
def test_a_column_has_a_type_only_if_every_value_is_written_so(kind, beginning, end):
    good, pattern = WRITTEN_AS[kind]
    value = beginning + end
    guess = TypeGuess()
    # Behind as many good ones as are looked at by themselves.
    guess.narrow(guess.fit(pa.array([good] * 20 + [None, value])))
    assert guess.kind() != kind or re.fullmatch(pattern, value)
    column = parse_column(pa.array([good] * 20 + [None, value]), kind, "v")
    if not re.fullmatch(pattern, value) and not column.misfits:
        # Types that a table has are met more freely, but value by value.
        assert column.values[21].as_py() == fit_text(value, kind, "v")
