"""JSON Lines, arrays and objects: every record is a row or a rejected row."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_assets.errors import UnreadableSource
from lake_assets.intake.readers import json_records
from lake_assets_tests.contract.readers_harness import Staged


@pytest.fixture
def staged(tmp_path):
    return Staged(tmp_path)


def lines(*records):
    """JSON Lines of the records; strings are lines as they are."""
    texts = (record if isinstance(record, str) else json.dumps(record) for record in records)
    return "".join(f"{text}\n" for text in texts).encode()


VALID, OBJECT = "line_is_valid_json", "record_is_an_object"
BROKEN = {
    "cut_short": ('{"a":', VALID),
    "no_json": ("hello", VALID),
    "two_values": ('{"a": 1} {"a": 2}', VALID),
    "trailing_comma": ('{"a": 1},', VALID),
    "nan": ('{"a": NaN}', VALID),
    "infinity": ('{"a": [-Infinity]}', VALID),
    "huge_digits": ('{"a": ' + "9" * 5000 + "}", VALID),
    "array": ("[1]", OBJECT),
    "string": ('"x"', OBJECT),
    "null": ("null", OBJECT),
    "twice": ('{"a": 1, "a": 2}', "keys_are_unique"),
    "twice_inside": ('{"a": 1, "b": {"c": 1, "c": 1}}', "keys_are_unique"),
    "half_a_surrogate_pair": ('{"a": 1, "t": "\\ud800"}', "strings_are_valid_unicode"),
    "half_a_pair_in_a_key": ('{"\\uDC00": 1}', "strings_are_valid_unicode"),
    "deep": ('{"a":' * 100 + "1" + "}" * 100, "record_is_not_nested_too_deeply"),
    "very_deep": ('{"a":' + "[" * 50_000 + "]" * 50_000 + "}", "record_is_not_nested_too_deeply"),
    "beyond_int64": ('{"a": 9223372036854775808}', "value_fits_its_column"),
    "beyond_a_double": ('{"x": 1e999}', "value_fits_its_column"),
    "other_kind": ('{"a": "1"}', "value_fits_its_column"),
    "boolean_for_a_number": ('{"a": true}', "value_fits_its_column"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("batch_rows", [1, 8192])
def test_a_broken_line_is_rejected_and_the_others_are_read(staged, case, batch_rows):
    text, rule = BROKEN[case]
    staged.add("rows.jsonl", lines({"a": 1, "x": 0.5}, text, {"a": 2, "x": 1.5}))
    result = staged.read(batch_rows=batch_rows)
    assert [row["a"] for row in result.rows] == [1, 2]
    assert result.rules == [(1, rule)]
    (rejected,) = result.rejected
    parses = rule == "value_fits_its_column"
    assert parses or json.loads(rejected.row_json) == text


def test_a_line_of_other_bytes_is_rejected(staged):
    staged.add("rows.jsonl", b'{"a": "\xff"}\n{"a": "x"}\n')
    result = staged.read()
    assert (result.rows, result.rules) == ([{"a": "x"}], [(0, "line_is_valid_utf8")])


def test_empty_lines_are_no_records(staged):
    staged.add("rows.jsonl", b'\n{"a": 1}\r\n  \n\t\n{"a": 2}')
    result = staged.read()
    assert (result.numbers, result.rules) == ([0, 1], [])


TYPES = {
    "integers": ([1, -2, 2**63 - 1], pa.int64()),
    "integer_then_number": ([1, 2.5, None], pa.float64()),
    "number_then_integer": ([2.5, 2**53], pa.float64()),
    "strings_that_look_like_dates": (["2024-01-01", "5"], pa.string()),
    "booleans": ([True, None, False], pa.bool_()),
    "null_first": ([None, None, "x"], pa.string()),
    "lists": ([[1], [], None, [2, None]], pa.list_(pa.int64())),
    "lists_merge": ([[], [1], [2.5]], pa.list_(pa.float64())),
    "structs_merge": (
        [{"a": 1}, {"b": "x"}, {"a": 2.5, "c": {"d": True}}],
        pa.struct([("a", pa.float64()), ("b", pa.string()), ("c", pa.struct([("d", pa.bool_())]))]),
    ),
    "structs_in_lists": (
        [[{"a": 1}], [{"b": [1]}]],
        pa.list_(pa.struct([("a", pa.int64()), ("b", pa.list_(pa.int64()))])),
    ),
    "empty_struct_inside": ([{"a": 1, "b": {}}], pa.struct([("a", pa.int64())])),
}


def filled(value, kind):
    """The value as a row of its type has it: absent fields are null."""
    if pa.types.is_struct(kind) and value is not None:
        return {f.name: filled(value.get(f.name), f.type) for f in kind}
    if pa.types.is_list(kind) and value is not None:
        return [filled(item, kind.value_type) for item in value]
    return value


@pytest.mark.parametrize("case", TYPES)
@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_types_are_merged_over_the_whole_file(staged, case, form):
    values, kind = TYPES[case]
    records = [{"v": value} for value in values]
    content = lines(*records) if form == "jsonl" else json.dumps(records).encode()
    staged.add(f"rows.{form}", content)
    result = staged.read(batch_rows=1)
    assert {batch.rows.schema.field("v").type for batch in result.batches} == {kind}
    assert [row["v"] for row in result.rows] == [filled(value, kind) for value in values]
    assert result.rejected == []


MISFITS = {
    "number_for_a_string": (["x", 5], "v", "string"),
    "string_in_a_list": ([[1], [2, "x"]], "v[1]", "int64"),
    "list_for_a_struct": ([{"a": 1}, [1]], "v", "struct<a: int64>"),
    "struct_for_a_string": (["x", {}], "v", "string"),
    "deep_inside": ([{"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": "x"}]}], "v.a[1].b", "int64"),
    "integer_that_no_double_holds": ([0.5, 2**53 + 1], "v", "double"),
    "boolean_for_a_double": ([0.5, True], "v", "double"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_the_first_value_decides_and_others_are_rejected_with_their_path(staged, case):
    values, path, kind = MISFITS[case]
    staged.add("rows.jsonl", lines(*({"v": value, "k": i} for i, value in enumerate(values))))
    result = staged.read()
    assert result.numbers == [0]
    (rejected,) = result.rejected
    assert (rejected.row, rejected.path, rejected.expected) == (1, path, kind)
    assert json.loads(rejected.row_json) == {"v": values[1], "k": 1}


def test_a_column_that_holds_nothing_is_left_out_but_its_rows_are_not(staged):
    staged.add("rows.jsonl", lines({}, {"a": None}, {"a": {}}, {"a": [None, []]}))
    result = staged.read()
    assert (result.rows, result.numbers, result.rejected) == ([{}] * 4, [0, 1, 2, 3], [])


def test_new_fields_of_a_struct_that_the_table_has_are_kept(staged):
    table = pa.schema([("v", pa.struct([("a", pa.int32())]))])
    staged.add("rows.jsonl", lines({"v": {"a": 1, "b": "x"}}))
    result = staged.read(expected=table)
    assert result.rows == [{"v": {"a": 1, "b": "x"}}]
    assert result.types == {"v": "struct<a: int32, b: string>"}


OBJECTS = {
    "compact": ('{"a": 1, "b": [1, 2]}', [{"a": 1, "b": [1, 2]}]),
    "pretty": ('{\n  "a": 1,\n  "b": {\n    "c": 2\n  }\n}\n', [{"a": 1, "b": {"c": 2}}]),
    "several_pretty": ('{\n"a": 1\n}\n{\n"a": 2\n}', [{"a": 1}, {"a": 2}]),
    "opens_and_closes_on_its_first_line": (
        '{"a": {"b": 1},\n"c": {}, "d": 2}',
        [{"a": {"b": 1}, "d": 2}],
    ),
    "lines_with_a_broken_first": ('{"a": 1,}\n{"a": 2}\n', [{"a": 2}]),
    "empty_array": (" [ ] ", []),
    "one_line_array": ('[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
    "byte_order_mark": ('\ufeff[{"a": "é"}]', [{"a": "é"}]),
}


@pytest.mark.parametrize("case", OBJECTS)
@pytest.mark.parametrize("read_chars", [1, 7, 1 << 20])
def test_json_is_an_array_or_objects(staged, case, read_chars, monkeypatch):
    monkeypatch.setattr(json_records, "_READ_CHARS", read_chars)
    content, rows = OBJECTS[case]
    staged.add("rows.json", content.encode())
    assert staged.read().rows == rows


def test_elements_of_an_array_are_rejected_one_by_one(staged):
    staged.add("rows.json", b'[{"a": 1}, 5, {"a": NaN}, {"b": 1, "b": 2}, {"a": "\xff"}, {"a": 2}]')
    result = staged.read()
    assert result.numbers == [0, 5]
    assert result.rules == [
        (1, OBJECT),
        (2, VALID),
        (3, "keys_are_unique"),
        (4, "line_is_valid_utf8"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('[{"a": 1}', id="not_closed"),
        pytest.param('[{"a": 1} {"a": 2}]', id="no_comma"),
        pytest.param('[{"a": 1}, ', id="cut_after_a_comma"),
        pytest.param('[{"a": 1}, {"a', id="cut_in_a_string"),
        pytest.param('[{"a": 1}] x', id="text_after_it"),
        pytest.param('[{"a": tru}]', id="bad_literal"),
        pytest.param('[{"a": 1}, {a: 2}' + " " * 3000 + "]", id="error_far_from_the_end"),
        pytest.param("{\n" + '"a": 1,\n', id="object_not_closed"),
        pytest.param("hello", id="no_json"),
        pytest.param("[" * 100_000, id="very_deep"),
    ],
)
@pytest.mark.parametrize("read_chars", [7, 1 << 20])
def test_a_broken_array_or_object_is_unreadable(staged, content, read_chars, monkeypatch):
    monkeypatch.setattr(json_records, "_READ_CHARS", read_chars)
    staged.add("rows.json", content.encode())
    with pytest.raises(UnreadableSource, match="not valid JSON"):
        staged.read()


def test_a_record_that_is_too_long_for_memory_is_unreadable(staged, monkeypatch):
    monkeypatch.setattr(json_records, "_READ_CHARS", 64)
    monkeypatch.setattr(json_records, "MAX_RECORD_CHARS", 1000)
    staged.add("rows.json", json.dumps([{"a": "x" * 5000}]).encode())
    with pytest.raises(UnreadableSource, match="more than"):
        staged.read()


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8)
texts = st.text(max_size=8)
unlimited = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@unlimited
@given(
    records=st.lists(
        st.fixed_dictionaries(
            {
                "s": texts,
                "n": st.none() | st.integers(-(2**63), 2**63 - 1),
                "x": st.floats(allow_nan=False, allow_infinity=False),
                "l": st.lists(texts, min_size=1, max_size=3),
                "o": st.fixed_dictionaries({"p": st.booleans(), "q": texts}),
            }
        ),
        min_size=1,
        max_size=10,
    ),
    form=st.sampled_from(["jsonl", "json"]),
    ascii_only=st.booleans(),
    batch_rows=st.integers(1, 5),
)
def test_any_records_come_back_as_written(tmp_path_factory, records, form, ascii_only, batch_rows):
    dumped = [json.dumps(record, ensure_ascii=ascii_only) for record in records]
    content = "\n".join(dumped) if form == "jsonl" else f"[{','.join(dumped)}]"
    staged = Staged(tmp_path_factory.mktemp("json"))
    staged.add(f"rows.{form}", content.encode())
    result = staged.read(batch_rows=batch_rows)
    assert [{"n": None, **row} for row in result.rows] == [{"n": None, **r} for r in records]


@unlimited
@given(
    records=st.lists(
        st.recursive(
            scalars | st.floats(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=12,
    ),
    junk=st.lists(st.text('{}[]",:a1 \\', max_size=8).filter(lambda t: t.strip()), max_size=4),
    batch_rows=st.integers(1, 5),
)
def test_every_line_is_accepted_or_rejected(tmp_path_factory, records, junk, batch_rows):
    written = [json.dumps(record) for record in records] + junk
    staged = Staged(tmp_path_factory.mktemp("json"))
    staged.add("rows.jsonl", "".join(line + "\n" for line in written).encode())
    result = staged.read(batch_rows=batch_rows)
    numbers = result.numbers + [row.row for row in result.rejected]
    assert sorted(numbers) == list(range(len(written)))
    for row in result.rejected:
        json.loads(row.row_json)
