"""Files that cannot be read among files that can: one rejected row each, all or nothing."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from lake_assets.errors import StorageUnavailable, UnreadableSource, UnsupportedFormat
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.model import ReadOptions
from lake_assets.intake.readers.source import DataFile, Limits, reading
from lake_assets_tests.contract.readers_harness import PNG, Result, Staged


@pytest.fixture
def staged(tmp_path):
    return Staged(tmp_path)


def parquet(rows, **options):
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, **options)
    return buffer.getvalue()


def damaged_late():
    """Return a Parquet file whose second row group has broken pages."""
    table = pa.table({"a": pa.array(range(4000), pa.int64())})
    options = {"row_group_size": 2000, "compression": "gzip", "use_dictionary": False}
    data = bytearray(parquet(table, **options))
    start = pq.read_metadata(io.BytesIO(bytes(data))).row_group(1).column(0).data_page_offset
    data[start + 40 : start + 200] = b"\xaa" * 160
    return bytes(data)


BROKEN = {
    "cut.parquet": parquet(pa.table({"a": [1, 2]}))[:-20],
    "header.csv": b"a,a\n1,2\n",
    "array.json": b'[{"a": 1}, {"a": 2}, {"a"',
    "cut.csv.gz": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage",
    "zeros.arrow": b"ARROW1\0\0" + bytes(100),
    "duration.parquet": parquet(pa.table({"a": pa.array([1], pa.duration("s"))})),
}


def read(staged, unreadable, **options):
    batches = staged.batches(options=ReadOptions(**options), unreadable=unreadable, batch_rows=1000)
    return Result(list(batches))


def read_to_the_end(staged, **options):
    """Read as ingestion does: begin again without a file that turns out to be damaged."""
    unreadable, attempts = {}, 0
    while True:
        attempts += 1
        try:
            return read(staged, unreadable, **options), unreadable, attempts
        except (UnreadableSource, UnsupportedFormat) as error:
            assert error.context["file"] not in unreadable
            unreadable[error.context["file"]] = error


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_is_one_rejected_row_and_others_are_read(staged, name):
    staged.add(name, BROKEN[name], role="data")
    staged.add("a-good.csv", b"a\n1\n")
    staged.add("z-good.jsonl", b'{"a": 2}\n')
    unreadable = {}
    result = read(staged, unreadable)
    assert [row["a"] for row in result.rows] == [1, 2]
    (row,) = result.rejected
    assert (row.file, row.row, row.rule, row.path) == (name, None, "file_is_readable", "")
    assert (row.actual, row.row_json) == (unreadable[name].message, f'{{"file_name": "{name}"}}')
    assert unreadable[name].context["file"] == name


@pytest.mark.parametrize("name", BROKEN)
def test_without_a_place_to_note_it_the_error_is_raised(staged, name):
    staged.add(name, BROKEN[name], role="data")
    with pytest.raises((UnreadableSource, UnsupportedFormat)) as caught:
        staged.read()
    assert caught.value.context["file"] == name


def test_all_of_many_are_found_in_one_attempt(staged):
    for name, content in BROKEN.items():
        staged.add(name, content, role="data")
    result, unreadable, attempts = read_to_the_end(staged)
    assert attempts == 1
    assert {row.file for row in result.rejected} == set(unreadable) == set(BROKEN)


def test_rows_before_the_damage_are_not_kept(staged):
    staged.add("late.parquet", damaged_late())
    staged.add("good.csv", b"a\n1\n")
    with pytest.raises(UnreadableSource) as caught:
        read(staged, {})
    assert caught.value.context["file"] == "late.parquet"
    result, _, attempts = read_to_the_end(staged)
    assert (attempts, result.rows, result.rules) == (2, [{"a": 1}], [(None, "file_is_readable")])


def test_images_that_a_damaged_table_lists_wait_for_it(staged):
    staged.add("metadata.csv", b"file_name,file_name\na.png,1\n")
    staged.add("a.png", PNG)
    result = read(staged, {})
    assert result.row_count == 0
    assert {(row.file, row.rule) for row in result.rejected} == {
        ("a.png", "image_is_listed_in_metadata"), ("metadata.csv", "file_is_readable")
    }  # fmt: skip
    (image,) = (row for row in result.rejected if row.file == "a.png")
    assert image.actual == "no row names it, but metadata.csv cannot be read"


def test_images_that_a_table_names_wait_for_it_even_if_only_its_end_is_damaged(staged):
    staged.add("rows.json", b'[{"image": "a.png"}, {"image":')
    staged.add("a.png", PNG)
    result = read(staged, {}, image_column="image")
    assert (result.row_count, len(result.rejected)) == (0, 2)


def test_images_beside_a_damaged_table_that_lists_none_are_rows(staged):
    staged.add("cut.parquet", BROKEN["cut.parquet"])
    staged.add("a.png", PNG)
    result = read(staged, {})
    assert result.rows == [{"file_name": "a.png"}]
    assert result.rules == [(None, "file_is_readable")]


def test_a_disk_that_is_away_says_nothing_of_the_file(tmp_path):
    file = DataFile(
        name="a.parquet",
        path=tmp_path / "gone.parquet",
        format=DataFormat.PARQUET,
        options=ReadOptions(),
        limits=Limits(rows=1, byte_count=1),
    )
    with pytest.raises(StorageUnavailable), reading(file), file.path.open("rb"):
        pass


def arrow_bytes(table):
    buffer = io.BytesIO()
    with ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def test_an_offset_that_leads_out_of_its_file_is_damage(staged):
    data = arrow_bytes(pa.table({"text": ["first", "second", "third"]}))
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, 5, 11, 16))
    lying = b"".join(n.to_bytes(4, "little") for n in (0, 2**30, 2**30 + 6, 16))
    assert data.count(offsets) == 1
    staged.add("lies.arrow", data.replace(offsets, lying))
    with pytest.raises(UnreadableSource, match="offset"):
        staged.read()


@pytest.mark.parametrize("write", [arrow_bytes, parquet], ids=["arrow", "parquet"])
def test_text_that_is_no_utf8_is_damage(staged, write):
    staged.add("latin.x", write(pa.table({"text": ["caf\xe9" * 9]})).replace(b"\xc3\xa9", b"\xe9 "))
    with pytest.raises(UnreadableSource, match="UTF"):
        staged.read()


def test_a_length_beyond_all_memory_is_damage(staged):
    table = pa.table({"a": pa.array([1, None], pa.int64())})
    buffer = io.BytesIO()
    options = ipc.IpcWriteOptions(compression="lz4")
    with ipc.new_file(buffer, table.schema, options=options) as writer:
        writer.write_table(pa.concat_tables([table] * 1000).combine_chunks())
    size = (16_000).to_bytes(8, "little")  # a compressed buffer begins with its size
    assert size in buffer.getvalue()
    lying = buffer.getvalue().replace(size, (2**60).to_bytes(8, "little"))
    staged.add("lies.arrow", lying)
    with pytest.raises(UnreadableSource):
        staged.read()


def test_a_column_deeper_than_parquet_can_be_read_is_refused(staged):
    deep = pa.int64()
    for _ in range(50):
        deep = pa.list_(deep)
    staged.add("deep.arrow", arrow_bytes(pa.table({"a.b": pa.nulls(1, deep)})))
    with pytest.raises(UnreadableSource, match="nested too deeply"):
        staged.read()


def test_a_table_with_too_many_columns_is_refused(staged):
    staged.add("wide.csv", ",".join(f"c{n}" for n in range(5001)).encode() + b"\n")
    with pytest.raises(UnreadableSource, match="5,001 columns"):
        staged.read()
