"""CSV and TSV files as chunks of typed columns.

Invariant: a first pass over the whole file finds the types, so no later value can surprise; values
that do not fit a type which the dataset's table already has are rejected one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from lake_assets.errors import InvalidRequest, UnreadableSource
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.readers.csv_bytes import ByteFeed
from lake_assets.intake.readers.csv_chunks import (
    KEPT_BYTES,
    Found,
    chunks,
    first_pass,
    settled,
    within_limits,
)
from lake_assets.intake.readers.csv_columns import Layout, RecordReader, text_block
from lake_assets.intake.readers.csv_records import Block, Feed, likely_delimiter, next_record
from lake_assets.intake.readers.row_json import readable
from lake_assets.intake.readers.source import Chunk, DataFile, check_columns, table_of
from lake_assets.intake.readers.text import is_valid, open_utf8

PLAIN_BYTES = 4 * 1024 * 1024
"""How much of a plain file is parsed at once."""

_SAMPLE_LINES = 100

_NO_HEADER = " If its first line is no header, deliver it with --no-header (header=False)."


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file at its first row."""

    reader: RecordReader
    feed: ByteFeed


def read_delimited(
    file: DataFile, *, plain_bytes: int = PLAIN_BYTES, kept_bytes: int = KEPT_BYTES
) -> Iterator[Chunk]:
    """Yield every record of a CSV or TSV file, or its rejection. An empty file yields nothing.

    Args:
        file: The file.
        plain_bytes: How much is parsed at once where the file is plain; 0: every record is looked
            at by itself, which takes ten times as long and gives the same.
        kept_bytes: How much of the rows is held so that it need not be read a second time.

    Raises:
        UnreadableSource: The header is broken, or has names that no table can have.
    """
    found = _look_through(file, plain_bytes, kept_bytes)
    while found.kept:
        yield from within_limits(settled(found.kept.popleft(), found.kinds), file)
    if not found.is_all_kept:
        with _open(file, plain_bytes) as opened:
            opened.feed.skip_to(found.position)
            yield from chunks(opened.reader, opened.feed, found.kinds, number=found.number)


def head_delimited(file: DataFile) -> pa.Table:
    """Return the first rows, within the file's limits; all columns are strings."""
    with _open(file, plain_bytes=0) as opened:
        first = next(opened.reader.stretches(opened.feed), None)
        block = first.block if first and first.block else Block()
        return table_of(text_block(block, opened.reader.layout).columns, len(block.fields))


def _look_through(file: DataFile, plain_bytes: int, kept_bytes: int) -> Found:
    """Return the types: the table's where it has the column, else what all values fit.

    A column without any value is left out; its type is not known.
    """
    expected = file.expected or pa.schema([])
    with _open(file, plain_bytes) as opened:
        names = opened.reader.layout.names
        known = {name: expected.field(name).type for name in names if name in expected.names}
        if len(known) < len(names):
            return first_pass(opened.reader, opened.feed, known, kept_bytes=kept_bytes)
        return Found(known, deque(), opened.feed.position, number=0, is_all_kept=False)


@contextmanager
def _open(file: DataFile, plain_bytes: int) -> Iterator[_Opened]:
    with open_utf8(file) as utf8:
        feed = ByteFeed(utf8, file)
        with feed.lines() as lines:
            delimiter = _delimiter(file, lines)
            layout = Layout(_names(file, lines, delimiter), delimiter)
        reader = RecordReader(file=file, layout=layout, errors=feed.errors, plain_bytes=plain_bytes)
        yield _Opened(reader, feed)


def _delimiter(file: DataFile, feed: Feed) -> str:
    if file.options.delimiter is not None:
        if len(file.options.delimiter) != 1 or file.options.delimiter in '\r\n"':
            raise InvalidRequest(
                f"A delimiter is one character, not {file.options.delimiter!r}.", file=file.name
            )
        return file.options.delimiter
    if file.format is DataFormat.TSV:
        return "\t"
    sample = list(islice(feed, _SAMPLE_LINES))
    feed.put_back(sample)
    return likely_delimiter(sample)


def _names(file: DataFile, feed: Feed, delimiter: str) -> tuple[str, ...]:
    """Return the columns; afterwards the feed stands at the first record that is a row."""
    first = next_record(feed, delimiter)
    while first is not None and first.fields == []:
        first = next_record(feed, delimiter)
    if first is None:
        return ()
    if not file.options.header:
        feed.put_back([first.text])
        return tuple(f"column{i}" for i in range(len(first.fields or [""])))
    if first.fields is None or not is_valid(first.text) or "\0" in first.text:
        raise UnreadableSource(
            f"The header of {file.name} is not valid: {readable(first.text)[:200]!r} "
            f"{first.problem}. Write it as UTF-8 text, or read the file without a header.",
            file=file.name,
        )
    check_columns(first.fields, file.name, hint=_NO_HEADER)
    return tuple(first.fields)
