"""JSON Lines and JSON files as chunks of typed columns.

Invariant: a survey of the whole upload finds the types of all records at every depth; every record
is then a row, or rejected because it is none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from lake_assets.intake.readers.json_blocks import BlockFile, element_file, line_file
from lake_assets.intake.readers.json_bytes import Lines, is_utf16, joined, line_blocks
from lake_assets.intake.readers.json_elements import NotPlain
from lake_assets.intake.readers.json_records import (
    Block,
    is_by_line,
    record_blocks,
)
from lake_assets.intake.readers.json_table import Places, chunk_of, own_places
from lake_assets.intake.readers.source import Chunk, DataFile, KeptBytes, cut, table_of
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
    if is_utf16(file) or not is_by_line(file):
        block, survey = next(record_blocks(file), Block()), Survey()
        survey.see_records(block)
        return chunk_of(file, own_places(survey, file.expected), block).rows
    lines = _first_lines(file)
    head = BlockFile(file, lambda _: iter([lines]), KeptBytes(2**62), is_array=False)
    places = own_places(head.survey(), file.expected)
    tables = [chunk.rows for chunk in head.chunks(places)]
    if not tables:
        return chunk_of(file, places, Block()).rows
    if not tables[0].column_names:  # such tables forget how many rows they have
        return table_of({}, sum(table.num_rows for table in tables))
    return pa.concat_tables(tables)


def _first_lines(file: DataFile) -> Lines:
    """Return the first lines, as many as the file's limits say; the last may go beyond them."""
    found: list[Lines] = []
    rows, byte_count = file.limits.rows, file.limits.byte_count
    for block in line_blocks(file):
        count = min(int(np.searchsorted(block.starts[:-1], byte_count)), rows)
        found.append(block.between(0, count))
        rows -= count
        byte_count -= len(found[-1].data)
        if rows <= 0 or byte_count <= 0:
            break
    return joined(found)
