"""CSV columns of text as chunks of typed columns, whose types a first pass finds out.

Invariant: a type holds for the whole file. What the first pass parsed is kept, up to a limit, as
the types that it saw so far; where these hold to the end, that much is not read twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.intake.flow import worked_on
from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers.csv_bytes import ByteFeed
from lake_assets.intake.readers.csv_columns import (
    RecordReader,
    Stretch,
    TextBlock,
    moved,
    one_array,
)
from lake_assets.intake.readers.row_json import row_json
from lake_assets.intake.readers.source import (
    Chunk,
    DataFile,
    cut,
    in_order,
    keep_rows,
    misfit_row,
    table_of,
)
from lake_assets.intake.readers.text_types import Fit, TypeGuess, as_kind, parse_column
from lake_assets.intake.readers.values import DoesNotFit

KEPT_BYTES = 128 * 1024 * 1024
"""How much of a file's rows the first pass keeps: a million rows of a dozen columns."""
# Each holds a piece and its columns, and two already outrun what writes the rows.
_MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class Found:
    """What a first pass over a file found out, and what of it need not be read again."""

    kinds: dict[str, pa.DataType]
    """Of the columns with values, those of the table first."""
    kept: deque[Chunk]
    """The first records; their columns may still have the types of their own values."""
    position: int
    """Where the others begin in the file."""
    number: int
    """Of the first of the others."""
    is_all_kept: bool


@dataclass(frozen=True, slots=True)
class _Typed:
    """A block's columns as far as types are known."""

    chunk: Chunk
    record_count: int
    fits: dict[str, Fit]


@dataclass(slots=True)
class _Kept:
    """The chunks that a first pass keeps, and the place in the file behind them."""

    position: int
    number: int = 0
    chunks: deque[Chunk] = field(default_factory=deque)
    is_all: bool = True
    byte_count: int = 0

    def take(self, chunks: list[Chunk], *, position: int, number: int) -> None:
        self.chunks.extend(chunks)
        self.byte_count += sum(chunk.rows.nbytes for chunk in chunks)
        self.position, self.number = position, number


def first_pass(
    reader: RecordReader, feed: ByteFeed, known: dict[str, pa.DataType], *, kept_bytes: int
) -> Found:
    """Read the whole file and return the types of all columns that have values.

    Args:
        reader: Of the file.
        feed: The file, at its first row.
        known: Columns whose types are decided already.
        kept_bytes: How much to keep of what is read.
    """
    start = feed.position
    guesses = {name: TypeGuess() for name in reader.layout.names if name not in known}
    kept, number = _Kept(start), 0
    for stretch, blocks in _typed(reader, feed, known, guesses):
        chunks = []
        kept.is_all = kept.is_all and kept.byte_count < kept_bytes
        for typed in blocks:
            for name, fit in typed.fits.items():
                guesses[name].narrow(fit)
            if kept.is_all:
                chunks.append(_numbered(typed.chunk, number))
            number += typed.record_count
        if kept.is_all:
            kept.take(chunks, position=stretch.end, number=number)
    guessed = {name: guess.kind() for name, guess in guesses.items()}
    kinds = known | {name: kind for name, kind in guessed.items() if kind is not None}
    if not all(_can_settle(chunk, kinds) for chunk in kept.chunks):
        kept = _Kept(start, is_all=False)
    return Found(kinds, kept.chunks, kept.position, kept.number, kept.is_all)


def chunks(
    reader: RecordReader, feed: ByteFeed, kinds: dict[str, pa.DataType], *, number: int
) -> Iterator[Chunk]:
    """Yield the rest of a file, whose first record has this number; other columns are left out."""
    for _, blocks in _typed(reader, feed, kinds, {}):
        for typed in blocks:
            yield from within_limits(_numbered(typed.chunk, number), reader.file)
            number += typed.record_count


def settled(chunk: Chunk, kinds: dict[str, pa.DataType]) -> Chunk:
    """Return a kept chunk with the columns and types that the whole file turned out to have."""
    columns = {name: as_kind(one_array(chunk.rows[name]), kind) for name, kind in kinds.items()}
    rows = table_of(columns, chunk.rows.num_rows)
    return Chunk(rows=rows, numbers=chunk.numbers, rejected=chunk.rejected)


def within_limits(chunk: Chunk, file: DataFile) -> Iterator[Chunk]:
    """Yield the chunk in pieces within the file's limits."""
    total = chunk.rows.num_rows
    for start in range(0, max(total, 1), file.limits.rows):
        # A table without columns takes a slice to be as long as it was asked for.
        count = min(file.limits.rows, total - start)
        piece = Chunk(
            rows=chunk.rows.slice(start, count),
            numbers=chunk.numbers.slice(start, count),
            rejected=() if start else chunk.rejected,
        )
        yield from cut(piece, file.limits)


def _numbered(chunk: Chunk, start: int) -> Chunk:
    return Chunk(
        rows=chunk.rows,
        numbers=pc.add(chunk.numbers, start),
        rejected=moved(chunk.rejected, start),
    )


def _can_settle(chunk: Chunk, kinds: dict[str, pa.DataType]) -> bool:
    return all(
        as_kind(one_array(chunk.rows[name]), kind) is not None for name, kind in kinds.items()
    )


def _typed(
    reader: RecordReader,
    feed: ByteFeed,
    known: dict[str, pa.DataType],
    guesses: dict[str, TypeGuess],
) -> Iterator[tuple[Stretch, Iterable[_Typed]]]:
    """Yield the stretches of a file in order, each with its blocks, parsed by several threads."""

    def typed(block: TextBlock) -> _Typed:
        return _typed_block(reader.file, block, known, guesses)

    def parse(stretch: Stretch) -> _Typed | None:
        block = reader.plain_block(stretch)
        return None if block is None else typed(block)

    for stretch, result in _in_threads(parse, reader.stretches(feed)):
        if result is not None:
            yield stretch, (result,)
        else:
            yield stretch, map(typed, reader.careful_blocks(stretch.data))


def _in_threads(
    parse: Callable[[Stretch], _Typed | None], stretches: Iterator[Stretch]
) -> Iterator[tuple[Stretch, _Typed | None]]:
    """Yield each stretch with its result, in order; a few are parsed ahead."""
    first = list(islice(stretches, 2))
    if len(first) < 2:  # a small file: threads would cost more than they save
        yield from ((stretch, parse(stretch)) for stretch in first)
        return
    count = min(_MOST_THREADS, pa.cpu_count())
    yield from worked_on(chain(first, stretches), parse, threads=count, ahead=count)


def _typed_block(
    file: DataFile,
    block: TextBlock,
    known: dict[str, pa.DataType],
    guesses: dict[str, TypeGuess],
) -> _Typed:
    parsed = {name: parse_column(block.columns[name], kind, name) for name, kind in known.items()}
    fits = {name: guess.fit(block.columns[name]) for name, guess in guesses.items()}
    columns = {name: column.values for name, column in parsed.items()}
    columns |= {name: fit.values for name, fit in fits.items()}
    rows = table_of(columns, len(block.numbers))
    problems = {i: problem for column in parsed.values() for i, problem in column.misfits.items()}
    chunk = Chunk(rows=rows, numbers=block.numbers, rejected=block.rejected)
    return _Typed(
        _without(chunk, block, problems, file) if problems else chunk,
        block.record_count,
        fits,
    )


def _without(
    chunk: Chunk, block: TextBlock, problems: dict[int, DoesNotFit], file: DataFile
) -> Chunk:
    """Return the chunk with the rows rejected that have a value which does not fit."""
    kept = [i for i in range(chunk.rows.num_rows) if i not in problems]
    misfits = [_misfit(file, block, i, problem) for i, problem in problems.items()]
    return Chunk(
        rows=keep_rows(chunk.rows, kept),
        numbers=chunk.numbers.take(pa.array(kept, pa.int64())),
        rejected=in_order([*chunk.rejected, *misfits]),
    )


def _misfit(file: DataFile, block: TextBlock, i: int, problem: DoesNotFit) -> RejectedRow:
    row = {name: column[i].as_py() or "" for name, column in block.columns.items()}
    return misfit_row(file.name, block.numbers[i].as_py(), problem, row_json(row))
