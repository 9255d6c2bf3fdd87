"""Lines read at once are what they are one by one: values, types, order and rejections.

The reference reads each line with Python's own parser (``record_blocks``), the rules of which
``test_readers_json`` proves.
"""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_assets.errors import LakeError
from lake_assets.intake.readers import (
    json_blocks,
    json_bytes,
    json_lines,
    json_plain,
    json_scan,
    upload,
)
from lake_assets_tests.contract.readers_harness import Staged, without_unused

unlimited = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

NUMBERS = [
    "0", "-0", "0.0", "-0.0", "-0e1", "1", "-1", "1.0", "1e5", "1E+2", "2.5", "0.1", "1e-7",
    "9007199254740992", "9007199254740993", "-9007199254740993", "9007199254740992.0",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1e18", "1.5e300",
    "123456789012345678901234567890", "0.1234567890123456789", "1e400", "-1e400", "1e-400",
    "2147483648", "16777217", "NaN", "Infinity", "-Infinity",
]  # fmt: skip
STRINGS = [
    '""', '"x"', '"5"', '"true"', '"2024-01-01"', '"2024-01-01T00:00:00Z"', '"2024-01-01 10:20:30"',
    '"2024-01-01T00:00:00.123456"', r'"é\u00e9"', r'"\ud83d\ude00"', r'"\ud83d"', r'"\ude00"',
    r'"\u0000"', r'"\n\t\/"', '"{"', '"}"', '"[[["', r'"\"}{"', '"NaN"', '"東京"',
]  # fmt: skip
KEYS = ['"a"', '"b"', '"c"', '"A"', '"é"', '""', r'"\u0061"', '"a/b"', '"."', '"[]"', '"É"']
KEYS += ['"a__variant"', '"B__Variant"', '"_image"']
ODD_LINES = [
    "", " ", "\r", "{", "}", "{}", "[]", "5", "null", '"x"', "hello", '{"a":1} {"a":2}', '{"a":1},',
    '{"a":1}{"b":2}', '{"a":', "1}", '{"a":{', "}}", '{"a":{}', "{}}", ' {"a":1}', '{"a":1} ',
    '{"a":1,"a":2}', '{"a":{"b":1,"b":1}}', '{"a":null,"a":null}', '{"a":"\x00"}', '{"a":1}\x00',
    '{"a":"\x01"}', '{"a":"\t"}', '\ufeff{"a":1}', '{"a":1}\r', '{"a":1}\x0c', "\x0b",
    '{"a":' * 70 + "1" + "}" * 70, '{"a":' + "[" * 63 + "]" * 63 + "}",
    '{"a":' + "[" * 64 + "]" * 64 + "}", '{"a":' + "[" * 9000 + "]" * 9000 + "}",
    '{"a":"' + "[" * 9000 + '"}', "// comment", '{"a":1}//', "{'a':1}", '{"a":01}', '{"a":.5}',
    '{"a":+1}', '{"a":tru}', '{"a":1,}', '{"a":[1,]}',
]  # fmt: skip


def object_of(members):
    return "{" + ",".join(f"{key}:{value}" for key, value in members) + "}"


SCALARS = st.sampled_from([*NUMBERS, *STRINGS, "true", "false", "null", "null"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(st.sampled_from([*KEYS[:4], KEYS[-2]]), inner), max_size=3).map(
            object_of
        )
    ),
    max_leaves=6,
)


COLUMNS = {
    '"i"': st.integers(-(2**53) - 2, 2**53 + 2).map(str) | st.integers(-9, 9).map(str),
    '"n"': st.sampled_from(NUMBERS[:12]) | st.floats(allow_nan=False).map(json.dumps),
    '"s"': st.sampled_from(STRINGS[:6]) | st.text(max_size=5).map(json.dumps),
    '"t"': st.sampled_from(STRINGS[4:8]),
    '"f"': st.sampled_from(["true", "false", "null"]),
    '"o"': st.sampled_from(['{"p":1,"t":"2024-01-01"}', '{"p":2.5}', "{}", '{"q":[]}', "null"]),
    '"l"': st.sampled_from(["[]", "[1]", "[1,null,2.5]", "[-0,0.5]", "[null]", "null"]),
    '"m"': st.sampled_from(
        ['[{"t":"2024-01-01"}]', "[{}]", '[{"t":"x","u":1}]', '[{},{"u":1}]', '[{"v":[true]}]']
    ),
}
ALIKE = st.fixed_dictionaries({}, optional=COLUMNS).map(lambda record: object_of(record.items()))
ANY = st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=3).map(object_of)
DRIFTED = st.tuples(st.sampled_from(list(COLUMNS)), VALUES).map(lambda member: object_of([member]))
LINES = st.lists(
    st.one_of(ALIKE, ALIKE, ALIKE, DRIFTED, ANY, st.sampled_from(ODD_LINES)), max_size=24
) | st.lists(ALIKE, max_size=24)
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 3),
        st.binary(max_size=2)
        | st.sampled_from([b"\n", b"\r\n", b"\n\n", b"{", b"}", b"}\n{", b'"', b",", b"\\", b"0"])
        | st.sampled_from([b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc3", b"\0", b"\\ud800", b"-"]),
    ),
    max_size=4,
)


def edited(content, edits):
    for place, removed, added in edits:
        at = int(place * len(content))
        content = content[:at] + added + content[at + removed :]
    return content


EXPECTED = [
    None,
    pa.schema([("i", pa.int32()), ("n", pa.float32()), ("t", pa.timestamp("us"))]),
    pa.schema([("i", pa.float64()), ("n", pa.int64()), ("s", pa.int64()), ("f", pa.string())]),
    pa.schema([("i", pa.decimal128(20, 2)), ("t", pa.date32()), ("a", pa.string())]),
    pa.schema(
        [
            (
                "o",
                pa.struct([("q", pa.list_(pa.string())), ("p", pa.float64()), ("z", pa.bool_())]),
            ),
            ("l", pa.list_(pa.float64())),
            ("m", pa.list_(pa.struct([("u", pa.int32())]))),
        ]
    ),
]


def outcome(staged, **more):
    """All that reading yields, as text: ``-0.0`` and ``0.0`` are not the same."""
    try:
        result = staged.read(**more)
    except LakeError as error:
        return type(error), str(error)
    # A variant that only may be needed begins with the batch that needs it.
    rows = [repr(without_unused(row)) for row in result.rows]
    return result.columns, rows, result.numbers, result.rejected


def same_both_ways(monkeypatch, root, content, name="rows.jsonl", **more):
    staged = Staged(root)
    staged.add(name, content)
    with monkeypatch.context() as patch:
        # Read as if it were not UTF-8: through text, value by value.
        patch.setattr(json_lines, "is_utf16", lambda file: True)
        expected = outcome(staged, **more)
    found = outcome(staged, **more)
    assert found == expected


@pytest.fixture
def eager(monkeypatch):
    """Even one line is read at once, and tells what may come."""
    monkeypatch.setattr(json_plain, "_FEWEST_LINES", 1)
    monkeypatch.setattr(json_blocks, "_LEARNED_LINES", 1)
    return monkeypatch


@unlimited
@given(
    lines=LINES,
    expected=st.sampled_from(EXPECTED),
    batch_rows=st.sampled_from([1, 2, 5, 1000]),
    kept=st.sampled_from([0, 400, 1 << 20]),
    read_bytes=st.sampled_from([7, 1 << 20]),
)
def test_generated_lines(eager, tmp_path, lines, expected, batch_rows, kept, read_bytes):
    eager.setattr(upload, "KEPT_BYTES", kept)
    eager.setattr(json_bytes, "_READ_BYTES", read_bytes)
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    same_both_ways(eager, tmp_path, content, expected=expected, batch_rows=batch_rows)


@unlimited
@given(
    lines=st.lists(ALIKE, min_size=1, max_size=12),
    edits=EDITS,
    batch_rows=st.sampled_from([1, 3, 1000]),
)
def test_lines_with_bytes_changed(eager, tmp_path, lines, edits, batch_rows):
    content = edited("\n".join(lines).encode("utf-8", "surrogatepass"), edits)
    same_both_ways(eager, tmp_path, content, batch_rows=batch_rows)


@unlimited
@given(
    elements=LINES,
    between=st.sampled_from([",", ", ", ",\n", "\n,\r\n", " "]),
    ends=st.sampled_from(
        [("[", "]"), (" [\n", "\n]\n"), ("\ufeff[", "] "), ("[", ""), ("[", "]]")]
    ),
    edits=EDITS,
    read_bytes=st.sampled_from([7, 1 << 20]),
    batch_rows=st.sampled_from([1, 3, 1000]),
)
def test_arrays(eager, tmp_path, elements, between, ends, edits, read_bytes, batch_rows):
    eager.setattr(json_bytes, "_READ_BYTES", read_bytes)
    text = ends[0] + between.join(elements) + ends[1]
    content = edited(text.encode("utf-8", "surrogatepass"), edits)
    same_both_ways(eager, tmp_path, content, name="rows.json", batch_rows=batch_rows)


def test_a_plain_array_is_read_at_once(eager, tmp_path):
    eager.setattr(json_lines, "record_blocks", None)  # would be called for what is not plain
    staged = Staged(tmp_path)
    staged.add("rows.json", json.dumps([{"a": i, "l": [[1], [2]]} for i in range(100)]).encode())
    eager.setattr(upload, "_image_column", lambda file, finder, unreadable: None)
    assert [row["a"] for row in staged.read().rows] == list(range(100))


@pytest.mark.parametrize("odd", ODD_LINES, ids=range(len(ODD_LINES)))
def test_an_odd_line_among_plain_ones(monkeypatch, tmp_path, odd):
    plain = ['{"a":1,"t":"2024-01-01"}'] * 40
    content = "\n".join([*plain, odd, *plain, odd]).encode("utf-8", "surrogatepass")
    same_both_ways(monkeypatch, tmp_path, content)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("others", ["1", "0.5", "[0.5]", '{"x":0.5}'])
def test_a_number_among_others(monkeypatch, tmp_path, number, others):
    value = others.replace("0.5", number) if len(others) > 3 else number
    lines = [f'{{"a":{others}}}'] * 40
    content = "\n".join([*lines, f'{{"a":{value}}}', *lines]).encode()
    same_both_ways(monkeypatch, tmp_path, content)


def drifting(seed, count):
    """Records of which some have other kinds of values, and some new fields."""
    pick = random.Random(seed)
    others = [
        '"x"',
        "7",
        "2.5",
        "null",
        "true",
        '{"p":1}',
        "[1]",
        '["x"]',
        '{"p":"x"}',
        '"2024-01-01"',
    ]
    usual = {'"k0"': "1", '"k1"': '"x"', '"k2"': "0.5", '"k3"': '{"p":1}', '"k4"': "[1]"}
    for i in range(count):
        record = {'"n"': str(i)} | usual
        if pick.random() < 0.05:
            record[f'"k{pick.randrange(7)}"'] = pick.choice(others)
        yield object_of(record.items())


@pytest.mark.parametrize("seed", range(4))
def test_drifting_records(monkeypatch, tmp_path, seed):
    monkeypatch.setattr(json_blocks, "_LEARNED_LINES", 500)
    content = "\n".join(drifting(seed, 3000)).encode()
    same_both_ways(monkeypatch, tmp_path, content, batch_rows=700)


def block_of(records):
    data = "".join(f"{record}\n" for record in records).encode()
    starts = [0, *(i + 1 for i, byte in enumerate(data) if byte == 10)]
    return json_bytes.Lines(data=data, starts=json_bytes.np.array(starts))


def test_drifting_records_are_mostly_read_at_once():
    found = json_plain.sort_lines(block_of(drifting(0, 5000)), json_plain.Hints())
    assert len(found.others) < 0.05 * 5000


def test_rare_lines_that_look_usual_are_read_at_once_too():
    """Quotes and commas are counted before a pattern is looked for; here they tell nothing."""
    records = ['{"a":"x","b":1}' if i % 20 == 0 else '{"a":1,"b":"x"}' for i in range(4000)]
    hints = json_plain.Hints()
    for was_misled in (False, True, True):
        found = json_plain.sort_lines(block_of(records), hints)
        assert [bool(hints.misleading_counts), len(found.others)] == [was_misled, 0]
        assert sorted(len(part.picked) for part in found.plain) == [200, 3800]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_unusual_lines_have_more_or_fewer_quotes_and_commas(end):
    pick = random.Random(3)
    usual, more, fewer = '{"a":1,"b":"x"}', '{"a":"1","b":"x"}', '{"a":1,"b":2}'
    lines = pick.choices([usual, more, fewer], [8, 1, 1], k=2000)
    data = "".join(line + end for line in lines).encode()
    starts = [0, *(i + 1 for i, byte in enumerate(data) if byte == 10)]
    block = json_bytes.Lines(data=data, starts=json_bytes.np.array(starts))
    assert json_scan.unusual_lines(block).tolist() == [line != usual for line in lines]


def test_rare_names_are_read_apart_once_they_are_known():
    records = [
        f'{{"n": {i}, "rare{i % 3}" : {i}}}' if i % 20 == 0 else f'{{"n": {i}}}'
        for i in range(4000)
    ]
    hints = json_plain.Hints()
    first, second = (json_plain.sort_lines(block_of(records), hints) for _ in range(2))
    assert [sorted(part.columns) for part in first.plain] == [["n", "rare0", "rare1", "rare2"]]
    assert [(len(part.picked), sorted(part.columns)) for part in second.plain] == [
        (3800, ["n"]),
        (200, ["n", "rare0", "rare1", "rare2"]),
    ]
    assert sorted(int(i) for part in second.plain for i in part.picked) == list(range(4000))


def test_names_of_which_each_line_has_some_are_read_together():
    records = [f'{{"n": {i}, "own{i % 30}": {i}}}' for i in range(3000)]
    hints = json_plain.Hints()
    for _ in range(2):
        found = json_plain.sort_lines(block_of(records), hints)
        assert [len(part.picked) for part in found.plain] == [3000]


def test_a_rejected_line_leaves_no_column(eager, tmp_path):
    lines = [b'{"t":"2024-01-01","n":Infinity}', b'{"a":1}', b'{"a":2}']
    expected = pa.schema([("t", pa.timestamp("us"))])
    for batch_rows in (1, 1000):
        content = b"\n".join(lines)
        same_both_ways(eager, tmp_path, content, expected=expected, batch_rows=batch_rows)
