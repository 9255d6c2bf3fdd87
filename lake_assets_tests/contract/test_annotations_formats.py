"""What a file of annotations is, by its content; and what holds for files of every format."""

import gzip
import json

import pytest

from lake_assets.contracts.record_types import RECORD_TYPES, record_type
from lake_assets.errors import UnsupportedFormat
from lake_assets.intake.annotations import (
    AnnotationFormat,
    annotation_format,
    formats_of,
    read_annotations,
)
from lake_assets_tests.contract.annotation_samples import SAMPLES, SROIE_BOXES
from lake_assets_tests.contract.annotations_harness import Folder

EVERY = pytest.mark.parametrize("key", SAMPLES)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@EVERY
def test_every_format_is_known_by_its_content(folder, key):
    name, content, kind, count = SAMPLES[key]
    result = folder.read(name, content, kind)
    assert result.format == key.partition("-")[0]
    assert (len(result.records), result.rules) == (count, [])


@EVERY
def test_a_misleading_name_changes_nothing(folder, key):
    _, content, kind, _ = SAMPLES[key]
    path = folder.write("whatever.dat", content)
    assert annotation_format(path, kind) == key.partition("-")[0]


@EVERY
def test_a_byte_order_mark_and_crlf_change_nothing(folder, key):
    name, content, kind, _ = SAMPLES[key]
    plain = folder.read(name, content, kind).records
    marked = ("\ufeff" + content.replace("\n", "\r\n")).encode()
    assert folder.read(name, marked, kind).records == plain


@EVERY
def test_a_compressed_file_is_read_as_it_is(folder, key):
    name, content, kind, _ = SAMPLES[key]
    plain = folder.read(name, content, kind).records
    assert folder.read(f"{name}.gz", gzip.compress(content.encode()), kind).records == plain


def test_every_format_and_type_has_a_sample():
    samples = {(key.partition("-")[0], kind) for key, (_, _, kind, _) in SAMPLES.items()}
    pairs = {(form, name) for name in RECORD_TYPES for form in formats_of(record_type(name))}
    assert pairs - samples == {("jsonl", name) for name in ("kie", "vqa", "layout")}
    assert {form for form, _ in pairs} == set(AnnotationFormat)


@pytest.mark.parametrize(
    ("name", "kind", "form"),
    [
        ("000.csv", "ocr", "sroie_boxes"),
        ("000.txt", "ocr", "sroie_boxes"),
        ("000.tsv", "ocr", "tesseract_tsv"),
        ("000.jsonl", "vqa", "jsonl"),
    ],
)
def test_an_empty_file_has_a_format_by_its_name_and_no_annotations(folder, name, kind, form):
    result = folder.read(name, "", kind)
    assert (result.format, result.records) == (form, [])


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        pytest.param("a.csv", "image,text\na.jpg,x\n", "ocr", id="a table"),
        pytest.param("a.json", "", "kie", id="empty json"),
        pytest.param("a.json", '{"form": []}', "vqa", id="of another record type"),
        pytest.param("a.xml", "<html><body>x</body></html>", "ocr", id="html without hocr"),
        pytest.param("a.json", '[{"image_id": 1, "caption": "x"}]', "layout", id="coco captions"),
        pytest.param("a.json", '{"documents": [{"text": "x"}]}', "ocr", id="some documents"),
        pytest.param("a.png", b"\x89PNG\r\n\x1a\n\0\0", "ocr", id="an image"),
        pytest.param("a.json", '{"a": {"b": "c"}}', "kie", id="nested, so no keys of a receipt"),
    ],
)
def test_what_is_no_annotations_has_no_format(folder, name, content, kind):
    path = folder.write(name, content)
    assert annotation_format(path, kind) is None
    with pytest.raises(UnsupportedFormat, match="Deliver one of .*jsonl"):
        list(read_annotations(path, name, kind))


@pytest.mark.parametrize(
    ("content", "kind", "rows"),
    [
        pytest.param(
            '{"image": "a.jpg", "text": "x", "form": "round"}\n', "ocr", 1, id="form, as FUNSD"
        ),
        pytest.param(
            '{"image": "a.jpg", "label": "x", "images": 2}\n', "layout", 1, id="images, as COCO"
        ),
        pytest.param(
            '{"note": "no text"}\n{"image": "a.jpg", "text": "x"}\n', "ocr", 2, id="bad first"
        ),
        pytest.param('{"image": \n{"image": "a.jpg", "text": "x"}\n', "ocr", 1, id="no JSON"),
    ],
)
def test_records_by_line_are_that_whatever_the_first_one_has(folder, content, kind, rows):
    result = folder.read("a.jsonl", content, kind)
    assert result.format == "jsonl"
    assert len(result.records) == rows
    assert len(result.records) + len(result.rules) == content.count("\n")


def test_a_format_of_another_record_type_is_refused(folder):
    path = folder.write("000.csv", SROIE_BOXES)
    with pytest.raises(UnsupportedFormat, match=r"sroie_boxes.*no vqa records") as caught:
        list(read_annotations(path, "b/000.csv", "vqa", AnnotationFormat.SROIE_BOXES))
    assert caught.value.context == {"file": "b/000.csv"}


def test_an_unknown_record_type_is_told(folder):
    path = folder.write("000.csv", SROIE_BOXES)
    with pytest.raises(ValueError, match="known: kie, layout, ocr, vqa"):
        annotation_format(path, "captions")
    with pytest.raises(ValueError, match="known: kie, layout, ocr, vqa"):
        list(read_annotations(path, "000.csv", "captions"))


@pytest.mark.parametrize(
    ("name", "image"),
    [("000.csv", "000"), ("boxes/x.1.txt", "x.1"), ("a\\b.csv", "b"), ("000.csv.gz", "000")],
)
def test_a_file_about_one_image_names_it(tmp_path, name, image):
    path = tmp_path / name.rpartition("/")[2]
    path.write_bytes(gzip.compress(SROIE_BOXES.encode()) if name.endswith("gz") else
                     SROIE_BOXES.encode())  # fmt: skip
    blocks = list(read_annotations(path, name, "ocr"))
    assert {record["image"] for block in blocks for record in block.records} == {image}


def test_many_annotations_come_in_blocks(folder):
    lines = [json.dumps({"image": "a", "text": str(i)}) for i in range(12_001)]
    result = folder.read("a.jsonl", "\n".join(lines), "ocr")
    assert [len(block.records) for block in result.blocks] == [5000, 5000, 2001]
    assert result.column("text") == [str(i) for i in range(12_001)]
