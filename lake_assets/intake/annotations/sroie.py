"""SROIE: one file of boxes, and one of keys, for each scanned receipt.

Boxes are lines ``x1,y1,x2,y2,x3,y3,x4,y4,text`` without a header; the text is everything after the
eighth comma. Keys are one JSON object of texts: ``company``, ``date``, ``address``, ``total``.
Source: ICDAR 2019 Robust Reading Challenge on Scanned Receipts OCR and Information Extraction,
tasks 1 to 3 (https://rrc.cvc.uab.es/?ch=13&com=tasks).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations import values
from lake_assets.intake.annotations.json_text import Document, documents
from lake_assets.intake.annotations.lines import text_lines
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece, Refused

_COORDINATES = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")


def read_boxes(file: AnnotationFile) -> Iterator[Piece]:
    """Yield one line of text per line that is not empty (``ocr``)."""
    for number, line in enumerate(text_lines(file)):
        if isinstance(line, Refused):
            yield line
            continue
        try:
            where, text = _parted(line)
        except Flaw as flaw:
            yield flaw.refusing(line)
            continue
        own = {"image": file.stem, "reading_order": number, "text": text, "level": "line"}
        yield file.record(own | where)


def _parted(line: str) -> tuple[dict[str, Any], str]:
    *parts, text = line.split(",", 8)
    if len(parts) < 8:
        raise Flaw(
            "line_has_eight_coordinates_and_a_text",
            expected="x1,y1,x2,y2,x3,y3,x4,y4,text",
            actual=f"{len(parts)} commas",
        )
    flat = [values.number_in(part, name) for part, name in zip(parts, _COORDINATES, strict=True)]
    ring = list(zip(flat[::2], flat[1::2], strict=True))
    return values.polygon(ring, "x1..y4").columns(), text


def read_keys(file: AnnotationFile) -> Iterator[Piece]:
    """Yield one field per key of the object (``kie``); a key that is null has no value.

    Raises:
        UnreadableSource: The file is no JSON, or more than one object.
    """
    for number, document in enumerate(documents(file)):
        if number:
            raise UnreadableSource(
                f"{file.name} has more than one JSON value, and the keys of a receipt are one "
                "object. Deliver one file per image, or JSON Lines with the columns image, field "
                "and value.",
                file=file.name,
            )
        yield from [document] if isinstance(document, Refused) else _fields(file, document)


def _fields(file: AnnotationFile, document: Document) -> Iterator[Piece]:
    for key, value in document.items():
        own = {"image": file.stem, "field": key}
        try:
            yield file.record(own | {"value": values.text(value, key)})
        except Flaw as flaw:
            yield flaw.refusing({key: value})
