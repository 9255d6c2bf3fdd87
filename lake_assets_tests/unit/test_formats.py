"""What a file is, by its content where it has a signature, else by its name."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lake_assets.intake.formats import (
    DataFormat,
    data_format,
    image_extension_of,
    is_junk,
    looks_like_image_name,
)

TABLE = pa.table({"a": [1]})


def parquet():
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


def arrow(new):
    sink = io.BytesIO()
    with new(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.parquet", b"", DataFormat.PARQUET),
        ("a.pq", b"x", DataFormat.PARQUET),
        ("a.csv", b"", DataFormat.CSV),
        ("A.CSV", b"", DataFormat.CSV),
        ("a.csv.gz", b"", DataFormat.CSV),
        ("a.tsv.zst", b"", DataFormat.TSV),
        ("a.jsonl.GZ", b"", DataFormat.JSONL),
        ("a.ndjson", b"", DataFormat.JSONL),
        ("a.json.gz", b"", DataFormat.JSON),
        ("a.feather", b"", DataFormat.ARROW),
        ("a.arrows", b"", DataFormat.ARROW),
        ("a.parquet.gz", b"", None),
        ("a.gz", b"", None),
        ("a.txt", b"a,b", None),
        ("csv", b"a,b", None),
        ("a.jpg", b"\xff\xd8\xff", None),
        ("parquet_under_another.name", parquet(), DataFormat.PARQUET),
        ("file", arrow(pa.ipc.new_file), DataFormat.ARROW),
        ("stream", arrow(pa.ipc.new_stream), DataFormat.ARROW),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_content_decides_before_the_name(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert data_format(tmp_path / name) is expected


@pytest.mark.parametrize(
    ("form", "extension"),
    [
        ("JPEG", "jpg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tiff"),
        ("AVIF", "avif"),
    ],
)
def test_images_are_known_by_their_first_bytes(form, extension):
    sink = io.BytesIO()
    Image.new("RGB", (4, 4)).save(sink, form)
    assert image_extension_of(sink.getvalue()[:32]) == extension


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        pytest.param(b"\0\0\0\x18ftypheic", "heic", id="heic"),
        pytest.param(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif", id="avif_as_mif1"),
        pytest.param(b"\0\0\0\x18ftypisom", None, id="mp4"),
        pytest.param(b"BMW,Audi,Mercedes and others", None, id="text_that_begins_with_BM"),
        pytest.param(b"RIFF\0\0\0\0WAVE", None, id="wav"),
        pytest.param(b"%PDF-1.7", None, id="pdf"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_other_signatures(head, extension):
    assert image_extension_of(head) == extension


@given(st.binary(max_size=40))
def test_any_bytes_may_be_looked_at(head):
    assert image_extension_of(head) in {
        None,
        "jpg",
        "png",
        "webp",
        "gif",
        "bmp",
        "tiff",
        "avif",
        "heic",
    }


@pytest.mark.parametrize("name", ["a.jpg", "x/A.JPEG", "b.tif", "c\\d.WebP", "e.heic"])
def test_names_of_images(name):
    assert looks_like_image_name(name)


@pytest.mark.parametrize("name", ["a", "jpg", ".jpg", "a.jpg.txt", "a.csv", ""])
def test_names_of_others(name):
    assert not looks_like_image_name(name)


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "a/.DS_Store", "Thumbs.db", "x/THUMBS.DB", "desktop.ini", "__MACOSX/a.jpg",
     "a/._b.jpg", ".git/config", "a\\.hidden", ".ipynb_checkpoints/a.csv"],
)  # fmt: skip
def test_litter(name):
    assert is_junk(name)


@pytest.mark.parametrize(
    "name", ["a.jpg", "../a.jpg", "./a.jpg", "a/b.c/d", "thumbs.db.csv", "a..b"]
)
def test_no_litter(name):
    assert not is_junk(name)
