"""hOCR: lines and words as elements of an HTML page.

Properties stand in ``title``: ``bbox x0 y0 x1 y1``, ``x_wconf`` from 0 to 100 for words, ``image``
for pages. Source: http://kba.github.io/hocr-spec/1.2. Elements are in reading order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, NoReturn

from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations import values
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece
from lake_assets.intake.formats import MAX_RECORD_CHARS
from lake_assets.intake.readers.text import is_valid, open_text

_READ_CHARS = 64 * 1024
_MOST_PENDING = 16 * _READ_CHARS
_MAX_DEPTH = 200
_LEVELS = {
    "ocrx_word": "word",
    # Tesseract writes the latter three for lines of special kinds.
    **dict.fromkeys(
        ("ocr_line", "ocrx_line", "ocr_header", "ocr_caption", "ocr_textfloat"), "line"
    ),
}
_VOID = frozenset(
    "area base br col embed hr img input link meta param source track wbr".split()
)  # https://html.spec.whatwg.org/#void-elements
_NO_IMAGE = frozenset({"", "unknown"})


@dataclass(slots=True)
class _Element:
    tag: str
    level: str | None
    """Of text; None: it is no piece of text."""
    is_page: bool
    id: str | None
    title: str
    texts: list[str] = field(default_factory=list)


def read_hocr(file: AnnotationFile) -> Iterator[Piece]:
    """Yield the words and lines in the order of their ends (``ocr``); a word before its line.

    Raises:
        UnreadableSource: There is no page in it, or it is cut short inside a page.
    """
    source = file.as_text()
    parser = _Parser(file)
    with open_text(source, newline="\n") as text:
        while chunk := text.read(_READ_CHARS):
            parser.feed(chunk)
            yield from parser.taken()
    parser.close()
    yield from parser.taken()


class _Parser(HTMLParser):
    def __init__(self, file: AnnotationFile) -> None:
        super().__init__(convert_charrefs=True)
        self._file = file
        self._open: list[_Element] = []
        self._pieces: list[Piece] = []
        self._image = file.stem
        self._page_num = 0
        self._counts: Counter[str] = Counter()
        self._text_chars = 0

    def feed(self, data: str) -> None:
        """Take the next characters."""
        super().feed(data)
        # Unfinished markup is looked at again with each chunk.
        if len(self.rawdata) > _MOST_PENDING:
            self._refuse(f"a tag or comment has more than {_MOST_PENDING:,} characters")

    def close(self) -> None:
        """Take the end of the file."""
        # Not left to the library: it looks for the end of each tag in all that is left, and took
        # 21 s for 50 KB of them.
        if self.rawdata.startswith("<"):
            self._refuse("it is cut short inside a tag or comment")
        super().close()
        if any(element.level for element in self._open):
            self._refuse("it is cut short inside a line or word")
        if any(element.is_page for element in self._open):
            self._refuse("it is cut short inside a page")
        if not self._page_num:
            self._refuse("it has no element of the class ocr_page")

    def taken(self) -> list[Piece]:
        """Return what has ended since this was called last."""
        taken, self._pieces = self._pieces, []
        return taken

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        attributes = dict(attrs)
        classes = (attributes.get("class") or "").split()
        level = next((_LEVELS[name] for name in classes if name in _LEVELS), None)
        title = attributes.get("title") or ""
        is_page = "ocr_page" in classes
        if is_page:
            self._page_num += 1
            self._counts.clear()
            image = _properties(title).get("image", "")
            self._image = self._file.stem if image.lower() in _NO_IMAGE else image
        if tag not in _VOID:
            self._open.append(_Element(tag, level, is_page, attributes.get("id"), title))
        if len(self._open) > _MAX_DEPTH:
            self._refuse(f"it is nested more than {_MAX_DEPTH} levels deep")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open and close an element that is written as ``<tag/>``."""
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element of this tag, and those in it, whose ends are left out."""
        if not any(element.tag == tag for element in self._open):
            return
        while True:
            element = self._open.pop()
            if element.level:
                self._pieces.append(self._piece(element, element.level))
            if element.tag == tag:
                return

    def handle_data(self, data: str) -> None:
        """Add text to all lines and words that are open."""
        around = [element for element in self._open if element.level]
        self._text_chars = self._text_chars + len(data) if around else 0
        if self._text_chars > MAX_RECORD_CHARS:
            self._refuse(f"a line has more than {MAX_RECORD_CHARS:,} characters")
        for element in around:
            element.texts.append(data)

    def _piece(self, element: _Element, level: str) -> Piece:
        order = self._counts[level]
        self._counts[level] += 1
        # White space is as HTML shows it.
        text = " ".join("".join(element.texts).split())
        try:
            _require_valid({"text": text, "image": self._image, "id": element.id or ""})
            return self._file.record(
                {
                    "image": self._image,
                    "reading_order": order,
                    "annotation_id": element.id,
                    "text": text,
                    "level": level,
                    "page_num": self._page_num,
                    **_described(element),
                }
            )
        except Flaw as flaw:
            raw = {"id": element.id, "level": level, "title": element.title, "text": text}
            return flaw.refusing(raw)

    def _refuse(self, reason: str) -> NoReturn:
        raise UnreadableSource(
            f"{self._file.name} cannot be read as hOCR, line {self.getpos()[0]}: {reason}. Correct "
            "it and deliver it again.",
            file=self._file.name,
        )


def _require_valid(texts: dict[str, str]) -> None:
    for path, text in texts.items():
        if not is_valid(text):
            raise Flaw("line_is_valid_utf8", path=path, expected="UTF-8 text", actual="other bytes")


def _described(element: _Element) -> dict[str, Any]:
    properties = _properties(element.title)
    columns: dict[str, Any] = {}
    if "bbox" in properties:
        flat = [values.number_in(part, "bbox") for part in properties["bbox"].split()]
        columns = values.corners(values.four(flat, "bbox"), "bbox").columns()
    if "x_wconf" in properties:
        conf = values.number_in(properties["x_wconf"], "x_wconf")
        columns["confidence"] = values.share(conf, "x_wconf", whole=100)
    return columns


def _properties(title: str) -> dict[str, str]:
    """Return the properties of a title, without quotes; a semicolon in quotes ends none."""
    ended, current = [], ""
    for number, part in enumerate(title.split('"')):
        if number % 2:
            current += part
        else:
            first, *rest = part.split(";")
            for text in rest:
                ended.append(current + first)
                current, first = "", text
            current += first
    words = [text.split(None, 1) for text in (*ended, current)]
    return {pair[0]: pair[1].strip() for pair in words if len(pair) == 2}
