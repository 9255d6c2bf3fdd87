"""JSON Lines and JSON files as chunks of typed columns.

Invariant: a first pass over the whole file finds the types of all records at every depth; records
that do not fit them are rejected, each with the path of the value that does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from lake_assets.intake.readers.json_blocks import read_elements, read_lines
from lake_assets.intake.readers.json_bytes import is_utf16
from lake_assets.intake.readers.json_elements import NotPlain
from lake_assets.intake.readers.json_records import Block, is_by_line, record_blocks
from lake_assets.intake.readers.json_table import chunk_of, column_types, shape_of_records
from lake_assets.intake.readers.json_types import Shape
from lake_assets.intake.readers.source import Chunk, DataFile, cut


def read_json(file: DataFile) -> Iterator[Chunk]:
    """Yield every record of a JSON Lines or JSON file, or its rejection.

    Columns that hold nothing in the whole file are left out: their type is not known.

    Raises:
        UnreadableSource: An array or object is not valid JSON, or has names that no table can have.
    """
    if is_utf16(file):
        yield from _read_records(file)
    elif is_by_line(file):
        yield from read_lines(file)
    else:
        chunks = read_elements(file)
        try:
            first = next(chunks, None)
        except NotPlain:
            yield from _read_records(file)
            return
        if first is not None:
            yield first
        yield from chunks


def _read_records(file: DataFile) -> Iterator[Chunk]:
    records = Shape()
    for block in record_blocks(file):
        records.merge(shape_of_records(block))
    kinds = column_types(file, records)
    for block in record_blocks(file):
        yield from cut(chunk_of(file, kinds, records, block), file.limits)


def head_json(file: DataFile) -> pa.Table:
    """Return the first rows, within the file's limits, in the types that they show."""
    block = next(record_blocks(file), Block())
    records = shape_of_records(block)
    return chunk_of(file, column_types(file, records), records, block).rows
