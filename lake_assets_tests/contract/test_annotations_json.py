"""SROIE keys, FUNSD, COCO, PaddleOCR results and plain JSON: each annotation once."""

import copy
import json

import pytest

from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations import AnnotationFormat, read_annotations
from lake_assets_tests.contract.annotation_samples import (
    COCO,
    COCO_OBJECT,
    COCO_RESULTS,
    FUNSD,
    JSONL,
    PADDLEOCR_2,
    PADDLEOCR_RESULTS,
    SROIE_KEYS,
    XFUND,
)
from lake_assets_tests.contract.annotations_harness import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_keys_of_a_receipt_are_fields(folder):
    result = folder.read("000.json", SROIE_KEYS, "kie")
    assert result.column("field") == ["company", "date", "total"]
    assert result.column("value") == ["BOOK TA .K", "25/12/2018", "9.00"]
    assert set(result.column("image")) == {"000"}


def test_a_key_without_text_has_no_value_and_one_with_a_number_is_rejected(folder):
    result = folder.read("0.json", '{"date": null, "total": 9.00, "company": ""}', "kie")
    assert result.column("value") == [None, ""]
    assert result.rules == [(1, "value_fits_its_column", "total")]
    assert json.loads(result.rejected[0].row_json) == {"total": 9.0}


def test_entities_of_funsd_are_fields_with_links(folder):
    result = folder.read("f.json", FUNSD, "kie")
    assert result.column("annotation_id") == ["0", "37"]
    assert result.column("field") == ["question", "answer"]
    assert result.column("links") == [["37"], ["0", "38"]]
    assert result.column("linking") == [[[0, 37]], [[0, 37], [37, 38]]]
    assert result.boxes[0] == (84, 109, 136, 119)


def test_words_of_funsd_know_their_entity(folder):
    result = folder.read("f.json", FUNSD, "ocr")
    assert result.column("text") == ["COMPOUND", "a", "b"]
    assert result.column("entity_id") == ["0", "37", "37"]
    assert result.polygons[1] == [(85, 110), (100, 110), (100, 120), (85, 120)]


@pytest.mark.parametrize(
    ("changes", "kind", "rule", "path"),
    [
        ({"box": [5, 5, 5, 9]}, "kie", "box_has_an_area", "form[1].box"),
        ({"box": [9, 5, 5, 9]}, "kie", "box_has_an_area", "form[1].box"),
        ({"box": [5, 5, 9]}, "kie", "boxes_have_four_numbers", "form[1].box"),
        ({"box": ["1", 5, 9, 9]}, "kie", "coordinates_are_numbers", "form[1].box[0]"),
        ({"box": [True, 5, 9, 9]}, "kie", "coordinates_are_numbers", "form[1].box[0]"),
        ({"box": [2**53 + 1, 5, 9, 9]}, "kie", "coordinates_are_exact", "form[1].box[0]"),
        ({"text": 5}, "kie", "value_fits_its_column", "form[1].text"),
        ({"linking": [[1]]}, "kie", "links_are_pairs", "form[1].linking[0]"),
        ({"words": None}, "ocr", "entity_has_words", "form[1].words"),
        ({"words": ["x"]}, "ocr", "record_is_an_object", "form[1].words[0]"),
        (
            {"words": [{"text": "x", "box": [0, 0, -1, 1]}]},
            "ocr", "box_has_an_area", "form[1].words[0].box",
        ),
    ],
)  # fmt: skip
def test_a_broken_entity_is_rejected_alone(folder, changes, kind, rule, path):
    form = json.loads(FUNSD)
    form["form"][1] |= changes
    result = folder.read("f.json", json.dumps(form), kind)
    assert (result.rules, len(result.records)) == ([(1, rule, path)], 1)


def test_annotations_of_coco_are_named_by_image_and_category(folder):
    result = folder.read("c.json", COCO, "layout")
    assert result.column("image") == ["a.jpg", "a.jpg"]
    assert result.column("label") == ["table", "text"]
    assert result.column("annotation_id") == ["1", "2"]
    assert result.boxes == [(10, 20, 40, 60), (1.5, 2.5, 4.5, 6.5)]
    assert result.column("iscrowd") == [0, 1]
    assert result.column("reading_order") == [None, None]


def test_a_segmentation_that_is_no_polygon_keeps_its_box_and_its_text(folder):
    result = folder.read("c.json", COCO, "layout")
    assert "segmentation" not in result.records[0]
    kept = json.loads(result.records[1]["segmentation"])
    assert kept == COCO_OBJECT["annotations"][1]["segmentation"]


def changed(**changes):
    """COCO with a first annotation that is different."""
    content = copy.deepcopy(COCO_OBJECT)
    content["annotations"][0] |= changes
    return json.dumps(content)


def test_several_polygons_are_no_outline(folder):
    parts = [[0, 0, 1, 0, 1, 1], [5, 5, 6, 5, 6, 6]]
    record = folder.read("c.json", changed(segmentation=parts), "layout").records[0]
    assert json.loads(record["segmentation"]) == parts
    assert record["box"] == {"x_min": 10, "y_min": 20, "x_max": 40, "y_max": 60}


def test_a_box_that_is_not_that_of_the_polygon_is_kept_beside_it(folder):
    record = folder.read("c.json", changed(bbox=[10, 20, 30, 41]), "layout").records[0]
    assert record["box"]["y_max"] == 60
    assert record["delivered_box"] == {"x_min": 10, "y_min": 20, "x_max": 40, "y_max": 61}
    assert "delivered_box" not in folder.read("c.json", COCO, "layout").records[0]


@pytest.mark.parametrize(
    ("changes", "rule", "path"),
    [
        ({"category_id": 9}, "category_id_is_known", "annotations[0].category_id"),
        ({"category_id": None}, "category_id_is_known", "annotations[0].category_id"),
        ({"category_id": "2"}, "category_id_is_known", "annotations[0].category_id"),
        ({"category_id": True}, "category_id_is_known", "annotations[0].category_id"),
        ({"image_id": [7]}, "image_id_is_known", "annotations[0].image_id"),
        ({"image_id": 8}, "image_id_is_known", "annotations[0].image_id"),
        ({"bbox": [0, 0, -1, 5], "segmentation": []}, "box_has_an_area", "annotations[0].bbox"),
        ({"bbox": "x"}, "value_fits_its_column", "annotations[0].bbox"),
        (
            {"segmentation": [[0, 0, 1, 1]]},
            "polygon_has_three_points", "annotations[0].segmentation[0]",
        ),
        (
            {"segmentation": [[0, 0, 1]]},
            "points_have_two_coordinates", "annotations[0].segmentation[0]",
        ),
        ({"score": 1.5}, "confidence_is_a_share", "annotations[0].score"),
    ],
)  # fmt: skip
def test_a_broken_annotation_is_rejected_alone(folder, changes, rule, path):
    result = folder.read("c.json", changed(**changes), "layout")
    assert (result.rules, len(result.records)) == ([(0, rule, path)], 1)


def test_an_id_that_stands_for_two_names_is_known_to_none(folder):
    content = copy.deepcopy(COCO_OBJECT)
    content["categories"].append({"id": 2, "name": "figure"})
    result = folder.read("c.json", json.dumps(content), "layout")
    assert result.rules == [(0, "category_id_is_known", "annotations[0].category_id")]
    assert result.rejected[0].actual == "2 stands for several"


def test_an_annotation_that_is_no_object_is_rejected(folder):
    content = COCO_OBJECT | {"annotations": [5, *COCO_OBJECT["annotations"]]}
    result = folder.read("c.json", json.dumps(content), "layout")
    assert result.rules == [(0, "record_is_an_object", "")]
    assert result.numbers == [1, 2]


def test_results_of_coco_are_named_by_their_ids(folder):
    result = folder.read("d.json", COCO_RESULTS, "layout")
    assert result.column("image") == ["42", "a.jpg"]
    assert result.column("label") == ["18", "2"]
    assert result.column("category_id") == [18, 2]
    assert result.column("confidence") == [0.236, 1.0]
    assert result.boxes[1] == (10, 20, 40, 60)
    kept = json.loads(result.records[1]["segmentation"])
    assert kept == {"size": [10, 20], "counts": "l`d31n"}
    by_line = "\n".join(map(json.dumps, json.loads(COCO_RESULTS)))
    assert folder.read("d.jsonl", by_line, "layout").records == result.records


@pytest.mark.parametrize(
    ("changes", "rule", "path"),
    [
        ({"image_id": None}, "image_id_is_known", "[1].image_id"),
        ({"image_id": 1.5}, "image_id_is_known", "[1].image_id"),
        ({"image_id": True}, "image_id_is_known", "[1].image_id"),
        ({"image_id": ""}, "image_id_is_known", "[1].image_id"),
        ({"category_id": ["x"]}, "category_id_is_known", "[1].category_id"),
        ({"bbox": [10, 20, -30, 40]}, "box_has_an_area", "[1].bbox"),
        ({"bbox": [10, 20, 30, 40] * 2}, "boxes_have_four_numbers", "[1].bbox"),
        ({"score": "0.5"}, "coordinates_are_numbers", "[1].score"),
        ({"score": -0.5}, "confidence_is_a_share", "[1].score"),
        ({"segmentation": [[1, 1, 2, 2]]}, "polygon_has_three_points", "[1].segmentation[0]"),
        ({"variant": "x"}, "keys_are_not_the_lakes_own", "variant"),
    ],
)
def test_a_broken_result_of_coco_is_rejected_alone(folder, changes, rule, path):
    content = json.loads(COCO_RESULTS)
    content[1] |= changes
    result = folder.read("d.json", json.dumps(content), "layout")
    assert (result.rules, len(result.records)) == ([(1, rule, path)], 1)
    assert json.loads(result.rejected[0].row_json) == content[1]


@pytest.mark.parametrize("read", [changed, lambda **own: json.dumps(
    [json.loads(COCO_RESULTS)[0] | own])], ids=["annotations", "results"])  # fmt: skip
def test_a_key_that_is_a_column_already_is_kept_beside_it(folder, read):
    content = read(Label="mine", reading_order="first", polygon=5, area=2)
    result = folder.read("c.json", content, "layout")
    record = result.records[0]
    assert (record["delivered_label"], record["delivered_reading_order"]) == ("mine", "first")
    assert (record["delivered_polygon"], record["area"]) == (5, 2)
    assert record["reading_order"] is None


def test_a_key_that_cannot_even_stand_beside_its_column_rejects_its_record(folder):
    content = changed(delivered_label="a", label="b")
    result = folder.read("c.json", content, "layout")
    assert result.rules == [(0, "keys_differ_by_more_than_case", "label")]
    assert json.loads(result.rejected[0].row_json)["label"] == "b"


def test_coordinates_with_more_digits_than_doubles_have_are_rounded_as_everywhere(folder):
    line = '{"image": "a", "text": "x", "bbox": [0.10000000000000001, 0, 12.3456789012345678, 9]}'
    result = folder.read("j.jsonl", line, "ocr")
    assert result.boxes == [(0.1, 0, 12.345678901234568, 9)]
    huge = line.replace("0.10000000000000001", "-1e999")
    assert folder.read("j.jsonl", huge, "ocr").rules == [(0, "coordinates_are_numbers", "bbox[0]")]


def test_documents_of_xfund_are_fields_and_words_of_their_images(folder):
    result = folder.read("zh.json", XFUND, "kie")
    assert result.column("image") == ["zh_val_0.jpg", "zh_val_0.jpg", "zh_val_1.jpg"]
    assert result.column("annotation_id") == ["0", "1", "0"]
    assert result.column("field") == ["question", "answer", "other"]
    assert result.column("value") == ["姓名", "王", "x"]
    assert result.column("links") == [["1"], ["0"], []]
    words = folder.read("zh.json", XFUND, "ocr")
    assert words.column("text") == ["姓", "名", "王"]
    assert words.column("entity_id") == ["0", "0", "1"]
    assert words.boxes[0] == (413, 541, 447, 587)


@pytest.mark.parametrize(
    ("number", "changes", "rules"),
    [
        (1, {"img": None}, [(2, "document_names_its_image", "documents[1].img.fname")]),
        (1, {"img": {"fname": 5}}, [(2, "document_names_its_image", "documents[1].img.fname")]),
        (1, {"document": None}, [(2, "document_has_entities", "documents[1].document")]),
        (1, {"document": [5]}, [(2, "record_is_an_object", "documents[1].document[0]")]),
        (
            1,
            {"document": [{"id": 0, "label": "x", "text": "y", "box": [0, 0, "1", 1]}]},
            [(2, "coordinates_are_numbers", "documents[1].document[0].box[2]")],
        ),
        (0, {"document": {}}, [(0, "document_has_entities", "documents[0].document")]),
    ],
)
def test_a_broken_document_or_entity_of_xfund_is_rejected_alone(folder, number, changes, rules):
    content = json.loads(XFUND)
    content["documents"][number] |= changes
    result = folder.read("zh.json", json.dumps(content), "kie")
    assert (result.rules, len(result.records)) == (rules, 2 if number else 1)


def test_keys_of_entities_that_funsd_does_not_know_are_kept(folder):
    form = json.loads(FUNSD)
    form["form"][0] |= {"score": 0.5, "words": [{"text": "x", "angle": 3, "Level": "y"}]}
    assert folder.read("f.json", json.dumps(form), "kie").records[0]["score"] == 0.5
    word = folder.read("f.json", json.dumps(form), "ocr").records[0]
    assert (word["angle"], word["level"], word["delivered_level"]) == (3, "word", "y")


def test_results_of_paddleocr_3_may_be_wrapped_listed_and_by_line(folder):
    plain = folder.read("r.json", PADDLEOCR_RESULTS, "ocr").records
    assert [record["text"] for record in plain] == ["登机牌", "BOARDING"]
    assert [record["confidence"] for record in plain] == [0.98, 1.0]
    assert {record["image"] for record in plain} == {"in/general.png"}
    one_line = json.dumps(json.loads(PADDLEOCR_RESULTS))
    wrapped = f'{{"res": {one_line}}}'
    assert folder.read("w.json", wrapped, "ocr").records == plain
    assert folder.read("l.json", f"[{one_line}, {one_line}]", "ocr").records == plain * 2
    assert folder.read("l.jsonl", f"{one_line}\n{wrapped}\n", "ocr").records == plain * 2


def test_lists_of_paddleocr_that_are_not_parallel_reject_their_result(folder):
    content = json.loads(PADDLEOCR_RESULTS)
    content["rec_scores"].pop()
    result = folder.read("r.json", json.dumps(content), "ocr")
    assert (result.rules, result.records) == ([(0, "lists_are_parallel", "rec_scores")], [])


def test_boxes_stand_in_for_polygons(folder):
    content = json.loads(PADDLEOCR_RESULTS)
    del content["rec_polys"], content["input_path"]
    result = folder.read("r.json", json.dumps(content), "ocr")
    assert result.boxes == [(10, 20, 110, 50), (10, 60, 110, 90)]
    assert set(result.column("image")) == {"r"}


def test_results_of_paddleocr_2_are_pages_or_one_page(folder):
    result = folder.read("r.json", PADDLEOCR_2, "ocr")
    assert result.column("text") == ["one", "two"]
    assert result.column("page_index") == [0, 2]
    page = json.dumps(json.loads(PADDLEOCR_2)[0])
    assert folder.read("p.json", page, "ocr").records == [result.records[0] | {"image": "p"}]


def test_a_text_of_paddleocr_2_that_is_none_is_rejected(folder):
    good = json.loads(PADDLEOCR_2)[0][0]
    content = json.dumps([[good, [[[0, 0], [1, 0], [1, 1]], ["x", 2]], 5, [good[0], ["x"]]]])
    result = folder.read("r.json", content, "ocr")
    shape = "line_has_points_text_and_score"
    assert result.rules == [
        (1, "confidence_is_a_share", "[1][1][1]"), (2, shape, "[2]"), (3, shape, "[3]"),
    ]  # fmt: skip


# Plain JSON


def test_own_fields_of_plain_json_pass_through(folder):
    records = folder.read("j.jsonl", JSONL, "ocr").records
    assert (records[0]["lang"], records[0]["deep"]) == ("ko", {"k": [1]})
    assert "bbox" not in records[0]
    assert "lang" not in records[1]


@pytest.mark.parametrize(
    "where",
    [
        {"polygon": [[4, 3], [0, 3], [0, 0], [4, 0]]},
        {"points": [0, 0, 0, 3, 4, 3, 4, 0]},
        {"polygon": [{"x": x, "y": y} for x, y in ((0, 0), (4, 0), (4, 3), (0, 3))]},
        {"bbox": [0, 0, 4, 3]},
        {"box": {"x_min": 0, "y_min": 0, "x_max": 4, "y_max": 3}},
        {"xywh": [0, 0, 4, 3]},
        {"Points": [[0, 0], [4, 0], [4, 3], [0, 3]], "BBox": [0, 0, 4, 3], "box": None},
    ],
    ids=lambda where: "+".join(where),
)
def test_a_shape_may_be_written_in_many_ways(folder, where):
    line = json.dumps({"image": "a", "text": "x"} | where)
    result = folder.read("j.jsonl", line, "ocr")
    assert result.rejected == []
    assert result.polygons == [[(0, 0), (4, 0), (4, 3), (0, 3)]]
    assert result.boxes == [(0, 0, 4, 3)]
    assert "delivered_box" not in result.records[0]


@pytest.mark.parametrize("kind", ["ocr", "kie", "vqa", "layout"])
def test_a_record_reads_as_it_was_written(folder, kind):
    values = {
        "ocr": {"text": "x", "level": "word", "confidence": 0.25},
        "kie": {"field": "k", "value": None, "links": ["1", "b"]},
        "vqa": {"question": "q?", "answers": ["a", "b"]},
        "layout": {"label": "table", "confidence": 1.0},
    }[kind]
    record = {"image": "i", "reading_order": 3, "annotation_id": "7", **values, "own": 1.5}
    if kind != "vqa":
        record |= {
            "polygon": [{"x": 0.0, "y": 0.0}, {"x": 4.0, "y": 0.0}, {"x": 4.0, "y": 3.0}],
            "box": {"x_min": 0.0, "y_min": 0.0, "x_max": 4.0, "y_max": 3.0},
        }
    assert folder.read("j.jsonl", json.dumps(record), kind).records == [record]
    assert folder.read("j.json", json.dumps([record], indent=1), kind).records == [record]


def test_ids_may_be_numbers(folder):
    line = '{"image": "a", "field": "k", "annotation_id": 5, "links": [6, "x"]}'
    (record,) = folder.read("j.jsonl", line, "kie").records
    assert (record["annotation_id"], record["links"]) == ("5", ["6", "x"])


@pytest.mark.parametrize(
    ("own", "rule", "path"),
    [
        ({"text": 5}, "value_fits_its_column", "text"),
        ({"Text": ["x"]}, "value_fits_its_column", "Text"),
        ({"text": "a", "TEXT": "b"}, "keys_differ_by_more_than_case", "TEXT"),
        ({"text": "a", "level": "page"}, "value_fits_its_column", "level"),
        ({"text": "a", "level": []}, "value_fits_its_column", "level"),
        ({"text": "a", "confidence": "0.5"}, "coordinates_are_numbers", "confidence"),
        ({"text": "a", "confidence": -0.5}, "confidence_is_a_share", "confidence"),
        ({"text": "a", "reading_order": 2**31}, "value_fits_its_column", "reading_order"),
        ({"text": "a", "reading_order": 1.0}, "value_fits_its_column", "reading_order"),
        ({"text": "a", "annotation_id": 1.5}, "value_fits_its_column", "annotation_id"),
        ({"text": "a", "bbox": [0, 0, 4]}, "boxes_have_four_numbers", "bbox"),
        ({"text": "a", "bbox": [4, 0, 0, 4]}, "box_has_an_area", "bbox"),
        ({"text": "a", "points": [0, 0, 1]}, "points_have_two_coordinates", "points"),
        ({"text": "a", "points": "0,0"}, "value_fits_its_column", "points"),
        (
            {"text": "a", "bbox": [0, 0, 4, 4], "xywh": [1, 1, 4, 4]},
            "annotation_has_one_shape", "bbox, xywh",
        ),
    ],
)  # fmt: skip
def test_a_value_that_its_column_cannot_hold_rejects_its_record(folder, own, rule, path):
    good = {"image": "a", "text": "good"}
    lines = "\n".join(json.dumps(record) for record in (good, {"image": "a"} | own, good))
    result = folder.read("j.jsonl", lines, "ocr")
    assert (result.rules, len(result.records)) == ([(1, rule, path)], 2)
    assert json.loads(result.rejected[0].row_json) == {"image": "a"} | own


def test_lines_that_are_no_objects_are_rejected(folder):
    result = folder.read("j.jsonl", f'{JSONL}[1]\n{{"a":\nNaN\n', "ocr")
    assert [rule for _, rule, _ in result.rules] == [
        "record_is_an_object", "line_is_valid_json", "line_is_valid_json",
    ]  # fmt: skip
    assert len(result.records) == 2


@pytest.mark.parametrize(
    ("form", "kind", "content"),
    [
        pytest.param("funsd", "kie", "[]", id="funsd is a list"),
        pytest.param("funsd", "kie", FUNSD[:-20], id="funsd cut short"),
        pytest.param("funsd", "kie", FUNSD + "x", id="funsd and more"),
        pytest.param("funsd", "kie", "{5: []}", id="a key is no string"),
        pytest.param("funsd", "kie", "", id="funsd empty"),
        pytest.param("coco", "layout", COCO[:-2], id="coco cut short"),
        pytest.param("coco", "layout", '{"info": {}}', id="coco without lists"),
        pytest.param("sroie_keys", "kie", '{"a": "b"}\n{"a": "b"}', id="two receipts"),
        pytest.param("paddleocr_results", "ocr", "[[[[1, 2]]", id="paddle cut short"),
        pytest.param("jsonl", "ocr", '[{"text": "x"}', id="a list cut short"),
    ],
)
def test_a_file_that_is_not_of_its_format_is_refused_by_name(folder, form, kind, content):
    path = folder.write("x.json", content)
    with pytest.raises(UnreadableSource, match=r"d/x\.json") as caught:
        list(read_annotations(path, "d/x.json", kind, AnnotationFormat(form)))
    assert caught.value.context["file"] == "d/x.json"
