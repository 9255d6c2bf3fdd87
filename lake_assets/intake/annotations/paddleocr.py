"""PaddleOCR: label files as its training takes them, and results as it writes them.

Labels are lines ``image<TAB>[{"transcription", "points", …}]``
(https://github.com/PaddlePaddle/PaddleOCR/blob/main/doc/doc_en/dataset/ocr_datasets_en.md). Results
of version 3 are objects with the parallel lists ``rec_texts``, ``rec_scores``, ``rec_polys``, alone
or under ``res`` (``OCRResult._to_json`` in PaddleX, paddlex/inference/pipelines/ocr/result.py);
those of version 2 are lists of ``[points, [text, score]]``, for one page or a list of pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lake_assets.intake.annotations import values
from lake_assets.intake.annotations.formats import begins_with_lists
from lake_assets.intake.annotations.json_text import (
    Document,
    documents,
    strict_json,
    whole_json,
)
from lake_assets.intake.annotations.lines import text_lines
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece, Refused

_LABELLED = frozenset({"transcription", "points"})


def read_labels(file: AnnotationFile) -> Iterator[Piece]:
    """Yield one line of text per item of each line's list (``ocr``); other keys are kept."""
    for line in text_lines(file):
        if isinstance(line, Refused):
            yield line
            continue
        try:
            image, items = _label_line(line)
        except Flaw as flaw:
            yield flaw.refusing(line)
            continue
        for number, item in enumerate(items):
            try:
                own = {"image": image, "reading_order": number, "level": "line"}
                yield file.record(_labelled(item, f"[{number}]") | own, _others(item))
            except Flaw as flaw:
                yield flaw.refusing({"image": image, "item": item})


def read_results(file: AnnotationFile) -> Iterator[Piece]:
    """Yield one line of text per recognised text (``ocr``), of version 2 or 3.

    Raises:
        UnreadableSource: The file is not valid JSON as a whole.
    """
    if begins_with_lists(file):
        yield from _pages(file, whole_json(file))
        return
    for document in documents(file):
        if isinstance(document, Refused):
            yield document
            continue
        try:
            texts = _texts(document.get("res", document))
        except Flaw as flaw:
            yield flaw.refusing(document)
            continue
        yield from _recognised(file, texts)


def _label_line(line: str) -> tuple[str, list[Any]]:
    image, tab, text = line.partition("\t")
    if not tab or not image:
        raise Flaw("line_has_image_and_labels", expected="image, a tab, a list", actual=line)
    items = strict_json(text)
    if not isinstance(items, list):
        raise Flaw("line_has_image_and_labels", expected="a list of labels", actual=items)
    return image, items


def _labelled(item: Any, path: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise Flaw("record_is_an_object", path=path, expected="a JSON object", actual=item)
    place = f"{path}.points"
    return {
        "text": values.text(item.get("transcription"), f"{path}.transcription"),
        **values.polygon(values.points(item.get("points"), place), place).columns(),
    }


def _others(item: Document) -> Document:
    return {key: value for key, value in item.items() if key not in _LABELLED}


def _texts(result: Any) -> list[dict[str, Any]]:
    """Return the texts of one result of version 3, what goes with each still as delivered."""
    if not isinstance(result, dict) or not isinstance(result.get("rec_texts"), list):
        raise Flaw("result_has_texts", path="rec_texts", expected="a list of texts", actual="none")
    lists = {key: result[key] for key in ("rec_texts", "rec_scores", "rec_polys", "rec_boxes")
             if result.get(key)}  # fmt: skip
    count = len(result["rec_texts"])
    for key, items in lists.items():
        if not isinstance(items, list) or len(items) != count:
            raise Flaw(
                "lists_are_parallel",
                path=key,
                expected=f"{count} items, as in rec_texts",
                actual=len(items) if isinstance(items, list) else items,
            )
    image = {key: result[key] for key in ("input_path", "page_index") if key in result}
    return [
        image | {key: items[i] for key, items in lists.items()} | {"number": i}
        for i in range(count)
    ]


def _recognised(file: AnnotationFile, texts: list[Document]) -> Iterator[Piece]:
    for found in texts:
        try:
            yield file.record(_recognised_text(file, found))
        except Flaw as flaw:
            yield flaw.refusing(found)


def _recognised_text(file: AnnotationFile, found: Document) -> dict[str, Any]:
    number = found["number"]
    shape = None
    if "rec_polys" in found:
        place = f"rec_polys[{number}]"
        shape = values.polygon(values.points(found["rec_polys"], place), place)
    elif "rec_boxes" in found:
        place = f"rec_boxes[{number}]"
        shape = values.corners(values.four(found["rec_boxes"], place), place)
    image = values.text(found.get("input_path"), "input_path")
    return {
        "image": image or file.stem,
        "reading_order": number,
        "text": values.text(found["rec_texts"], f"rec_texts[{number}]"),
        "level": "line",
        "confidence": _score(found.get("rec_scores"), f"rec_scores[{number}]"),
        "page_index": found.get("page_index"),
        **values.placed(shape, None),
    }


def _pages(file: AnnotationFile, value: list[Any]) -> Iterator[Piece]:
    """Yield the texts of a result of version 2; a page without text is null."""
    pages = [value] if any(map(_is_text, value)) else value
    for index, page in enumerate(pages):
        lines = page if isinstance(page, list) else [] if page is None else [page]
        for number, line in enumerate(lines):
            try:
                own = {"image": file.stem, "reading_order": number, "page_index": index}
                yield file.record(own | _text_line(line, f"[{number}]"))
            except Flaw as flaw:
                yield flaw.refusing(line)


def _is_text(item: Any) -> bool:
    """Return whether an item is ``[points, [text, score]]`` rather than a page of such."""
    is_pair = isinstance(item, list) and len(item) == 2 and isinstance(item[1], list)
    return is_pair and bool(item[1]) and isinstance(item[1][0], str)


def _text_line(line: Any, path: str) -> dict[str, Any]:
    if not _is_text(line) or len(line[1]) != 2:
        raise Flaw(
            "line_has_points_text_and_score",
            path=path,
            expected="[points, [text, score]]",
            actual=line,
        )
    points, (text, score) = line
    return {
        "text": values.text(text, f"{path}[1][0]"),
        "level": "line",
        "confidence": _score(score, f"{path}[1][1]"),
        **values.polygon(values.points(points, f"{path}[0]"), f"{path}[0]").columns(),
    }


def _score(value: Any, path: str) -> float | None:
    return None if value is None else values.share(values.number(value, path), path)
