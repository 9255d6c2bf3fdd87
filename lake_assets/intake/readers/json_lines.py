"""JSON Lines and JSON files as chunks of typed columns.

Invariant: a survey of the whole upload finds the types of all records at every depth; every record
is then a row, or rejected because it is none.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from lake_assets.intake.readers.json_blocks import BlockFile, element_file, line_file
from lake_assets.intake.readers.json_bytes import is_utf16, line_blocks, text_of
from lake_assets.intake.readers.json_elements import NotPlain
from lake_assets.intake.readers.json_records import (
    Block,
    is_by_line,
    record_blocks,
    records_of,
)
from lake_assets.intake.readers.json_table import Places, chunk_of, own_places
from lake_assets.intake.readers.source import Chunk, DataFile, KeptBytes, cut
from lake_assets.intake.readers.survey import Survey, require_width


class JsonFile:
    """A JSON Lines or JSON file, read in two passes.

    Args:
        file: The file.
        kept: How much may be kept from the first pass for the second.
    """

    def __init__(self, file: DataFile, kept: KeptBytes) -> None:
        self._file = file
        self._kept = kept
        self._blocks: BlockFile | None = None

    def survey(self) -> Survey:
        """Return what all records look like.

        Raises:
            UnreadableSource: An array or object is not valid JSON, or there are too many columns.
        """
        found = self._survey()
        require_width(found.shape, self._file.name)
        return found

    def chunks(self, places: Places) -> Iterator[Chunk]:
        """Yield every record, or its rejection; to be called after ``survey``, and once.

        Raises:
            UnreadableSource: The file has changed since.
        """
        if self._blocks is not None:
            yield from self._blocks.chunks(places)
            return
        for block in record_blocks(self._file):
            yield from cut(chunk_of(self._file, places, block), self._file.limits)

    def _survey(self) -> Survey:
        if not is_utf16(self._file):
            by_line = is_by_line(self._file)
            self._blocks = (line_file if by_line else element_file)(self._file, self._kept)
            try:
                return self._blocks.survey()
            except NotPlain:
                self._blocks = None
        found = Survey()
        for block in record_blocks(self._file):
            found.see_records(block)
        return found


def head_json(file: DataFile) -> pa.Table:
    """Return the first rows, within the file's limits, in the types that they show."""
    block = _first_block(file)
    survey = Survey()
    survey.see_records(block)
    return chunk_of(file, own_places(survey, file.expected), block).rows


def _first_block(file: DataFile) -> Block:
    if is_utf16(file) or not is_by_line(file):
        return next(record_blocks(file), Block())
    texts: list[str] = []
    size = 0
    for lines in line_blocks(file):  # in bytes: a gigabyte of empty lines is passed over at once
        for i in range(len(lines)):
            if len(texts) >= file.limits.rows or size >= file.limits.byte_count:
                return records_of(enumerate(texts), file)
            texts.append(text_of(lines[i]))
            size += len(texts[-1])
    return records_of(enumerate(texts), file)
