"""CSV and TSV files as chunks of typed columns.

Invariant: a survey of the whole upload finds the types, so no later value can surprise; text that
does not parse as the type of its column is in the variant beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from lake_assets.errors import InvalidRequest, UnreadableSource
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.readers.csv_bytes import ByteFeed
from lake_assets.intake.readers.csv_chunks import (
    WIDER,
    Found,
    can_settle,
    chunks,
    first_pass,
    settled,
)
from lake_assets.intake.readers.csv_columns import Layout, RecordReader, text_block
from lake_assets.intake.readers.csv_guesses import ColumnGuesses
from lake_assets.intake.readers.csv_records import Block, Feed, likely_delimiter, next_record
from lake_assets.intake.readers.row_json import readable
from lake_assets.intake.readers.source import (
    Chunk,
    DataFile,
    KeptBytes,
    check_columns,
    table_of,
    within_limits,
)
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


class DelimitedFile:
    """A CSV or TSV file, read in two passes.

    Args:
        file: The file; an empty one has no rows.
        kept: How much may be held of the rows so that they need not be read a second time.
        plain_bytes: How much is parsed at once where the file is plain; 0: every record is looked
            at by itself, which takes ten times as long and gives the same.
    """

    def __init__(self, file: DataFile, kept: KeptBytes, *, plain_bytes: int = PLAIN_BYTES) -> None:
        self._file = file
        self._kept = kept
        self._plain_bytes = plain_bytes
        self._names: tuple[str, ...] = ()
        self._known: dict[str, pa.DataType] = {}
        self._found: Found | None = None

    def survey(self) -> ColumnGuesses:
        """Return what the columns can be.

        Where the table has them all, and they cannot grow, the file is not read.

        Raises:
            UnreadableSource: The header is broken, or has names that no table can have.
        """
        expected = {field.name.lower(): field.type for field in self._file.expected or ()}
        with _open(self._file, self._plain_bytes) as opened:
            self._names = opened.reader.layout.names
            known = {name: expected.get(name.lower()) for name in self._names}
            self._known = {name: kind for name, kind in known.items() if kind is not None}
            if len(self._known) < len(known) or any(kind in WIDER for kind in self._known.values()):
                self._found = first_pass(opened.reader, opened.feed, self._known, self._kept)
        found = self._found
        return ColumnGuesses.of(self._known, found) if found else ColumnGuesses()

    def chunks(self, decided: Mapping[str, pa.DataType]) -> Iterator[Chunk]:
        """Yield every record, or its rejection; to be called after ``survey``, and once.

        Args:
            decided: Types of columns by their names in lower case. Those that are in none, and
                that the table has not, have no values.

        Raises:
            UnreadableSource: The file is cut short.
        """
        kinds = {}
        for name in self._names:
            known = self._known.get(name)
            is_open = known is None or known in WIDER
            kind = decided.get(name.lower(), known) if is_open else known
            if kind is not None:
                kinds[name] = kind
        position = number = 0
        if self._found is not None:
            kept = self._found.kept
            if all(can_settle(chunk, kinds) for chunk in kept):
                position, number = self._found.position, self._found.number
                while kept:
                    yield from within_limits(settled(kept.popleft(), kinds), self._file.limits)
                if self._found.is_all_kept:
                    return
            kept.clear()
        with _open(self._file, self._plain_bytes) as opened:
            opened.feed.skip_to(position)
            yield from chunks(opened.reader, opened.feed, kinds, number=number)


def head_delimited(file: DataFile) -> pa.Table:
    """Return the first rows, within the file's limits; all columns are strings."""
    with _open(file, plain_bytes=0) as opened:
        first = next(opened.reader.stretches(opened.feed), None)
        block = first.block if first and first.block else Block()
        return table_of(text_block(block, opened.reader.layout).columns, len(block.fields))


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
