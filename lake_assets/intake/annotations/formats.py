"""Which format a file of annotations has: by its first bytes, and where they do not tell, its name.

Invariant: detection reads 64 KiB, and says no format rather than a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lake_assets.contracts.record_types import RecordType, record_type
from lake_assets.intake.annotations.model import AnnotationFile, AnnotationFormat
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.readers.text import open_utf8

TESSERACT_HEADER = (
    "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext"
)
_HEAD_BYTES = 64 * 1024
_FIRST_LINES = 20
_NUMBER = r"\s*[+-]?[0-9]+(?:\.[0-9]*)?\s*"
_SROIE_LINE = re.compile(rf"{_NUMBER}(?:,{_NUMBER}){{7}},")
_LABEL_LINE = re.compile(r"[^\t]+\t\s*\[")
_PAGE_ROOT = re.compile(r"<(?:[\w.-]+:)?PcGts[\s>]")
_ALTO_ROOT = re.compile(r"<(?:[\w.-]+:)?alto[\s>]", re.IGNORECASE)
_HOCR_CLASS = re.compile(r"\bocr_page\b|\bocrx_word\b|\bocr_line\b")
_LIST_OF_LISTS = re.compile(r"\[\s*(?:null\s*,\s*)*(?:\[\s*(?:\]\s*,\s*\[\s*)*\[|null\s*\])")
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|[{}\[\]]|"', re.DOTALL)
_EMPTY_BY_SUFFIX = {
    ("ocr", ".csv"): AnnotationFormat.SROIE_BOXES,
    ("ocr", ".txt"): AnnotationFormat.SROIE_BOXES,
    ("ocr", ".tsv"): AnnotationFormat.TESSERACT_TSV,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The beginning of a file."""

    text: str
    """Without byte order mark and leading space."""
    lines: tuple[str, ...]
    """The first that are not blank."""
    keys: frozenset[str]
    """Keys of the first JSON object."""
    is_flat: bool
    """Whether that object holds no list and no object, as far as it has been read."""
    kind: RecordType


def annotation_format(
    path: Path, record_type_name: str, *, name: str | None = None
) -> AnnotationFormat | None:
    """Return the format of a file that is to hold annotations of a built-in record type.

    An empty file has a format by its name: a receipt without a line of text is an empty file.

    Args:
        path: An existing file, perhaps compressed (``.gz``, ``.zst``).
        record_type_name: ``ocr``, ``kie``, ``vqa`` or ``layout``.
        name: As staged, for messages; None: that of ``path``.

    Returns:
        None: it is none of those that hold such annotations. It may be a table of them.

    Raises:
        ValueError: There is no such record type.
        UnreadableSource: Compressed data is damaged.
    """
    kind = record_type(record_type_name)
    head = _head(path, name or path.name, kind)
    suffix = _suffix(path.name)
    # What the first record lacks is for its own rejection to say, not for that of the file.
    by_line = AnnotationFormat.JSONL if suffix in (".jsonl", ".ndjson") else None
    if not head.text:
        return _EMPTY_BY_SUFFIX.get((kind.name, suffix), by_line)
    for form, kinds, fits in _SIGNS:
        if kind.name in kinds and fits(head):
            return form
    return by_line


def begins_with_lists(file: AnnotationFile) -> bool:
    """Return whether a file of JSON is a list of lists of lists or nulls, not of objects."""
    return bool(_LIST_OF_LISTS.match(_head(file.path, file.name, file.kind).text))


def _suffix(name: str) -> str:
    bare = name.lower().removesuffix(".gz").removesuffix(".zst")
    return Path(bare).suffix


def _head(path: Path, name: str, kind: RecordType) -> Head:
    file = AnnotationFile(path=path, name=name, kind=kind, format=AnnotationFormat.JSONL)
    with open_utf8(file.as_text(DataFormat.JSONL)) as utf8:
        text = utf8.source.read(_HEAD_BYTES).decode("utf-8", "replace")
    text = text.removeprefix("\ufeff").lstrip()
    lines = [line for line in text.split("\n", _FIRST_LINES)[:_FIRST_LINES] if line.strip()]
    keys, is_flat = _first_object(text) if text[:1] in ("{", "[") else (frozenset(), False)
    return Head(text=text, lines=tuple(lines), keys=keys, is_flat=is_flat, kind=kind)


def _first_object(text: str) -> tuple[frozenset[str], bool]:
    """Return the keys of the first object, and whether nothing is nested in it."""
    depth = own = 0
    keys: set[str] = set()
    is_flat = True
    for token in _TOKEN.finditer(text):
        found = token.group()
        if found in ("{", "["):
            depth += 1
            is_flat = is_flat and not own
            own = depth if found == "{" and not own else own
        elif found in ("}", "]"):
            depth -= 1
            if depth < own:
                break
        elif found == '"':  # cut off here
            break
        elif token.group(2) and depth == own:
            keys.add(token.group(1))
    return frozenset(keys), is_flat


def _is_sroie_keys(head: Head) -> bool:
    return head.text.startswith("{") and bool(head.keys) and head.is_flat


def _is_record(head: Head) -> bool:
    names = {key.lower() for key in head.keys}
    return any(name in names for name in head.kind.required if name != "image")


def _is_paddle_result(head: Head) -> bool:
    if _LIST_OF_LISTS.match(head.text):
        return True
    wrapped = head.text[:1] in ("{", "[") and "res" in head.keys and '"rec_texts"' in head.text
    return wrapped or not head.keys.isdisjoint({"rec_texts", "dt_polys"})


def _is_coco(head: Head) -> bool:
    lists = {"annotations", "images", "categories"}
    return head.text.startswith("{") and not head.keys.isdisjoint(lists)


def _is_coco_results(head: Head) -> bool:
    # A record of its own has its image's name.
    return head.keys >= {"image_id", "category_id"} and "image" not in head.keys


def _is_xfund(head: Head) -> bool:
    is_certain = '"document"' in head.text or "split" in head.keys
    return head.text.startswith("{") and "documents" in head.keys and is_certain


_OCR, _KIE, _LAYOUT = (frozenset({name}) for name in ("ocr", "kie", "layout"))
_SIGNS: tuple[tuple[AnnotationFormat, frozenset[str], Callable[[Head], bool]], ...] = (
    (
        AnnotationFormat.PAGE_XML,
        _OCR | _LAYOUT,
        lambda head: bool(_PAGE_ROOT.search(head.text)),
    ),
    (AnnotationFormat.ALTO, _OCR | _LAYOUT, lambda head: bool(_ALTO_ROOT.search(head.text))),
    (
        AnnotationFormat.HOCR,
        _OCR,
        lambda head: head.text.startswith("<") and bool(_HOCR_CLASS.search(head.text)),
    ),
    (
        AnnotationFormat.TESSERACT_TSV,
        _OCR,
        lambda head: set(TESSERACT_HEADER.split("\t")) <= set(head.lines[0].rstrip().split("\t")),
    ),
    (
        AnnotationFormat.PADDLEOCR_LABELS,
        _OCR,
        lambda head: head.text[0] not in "{[" and any(map(_LABEL_LINE.match, head.lines)),
    ),
    (AnnotationFormat.PADDLEOCR_RESULTS, _OCR, _is_paddle_result),
    (
        AnnotationFormat.SROIE_BOXES,
        _OCR,
        lambda head: any(map(_SROIE_LINE.match, head.lines)),
    ),
    (AnnotationFormat.COCO_RESULTS, _LAYOUT, _is_coco_results),
    # Before those that one key tells: a record may have it besides its own.
    (AnnotationFormat.JSONL, frozenset({"ocr", "kie", "vqa", "layout"}), _is_record),
    (AnnotationFormat.FUNSD, _OCR | _KIE, lambda head: "form" in head.keys),
    (AnnotationFormat.XFUND, _OCR | _KIE, _is_xfund),
    (AnnotationFormat.COCO, _LAYOUT, _is_coco),
    (AnnotationFormat.SROIE_KEYS, _KIE, _is_sroie_keys),
)
