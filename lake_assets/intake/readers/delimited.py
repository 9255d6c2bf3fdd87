"""CSV and TSV files as chunks of typed columns.

Invariant: a first pass over the whole file finds the types, so no later value can surprise; values
that do not fit a type which the dataset's table already has are rejected one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.errors import InvalidRequest, UnreadableSource
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers.csv_records import (
    Block,
    Feed,
    likely_delimiter,
    next_record,
    quoted_empties,
    record_blocks,
)
from lake_assets.intake.readers.row_json import readable, row_json
from lake_assets.intake.readers.source import (
    Chunk,
    DataFile,
    check_columns,
    cut,
    in_order,
    keep_rows,
    misfit_row,
    numbers_of,
    table_of,
)
from lake_assets.intake.readers.text import is_valid, lines_of, open_text
from lake_assets.intake.readers.text_types import TypeGuess, parse_column
from lake_assets.intake.readers.values import DoesNotFit

_SAMPLE_LINES = 100

_NO_HEADER = " If its first line is no header, deliver it with --no-header (header=False)."


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of a file and what separates them; no names: the file is empty."""

    names: tuple[str, ...]
    delimiter: str


def read_delimited(file: DataFile) -> Iterator[Chunk]:
    """Yield every record of a CSV or TSV file, or its rejection. An empty file yields nothing.

    Raises:
        UnreadableSource: The header is broken, or has names that no table can have.
    """
    kinds = _column_types(file)
    with _open(file) as (layout, blocks):
        for block in blocks:
            yield from cut(_chunk(file, layout, kinds, block), file.limits)


def head_delimited(file: DataFile) -> pa.Table:
    """Return the first rows, within the file's limits; all columns are strings."""
    with _open(file) as (layout, blocks):
        block = next(blocks, Block())
        return table_of(_text_columns(block, layout), len(block.fields))


def _column_types(file: DataFile) -> dict[str, pa.DataType]:
    """Return the types: the table's where it has the column, else what all values fit.

    A column without any value is left out; its type is not known.
    """
    expected = file.expected or pa.schema([])
    with _open(file) as (layout, blocks):
        guesses = {name: TypeGuess() for name in layout.names if name not in expected.names}
        for block in blocks if guesses else ():
            columns = _text_columns(block, layout)
            for name, guess in guesses.items():
                guess.see(columns[name])
    known = {name: expected.field(name).type for name in layout.names if name not in guesses}
    guessed = {name: guess.kind() for name, guess in guesses.items()}
    return known | {name: kind for name, kind in guessed.items() if kind is not None}


@contextmanager
def _open(file: DataFile) -> Iterator[tuple[_Layout, Iterator[Block]]]:
    with open_text(file, newline="") as text:
        feed = Feed(lines_of(text, file))
        delimiter = _delimiter(file, feed)
        layout = _Layout(_names(file, feed, delimiter), delimiter)
        width = len(layout.names)
        yield layout, record_blocks(feed, file, delimiter=delimiter, width=width)


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


def _text_columns(block: Block, layout: _Layout) -> dict[str, pa.StringArray]:
    """Return the columns as text; an empty field is null, unless it is quoted."""
    columns = zip(*block.fields, strict=True) if block.fields else ([] for _ in layout.names)
    quoted = [
        (i, column)
        for i, text in enumerate(block.texts)
        if '""' in text and "" in block.fields[i]
        for column in quoted_empties(text, layout.delimiter)
    ]
    return {
        name: _with_nulls(pa.array(values, pa.string()), {i for i, c in quoted if c == column})
        for column, (name, values) in enumerate(zip(layout.names, columns, strict=True))
    }


def _with_nulls(values: pa.StringArray, quoted: set[int]) -> pa.StringArray:
    empty = pc.equal(values, "")
    if quoted:
        empty = pc.and_(empty, pa.array([i not in quoted for i in range(len(values))]))
    return pc.if_else(empty, pa.scalar(None, pa.string()), values)


def _chunk(file: DataFile, layout: _Layout, kinds: dict[str, pa.DataType], block: Block) -> Chunk:
    texts = _text_columns(block, layout)
    parsed = {name: parse_column(texts[name], kind, name) for name, kind in kinds.items()}
    problems = {i: problem for column in parsed.values() for i, problem in column.misfits.items()}
    rows = table_of({name: column.values for name, column in parsed.items()}, len(block.fields))
    kept = [i for i in range(len(block.fields)) if i not in problems]
    misfits = [_misfit(file, layout, block, i, problem) for i, problem in problems.items()]
    return Chunk(
        rows=keep_rows(rows, kept) if problems else rows,
        numbers=numbers_of(block.numbers[i] for i in kept),
        rejected=in_order(block.rejected + misfits),
    )


def _misfit(
    file: DataFile, layout: _Layout, block: Block, i: int, problem: DoesNotFit
) -> RejectedRow:
    row = dict(zip(layout.names, block.fields[i], strict=True))
    return misfit_row(file.name, block.numbers[i], problem, row_json(row))
