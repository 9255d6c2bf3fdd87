"""JSON files of annotations: one object per line, the items of a list, or one object.

Parsing is that of the rows of tables (``readers.json_records``): strict, in UTF-8 or UTF-16,
compressed or not, each value once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Refused
from lake_assets.intake.formats import MAX_RECORD_CHARS, DataFormat
from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers.json_parser import Parsed, Parser, broken_record, parsed_line
from lake_assets.intake.readers.json_records import Block, list_members, record_blocks
from lake_assets.intake.readers.text import open_text

Document = dict[str, Any]
"""One JSON object."""
_BLANK = " \t\r\n"


def documents(file: AnnotationFile) -> Iterator[Document | Refused]:
    """Yield the objects of a file in their order, or why a piece of it is none.

    Memory is bounded by the largest object and a block.

    Raises:
        UnreadableSource: The file is not valid JSON as a whole.
    """
    is_by_line = ".jsonl" in file.path.name or ".ndjson" in file.path.name
    for block in record_blocks(file.as_text(DataFormat.JSONL if is_by_line else DataFormat.JSON)):
        yield from _in_order(block)


def members(file: AnnotationFile) -> Iterator[tuple[str, Document | Refused]]:
    """Yield the objects in the lists of a file that is one object, each with the list's key.

    Memory is bounded by the largest of them.

    Raises:
        UnreadableSource: The file is not one valid JSON object.
    """
    for member in list_members(file.as_text(DataFormat.JSON)):
        if member.rejected is not None:
            yield member.key, _refused(member.rejected)
        else:
            yield member.key, member.value or {}


def whole_json(file: AnnotationFile) -> Any:
    """Return the one JSON value that a file is.

    Raises:
        UnreadableSource: It is not valid, or has more than 64 Mi characters.
    """
    with open_text(file.as_text(DataFormat.JSON), newline="\n") as source:
        text = source.read(MAX_RECORD_CHARS)
    if len(text) == MAX_RECORD_CHARS:
        raise UnreadableSource(
            f"{file.name} is one list of more than {MAX_RECORD_CHARS:,} characters. Deliver one "
            "file per image.",
            file=file.name,
        )
    try:
        return strict_json(text)
    except Flaw as flaw:
        raise UnreadableSource(
            f"{file.name} is not valid JSON: {flaw.actual}. Correct it and deliver it again.",
            file=file.name,
        ) from None


def strict_json(text: str) -> Any:
    """Return what a JSON text means, numbers with all their digits.

    Raises:
        Flaw: It is not valid: also NaN, a key that comes twice or that no column can have, too many
            levels, text that no table can hold.
    """
    parsed = parsed_line(Parser(), text.strip(_BLANK))
    # As a value of an object: what holds for records holds for it, but that it need not be one.
    broken = parsed.broken or broken_record(Parsed(parsed.text, {"value": parsed.value}))
    if broken is not None:
        raise Flaw(broken.rule, path=broken.path, expected=broken.expected, actual=broken.actual)
    return parsed.value


def _in_order(block: Block) -> Iterator[Document | Refused]:
    pieces: dict[int, Document | Refused] = dict(zip(block.numbers, block.values, strict=True))
    pieces |= {row.row or 0: _refused(row) for row in block.rejected}
    for number in sorted(pieces):
        yield pieces[number]


def _refused(row: RejectedRow) -> Refused:
    return Refused(
        rule=row.rule,
        path=row.path,
        expected=row.expected,
        actual=row.actual,
        row_json=row.row_json,
    )
