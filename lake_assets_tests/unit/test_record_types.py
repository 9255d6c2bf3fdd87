"""The built-in record types: complete, documented, and cheap to know of."""

import subprocess
import sys

import pyarrow as pa
import pytest

from lake_assets.contracts.record_types import RECORD_TYPES, record_type
from lake_assets.contracts.shape_columns import BOX_TYPE, POLYGON_TYPE

KINDS = pytest.mark.parametrize("kind", RECORD_TYPES.values(), ids=RECORD_TYPES)
TYPES = {
    "ocr": {"text": pa.string(), "level": pa.string(), "confidence": pa.float64()},
    "kie": {"field": pa.string(), "value": pa.string(), "links": pa.list_(pa.string())},
    "vqa": {"question": pa.string(), "answers": pa.list_(pa.string())},
    "layout": {"label": pa.string(), "confidence": pa.float64()},
}
ANYWHERE = {"image": pa.string(), "reading_order": pa.int32(), "annotation_id": pa.string()}
SHAPED = {"polygon": POLYGON_TYPE, "box": BOX_TYPE}


def test_there_are_four():
    assert set(RECORD_TYPES) == set(TYPES)


@KINDS
def test_a_type_has_these_columns(kind):
    expected = ANYWHERE | TYPES[kind.name] | ({} if kind.name == "vqa" else SHAPED)
    schema = kind.schema()
    assert {field.name: field.type for field in schema} == expected
    assert tuple(schema.names) == kind.columns


@KINDS
def test_every_column_says_what_it_holds(kind):
    docs = [field.metadata[b"doc"].decode() for field in kind.schema()]
    assert all(doc.endswith(".") for doc in docs)
    assert kind.description.startswith("One row per ")


@KINDS
def test_required_and_unique_columns_are_columns(kind):
    assert set(kind.required) | set(kind.unique_by) <= set(kind.columns)
    assert "image" in kind.required


@pytest.mark.parametrize(
    ("name", "required", "unique_by"),
    [
        ("ocr", ("image", "text"), ()),
        ("kie", ("image", "field"), ()),
        ("vqa", ("image", "question", "answers"), ("image", "question")),
        ("layout", ("image", "label"), ()),
    ],
)
def test_a_type_requires_what_makes_it_one(name, required, unique_by):
    kind = record_type(name)
    assert (kind.required, kind.unique_by) == (required, unique_by)


def test_an_unknown_type_is_told_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"'ocrr' \(known: kie, layout, ocr, vqa\)"):
        record_type("ocrr")


def test_to_know_the_types_takes_no_arrow():
    program = (
        "import sys; from lake_assets.contracts.record_types import record_type; "
        "record_type('ocr').columns; sys.exit('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
