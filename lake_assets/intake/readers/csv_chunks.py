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

from lake_assets.contracts.variants import variant_name
from lake_assets.intake.flow import worked_on
from lake_assets.intake.readers.csv_bytes import ByteFeed
from lake_assets.intake.readers.csv_columns import (
    RecordReader,
    Stretch,
    TextBlock,
    moved,
    one_array,
)
from lake_assets.intake.readers.source import Chunk, KeptBytes, table_of, within_limits
from lake_assets.intake.readers.text_types import (
    Fit,
    TypeGuess,
    as_kind,
    parse_column,
    variants_of,
)

WIDER = {pa.int32(): pa.int64(), pa.float32(): pa.float64()}
"""Types of a table that grow if values show that they have to."""

# Each holds a piece and its columns, and two already outrun what writes the rows.
_MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class Found:
    """What a first pass over a file found out, and what of it need not be read again."""

    guesses: dict[str, TypeGuess]
    """Of the columns whose types the table does not decide."""
    outgrown: frozenset[str]
    """Columns whose smaller numbers in the table do not hold all values."""
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
    outgrown: frozenset[str]


@dataclass(slots=True)
class _Kept:
    """The chunks that a first pass keeps, and the place in the file behind them."""

    left: KeptBytes
    position: int
    number: int = 0
    chunks: deque[Chunk] = field(default_factory=deque)
    is_all: bool = True

    def take(self, chunks: list[Chunk], *, position: int, number: int) -> None:
        self.is_all = self.is_all and self.left.take(sum(chunk.rows.nbytes for chunk in chunks))
        if self.is_all:
            self.chunks.extend(chunks)
            self.position, self.number = position, number


def first_pass(
    reader: RecordReader, feed: ByteFeed, known: dict[str, pa.DataType], left: KeptBytes
) -> Found:
    """Read the whole file and find out what all columns that have values can be.

    Args:
        reader: Of the file.
        feed: The file, at its first row.
        known: Columns whose types are decided already.
        left: How much may be kept of what is read.
    """
    guesses = {name: TypeGuess() for name in reader.layout.names if name not in known}
    kept, number = _Kept(left, feed.position), 0
    outgrown: set[str] = set()
    for stretch, blocks in _typed(reader, feed, known, guesses):
        chunks = []
        for typed in blocks:
            for name, fit in typed.fits.items():
                guesses[name].narrow(fit)
            outgrown |= typed.outgrown
            if kept.is_all:
                chunks.append(_numbered(typed.chunk, number))
            number += typed.record_count
        kept.take(chunks, position=stretch.end, number=number)
    return Found(guesses, frozenset(outgrown), kept.chunks, kept.position, kept.number, kept.is_all)


def chunks(
    reader: RecordReader, feed: ByteFeed, kinds: dict[str, pa.DataType], *, number: int
) -> Iterator[Chunk]:
    """Yield the rest of a file, whose first record has this number; other columns are left out."""
    for _, blocks in _typed(reader, feed, kinds, {}):
        for typed in blocks:
            chunk = settled(_numbered(typed.chunk, number), kinds)
            yield from within_limits(chunk, reader.file.limits)
            number += typed.record_count


def can_settle(chunk: Chunk, kinds: dict[str, pa.DataType]) -> bool:
    """Return whether ``settled`` can be called."""
    return all(
        as_kind(one_array(chunk.rows[name]), kind) is not None for name, kind in kinds.items()
    )


def settled(chunk: Chunk, kinds: dict[str, pa.DataType]) -> Chunk:
    """Return a chunk with the columns and types that the whole upload turned out to have."""
    columns: dict[str, pa.Array] = {}
    names = frozenset(chunk.rows.column_names)
    for name, kind in kinds.items():
        columns[name] = as_kind(one_array(chunk.rows[name]), kind)
        if variant_name(name) in names:
            columns[variant_name(name)] = one_array(chunk.rows[variant_name(name)])
    rows = table_of(columns, chunk.rows.num_rows)
    return Chunk(rows=rows, numbers=chunk.numbers, rejected=chunk.rejected)


def _numbered(chunk: Chunk, start: int) -> Chunk:
    return Chunk(
        rows=chunk.rows,
        numbers=pc.add(chunk.numbers, start),
        rejected=moved(chunk.rejected, start),
    )


def _typed(
    reader: RecordReader,
    feed: ByteFeed,
    known: dict[str, pa.DataType],
    guesses: dict[str, TypeGuess],
) -> Iterator[tuple[Stretch, Iterable[_Typed]]]:
    """Yield the stretches of a file in order, each with its blocks, parsed by several threads."""

    def typed(block: TextBlock) -> _Typed:
        return _typed_block(block, known, guesses)

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
    block: TextBlock, known: dict[str, pa.DataType], guesses: dict[str, TypeGuess]
) -> _Typed:
    columns: dict[str, pa.Array] = {}
    outgrown = set()
    for name, kind in known.items():
        texts = block.columns[name]
        parsed = parse_column(texts, WIDER.get(kind, kind), name)
        columns[name] = parsed.values
        if parsed.misfits:
            columns[variant_name(name)] = variants_of(texts, parsed)
        if kind in WIDER and not _holds(kind, parsed.values):
            outgrown.add(name)
    fits = {name: guess.fit(block.columns[name]) for name, guess in guesses.items()}
    columns |= {name: fit.values for name, fit in fits.items()}
    rows = table_of(columns, len(block.numbers))
    chunk = Chunk(rows=rows, numbers=block.numbers, rejected=block.rejected)
    return _Typed(chunk, block.record_count, fits, frozenset(outgrown))


def _holds(kind: pa.DataType, values: pa.Array) -> bool:
    """Return whether a smaller type of numbers holds all values exactly."""
    try:
        same = values.cast(kind).cast(values.type)
    except pa.ArrowInvalid:
        return False
    if pa.types.is_integer(kind):
        return True
    is_same = pc.or_(pc.equal(same, values), pc.is_nan(values))
    return bool(pc.all(is_same, min_count=0).as_py())
