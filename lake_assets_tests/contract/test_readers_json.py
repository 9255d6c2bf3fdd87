"""JSON Lines, arrays and objects: every record is a row or a rejected row."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_assets.errors import UnreadableSource
from lake_assets.intake.readers import json_records
from lake_assets_tests.contract.readers_harness import Staged, without_nulls


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
    "array": ("[1]", OBJECT),
    "string": ('"x"', OBJECT),
    "null": ("null", OBJECT),
    "twice": ('{"a": 1, "a": 2}', "keys_are_unique"),
    "twice_inside": ('{"a": 1, "b": {"c": 1, "c": 1}}', "keys_are_unique"),
    "half_a_surrogate_pair": ('{"a": 1, "t": "\\ud800"}', "strings_are_valid_unicode"),
    "half_a_pair_in_a_key": ('{"\\uDC00": 1}', "strings_are_valid_unicode"),
    "deep": ('{"a":' * 100 + "1" + "}" * 100, "record_is_not_nested_too_deeply"),
    "very_deep": ('{"a":' + "[" * 50_000 + "]" * 50_000 + "}", "record_is_not_nested_too_deeply"),
    "empty_key": ('{"a": 1, "": 2}', "keys_are_not_empty"),
    "empty_key_inside": ('{"a": 1, "b": [{"": null}]}', "keys_are_not_empty"),
    "two_cases": ('{"a": 1, "A": 2}', "keys_differ_by_more_than_case"),
    "two_cases_inside": ('{"b": {"é": 1, "É": null}}', "keys_differ_by_more_than_case"),
    "variant_key": ('{"a__variant": "1"}', "keys_do_not_end_in_variant"),
    "variant_key_inside": ('{"b": [{"c__VARIANT": null}]}', "keys_do_not_end_in_variant"),
    "own_key": ('{"a": 1, "_image": "x"}', "keys_are_not_the_lakes_own"),
    "own_key_in_capitals": ('{"_RECORD_ID": null}', "keys_are_not_the_lakes_own"),
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
    # What is an object may be replayed as one.
    is_object = rule.startswith("keys_") and rule != "keys_are_unique"
    assert rejected.row_json == text if is_object else json.loads(rejected.row_json) == text
    assert {name for name, _ in result.columns} == {".a", ".x"}


@pytest.mark.parametrize("case", [name for name in BROKEN if "key" in name or "cases" in name])
def test_many_lines_with_such_keys_are_rejected_and_the_others_are_read(staged, case):
    text, rule = BROKEN[case]
    staged.add("rows.jsonl", lines(*[{"a": 1, "b": {"c": 1}}, text] * 200, {"a": 2}))
    result = staged.read(batch_rows=150)
    assert result.rules == [(i, rule) for i in range(1, 400, 2)]
    assert [row["a"] for row in result.rows] == [1] * 200 + [2]


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
        # In the order of the record with most in it; what that one lacks comes behind.
        pa.struct([("a", pa.float64()), ("c", pa.struct([("d", pa.bool_())])), ("b", pa.string())]),
    ),
    "structs_in_lists": (
        [[{"a": 1}], [{"b": [1]}]],
        pa.list_(pa.struct([("b", pa.list_(pa.int64())), ("a", pa.int64())])),
    ),
    "empty_key_inside": ([{"a": 1, "b": None}], pa.struct([("a", pa.int64())])),
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


LONG = "0.12345678901234567891"
NUMBER, TEXT = pa.int64(), pa.string()
VARIANTS = {
    "number_for_text": (["x", "y", 5], TEXT, [None, None, "5"]),
    "text_for_a_number": ([1, 2, "100"], NUMBER, [None, None, '"100"']),
    "most_rows_decide": ([5, "x", "y"], TEXT, ["5", None, None]),
    "text_before_number": ([5, "x"], TEXT, ["5", None]),
    "list_before_text": (["x", [1]], pa.list_(NUMBER), ['"x"', None]),
    "struct_before_list": ([[1], {"a": 1}], pa.struct([("a", NUMBER)]), ["[1]", None]),
    "number_before_boolean": ([True, 1], NUMBER, ["true", None]),
    "list_with_one_other_item": ([[1], [2, "x"]], pa.list_(NUMBER), [None, '[2, "x"]']),
    "list_in_a_list": ([[[1]], [[2], ["x"]]], pa.list_(pa.list_(NUMBER)), [None, '[[2], ["x"]]']),
    "list_for_a_struct": (
        [{"a": 1}, {"a": 2}, [1]],
        pa.struct([("a", NUMBER)]),
        [None, None, "[1]"],
    ),
    "nothing_for_text": (["x", {}, [], [None]], TEXT, [None, "{}", "[]", "[null]"]),
    "nothing_that_fits": ([[1], []], pa.list_(NUMBER), None),
    "nothing_at_all": ([{}, [], [None], {"a": None}], None, ["{}", "[]", "[null]", "{}"]),
    "beyond_int64": ([1, 2**63], NUMBER, [None, "9223372036854775808"]),
    "nothing_but_beyond_int64": ([-(2**63) - 1], None, ["-9223372036854775809"]),
    "beyond_the_integers_of_doubles": ([0.5, 2**53 + 1], pa.float64(), [None, "9007199254740993"]),
    "boolean_for_a_double": ([0.5, 1, True], pa.float64(), [None, None, "true"]),
    "digits": ([1, "9" * 5000], NUMBER, [None, "9" * 5000]),
    "beyond_a_double": ([0.5, "1e999"], pa.float64(), [None, "1e999"]),
    "digits_of_a_fraction": (["", "", LONG], TEXT, [None, None, LONG]),
    "digits_in_a_list": (["", "", f"[1e5,{LONG}]"], TEXT, [None, None, f"[100000, {LONG}]"]),
    "keys_are_sorted": (
        ["x", "y", {"b": 1.0, "a": None, "c": [-0.0, "é"]}],
        TEXT,
        [None, None, '{"b": 1, "c": [-0.0, "é"]}'],
    ),
}
RAW = ("digits", "digits_of_a_fraction", "digits_in_a_list", "beyond_a_double")


@pytest.mark.parametrize("case", VARIANTS)
@pytest.mark.parametrize("form", ["jsonl", "json"])
@pytest.mark.parametrize("times", [1, 40], ids=["few", "many"])
def test_what_does_not_fit_its_column_is_its_variant(staged, case, form, times):
    values, kind, variants = VARIANTS[case]
    last = values[-1] if case in RAW else json.dumps(values[-1])
    texts = [*map(json.dumps, values[:-1]), last] * times
    records = [f'{{"k": {i}, "v": {text}}}' for i, text in enumerate(texts)]
    content = "\n".join(records) if form == "jsonl" else f"[{','.join(records)}]"
    staged.add(f"rows.{form}", content.encode())
    result = staged.read()
    assert result.rejected == []
    schema = result.batches[0].rows.schema
    assert (schema.field("v").type if "v" in schema.names else None) == kind
    assert [row.get("v__variant") for row in result.rows] == (
        variants or [None] * len(values)
    ) * times
    assert ("v__variant" in schema.names) == (variants is not None)
    if case not in RAW:
        expected = [without_nulls({"k": i, "v": value}) for i, value in enumerate(values * times)]
        assert result.records == expected


DEEP = [
    {"v": {"a": [{"b": 1}]}},
    {"v": {"a": [{"b": 1}, {"b": "x", "c": []}]}},
    {"v": {"a": [{"b": 2}, 5]}},
    {"v": {"a": {}}},
    {"v": []},
]


def test_variants_stand_beside_their_fields_at_every_depth(staged):
    staged.add("rows.jsonl", lines(*DEEP))
    result = staged.read()
    assert result.columns == {
        (".v.a[].b", "int64"),
        (".v.a[].b__variant", "string"),
        (".v.a[].c__variant", "string"),
        (".v.a__variant", "string"),
        (".v__variant", "string"),
    }
    assert result.records == DEEP


def test_a_field_of_lists_that_are_variants_has_no_variant(staged):
    records = [{"v": [{"b": 1}]}, {"v": [{"b": 2}]}, {"v": [{"b": "x"}, 5]}]
    staged.add("rows.jsonl", lines(*records))
    result = staged.read()
    assert result.columns == {(".v[].b", "int64"), (".v__variant", "string")}
    assert result.records == records


def test_spellings_of_a_key_are_one_column(staged):
    staged.add("a.jsonl", lines({"b": 1}, {"B": 2, "c": {"x": 1}}))
    staged.add("b.jsonl", lines(*[{"b": i} for i in range(50)], {"C": {"X": 2}}, {"c": "x"}))
    result = staged.read()
    assert result.columns == {(".B", "int64"), (".C.X", "int64"), (".C__variant", "string")}
    assert [row["B"] for row in result.rows] == [1, 2, *range(50), None, None]
    table = pa.schema([("c", pa.struct([("x", pa.int64())]))])
    assert staged.read(expected=table).columns == {
        (".B", "int64"),
        (".c.x", "int64"),
        (".c__variant", "string"),
    }


def test_a_column_of_nothing_but_null_is_left_out_but_its_rows_are_not(staged):
    staged.add("rows.jsonl", lines({}, {"a": None}, {}))
    result = staged.read()
    assert (result.rows, result.numbers, result.rejected) == ([{}] * 3, [0, 1, 2], [])


def test_two_thousand_columns_and_their_variants(staged):
    wide = [{f"c{i}": i for i in range(2000)}, {f"c{i}": str(i) for i in range(1, 2000, 2)}]
    staged.add("rows.jsonl", lines(*wide))
    result = staged.read()
    assert len(result.columns) == 3000
    assert result.records == wide


def test_more_columns_than_a_table_has_are_refused(staged):
    staged.add("a.jsonl", lines(*({f"k{i}": 1} for i in range(5001))))
    with pytest.raises(UnreadableSource, match="5,001 columns"):
        staged.read()


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
        [{"a": {"b": 1}, "c__variant": "{}", "d": 2}],
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
unlimited = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


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
