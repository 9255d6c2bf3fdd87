"""Tesseract's TSV: one row per page, block, paragraph, line and word, with a header.

Columns ``level page_num block_num par_num line_num word_num left top width height conf text``;
words have level 5, confidence is 0 to 100 or -1, and text is never quoted. Source:
``TessBaseAPI::GetTSVText`` in https://github.com/tesseract-ocr/tesseract (src/api/baseapi.cpp).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations import values
from lake_assets.intake.annotations.formats import TESSERACT_HEADER
from lake_assets.intake.annotations.lines import text_lines
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece, Refused

_NAMES = tuple(TESSERACT_HEADER.split("\t"))
_NUMBERS = ("page_num", "block_num", "par_num", "line_num", "word_num")
_BOX = ("left", "top", "width", "height")
_LEVELS = frozenset("123456")
_WORD = "5"


def read_tsv(file: AnnotationFile) -> Iterator[Piece]:
    """Yield the words (``ocr``), with their page, block, paragraph, line and word number.

    Rows of other levels are places without text, and no annotations. ``reading_order`` counts the
    words of a page.

    Raises:
        UnreadableSource: The first line is not Tesseract's header.
    """
    lines = text_lines(file)
    names = _header(next(lines, None), file)
    counts: Counter[str] = Counter()
    for line in lines:
        if isinstance(line, Refused):
            yield line
            continue
        try:
            row = _row(line, names)
            if row["level"] != _WORD:
                continue
            order = counts[row["page_num"]]
            counts[row["page_num"]] += 1
            yield file.record({"image": file.stem, "reading_order": order, **_word(row)})
        except Flaw as flaw:
            yield flaw.refusing(line)


def _header(line: str | Refused | None, file: AnnotationFile) -> tuple[str, ...]:
    names = tuple(line.split("\t")) if isinstance(line, str) else _NAMES if line is None else ()
    # Later versions may add columns: text stays the last one.
    if not set(_NAMES) <= set(names) or names[-1] != "text":
        raise UnreadableSource(
            f"{file.name} does not begin with Tesseract's header {' '.join(_NAMES)}. Write it with "
            "`tesseract IMAGE OUT tsv`.",
            file=file.name,
        )
    return names


def _row(line: str, names: tuple[str, ...]) -> dict[str, str]:
    fields = line.split("\t", len(names) - 1)
    if len(fields) != len(names):
        raise Flaw("row_has_all_columns", expected=f"{len(names)} columns", actual=str(len(fields)))
    row = dict(zip(names, fields, strict=True))
    if row["level"] not in _LEVELS:
        raise Flaw("level_is_known", path="level", expected="1 to 5", actual=row["level"])
    return row


def _word(row: dict[str, str]) -> dict[str, Any]:
    x, y, width, height = (values.number_in(row[name], name) for name in _BOX)
    conf = values.number_in(row["conf"], "conf")
    return {
        "text": row["text"],
        "level": "word",
        "confidence": None if conf == -1 else values.share(conf, "conf", whole=100),
        **{name: _count(row[name], name) for name in _NUMBERS},
        **values.sized((x, y, width, height), "left, top, width, height").columns(),
    }


def _count(text: str, path: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Flaw("value_fits_its_column", path=path, expected="a whole number", actual=text)
    return int(text)
