"""Broken files beside a good one: each is rows, rejected rows or one rejected file, with why.

Of an upload that has both, the good file's rows are there as if it had come alone.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lake_assets.intake.annotations.batches import annotations_identity
from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers import Unreadable
from lake_assets_tests.contract.annotation_samples import SAMPLES
from lake_assets_tests.contract.readers_harness import Result
from lake_assets_tests.contract.test_annotations_extras import read, staged

GOOD = {
    "ocr": {"image": "a", "text": "x"},
    "kie": {"image": "a", "field": "x"},
    "vqa": {"image": "a", "question": "x", "answers": ["y"]},
    "layout": {"image": "a", "label": "x"},
}
DEEP = 100_000


def read_beside_good(root: Path, name: str, content: str | bytes, kind: str) -> Result:
    """Read a file with a good one before and one after it; check what holds for every file."""
    line = json.dumps(GOOD[kind] | {"own": 1})
    files = [
        staged(root, "!good.jsonl", line), staged(root, name, content),
        staged(root, "~good.jsonl", f"{line}\n{line}"),
    ]  # fmt: skip
    for file in files:
        assert annotations_identity(root, kind, file)
    unreadable: Unreadable = {}
    result = read(root, files, kind, unreadable=unreadable)
    rows = {batch.file: batch.rows.num_rows for batch in result.batches if batch.rows.num_rows}
    assert (rows.pop("!good.jsonl"), rows.pop("~good.jsonl")) == (1, 2)
    assert set(rows) <= {name} - set(unreadable)
    assert set(unreadable) <= {name}
    for row in result.rejected:
        assert_told(row, name)
    return result


def assert_told(row: RejectedRow, name: str) -> None:
    assert row.file == name
    assert (row.rule, row.expected) > ("", "")
    assert row.actual or row.row is not None
    json.loads(row.row_json)
    for text in (row.path, row.expected, row.actual, row.row_json):
        text.encode()


def swapped(content: str, letter: str) -> str:
    """The content with another letter in many words."""
    return re.sub("[AaOo]", letter, content)


DAMAGES: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda content: "",
    "blank": lambda content: " \n\t\n",
    "cut in its first line": lambda content: content[:20],
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut at its end": lambda content: content.rstrip()[:-1],
    "latin-1": lambda content: swapped(content, "é").encode("latin-1", "replace"),
    "half a surrogate pair": lambda content: swapped(content, "\ud800").encode(
        "utf-8", "surrogatepass"
    ),
    "utf-16 cut": lambda content: content.encode("utf-16")[:-3],
    "nul bytes": lambda content: swapped(content, "\0"),
    "an empty list": lambda content: "[]",
    "an empty object": lambda content: "{}",
    "a number": lambda content: "5",
    "null": lambda content: "null",
    "text": lambda content: '"x"',
    "lists": lambda content: "[[1, 2], [3]]",
    "of another root": lambda content: "<html/>",
    "deep lists": lambda content: "[" * DEEP,
    "deep objects": lambda content: '{"a":' * DEEP,
    "deep elements": lambda content: "<a>" * DEEP,
    "deep inside": lambda content: f"{content[: len(content) // 2]}{'[' * DEEP}",
    "open quote": lambda content: f'{content[: len(content) // 2]}"{"x" * 2_000_000}',
    "open tags": lambda content: f"{content[: len(content) // 2]}{'<!' * 300_000}",
    "compressed and cut": lambda content: content,
}


NOTHING_TO_REJECT = {
    # No annotations are no damage, and some damage leaves what its format allows.
    "sroie_boxes": {"empty", "blank", "cut in the middle", "cut at its end", "nul bytes"},
    "paddleocr_labels": {"empty", "blank"},
    "tesseract_tsv": {"empty", "blank", "cut at its end"},
    # A record without any field is the contract's to reject.
    "jsonl": {"empty", "blank", "cut in the middle", "an empty object"},
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("key", SAMPLES)
def test_a_broken_file_costs_no_other_file(tmp_path, key, damage):
    name, content, kind, _ = SAMPLES[key]
    broken = DAMAGES[damage](content)
    if damage == "compressed and cut":
        name, broken = f"{name}.gz", gzip.compress(content.encode())[:-12]
    result = read_beside_good(tmp_path, name, broken, kind)
    assert bool(result.rejected) != (damage in NOTHING_TO_REJECT.get(key, ()))


BOX = "[84, 109, 136, 119]"
BBOX = "[1.5, 2.5, 3, 4]"
RESULT_BBOX = "[258.15, 41.29, 348.26, 243.78]"
RING = "[[310, 104], [416, 141], [418, 216], [312, 179]]"
LINES = "10,10 50,10 50,20 10,20"
VALUES = [
    # sample, what stands there, what stands there instead, rule, path
    ("jsonl", "[1, 2, 3, 4]", "[NaN, 2, 3, 4]", "line_is_valid_json", ""),
    ("jsonl", "[1, 2, 3, 4]", "[1e999, 2, 3, 4]", "coordinates_are_numbers", "bbox[0]"),
    ("jsonl", "[1, 2, 3, 4]", '["1", 2, 3, 4]', "coordinates_are_numbers", "bbox[0]"),
    ("jsonl", "[1, 2, 3, 4]", "[1, 2, 3, 2, 3, 4, 1, 4]", "boxes_have_four_numbers", "bbox"),
    ("jsonl", "[1, 2, 3, 4]", "[[1, 2], [3, 4]]", "coordinates_are_numbers", "bbox[0]"),
    ("jsonl", "[1, 2, 3, 4]", "[5, 2, 3, 4]", "box_has_an_area", "bbox"),
    ("jsonl", '"confidence": 0.5', '"confidence": "0.5"', "coordinates_are_numbers", "confidence"),
    ("funsd-kie", BOX, "[NaN, 1, 2, 3]", "line_is_valid_json", ""),
    ("funsd-kie", BOX, '["84", 109, 136, 119]', "coordinates_are_numbers", "form[0].box[0]"),
    ("funsd-kie", BOX, "[84, 109, 136, 109, 136, 119]", "boxes_have_four_numbers", "form[0].box"),
    ("xfund-kie", "[1, 2, 3, 4]", "[3, 2, 1, 4]", "box_has_an_area",
     "documents[1].document[0].box"),
    ("xfund-kie", "[1, 2, 3, 4]", "[Infinity, 2, 1, 4]", "line_is_valid_json", ""),
    ("coco", BBOX, "[1.5, NaN, 3, 4]", "line_is_valid_json", ""),
    ("coco", BBOX, "[1.5, 2.5, -3, 4]", "box_has_an_area", "annotations[1].bbox"),
    ("coco", BBOX, '[1.5, 2.5, "3", 4]', "coordinates_are_numbers", "annotations[1].bbox[2]"),
    ("coco", BBOX, "[1, 2, 3, 4, 5, 6, 7, 8]", "boxes_have_four_numbers", "annotations[1].bbox"),
    ("coco_results", RESULT_BBOX, "[1, 2, -3, 4]", "box_has_an_area", "[0].bbox"),
    ("coco_results", RESULT_BBOX, "[1, 2, 3]", "boxes_have_four_numbers", "[0].bbox"),
    ("paddleocr_labels", RING, "[[NaN, 1], [2, 3], [4, 9]]", "line_is_valid_json", ""),
    ("paddleocr_labels", RING, "[[1, 1], [2, 2]]", "polygon_has_three_points", "[0].points"),
    ("paddleocr_labels", RING, '[["1", 1], [2, 3], [4, 9]]', "coordinates_are_numbers",
     "[0].points[0]"),
    ("paddleocr_labels", '"difficult": false', '"": false', "keys_are_not_empty", ""),
    ("paddleocr_labels", '"difficult": false', '"a": 1, "A": 2', "keys_differ_by_more_than_case",
     "A"),
    ("paddleocr_labels", '"difficult": false', '"a__variant": 1', "keys_do_not_end_in_variant",
     "a__variant"),
    ("paddleocr_labels", '"difficult": false', '"_image": 1', "keys_are_not_the_lakes_own",
     "_image"),
    ("paddleocr_labels", '"difficult": false', f'"a": {"[" * 50}{"]" * 50}',
     "record_is_not_nested_too_deeply", ""),
    ("paddleocr_results", "0.98", '"0.98"', "coordinates_are_numbers", "rec_scores[0]"),
    ("paddleocr_results-2", "0.5", "-0.5", "confidence_is_a_share", "[0][1][1]"),
    ("sroie_boxes", "72,25,326", "nan,25,326", "coordinates_are_numbers", "x1"),
    ("sroie_boxes", "72,25,326", "1e999,25,326", "coordinates_are_finite", "x1..y4"),
    ("sroie_boxes", "72,25,326,25,326,64,72,64", "72,25,326,64",
     "line_has_eight_coordinates_and_a_text", ""),
    ("tesseract_tsv", "36\t92\t60", "nan\t92\t60", "coordinates_are_numbers", "left"),
    ("tesseract_tsv", "36\t92\t60", "36\t92\t-60", "box_has_an_area",
     "left, top, width, height"),
    ("page_xml-ocr", LINES, "NaN,10 50,10 50,20", "coordinates_are_numbers", "TextLine[l1].Coords"),
    ("alto-ocr", 'WIDTH="20"', 'WIDTH="inf"', "coordinates_are_numbers", "String[s1].WIDTH"),
    ("alto-ocr", 'WIDTH="20"', 'WIDTH="-1"', "box_has_an_area", "String[s1]"),
    ("hocr", "bbox 36 92 96 116", "bbox nan 92 96 116", "coordinates_are_numbers", "bbox"),
    ("hocr", "bbox 36 92 96 116", "bbox 36 92 1e999 116", "coordinates_are_finite", "bbox"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "old", "new", "rule", "path"), VALUES)
def test_a_broken_value_is_told_and_costs_no_other_annotation(tmp_path, key, old, new, rule, path):
    name, content, kind, count = SAMPLES[key]
    assert old in content
    result = read_beside_good(tmp_path, name, content.replace(old, new, 1), kind)
    assert [(row.rule, row.path) for row in result.rejected] == [(rule, path)]
    is_line_lost = key == "paddleocr_labels" and not path.startswith(("[", "_"))
    assert result.row_count == 3 + count - (2 if is_line_lost else 1)


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "ha"}">' for i in range(30))
DOCTYPES = {
    "laughs": f"[{LAUGHS}]",
    "another file": '[<!ENTITY l29 SYSTEM "file:///etc/passwd">]',
    "another host": '[<!ENTITY % l29 SYSTEM "http://127.0.0.1:9/x">%l29;]',
    "one long entity": f'[<!ENTITY l29 "{"ha" * 500_000}">]',
}


@pytest.mark.parametrize("doctype", DOCTYPES)
@pytest.mark.parametrize("key", ["page_xml-ocr", "page_xml-layout", "alto-ocr", "alto-layout"])
def test_entities_of_a_dtd_make_their_file_unreadable(tmp_path, key, doctype):
    name, content, kind, _ = SAMPLES[key]
    root = "PcGts" if key.startswith("page") else "alto"
    unsafe = content.replace(f"<{root}", f"<!DOCTYPE {root} {DOCTYPES[doctype]}>\n<{root}", 1)
    result = read_beside_good(tmp_path, name, unsafe.replace("Hei", "&l29;", 1), kind)
    assert [row.file for row in result.rejected] == [name]
    assert result.row_count == 3


TAGS = ("<a ", "<a b='", "<a b c ", "<!", "<!--", "</", "<![CDATA[", "<?", "<script>", "< ", "&#")


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("count", [20_000, 600_000])
def test_tags_that_do_not_end_are_refused_in_time(tmp_path, tag, count):
    """The library alone takes the square of their number: hours for as many as this."""
    name, content, kind, _ = SAMPLES["hocr"]
    inside = content.index("This")
    result = read_beside_good(tmp_path, name, content[:inside] + tag * count, kind)
    assert [(row.file, row.row) for row in result.rejected] == [(name, None)]
    assert result.row_count == 3


def test_a_page_of_hocr_that_does_not_end_is_refused(tmp_path):
    name, content, kind, _ = SAMPLES["hocr"]
    result = read_beside_good(tmp_path, name, content[: content.rindex("</div>")], kind)
    assert "cut short inside a page" in result.rejected[0].actual


def test_a_damaged_compressed_file_is_named_as_it_was_staged(tmp_path):
    (tmp_path / "b").mkdir()
    content = gzip.compress(b"1,1,9,1,9,9,1,9,x")[:12]
    result = read_beside_good(tmp_path, "b/1.csv.gz", content, "ocr")
    assert [row.file for row in result.rejected] == ["b/1.csv.gz"]
    assert "b/1.csv.gz" in result.rejected[0].actual
