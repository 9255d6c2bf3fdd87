"""The same logical rows through every format: same values, bounded batches, each row once."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from lake_assets.errors import UnreadableSource, UnsupportedFormat
from lake_assets.intake.model import ReadOptions
from lake_assets.intake.readers import count_rows, read_head
from lake_assets_tests.contract.readers_harness import PNG, Staged, compressed

COUNT = 500
ROWS = [
    {
        "id": i,
        "name": f'naïve "{i}", 日本\nline two' if i % 7 else f"plain {i}",
        "price": i / 4 + 0.5,
        "flag": i % 3 == 0,
        "code": f"{i:04d}",
        "gap": None if i % 5 == 0 else i * 10,
    }
    for i in range(COUNT)
]
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("price", pa.float64()),
        ("flag", pa.bool_()),
        ("code", pa.string()),
        ("gap", pa.int64()),
    ]
)


def as_csv(rows, delimiter=",", encoding="utf-8"):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


def as_jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_parquet(rows):
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), sink, row_group_size=120)
    return sink.getvalue()


def as_arrow(rows, new=pa.ipc.new_file):
    sink = io.BytesIO()
    with new(sink, SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, SCHEMA), max_chunksize=130)
    return sink.getvalue()


def as_feather(rows):
    sink = io.BytesIO()
    feather.write_feather(pa.Table.from_pylist(rows, SCHEMA), sink)
    return sink.getvalue()


FORMS = {
    "rows.parquet": as_parquet,
    "rows.csv": as_csv,
    "semicolon.csv": lambda rows: as_csv(rows, ";"),
    "pipe.csv": lambda rows: as_csv(rows, "|"),
    "tab.csv": lambda rows: as_csv(rows, "\t"),
    "rows.tsv": lambda rows: as_csv(rows, "\t"),
    "bom.csv": lambda rows: as_csv(rows, encoding="utf-8-sig"),
    "utf16.csv": lambda rows: as_csv(rows, encoding="utf-16"),
    "rows.jsonl": as_jsonl,
    "rows.ndjson": as_jsonl,
    "lines_in_fact.json": as_jsonl,
    "array.json": lambda rows: json.dumps(rows).encode(),
    "pretty.json": lambda rows: json.dumps(rows, indent=2).encode("utf-16"),
    "rows.arrow": as_arrow,
    "rows.arrows": lambda rows: as_arrow(rows, pa.ipc.new_stream),
    "rows.feather": as_feather,
    "rows.csv.gz": lambda rows: compressed(as_csv(rows), "gz"),
    "rows.tsv.zst": lambda rows: compressed(as_csv(rows, "\t"), "zst"),
    "rows.jsonl.gz": lambda rows: compressed(as_jsonl(rows), "gz"),
    "rows.jsonl.zst": lambda rows: compressed(as_jsonl(rows), "zst"),
    "rows.json.zst": lambda rows: compressed(json.dumps(rows).encode(), "zst"),
    "no_suffix": as_parquet,
}
by_form = pytest.mark.parametrize("name", FORMS)


@pytest.fixture
def staged(tmp_path):
    return Staged(tmp_path)


@by_form
def test_every_format_gives_the_same_rows(staged, name):
    staged.add(name, FORMS[name](ROWS))
    result = staged.read()
    assert result.rows == ROWS
    assert result.numbers == list(range(COUNT))
    assert result.rejected == []
    assert {batch.file for batch in result.batches} == {name}
    assert {batch.rows.schema for batch in result.batches} == {SCHEMA}


@by_form
def test_batches_stay_within_the_number_of_rows(staged, name):
    staged.add(name, FORMS[name](ROWS))
    result = staged.read(batch_rows=33)
    assert max(batch.rows.num_rows for batch in result.batches) <= 33
    assert result.rows == ROWS


@by_form
def test_batches_stay_within_the_number_of_bytes(staged, name):
    staged.add(name, FORMS[name](ROWS))
    result = staged.read(batch_bytes=2_000)
    assert max(batch.rows.nbytes for batch in result.batches) <= 2_000
    assert result.rows == ROWS


@by_form
def test_one_row_larger_than_a_batch_is_a_batch(staged, name):
    rows = [{**ROWS[i], "name": "x" * (5_000 if i == 3 else 3)} for i in range(6)]
    staged.add(name, FORMS[name](rows))
    assert staged.read(batch_bytes=1_000).rows == rows


@by_form
def test_the_head_is_the_first_rows(staged, name):
    staged.add(name, FORMS[name](ROWS))
    head = read_head(staged.root / name, ReadOptions(), rows=7)
    assert 0 < head.num_rows <= 7
    assert head.column_names == SCHEMA.names
    assert head["code"].to_pylist() == [row["code"] for row in ROWS[: head.num_rows]]


@by_form
def test_an_upload_without_images_has_no_image_tuples(staged, name):
    staged.add(name, FORMS[name](ROWS))
    assert {batch.images for batch in staged.read().batches} == {None}


@pytest.mark.parametrize("name", FORMS)
def test_only_footers_are_counted(staged, name):
    staged.add(name, FORMS[name](ROWS))
    has_footer = name in {"rows.parquet", "rows.arrow", "rows.feather", "no_suffix"}
    count = count_rows(staged.root, staged.files, ReadOptions())
    assert count == (COUNT if has_footer else None)


def test_data_files_are_read_by_name(staged):
    for name in ("b.csv", "a.parquet", "c/a.jsonl"):
        staged.add(
            name,
            FORMS[{"b.csv": "rows.csv", "a.parquet": "rows.parquet"}.get(name, "rows.jsonl")](ROWS),
        )
    files = list(dict.fromkeys(batch.file for batch in staged.read().batches))
    assert files == ["a.parquet", "b.csv", "c/a.jsonl"]


@pytest.mark.parametrize(
    "name", ["e.csv", "e.tsv", "e.jsonl", "e.json", "e.csv.gz"], ids=lambda name: name
)
def test_an_empty_file_has_no_rows(staged, name):
    staged.add(name, compressed(b"", "gz") if name.endswith("gz") else b"", role="data")
    assert staged.read().row_count == 0
    assert read_head(staged.root / name, ReadOptions()).num_rows == 0


@pytest.mark.parametrize(
    "name", ["rows.parquet", "rows.arrow", "rows.feather"], ids=lambda name: name
)
def test_a_table_without_rows_has_no_rows(staged, name):
    staged.add(name, FORMS[name]([]))
    assert staged.read().row_count == 0
    assert read_head(staged.root / name, ReadOptions()).schema == SCHEMA


@pytest.mark.parametrize(
    "name",
    ["rows.parquet", "rows.arrow", "rows.arrows", "rows.feather", "rows.csv.gz", "rows.jsonl.zst"],
)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_cut_short_is_unreadable(staged, name, share):
    content = FORMS[name](ROWS)
    staged.add(name, content[: int(len(content) * share)], role="data")
    with pytest.raises(UnreadableSource, match=name.replace(".", r"\.")):
        staged.read()


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.feather", "x.csv.gz", "x.jsonl.zst"])
def test_a_file_of_another_kind_than_its_name_says_is_unreadable(staged, name):
    staged.add(name, b"this is no such file at all, but long enough to try", role="data")
    with pytest.raises(UnreadableSource, match="cannot be read as"):
        staged.read()
    with pytest.raises(UnreadableSource):
        read_head(staged.root / name, ReadOptions())


def test_a_file_that_is_no_table_is_refused(staged):
    staged.add("notes.txt", b"hello", role="data")
    with pytest.raises(UnsupportedFormat, match=r"notes\.txt"):
        staged.read()


BAD_NAMES = {
    "the_lakes_own": (["a", "_image"], "_image"),
    "the_lakes_own_in_capitals": (["a", "_RECORD_ID"], "_RECORD_ID"),
    "same_but_for_case": (["Text", "b", "text"], "Text, text"),
    "empty": (["a", ""], "no name"),
    "variant": (["a", "b__Variant"], "b__Variant"),
}


@pytest.mark.parametrize("case", BAD_NAMES)
@pytest.mark.parametrize("form", ["csv", "parquet", "arrow"])
def test_names_that_no_table_can_have_are_refused(staged, case, form):
    names, message = BAD_NAMES[case]
    row = dict.fromkeys(names, "x")
    table = pa.Table.from_pylist([row])
    sink = io.BytesIO()
    if form == "parquet":
        pq.write_table(table, sink)
    elif form == "arrow":
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        sink.write(as_csv([row]))
    staged.add(f"rows.{form}", sink.getvalue())
    with pytest.raises(UnreadableSource, match=message):
        staged.read()


TABLE = pa.schema(
    [
        ("n", pa.int64()),
        ("small", pa.int32()),
        ("x", pa.float64()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", "UTC")),
        ("money", pa.decimal128(8, 2)),
        ("text", pa.large_string()),
        ("tags", pa.list_(pa.string())),
        ("box", pa.struct([("w", pa.int64())])),
        ("ok", pa.bool_()),
    ]
)
FITS = {
    "n": ("5", 5, 5),
    "small": ("-7", -7, -7),
    "x": ("3", 3, 3.0),
    "day": ("2024-02-29", "2024-02-29", date(2024, 2, 29)),
    "at": ("2024-01-01T02:00:00+02:00", "2024-01-01T00:00:00Z", datetime(2024, 1, 1, tzinfo=UTC)),
    "text": ("007", "007", "007"),
    "tags": ('["a", "b"]', ["a", "b"], ["a", "b"]),
    "box": ('{"w": 3}', {"w": 3}, {"w": 3}),
    "ok": ("TRUE", True, True),
}


@pytest.mark.parametrize("column", FITS)
def test_text_is_read_as_the_type_that_the_table_has(staged, column):
    as_text, as_json, value = FITS[column]
    staged.add("a.csv", as_csv([{"k": 1, column: as_text}, {"k": 2, column: ""}]))
    staged.add("b.jsonl", as_jsonl([{"k": 1, column: as_json}, {"k": 2, column: None}]))
    result = staged.read(expected=TABLE)
    assert [row[column] for row in result.rows] == [value, None] * 2
    assert result.rejected == []


MISFITS = {
    "n": ("5.5", 5.5, "5.5"),
    "small": ("9223372036854775808", 2**63, "9223372036854775808"),
    "x": ("9007199254740993", 2**53 + 1, "9007199254740993"),
    "day": ("2024-02-30", "2024-02-30", '"2024-02-30"'),
    "at": ("2024-01-01T00:00:00", "yesterday", '"yesterday"'),
    "money": ("1.234", 1.234, "1.234"),
    "text": (None, 7, "7"),
    "tags": ('{"a": 1}', "a", '"a"'),
    "ok": ("yes", 1, "1"),
}


@pytest.mark.parametrize("column", MISFITS)
@pytest.mark.parametrize("times", [1, 40], ids=["few", "many"])
def test_a_value_that_does_not_fit_the_table_is_its_variant(staged, column, times):
    as_text, as_json, variant = MISFITS[column]
    variants = []
    if as_text is not None:
        staged.add("a.csv", as_csv([{"k": 1, column: as_text}, {"k": 2, column: ""}] * times))
        is_number = column in ("n", "small", "x", "money")
        variants += [as_text if is_number else json.dumps(as_text), None] * times
    staged.add("b.jsonl", as_jsonl([{"k": 1, column: as_json}, {"k": 2, column: None}] * times))
    variants += [variant, None] * times
    result = staged.read(expected=TABLE)
    assert result.rejected == []
    assert [row[f"{column}__variant"] for row in result.rows] == variants
    assert {row[column] for row in result.rows} == {None}


def test_the_type_of_a_column_is_that_of_most_rows_of_typed_formats_too(staged):
    def parquet(values):
        sink = io.BytesIO()
        pq.write_table(pa.table({"v": values, "w": [{"a": value} for value in values]}), sink)
        return sink.getvalue()

    staged.add("a.parquet", parquet([1, 2]))
    staged.add("b.parquet", parquet(["x", "y", "z"]))
    staged.add("c.jsonl", as_jsonl([{"v": True}]))
    result = staged.read()
    assert result.columns == {
        (".v", "string"),
        (".v__variant", "string"),
        (".w.a", "string"),
        (".w.a__variant", "string"),
    }
    values = [1, 2, "x", "y", "z"]
    assert result.records == [*({"v": v, "w": {"a": v}} for v in values), {"v": True}]
    assert (
        staged.read(expected=pa.schema([("v", pa.int64())])).batches[0].rows["v"].type == pa.int64()
    )


STRINGS = {"n": "5", "small": "5", "x": "0.5", "ok": "true"}


@pytest.mark.parametrize("column", STRINGS)
def test_a_json_string_is_no_number_and_no_boolean(staged, column):
    staged.add("b.jsonl", as_jsonl([{column: STRINGS[column]}]))
    (row,) = staged.read(expected=TABLE).rows
    assert row == {column: None, f"{column}__variant": f'"{STRINGS[column]}"'}


def test_inside_a_struct_the_variant_is_inside_too(staged):
    staged.add("b.jsonl", as_jsonl([{"box": {"w": "wide", "h": 1}}, {"box": {"w": 2}}]))
    result = staged.read(expected=TABLE)
    assert result.columns == {
        (".box.w", "int64"),
        (".box.w__variant", "string"),
        (".box.h", "int64"),
    }
    assert result.records == [{"box": {"w": "wide", "h": 1}}, {"box": {"w": 2}}]


GROWING = {
    "integer": (pa.int32(), [1, -(2**31)], 2**31, pa.int64()),
    "number": (pa.float32(), [0.5, 2**24], 0.1, pa.float64()),
}


@pytest.mark.parametrize("case", GROWING)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_column_of_small_numbers_grows_only_if_it_has_to(staged, case, form):
    kind, values, larger, grown = GROWING[case]
    table = pa.schema([("v", kind)])
    write = {"csv": as_csv, "jsonl": as_jsonl}[form]
    staged.add(f"a.{form}", write([{"v": value} for value in values]))
    result = staged.read(expected=table)
    assert result.columns == {(".v", str(kind))}
    assert [row["v"] for row in result.rows] == values
    staged.add(f"b.{form}", write([{"v": larger}]))
    result = staged.read(expected=table)
    assert result.columns == {(".v", str(grown))}
    assert [row["v"] for row in result.rows] == [*values, larger]


def test_the_type_of_a_column_is_that_of_most_rows_of_all_formats(staged):
    staged.add("a.csv", b"v,w\n5,2024-01-01\n6,2024-01-02\n")
    staged.add("b.jsonl", as_jsonl([{"v": "x"}, {"v": "y"}, {"v": "z", "w": "2024-01-03"}]))
    result = staged.read()
    assert [row.get("v") for row in result.rows] == ["5", "6", "x", "y", "z"]
    assert [row.get("w") for row in result.rows][:2] == [date(2024, 1, 1), date(2024, 1, 2)]
    assert [row.get("w") for row in result.rows][4:] == [date(2024, 1, 3)]


def test_a_mixed_upload_counts_everything_once(staged):
    staged.add("rows.parquet", as_parquet(ROWS))
    staged.add("x/a.png", PNG)
    staged.add("readme.txt", b"hello")
    result = staged.read()
    assert result.row_count == COUNT + 1
    assert [(row.file, row.rule) for row in result.rejected] == [
        ("readme.txt", "file_is_an_image_or_data")
    ]
