"""Rows meet their images: by path, as bytes, as structs, or as files of their own."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake_assets.intake.image_columns import referenced_name
from lake_assets.intake.model import ReadOptions
from lake_assets.intake.readers import count_rows
from lake_assets_tests.contract.readers_harness import PNG, Staged


@pytest.fixture
def staged(tmp_path):
    return Staged(tmp_path)


def png(i):
    return PNG + bytes([i])


def parquet_file(columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def test_images_without_a_table_are_rows(staged):
    files = [staged.add(name, png(i)) for i, name in enumerate(["b.png", "a.png", "cats/x/c.png"])]
    result = staged.read()
    assert result.rows == [{"file_name": n} for n in ("a.png", "b.png", "cats/x/c.png")]
    assert result.numbers == [0, 1, 2]
    first = result.images[0]
    assert (first.name, first.path, first.sha256) == (
        "a.png",
        staged.root / "a.png",
        files[1].sha256,
    )
    assert count_rows(staged.root, staged.files, ReadOptions()) == 3


def test_labels_come_from_sub_folders(staged):
    for name in ("top.png", "cats/a.png", "dogs/big/b.png"):
        staged.add(name, PNG)
    rows = staged.read(label_from_folders=True).rows
    assert [row["label"] for row in rows] == ["cats", "dogs/big", None]


def test_image_rows_come_in_batches(staged):
    for i in range(7):
        staged.add(f"{i}.png", PNG)
    result = staged.read(batch_rows=3)
    assert [batch.rows.num_rows for batch in result.batches] == [3, 3, 1]
    assert result.numbers == list(range(7))


METADATA = {
    "metadata.csv": b"file_name,text\na.png,one\nsub/b.png,two\n,none\nmissing.png,three\n",
    "metadata.jsonl": b'{"file_name": "a.png", "text": "one"}\n'
    b'{"file_name": "sub/b.png", "text": "two"}\n'
    b'{"text": "none"}\n'
    b'{"file_name": "missing.png", "text": "three"}\n',
    "metadata.parquet": parquet_file(
        {
            "file_name": ["a.png", "sub/b.png", None, "missing.png"],
            "text": ["one", "two", "none", "three"],
        }
    ),
}


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("folder", ["", "train/"])
@pytest.mark.parametrize("batch_rows", [1, 100])
def test_rows_name_their_images(staged, name, folder, batch_rows):
    staged.add(folder + name, METADATA[name])
    one = staged.add(folder + "a.png", png(1))
    staged.add(folder + "sub/b.png", png(2))
    staged.add(folder + "unlisted.png", png(3))
    result = staged.read(batch_rows=batch_rows)
    assert [row["text"] for row in result.rows] == ["one", "two", "none"]
    assert [row["file_name"] for row in result.rows] == ["a.png", "sub/b.png", None]
    assert [image and image.name for image in result.images] == [
        f"{folder}a.png",
        f"{folder}sub/b.png",
        None,
    ]
    assert result.images[0].sha256 == one.sha256
    assert [(row.file, row.row, row.rule, row.actual) for row in result.rejected] == [
        (folder + name, 3, "image_is_present", "missing.png"),
        (folder + "unlisted.png", None, "image_is_listed_in_metadata", "no row names it"),
    ]
    assert json.loads(result.rejected[0].row_json) == {"file_name": "missing.png", "text": "three"}


def test_a_row_rejected_for_another_reason_still_lists_its_image(staged):
    staged.add(
        "metadata.jsonl", b'{"file_name": "a.png", "n": 1}\n{"file_name": "b.png", "": "x"}\n'
    )
    staged.add("a.png", PNG)
    staged.add("b.png", PNG)
    assert staged.read().rules == [(1, "keys_are_not_empty")]


def test_names_made_of_digits_stay_names(staged):
    staged.add("metadata.csv", b"file_name,n\n0001,1\n0002,2\n")
    staged.add("0001", PNG)
    staged.add("0002", PNG)
    result = staged.read()
    assert result.rows == [{"file_name": "0001", "n": 1}, {"file_name": "0002", "n": 2}]
    assert [image.name for image in result.images] == ["0001", "0002"]


@pytest.mark.parametrize(
    "value", ["../outside.png", "/etc/hostname", "a/../../outside.png", "x\0y.png"]
)
def test_no_row_reaches_outside_the_upload(tmp_path, value):
    (tmp_path / "outside.png").write_bytes(PNG)
    staged = Staged(tmp_path / "files")
    staged.add("a.png", PNG)
    staged.add("m.jsonl", "\n".join(json.dumps({"image": v}) for v in ("a.png", value)).encode())
    result = staged.read()
    assert [image.name for image in result.images] == ["a.png"]
    assert result.rules == [(1, "image_is_present")]


def test_files_from_elsewhere_are_found_by_the_value_and_are_no_rows(staged):
    value = "/data/images/a.png"
    staged.add("rows.csv", f"image,n\n{value},1\n".encode())
    staged.add(referenced_name(value), PNG)
    staged.add(referenced_name("/data/unused.png"), PNG)
    result = staged.read()
    assert result.rows == [{"image": value, "n": 1}]
    (image,) = result.images
    assert (image.name, image.path) == (value, staged.root / referenced_name(value))
    assert result.rejected == []


def test_image_bytes_leave_the_rows(staged):
    values = [png(1), None, png(2), b"no image"]
    staged.add("rows.parquet", parquet_file({"k": range(4), "image": values}))
    result = staged.read(batch_rows=2)
    assert result.rows == [{"k": i} for i in range(4)]
    assert [image and image.data for image in result.images] == values
    assert result.images[2].name == "rows.parquet#2"
    assert result.rejected == []


def test_rows_of_nothing_but_image_bytes_are_still_rows(staged):
    staged.add("rows.parquet", parquet_file({"image": [png(i) for i in range(5)]}))
    result = staged.read(batch_rows=2)
    assert (result.row_count, result.numbers) == (5, [0, 1, 2, 3, 4])


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_a_hugging_face_image_gives_its_bytes_and_keeps_its_path(staged):
    values = [{"bytes": png(1), "path": "x.png"}, None, {"bytes": None, "path": "in/a.png"}]
    staged.add("rows.parquet", parquet_file({"image": pa.array(values, STRUCT), "k": range(3)}))
    staged.add("in/a.png", PNG)
    result = staged.read()
    assert result.rows == [
        {"image": "x.png", "k": 0},
        {"image": None, "k": 1},
        {"image": "in/a.png", "k": 2},
    ]
    assert [image and image.data for image in result.images] == [png(1), None, None]
    assert [image and image.name for image in result.images] == ["x.png", None, "in/a.png"]


def test_a_hugging_face_image_without_paths_leaves_the_rows(staged):
    values = [{"bytes": png(1), "path": None}]
    staged.add("rows.parquet", parquet_file({"image": pa.array(values, STRUCT), "k": [1]}))
    result = staged.read()
    assert result.rows == [{"k": 1}]
    assert result.images[0].name == "rows.parquet#0"


def test_a_hugging_face_image_whose_path_is_nowhere_is_rejected(staged):
    values = [{"bytes": png(1), "path": None}, {"bytes": None, "path": "no.png"}]
    staged.add("rows.parquet", parquet_file({"image": pa.array(values, STRUCT), "k": [1, 2]}))
    result = staged.read()
    assert result.rules == [(1, "image_is_present")]
    assert json.loads(result.rejected[0].row_json)["k"] == 2


def test_images_beside_a_table_with_bytes_are_rows_of_their_own(staged):
    staged.add("rows.parquet", parquet_file({"image": [png(1)]}))
    staged.add("a.png", PNG)
    result = staged.read()
    assert result.rows == [{}, {"file_name": "a.png"}]
    assert result.rejected == []


def test_every_batch_has_images_if_any_row_of_the_upload_can(staged):
    staged.add("a.csv", b"k,v\n1,2\n")
    staged.add("b.parquet", parquet_file({"image": [png(1)]}))
    assert [batch.images and len(batch.images) for batch in staged.read().batches] == [1, 1]


def test_a_named_column_may_begin_with_nulls(staged):
    rows = [{"k": i} for i in range(2000)] + [{"k": 2000, "picture": "a.png"}]
    staged.add("rows.jsonl", "\n".join(map(json.dumps, rows)).encode())
    staged.add("a.png", PNG)
    result = staged.read(image_column="picture", batch_rows=500)
    assert result.images[-1].name == "a.png"
    assert (result.row_count, result.rejected) == (2001, [])


def test_a_data_file_without_the_named_column_has_rows_without_images(staged):
    staged.add("a.csv", b"k,v\n1,2\n")
    staged.add("b.csv", b"picture,v\np.png,2\n")
    staged.add("c.jsonl", b'{"picture": 5}\n')
    staged.add("p.png", PNG)
    result = staged.read(image_column="picture")
    assert [image and image.name for image in result.images] == [None, "p.png", None]


def test_text_that_is_called_an_image_still_comes_out_as_one(staged):
    staged.add("a.png", b"not an image", role="image")
    assert [image.name for image in staged.read().images] == ["a.png"]


@pytest.mark.parametrize("batch_rows", [1, 100])
def test_files_of_no_use_are_rejected_once_each(staged, batch_rows):
    staged.add("a.txt", b"x")
    staged.add("b.pdf", b"%PDF")
    result = staged.read(batch_rows=batch_rows)
    assert [(row.file, row.row, row.rule) for row in result.rejected] == [
        ("a.txt", None, "file_is_an_image_or_data"),
        ("b.pdf", None, "file_is_an_image_or_data"),
    ]
    assert {batch.images for batch in result.batches} == {None}
