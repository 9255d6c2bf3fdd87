"""ALTO XML: blocks, lines and strings of pages, as libraries keep them.

Source: the schemas of the Library of Congress, versions 1 to 4 (https://github.com/altoxml/schema).
``HPOS VPOS WIDTH HEIGHT`` are in the unit ``MeasurementUnit``; a ``Shape`` may give a polygon;
``WC`` is a confidence from 0 to 1. Elements stand in reading order, unless the file says otherwise.

Only pixels can be taken: for ``mm10`` and ``inch1200`` the image's size would have to be known, and
annotations that have coordinates in them are rejected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lake_assets.contracts.geometry import Shape
from lake_assets.intake.annotations import values
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece
from lake_assets.intake.annotations.xml_text import Event, Node, events

_BLOCKS = frozenset({"TextBlock", "Illustration", "GraphicalElement", "ComposedBlock"})
_WHOLE = frozenset(
    {"MeasurementUnit", "sourceImageInformation", "Tags", "ReadingOrder", "TextLine", "Shape"}
)
_BOX = ("HPOS", "VPOS", "WIDTH", "HEIGHT")
_BETWEEN = re.compile(r"[\s,]+")


@dataclass(slots=True)
class _Pages:
    """Where reading has come to."""

    file: AnnotationFile
    image: str
    unit: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    """Labels by id."""
    is_ordered: bool = True
    """Whether elements stand in reading order."""
    next_id: str | None = None
    """The block that must begin next for the order to be that of the file; None: any."""
    page_num: int = 0
    blocks: list[Node] = field(default_factory=list)
    """Those that are open, with their ``Shape`` as child."""
    counts: Counter[str] = field(default_factory=Counter)
    """Pieces of the page so far, by level."""

    def place(self, level: str) -> int | None:
        """Return the next place in reading order; None: unknown."""
        self.counts[level] += 1
        return self.counts[level] - 1 if self.is_ordered else None


def read_text(file: AnnotationFile) -> Iterator[Piece]:
    """Yield each line, then its strings as words (``ocr``)."""
    pages = _Pages(file, file.stem)
    for event in _page_events(pages):
        if event.node.name == "TextLine":
            yield _text(pages, event.node, "line", {"text": _line_text(event.node)})
            for string in event.node.each("String"):
                own = {
                    "text": string.attributes.get("CONTENT"),
                    "subs_content": string.attributes.get("SUBS_CONTENT"),
                }
                yield _text(pages, string, "word", own)


def read_blocks(file: AnnotationFile) -> Iterator[Piece]:
    """Yield the blocks (``layout``) by their tag's label, their type, or the element's name.

    ``element`` is always the element's name. Blocks inside others come before them.
    """
    pages = _Pages(file, file.stem)
    for event in _page_events(pages):
        node = event.node
        if event.kind == "end" and node.name in _BLOCKS:
            tags = [pages.tags.get(name) for name in node.attributes.get("TAGREFS", "").split()]
            label = next(filter(None, tags), None) or node.attributes.get("TYPE") or node.name
            own = {"label": label, "element": node.name}
            yield _piece(pages, node, "block", own)


def _page_events(pages: _Pages) -> Iterator[Event]:
    for event in events(pages.file, "alto", _WHOLE):
        _note(pages, event)
        yield event


def _note(pages: _Pages, event: Event) -> None:
    node = event.node
    is_start = event.kind == "start"
    if is_start and node.name == "Page":
        pages.page_num += 1
        pages.counts.clear()
    elif node.name in _BLOCKS:
        pages.blocks.append(node) if is_start else pages.blocks.pop()
        if is_start:
            pages.is_ordered &= pages.next_id in (None, node.attributes.get("ID"))
            pages.next_id = node.attributes.get("IDNEXT")
    elif node.name == "Shape" and pages.blocks:
        pages.blocks[-1].children.append(node)
    else:
        _note_header(pages, node)


def _note_header(pages: _Pages, node: Node) -> None:
    if node.name == "MeasurementUnit":
        pages.unit = node.text.strip()
    elif node.name == "ReadingOrder":
        pages.is_ordered = False
    elif node.name == "sourceImageInformation":
        name = node.first("fileName")
        pages.image = (name.text.strip() if name else "") or pages.image
    elif node.name == "Tags":
        pages.tags = {
            tag.attributes.get("ID", ""): tag.attributes.get("LABEL", "") for tag in node.children
        }


def _text(pages: _Pages, node: Node, level: str, own: dict[str, Any]) -> Piece:
    return _piece(pages, node, level, own | {"level": level})


def _piece(pages: _Pages, node: Node, level: str, own: dict[str, Any]) -> Piece:
    order = pages.place(level)
    path = f"{node.name}[{node.attributes.get('ID', '')}]"
    try:
        record = {
            "image": pages.image,
            "reading_order": order,
            "annotation_id": node.attributes.get("ID"),
            "page_num": pages.page_num,
            "confidence": _conf(node, path),
            **values.placed(_outline(pages, node, path), _box(pages, node, path)),
        }
        return pages.file.record(own | record)
    except Flaw as flaw:
        return flaw.refusing({"element": node.name, **node.attributes, **own})


def _line_text(line: Node) -> str:
    """Return the strings of a line; a space between two only where the file has one, if any."""
    between = "" if line.each("SP") else " "
    text = ""
    for child in line.children:
        if child.name == "String":
            text += (between if text else "") + child.attributes.get("CONTENT", "")
        elif child.name == "SP":
            text += " "
        elif child.name == "HYP":
            text += child.attributes.get("CONTENT", "-")
    return text


def _conf(node: Node, path: str) -> float | None:
    text = node.attributes.get("WC")
    place = f"{path}.WC"
    return None if text is None else values.share(values.number_in(text, place), place)


def _box(pages: _Pages, node: Node, path: str) -> Shape | None:
    texts = [node.attributes.get(name) for name in _BOX]
    if texts == [None] * 4:
        return None
    _require_pixels(pages, path)
    x, y, width, height = (
        values.number_in(text or "", f"{path}.{name}")
        for name, text in zip(_BOX, texts, strict=True)
    )
    return values.sized((x, y, width, height), path)


def _outline(pages: _Pages, node: Node, path: str) -> Shape | None:
    shape = node.first("Shape")
    polygon = shape.first("Polygon") if shape else None
    if polygon is None:
        return None
    _require_pixels(pages, path)
    place = f"{path}.Shape.Polygon"
    parts = _BETWEEN.split(polygon.attributes.get("POINTS", "").strip())
    flat = [values.number_in(part, place) for part in parts]
    return values.polygon(values.points(flat, place), place)


def _require_pixels(pages: _Pages, path: str) -> None:
    if pages.unit != "pixel":
        raise Flaw(
            "coordinates_are_in_pixels",
            path=path,
            expected="MeasurementUnit pixel",
            actual=pages.unit or "none",
        )
