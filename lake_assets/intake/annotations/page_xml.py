"""PAGE XML: regions, lines and words of one page, with their outlines and reading order.

Source: the schema of PRImA (https://github.com/PRImA-Research-Lab/PAGE-XML, pagecontent.xsd,
2009-03-16 to 2019-07-15). ``Coords`` has points ``x,y x,y`` or, in 2009 and 2010, elements
``Point``; of several ``TextEquiv`` that with the lowest index is the text; ``conf`` is 0 to 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lake_assets.contracts.geometry import Point
from lake_assets.intake.annotations import values
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece
from lake_assets.intake.annotations.page_order import Places, places_of
from lake_assets.intake.annotations.xml_text import Event, Node, events

_WHOLE = frozenset({"ReadingOrder", "TextLine", "Coords"})


@dataclass(slots=True)
class _Page:
    """Where reading has come to."""

    file: AnnotationFile
    places: Places
    image: str
    regions: list[Node] = field(default_factory=list)
    """Those that are open, with their own ``Coords`` as child, outermost first."""
    counts: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    """Lines and words so far, by level and region."""


def read_text(file: AnnotationFile) -> Iterator[Piece]:
    """Yield each line, then its words (``ocr``). ``reading_order`` counts lines, and words.

    It is null without a ``ReadingOrder``, and in regions that it leaves out or unordered.
    """
    page = _Page(file, places_of(file), file.stem)
    for event in _page_events(page):
        if event.kind == "end" and event.node.name == "TextLine":
            yield _text(page, event.node, "line")
            for word in event.node.each("Word"):
                yield _text(page, word, "word")


def read_regions(file: AnnotationFile) -> Iterator[Piece]:
    """Yield the regions (``layout``), by their type, or element name if they have none.

    ``element`` is always the element's name. Regions inside others come before them.
    """
    page = _Page(file, places_of(file), file.stem)
    for event in _page_events(page):
        if event.kind == "end" and event.node.name.endswith("Region"):
            yield _region(page, event.node)


def _page_events(page: _Page) -> Iterator[Event]:
    for event in events(page.file, "PcGts", _WHOLE):
        node = event.node
        is_start = event.kind == "start"
        if is_start and node.name == "Page":
            page.image = node.attributes.get("imageFilename") or page.file.stem
        elif node.name.endswith("Region"):
            page.regions.append(node) if is_start else page.regions.pop()
        elif node.name == "Coords" and page.regions:
            page.regions[-1].children.append(node)
        yield event


def _text(page: _Page, node: Node, level: str) -> Piece:
    region = page.regions[-1].attributes.get("id") if page.regions else None
    order = page.places.text_place(level, region, page.counts[level, region])
    page.counts[level, region] += 1
    path = f"{node.name}[{node.attributes.get('id', '')}]"
    try:
        equivalent = _main_text(node, path)
        own = {"image": page.image, "reading_order": order, "level": level}
        return page.file.record(own | _id(node) | _where(node, path) | equivalent)
    except Flaw as flaw:
        return flaw.refusing(_raw(node))


def _region(page: _Page, node: Node) -> Piece:
    name = node.attributes.get("id")
    path = f"{node.name}[{name or ''}]"
    coords = node.first("Coords")
    try:
        return page.file.record(
            {
                "image": page.image,
                "reading_order": page.places.regions.get(name or ""),
                "label": node.attributes.get("type") or node.name,
                "element": node.name,
                "confidence": _conf(coords, path) if coords else None,
                **_id(node),
                **_where(node, path),
            }
        )
    except Flaw as flaw:
        return flaw.refusing(_raw(node))


def _id(node: Node) -> dict[str, Any]:
    return {"annotation_id": node.attributes.get("id")}


def _main_text(node: Node, path: str) -> dict[str, Any]:
    found = node.each("TextEquiv")
    if not found:
        return {}
    main = min(found, key=lambda equivalent: _index(equivalent, f"{path}.TextEquiv.index"))
    text = main.first("Unicode") or main.first("PlainText")
    return {"text": text.text if text else None, "confidence": _conf(main, f"{path}.TextEquiv")}


def _index(node: Node, path: str) -> float:
    text = node.attributes.get("index")
    return values.number_in(text, path) if text is not None else 0


def _conf(node: Node, path: str) -> float | None:
    text = node.attributes.get("conf")
    place = f"{path}.conf"
    return None if text is None else values.share(values.number_in(text, place), place)


def _where(node: Node, path: str) -> dict[str, Any]:
    coords = node.first("Coords")
    if coords is None:
        return {}
    place = f"{path}.Coords"
    return values.polygon(_points(coords, place), place).columns()


def _points(coords: Node, path: str) -> list[Point]:
    pairs = [
        (point.attributes.get("x", ""), point.attributes.get("y", ""))
        for point in coords.each("Point")
    ]
    for text in coords.attributes.get("points", "").split():
        x, _, y = text.partition(",")
        pairs.append((x, y))
    return [(values.number_in(x, path), values.number_in(y, path)) for x, y in pairs]


def _raw(node: Node) -> dict[str, Any]:
    """Return an element as JSON has it, without the words and glyphs inside."""
    inner = [child for child in node.children if child.name not in ("Word", "Glyph", "TextLine")]
    own: dict[str, Any] = {"element": node.name, **node.attributes}
    if node.text.strip():
        own["text"] = node.text
    return own | ({"children": [_raw(child) for child in inner]} if inner else {})
