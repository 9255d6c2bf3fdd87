"""JSON files of annotations: one object per line, the items of a list, or one object.

Parsing is that of the rows of tables (``readers.json_records``): strict, in UTF-8 or UTF-16,
compressed or not, each value once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lake_assets.intake.annotations.model import AnnotationFile, Refused
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers.json_records import Block, record_blocks

Document = dict[str, Any]
"""One JSON object."""


def documents(file: AnnotationFile) -> Iterator[Document | Refused]:
    """Yield the objects of a file in their order, or why a piece of it is none.

    Memory is bounded by the largest object and a block.

    Raises:
        UnreadableSource: The file is not valid JSON as a whole.
    """
    is_by_line = ".jsonl" in file.path.name or ".ndjson" in file.path.name
    for block in record_blocks(file.as_text(DataFormat.JSONL if is_by_line else DataFormat.JSON)):
        yield from _in_order(block)


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
