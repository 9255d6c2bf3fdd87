"""The boxes and keys of the real receipts: every line and every key, and where they lie."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from lake_assets.contracts.record_types import record_type
from lake_assets.contracts.shape_columns import normal_polygons, outside_image
from lake_assets_tests.contract.annotations_harness import read_file

_CHECKOUT = Path(__file__).parents[2]
IMAGES = Path(
    os.environ.get("LAKE_TEST_RECEIPTS", _CHECKOUT.parent / "shared/data/receipts/images")
)
BOXES, KEYS = IMAGES.parent / "boxes", IMAGES.parent / "keys"

pytestmark = pytest.mark.skipif(
    not (BOXES.is_dir() and KEYS.is_dir()),
    reason=f"THE REAL RECEIPTS ARE NOT TESTED: no folders {BOXES} and {KEYS}",
)


def test_every_line_of_the_boxes_is_a_record():
    files = sorted(BOXES.glob("*.csv"))
    assert len(files) == 120
    for path in files:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
        result = read_file(path, "ocr")
        assert (result.format, len(result.records)) == ("sroie_boxes", len(lines)), path.name
        for line, text in zip(lines, result.column("text"), strict=True):
            assert line.decode().endswith(f",{text}")


def test_every_key_is_a_field():
    files = sorted(KEYS.glob("*.json"))
    assert len(files) == 120
    for path in files:
        result = read_file(path, "kie")
        fields = dict(zip(result.column("field"), result.column("value"), strict=True))
        assert fields == json.loads(path.read_bytes())
        assert set(result.column("image")) == {path.stem}


def test_every_box_lies_in_its_image_and_is_in_normal_form():
    records = [record for path in sorted(BOXES.glob("*.csv"))
               for record in read_file(path, "ocr").records]  # fmt: skip
    sizes = {}
    for path in IMAGES.glob("*.jpg"):
        with Image.open(path) as image:
            sizes[path.stem] = image.size
    table = pa.Table.from_pylist(records, record_type("ocr").schema())
    widths, heights = zip(*(sizes[record["image"]] for record in records), strict=True)
    outside = outside_image(table["box"], pa.array(widths), pa.array(heights))
    assert [text for text in outside.to_pylist() if text] == []
    again = normal_polygons(table["polygon"])
    assert again.polygons.equals(table["polygon"].combine_chunks())
    assert again.boxes.equals(table["box"].combine_chunks())
