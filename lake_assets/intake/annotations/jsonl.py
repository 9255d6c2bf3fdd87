"""Plain JSON Lines (or a JSON list): one object per annotation, keys named as the columns.

Where an annotation lies may be written as ``polygon`` or ``points`` (a list of ``[x, y]``, of
``{"x": …, "y": …}``, or of coordinates in turn), as ``box`` or ``bbox`` (``[x_min, y_min, x_max,
y_max]``, or an object with these keys) or as ``xywh`` (``[x, y, width, height]``, as COCO has it).
Keys are matched without regard to case. All others are the delivery's own, and kept as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lake_assets.contracts.geometry import Shape
from lake_assets.intake.annotations import values
from lake_assets.intake.annotations.json_text import Document, documents
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece, Refused

_LARGEST_INT32 = 2**31 - 1
_LEVELS = ("word", "line", "block")
_BOX_KEYS = ("x_min", "y_min", "x_max", "y_max")


def read_jsonl(file: AnnotationFile) -> Iterator[Piece]:
    """Yield one record per object (any record type).

    Raises:
        UnreadableSource: The file is not valid JSON as a whole (a list, or one object).
    """
    for document in documents(file):
        if isinstance(document, Refused):
            yield document
            continue
        try:
            yield file.record(*_parted(document, file.kind.columns))
        except Flaw as flaw:
            yield flaw.refusing(document)


def _parted(document: Document, known: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of the record type, and what else there is."""
    geometry = {**_OUTLINES, **_BOXES} if "polygon" in known else {}
    columns: dict[str, Any] = {}
    others: dict[str, Any] = {}
    outlines: dict[str, Shape] = {}
    boxes: dict[str, Shape] = {}
    for key, value in document.items():
        name = key.lower()
        if name in geometry:
            found = outlines if name in _OUTLINES else boxes
            if value is not None:
                found[key] = geometry[name](value, key)
        elif name in known:
            _require_absent(columns, name, key)
            columns[name] = _OWN[name](value, key) if value is not None else None
        else:
            others[key] = value
    return columns | values.placed(_only(outlines), _only(boxes)), others


def _require_absent(columns: dict[str, Any], name: str, key: str) -> None:
    if name in columns:
        raise Flaw(
            "keys_differ_by_more_than_case", path=key, expected="each column once", actual=key
        )


def _only(shapes: dict[str, Shape]) -> Shape | None:
    """Return the one shape that an annotation has, however often it is written down."""
    different = set(shapes.values())
    if len(different) > 1:
        raise Flaw(
            "annotation_has_one_shape",
            path=", ".join(shapes),
            expected="the same shape under each key",
            actual=f"{len(different)} shapes",
        )
    return next(iter(different), None)


def _polygon(value: Any, path: str) -> Shape:
    return values.polygon(values.points(value, path), path)


def _box(value: Any, path: str) -> Shape:
    if isinstance(value, dict) and value.keys() == set(_BOX_KEYS):
        value = [value[key] for key in _BOX_KEYS]
    return values.corners(values.four(value, path), path)


def _sized(value: Any, path: str) -> Shape:
    return values.sized(values.four(value, path), path)


def _order(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_INT32:
        raise Flaw(
            "value_fits_its_column", path=path, expected="a whole number from 0", actual=value
        )
    return value


def _level(value: Any, path: str) -> str:
    if value not in _LEVELS:
        raise Flaw("value_fits_its_column", path=path, expected=" or ".join(_LEVELS), actual=value)
    return str(value)


def _confidence(value: Any, path: str) -> float:
    return values.share(values.number(value, path), path)


def _ids(value: Any, path: str) -> list[str | None]:
    return values.items(value, path, values.identifier)


def _texts(value: Any, path: str) -> list[str | None]:
    return values.items(value, path, values.text)


_Take = Callable[[Any, str], Any]
_OUTLINES: dict[str, _Take] = {"polygon": _polygon, "points": _polygon}
_BOXES: dict[str, _Take] = {"box": _box, "bbox": _box, "xywh": _sized}
_OWN: dict[str, _Take] = {
    "image": values.text,
    "reading_order": _order,
    "annotation_id": values.identifier,
    "text": values.text,
    "level": _level,
    "confidence": _confidence,
    "field": values.text,
    "value": values.text,
    "links": _ids,
    "question": values.text,
    "answers": _texts,
    "label": values.text,
}
