"""What all readers share: the file to read, the chunks they yield, and what no file may do.

Invariant: chunks of one file come in its order, and number its records without a gap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake_assets.contracts.names import OWN_COLUMNS
from lake_assets.contracts.variants import VARIANT_SUFFIX, is_variant
from lake_assets.errors import StorageUnavailable, UnreadableSource
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.model import ReadOptions, RejectedRow
from lake_assets.intake.readers.row_json import readable, text_json

MAX_COLUMNS = 5_000
"""Widest table: time grows with the square of the columns. 5 000 take half a minute at the first
delivery; 100 000, as in a JSON object that is used as a dictionary, would take hours."""
MAX_PARQUET_DEPTH = 90
"""Deepest schema. Arrow reads Parquet of at most 100 levels, its writer writes any: a table with
such a part could never be read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a batch may become: whichever of the two is reached first."""

    rows: int
    byte_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One tabular file and how to read it."""

    name: str
    """As staged; for messages and rejected rows."""
    path: Path
    format: DataFormat
    options: ReadOptions
    expected: pa.Schema | None = None
    """Types that the dataset's table already has; they decide for text formats."""
    limits: Limits


class KeptBytes:
    """How much of an upload may still be kept from the first pass for the second."""

    def __init__(self, byte_count: int) -> None:
        self._left = byte_count

    def take(self, byte_count: int) -> bool:
        """Return whether this much may be kept; once something may not, nothing more may."""
        self._left = self._left - byte_count if byte_count <= self._left else -1
        return self._left >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some consecutive records of one file, image columns still in place."""

    rows: pa.Table
    numbers: pa.Int64Array
    """One per row: the record's number in its file, from 0."""
    rejected: tuple[RejectedRow, ...] = ()


# ArrowException: also "malloc of size 5558009288175124480 failed", where a length was damaged, and
# an index or a dictionary that is not there. ValueError: text that is not UTF-8.
_DAMAGE = (pa.ArrowException, ValueError)


@contextmanager
def reading(file: DataFile) -> Iterator[None]:
    """Turn what pyarrow says about a broken file into ``UnreadableSource``.

    Raises:
        UnreadableSource: The file is damaged.
        StorageUnavailable: The disk is away or this process has no file handle left, which says
            nothing about the file.
    """
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        # pyarrow says OSError for damaged data too, but then without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise _unavailable(file, error) from error
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise UnreadableSource(
            f"{file.name} cannot be read as {file.format}: {reason}. It may be cut short or "
            "damaged; deliver it again.",
            file=file.name,
        ) from error


def _unavailable(file: DataFile, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(
        f"{file.name} cannot be read now: {error.strerror}. Try again once that is mended.",
        file=file.name,
    )


def check_columns(names: Sequence[str], file: str, *, where: str = "", hint: str = "") -> None:
    """Refuse column names that no table of the lake can have.

    Args:
        names: The columns of a file, or the fields of one struct in it.
        file: Staged name, for the message.
        where: Path of the struct, ``""`` for the columns themselves.
        hint: What else may be wrong, for the message.

    Raises:
        UnreadableSource: A name is empty, comes twice (engines take ``a`` and ``A`` for the same
            column), or is one that the lake adds itself; or there are too many.
    """
    place = f" in {where}" if where else ""
    if len(names) > MAX_COLUMNS:
        raise UnreadableSource(
            f"{file} has {len(names):,} columns{place}, and a table at most {MAX_COLUMNS:,}. Write "
            "one row per value instead.",
            file=file,
        )
    if "" in names:
        raise UnreadableSource(
            f"Column {list(names).index('') + 1} of {file}{place} has no name. Name it, or leave "
            f"it out (a pandas index: write with index=False).{hint}",
            file=file,
        )
    counts = Counter(name.lower() for name in names)
    twice = [name for name in names if counts[name.lower()] > 1]
    if twice:
        raise UnreadableSource(
            f"{file} has the same column more than once{place}: {', '.join(twice)} (upper and "
            f"lower case are the same to SQL engines). Rename them.{hint}",
            file=file,
            columns=twice,
        )
    variants = [name for name in names if is_variant(name)]
    if variants:
        raise UnreadableSource(
            f"{file} has columns{place} that end in {VARIANT_SUFFIX}: {', '.join(variants)}. "
            "So the lake names what a column cannot hold; rename them.",
            file=file,
            columns=variants,
        )
    own = [name for name in names if name.lower() in OWN_COLUMNS and not where]
    if own:
        raise UnreadableSource(
            f"{file} has columns that the lake adds itself: {', '.join(own)}. Rename them.",
            file=file,
            columns=own,
        )


def check_fields(kind: pa.DataType, path: str, file: str) -> None:
    """Refuse the field names of structs, at any depth, that ``check_columns`` would refuse.

    Raises:
        UnreadableSource: Also if the type is nested too deeply.
    """
    depth = _parquet_depth(kind)
    if depth > MAX_PARQUET_DEPTH:
        raise UnreadableSource(
            f"Column {path} of {file} is nested too deeply for a table: {depth} levels in Parquet, "
            f"of at most {MAX_PARQUET_DEPTH}. Write it as JSON text instead.",
            file=file,
        )
    _check_names(kind, path, file)


def _check_names(kind: pa.DataType, path: str, file: str) -> None:
    if pa.types.is_struct(kind):
        check_columns([field.name for field in kind], file, where=path)
    if pa.types.is_nested(kind):
        for i in range(kind.num_fields):
            _check_names(kind.field(i).type, f"{path}.{kind.field(i).name}", file)


def _parquet_depth(kind: pa.DataType) -> int:
    """Return how many levels of a Parquet schema a column of this type takes."""
    depth, level = 1, [kind]
    while nested := [item for item in level if pa.types.is_nested(item)]:
        depth += 1 if all(pa.types.is_struct(item) for item in nested) else 2
        level = [item.field(i).type for item in nested for i in range(item.num_fields)]
    return depth


def table_of(columns: dict[str, Any], row_count: int) -> pa.Table:
    """Return a table of these columns that knows its number of rows even if it has no column."""
    table = pa.table({"": pa.nulls(row_count)} | columns)
    return table.select(list(columns))


def numbers_of(numbers: Iterable[int]) -> pa.Int64Array:
    """Return record numbers as Arrow holds them."""
    return pa.array(numbers, pa.int64())


def keep_rows(rows: pa.Table, kept: Sequence[int] | pa.Int64Array) -> pa.Table:
    """Return the rows at these positions, in their order."""
    # Table.take forgets the number of rows of a table without columns.
    if not rows.column_names:
        return table_of({}, len(kept))
    return rows.take(pa.array(kept, pa.int64()))


def broken_row(
    file: str, number: int, rule: str, *, expected: str, actual: str, text: str
) -> RejectedRow:
    """Return the rejection of a record that did not parse, with its raw text."""
    return RejectedRow(
        file=file,
        row=number,
        rule=rule,
        expected=expected,
        actual=readable(actual),
        row_json=text_json(text),
    )


def in_order(rejected: Iterable[RejectedRow]) -> tuple[RejectedRow, ...]:
    """Return rejected rows of one file by their number in it."""
    return tuple(sorted(rejected, key=lambda row: row.row or 0))


def within_limits(chunk: Chunk, limits: Limits) -> Iterator[Chunk]:
    """Yield the chunk in pieces as ``cut`` does, whatever its number of rows."""
    total = chunk.rows.num_rows
    for start in range(0, max(total, 1), limits.rows):
        # A table without columns takes a slice to be as long as it was asked for.
        count = min(limits.rows, total - start)
        piece = Chunk(
            rows=chunk.rows.slice(start, count),
            numbers=chunk.numbers.slice(start, count),
            rejected=() if start else chunk.rejected,
        )
        yield from cut(piece, limits)


def cut(chunk: Chunk, limits: Limits) -> Iterator[Chunk]:
    """Yield the chunk in pieces within the limits; one row alone may be larger than them.

    Rejected rows go with the first piece.
    """
    rows, numbers = chunk.rows, chunk.numbers
    half = _first_piece(rows, limits)
    yield Chunk(rows=rows.slice(0, half), numbers=numbers.slice(0, half), rejected=chunk.rejected)
    if half < rows.num_rows:
        yield from cut(Chunk(rows=rows.slice(half), numbers=numbers.slice(half)), limits)


def _first_piece(rows: pa.Table, limits: Limits) -> int:
    count: int = min(rows.num_rows, limits.rows)
    while count > 1 and rows.slice(0, count).nbytes > limits.byte_count:
        count = (count + 1) // 2
    return count
