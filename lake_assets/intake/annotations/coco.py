"""COCO: regions of many images in one JSON object of lists, and results of detectors.

``{"images": [{"id", "file_name"}], "categories": [{"id", "name"}], "annotations": [{"id",
"image_id", "category_id", "bbox": [x, y, width, height], "segmentation", …}]}``; a segmentation is
a list of polygons, or run lengths. Source: https://cocodataset.org/#format-data (object detection).

Results are one list ``[{"image_id", "category_id", "bbox", "score", "segmentation"}]`` or one such
object per line. Source: https://cocodataset.org/#format-results (object detection).

A file of annotations is read twice, because its lists come in any order: first for the names of
images and categories, then for the annotations. Memory is bounded by those names and one
annotation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lake_assets.contracts.geometry import Shape
from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations import values
from lake_assets.intake.annotations.json_text import Document, documents, members
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece, Refused
from lake_assets.intake.readers.row_json import row_json

_USED = frozenset({"id", "image_id", "category_id", "bbox", "segmentation", "score"})
_Names = dict[int | str, str | None]
"""By id; None where two entries with this id differ."""


def read_coco(file: AnnotationFile) -> Iterator[Piece]:
    """Yield one region per annotation (``layout``), named by its category.

    A segmentation that is one polygon becomes the polygon. Of any other, such as run lengths, the
    box is used, and it is kept as JSON text in ``segmentation``.

    Raises:
        UnreadableSource: The file is no JSON object, or has no list ``annotations``.
    """
    names: dict[str, _Names] = {"images": {}, "categories": {}}
    has_annotations = False
    for key, member in members(file):
        if key in names and isinstance(member, dict):
            _note(names[key], member, "file_name" if key == "images" else "name")
        has_annotations = has_annotations or key == "annotations"
    if not has_annotations and not any(names.values()):
        raise UnreadableSource(
            f"{file.name} has none of COCO's lists images, categories and annotations. Deliver it "
            "in the form that https://cocodataset.org/#format-data describes.",
            file=file.name,
        )
    annotations = (member for key, member in members(file) if key == "annotations")
    for number, member in enumerate(annotations):
        if isinstance(member, Refused):
            yield member
            continue
        path = f"annotations[{number}]"
        try:
            named = {
                "image": _named(member, "image_id", names["images"], path),
                "label": _named(member, "category_id", names["categories"], path),
            }
            yield file.record(named | _region(member, path), _others(member))
        except Flaw as flaw:
            yield flaw.refusing(member)


def read_results(file: AnnotationFile) -> Iterator[Piece]:
    """Yield one region per result (``layout``); see ``read_coco`` for segmentations.

    Results name neither images nor categories. ``image`` is the ``image_id`` as text: an image of
    the dataset must have it as its file name (with or without folder and suffix), its SHA-256 or
    its record key, or the region is rejected. ``label`` is the ``category_id`` as text.

    Raises:
        UnreadableSource: The file is not valid JSON as a whole.
    """
    for number, result in enumerate(documents(file)):
        if isinstance(result, Refused):
            yield result
            continue
        path = f"[{number}]"
        try:
            named = {
                "image": _identified(result, "image_id", path),
                "label": _identified(result, "category_id", path),
            }
            yield file.record(named | _region(result, path), _others(result))
        except Flaw as flaw:
            yield flaw.refusing(result)


def _note(names: _Names, member: Document, key: str) -> None:
    number, name = _id(member.get("id")), member.get(key)
    if number is not None and isinstance(name, str):
        names[number] = name if names.get(number, name) == name else None


def _id(value: Any) -> int | str | None:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _region(annotation: Document, path: str) -> dict[str, Any]:
    segmentation = annotation.get("segmentation")
    outline = _outline(segmentation, f"{path}.segmentation")
    # As text: run lengths and lists of polygons are of different types.
    kept = {"segmentation": row_json(segmentation)} if segmentation and outline is None else {}
    score = annotation.get("score")
    place = f"{path}.score"
    return {
        **kept,
        "annotation_id": values.identifier(annotation.get("id"), f"{path}.id"),
        "category_id": annotation["category_id"],
        "confidence": None if score is None else values.share(values.number(score, place), place),
        **values.placed(outline, _box(annotation, path)),
    }


def _others(annotation: Document) -> Document:
    return {key: value for key, value in annotation.items() if key not in _USED}


def _identified(result: Document, key: str, path: str) -> str:
    number = _id(result.get(key))
    if number is None or number == "":
        raise Flaw(
            f"{key}_is_known",
            path=f"{path}.{key}",
            expected="a whole number or a text",
            actual=result.get(key),
        )
    return str(number)


def _named(annotation: Document, key: str, names: _Names, path: str) -> str:
    number = _id(annotation.get(key))
    name = None if number is None else names.get(number)
    if name is None:
        twice = number in names
        raise Flaw(
            f"{key}_is_known",
            path=f"{path}.{key}",
            expected="the id of one entry" if twice else "the id of an entry of the same file",
            actual=f"{number!r} stands for several" if twice else annotation.get(key),
        )
    return name


def _outline(segmentation: Any, path: str) -> Shape | None:
    if not isinstance(segmentation, list) or len(segmentation) != 1:
        return None
    return values.polygon(values.points(segmentation[0], f"{path}[0]"), f"{path}[0]")


def _box(annotation: Document, path: str) -> Shape | None:
    if annotation.get("bbox") is None:
        return None
    place = f"{path}.bbox"
    return values.sized(values.four(annotation["bbox"], place), place)
