"""CSV records as columns of text: at once where a piece of a file is plain, else one by one.

Invariant: both ways give the same columns, numbers and rejections. A piece is plain if its quotes
are well formed (see ``csv_bytes``) and pyarrow's parser, which is lenient about nothing else,
finds as many fields as there are columns in every record, all of them UTF-8 and without NUL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers.csv_bytes import ByteFeed, lines_in, records_in
from lake_assets.intake.readers.csv_records import Block, Feed, quoted_empties, record_block
from lake_assets.intake.readers.source import DataFile, Limits, numbers_of
from lake_assets.intake.readers.text import UTF8_MARK

# After quotes that do not add up, this many lines are parsed one by one; four times as many if the
# next ones are no better.
_FEWEST_LINES = 64
# A piece with a bad record in it is cut into this many, down to a 256th of a plain one.
_PARTS = 16
_FINEST = 256
_NO_TEXT = pa.array([], pa.string())


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file and what separates them; no names: the file is empty."""

    names: tuple[str, ...]
    delimiter: str


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Some consecutive records, numbered from 0."""

    numbers: pa.Int64Array
    """One per entry of the columns."""
    columns: dict[str, pa.StringArray]
    """An empty field is null, unless it is quoted."""
    rejected: tuple[RejectedRow, ...] = ()

    @property
    def record_count(self) -> int:
        """How many records these are, rejected ones included."""
        return len(self.numbers) + len(self.rejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Some consecutive records of a file: a piece to be parsed, or a block that has been."""

    end: int
    """Position in the file behind it."""
    data: bytes = b""
    block: Block | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReader:
    """How the records of one file are read."""

    file: DataFile
    layout: Layout
    errors: str
    """How its bytes are decoded."""
    plain_bytes: int
    """How much is parsed at once where it can be; 0: nothing."""

    def stretches(self, feed: ByteFeed) -> Iterator[Stretch]:
        """Yield the rest of the file; a stretch without a block has well-formed quotes."""
        few = min(_FEWEST_LINES, self.file.limits.rows)
        lines = few if self.plain_bytes else self.file.limits.rows
        while True:
            if data := self._take_plain(feed):
                yield Stretch(end=feed.position, data=data)
                lines = few if 2 * len(data) > self.plain_bytes else lines
                continue
            with feed.lines() as rest:
                block = self._record_block(rest, lines)
            if block is None:
                return
            yield Stretch(end=feed.position, block=block)
            lines = min(4 * lines, self.file.limits.rows)

    def plain_block(self, stretch: Stretch) -> TextBlock | None:
        """Return a stretch as columns, or None if its records have to be looked at one by one."""
        if stretch.block is not None:
            return text_block(stretch.block, self.layout)
        return self._plain(stretch.data)

    def careful_blocks(self, data: bytes) -> Iterator[TextBlock]:
        """Yield the records of a piece that is not plain, in blocks of about the limits."""
        return _gathered(self._pieces(data), self.file.limits)

    def _take_plain(self, feed: ByteFeed) -> bytes:
        delimiter = self.layout.delimiter
        if not self.plain_bytes or not delimiter.isascii():
            return b""
        return feed.take_records(self.plain_bytes, delimiter)

    def _pieces(self, data: bytes) -> Iterator[TextBlock]:
        if len(data) > self.plain_bytes // _FINEST:
            for part in records_in(data, len(data) // _PARTS, self.layout.delimiter):
                # A piece that is one record cannot be cut.
                block = self._plain(part)
                if block is not None:
                    yield block
                else:
                    yield from self._pieces(part) if len(part) < len(data) else self._each(part)
        else:
            yield from self._each(data)

    def _each(self, data: bytes) -> Iterator[TextBlock]:
        feed = Feed(lines_in(data, self.errors))
        while block := self._record_block(feed, self.file.limits.rows):
            yield text_block(block, self.layout)

    def _record_block(self, feed: Feed, lines: int) -> Block | None:
        layout = self.layout
        return record_block(
            feed, self.file, delimiter=layout.delimiter, width=len(layout.names), rows=lines
        )

    def _plain(self, data: bytes) -> TextBlock | None:
        # Every call of pyarrow's parser passes over a byte order mark, not only a file's first.
        if b"\0" in data or data.startswith(UTF8_MARK):
            return None
        width = len(self.layout.names)
        # pyarrow has no name for a file of line ends alone.
        is_empty = not data.lstrip(b"\r\n")
        columns = [_NO_TEXT] * width if is_empty else _parsed(data, width, self.layout.delimiter)
        if columns is None:
            return None
        numbers = pa.array(np.arange(len(columns[0]), dtype=np.int64))
        return TextBlock(numbers, dict(zip(self.layout.names, columns, strict=True)))


def text_block(block: Block, layout: Layout) -> TextBlock:
    """Return records as columns."""
    columns = zip(*block.fields, strict=True) if block.fields else ([] for _ in layout.names)
    quoted = [
        (i, column)
        for i, text in enumerate(block.texts)
        if '""' in text and "" in block.fields[i]
        for column in quoted_empties(text, layout.delimiter)
    ]
    texts = {
        name: _with_nulls(pa.array(values, pa.string()), {i for i, c in quoted if c == column})
        for column, (name, values) in enumerate(zip(layout.names, columns, strict=True))
    }
    return TextBlock(numbers_of(block.numbers), texts, tuple(block.rejected))


def _with_nulls(values: pa.StringArray, quoted: set[int]) -> pa.StringArray:
    empty = pc.equal(values, "")
    if quoted:
        empty = pc.and_(empty, pa.array([i not in quoted for i in range(len(values))]))
    return pc.if_else(empty, pa.scalar(None, pa.string()), values)


def _parsed(data: bytes, width: int, delimiter: str) -> list[pa.StringArray] | None:
    # Without a line end pyarrow takes an empty last field for quoted if the one before it is.
    whole = data if data.endswith(b"\n") else data + b"\n"
    names = [str(i) for i in range(width)]
    try:
        table = pa_csv.read_csv(
            pa.py_buffer(whole),
            # One block, and one thread: the caller has several.
            pa_csv.ReadOptions(column_names=names, block_size=len(whole) + 1, use_threads=False),
            pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    return [one_array(column) for column in table.columns]


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece; combine_chunks() would copy one that is."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _gathered(blocks: Iterable[TextBlock], limits: Limits) -> Iterator[TextBlock]:
    """Yield the blocks joined into some that reach a limit."""
    group: list[TextBlock] = []
    records = byte_count = 0
    for block in blocks:
        group.append(block)
        records += block.record_count
        byte_count += sum(column.nbytes for column in block.columns.values())
        if records >= limits.rows or byte_count >= limits.byte_count:
            yield _joined(group)
            group, records, byte_count = [], 0, 0
    if group:
        yield _joined(group)


def _joined(blocks: Sequence[TextBlock]) -> TextBlock:
    starts = list(accumulate((block.record_count for block in blocks), initial=0))
    starting = list(zip(blocks, starts, strict=False))
    return TextBlock(
        numbers=pa.concat_arrays([pc.add(block.numbers, start) for block, start in starting]),
        columns={
            name: pa.concat_arrays([block.columns[name] for block in blocks])
            for name in blocks[0].columns
        },
        rejected=tuple(row for block, start in starting for row in moved(block.rejected, start)),
    )


def moved(rejected: Sequence[RejectedRow], by: int) -> tuple[RejectedRow, ...]:
    """Return rejected rows of a block that begins with this number."""
    return tuple(replace(row, row=(row.row or 0) + by) for row in rejected)
