"""SROIE boxes, Tesseract TSV and PaddleOCR labels: each line a record or a reason."""

import pytest

from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations import AnnotationFormat
from lake_assets_tests.contract.annotation_samples import (
    PADDLEOCR_LABELS,
    SROIE_BOXES,
    TESSERACT_TSV,
)
from lake_assets_tests.contract.annotations_harness import Folder

SQUARE = "0,0,4,0,4,3,0,3"
HEADER = TESSERACT_TSV.partition("\n")[0]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_sroie_boxes_are_lines_of_text(folder):
    result = folder.read("000.csv", SROIE_BOXES, "ocr")
    assert result.records[1] == {
        "image": "000",
        "reading_order": 1,
        "annotation_id": None,
        "text": "NO.3, JALAN",
        "level": "line",
        "polygon": [
            {"x": 50, "y": 82}, {"x": 440, "y": 82}, {"x": 440, "y": 121}, {"x": 50, "y": 121},
        ],
        "box": {"x_min": 50, "y_min": 82, "x_max": 440, "y_max": 121},
        "confidence": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param("a,b,,c", "a,b,,c", id="commas"),
        pytest.param(' "quoted" ', ' "quoted" ', id="quotes and spaces"),
        pytest.param("", "", id="no text"),
        pytest.param("합계 ₩9", "합계 ₩9", id="another script"),
        pytest.param("a\rb", "a\rb", id="a carriage return inside"),
    ],
)
def test_the_text_of_a_line_is_taken_as_it_is(folder, text, read):
    assert folder.read("0.csv", f"{SQUARE},{text}\r\n\n", "ocr").column("text") == [read]


@pytest.mark.parametrize(
    ("line", "rule", "path"),
    [
        pytest.param(SQUARE, "line_has_eight_coordinates_and_a_text", "", id="no text"),
        pytest.param("1,2,x", "line_has_eight_coordinates_and_a_text", "", id="too short"),
        pytest.param("0,0,4,0,4,y,0,3,a", "coordinates_are_numbers", "y3", id="a letter"),
        pytest.param("0,0,4,0,4,nan,0,3,a", "coordinates_are_numbers", "y3", id="nan"),
        pytest.param("0,0,4,0,4,1_0,0,3,a", "coordinates_are_numbers", "y3", id="underscore"),
        pytest.param("0,0,4,0,4,٣,0,3,a", "coordinates_are_numbers", "y3", id="other digits"),
        pytest.param("0,0,4,0,4,,0,3,a", "coordinates_are_numbers", "y3", id="empty"),
        pytest.param(f"{'9' * 301},0,4,0,4,3,0,3,a", "coordinates_are_numbers", "x1", id="endless"),
        pytest.param(f"{2**53 + 1},0,4,0,4,3,0,3,a", "coordinates_are_exact", "x1", id="2^53+1"),
        pytest.param("1e999,0,4,0,4,3,0,3,a", "coordinates_are_finite", "x1..y4", id="overflow"),
        pytest.param("5,5,5,5,5,5,5,5,a", "polygon_has_three_points", "x1..y4", id="a point"),
        pytest.param("0,0,4,4,8,8,2,2,a", "polygon_has_an_area", "x1..y4", id="a line"),
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_rejected_and_the_others_stay(folder, line, rule, path):
    result = folder.read("0.csv", f"{SQUARE},a\n{line}\n{SQUARE},b\n", "ocr")
    assert result.rules == [(1, rule, path)]
    assert result.column("text") == ["a", "b"]
    # So that its place is free for it when it is mended.
    assert result.column("reading_order") == [0, 2]


def test_latin_1_is_rejected_line_by_line_and_not_guessed(folder):
    content = f"{SQUARE},total\n{SQUARE},café\n".encode("latin-1")
    result = folder.read("0.csv", content, "ocr")
    assert result.rules == [(1, "line_is_valid_utf8", "")]
    assert "\\\\udce9" in result.rejected[0].row_json
    assert result.column("text") == ["total"]


def test_utf_16_is_read_by_its_byte_order_mark(folder):
    result = folder.read("0.csv", f"{SQUARE},café\n".encode("utf-16"), "ocr")
    assert result.column("text") == ["café"]


def test_tesseract_words_have_their_place_and_confidence(folder):
    result = folder.read("t.tsv", TESSERACT_TSV, "ocr")
    assert result.column("text") == ['"This', "is, it", "~"]
    assert result.column("confidence") == [0.9625, None, 0]
    assert result.column("reading_order") == [0, 1, 0]
    assert result.column("page_num") == [1, 1, 2]
    assert result.column("word_num") == [1, 2, 1]
    assert result.boxes[0] == (36, 92, 96, 116)
    assert set(result.column("level")) == {"word"}


@pytest.mark.parametrize(
    ("line", "rule", "path"),
    [
        pytest.param("5\t1\t1", "row_has_all_columns", "", id="too few columns"),
        pytest.param("x\t1\t1\t1\t1\t1\t1\t1\t1\t1\t1\ta", "level_is_known", "level", id="level"),
        pytest.param(
            "5\t1\t1\t1\t1\t1\t1\t1\t1\t1\t101\ta", "confidence_is_a_share", "conf", id="conf"
        ),
        pytest.param(
            "5\t1\t1\t1\t1\t1\t1\t1\t0\t1\t9\ta", "box_has_an_area", "left, top, width, height",
            id="no width",
        ),
        pytest.param(
            "5\t1\t1\t1\t-1\t1\t1\t1\t1\t1\t9\ta", "value_fits_its_column", "line_num", id="line"
        ),
    ],
)  # fmt: skip
def test_a_word_of_tesseract_that_is_none_is_rejected(folder, line, rule, path):
    good = "5\t1\t1\t1\t1\t1\t36\t92\t60\t24\t96\ta"
    result = folder.read("t.tsv", f"{HEADER}\n{line}\n{good}\n", "ocr")
    assert (result.rules, len(result.records)) == ([(0, rule, path)], 1)


def test_a_later_tesseract_may_add_columns(folder):
    header = HEADER.replace("word_num", "word_num\tsymbol_num").replace("conf", "conf\tlang")
    row = "5\t1\t1\t1\t1\t1\t0\t36\t92\t60\t24\t96\teng\ta b"
    result = folder.read("t.tsv", f"{header}\n{row}\n", "ocr")
    assert (result.column("text"), result.column("confidence")) == (["a b"], [0.96])


def test_a_tsv_without_the_header_is_refused(folder):
    path = folder.write("t.tsv", "5\t1\t1\t1\t1\t1\t36\t92\t60\t24\t96\ta\n")
    with pytest.raises(UnreadableSource, match="does not begin with Tesseract's header"):
        folder.read(path.name, path.read_bytes(), "ocr", AnnotationFormat.TESSERACT_TSV)


def test_labels_of_paddleocr_are_lines_of_many_images(folder):
    result = folder.read("Label.txt", PADDLEOCR_LABELS, "ocr")
    assert result.column("image") == ["imgs/img_61.jpg"] * 2
    assert result.column("text") == ["MASA", "###"]
    assert result.column("difficult") == [False, True]
    assert result.column("reading_order") == [0, 1]
    assert result.boxes[0] == (310, 104, 418, 216)


@pytest.mark.parametrize(
    ("line", "rule", "path"),
    [
        pytest.param("a.jpg [1]", "line_has_image_and_labels", "", id="no tab"),
        pytest.param('a.jpg\t{"a": 1}', "line_has_image_and_labels", "", id="no list"),
        pytest.param("a.jpg\t[{", "line_is_valid_json", "", id="cut short"),
        pytest.param("a.jpg\t[NaN]", "line_is_valid_json", "", id="nan"),
        pytest.param('a.jpg\t[{"a": 1, "a": 2}]', "keys_are_unique", "", id="a key twice"),
        pytest.param(
            "a.jpg\t" + "[" * 100_000, "record_is_not_nested_too_deeply", "", id="too deep"
        ),
        pytest.param(
            'a.jpg\t["\\ud800"]', "strings_are_valid_unicode", "", id="half of a surrogate pair"
        ),
        pytest.param("a.jpg\t[1]", "record_is_an_object", "[0]", id="no object"),
        pytest.param(
            'a.jpg\t[{"transcription": "x"}]', "value_fits_its_column", "[0].points", id="no points"
        ),
        pytest.param(
            'a.jpg\t[{"transcription": 5, "points": [[0,0],[1,0],[1,1]]}]',
            "value_fits_its_column", "[0].transcription", id="text is a number",
        ),
        pytest.param(
            'a.jpg\t[{"transcription": "x", "points": [["0","0"],[1,0],[1,1]]}]',
            "coordinates_are_numbers", "[0].points[0]", id="numbers as text",
        ),
        pytest.param(
            'a.jpg\t[{"transcription": "x", "points": [[0,0,0],[1,0],[1,1]]}]',
            "points_have_two_coordinates", "[0].points[0]", id="three coordinates",
        ),
    ],
)  # fmt: skip
def test_a_label_that_is_none_is_rejected(folder, line, rule, path):
    result = folder.read("Label.txt", f"{PADDLEOCR_LABELS}{line}\n", "ocr")
    assert (result.rules, len(result.records)) == ([(2, rule, path)], 2)
