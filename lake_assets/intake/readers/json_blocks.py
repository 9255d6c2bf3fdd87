"""JSON Lines in two passes: first what all records look like, then the records as their columns.

Invariant: what comes out depends neither on which lines were read at once and which one by one,
nor on where the file was cut into blocks. Memory is bounded by a few blocks and what is kept of the
first pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from lake_assets.errors import UnreadableSource
from lake_assets.intake.readers.json_bytes import (
    BLANK,
    NO_LINES,
    Lines,
    Positions,
    line_blocks,
    text_of,
)
from lake_assets.intake.readers.json_columns import fit_column, shape_of
from lake_assets.intake.readers.json_plain import Hints, Plain, merged_texts, sort_lines
from lake_assets.intake.readers.json_records import records_of
from lake_assets.intake.readers.json_table import chunk_of, column_types, shape_of_records
from lake_assets.intake.readers.json_types import Shape
from lake_assets.intake.readers.source import (
    Chunk,
    DataFile,
    cut,
    keep_rows,
    numbers_of,
    table_of,
)

_KEPT_BYTES = 192 * 1024 * 1024
"""Columns kept from the first pass for the second; what is beyond is read twice."""
_FIRST_LOOK = 16

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class _Block:
    """What the first pass found in a block; without the lines themselves."""

    plain: list[Plain]
    others: Positions
    """Lines that are read one by one."""
    numbers: Positions
    """Number of the record on each line, from the block's first."""
    record_count: int
    shape: Shape
    texts: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class _File:
    """What the first pass found in a file."""

    shape: Shape = field(default_factory=Shape)
    record_counts: list[int] = field(default_factory=list)
    kept: list[_Block] = field(default_factory=list)
    """The first blocks."""
    hints: Hints = field(default_factory=Hints)


def read_lines(file: DataFile) -> Iterator[Chunk]:
    """Yield the records of a JSON Lines file in UTF-8.

    Raises:
        UnreadableSource: It has names that no table can have, or it is cut short.
    """
    threads = min(4, pa.cpu_count())
    pool = ThreadPoolExecutor(threads, thread_name_prefix="json")
    try:
        found = _first_pass(file, pool, threads)
        for chunk in _second_pass(file, found, pool, threads):
            yield from cut(chunk, file.limits)
    finally:
        pool.shutdown(cancel_futures=True)


def _first_pass(file: DataFile, pool: ThreadPoolExecutor, threads: int) -> _File:
    found, kept_bytes = _File(), 0
    # A task sees the texts of the blocks that are done, so only of blocks before its own.
    tasks = (partial(_look, file, found.hints, lines) for lines in line_blocks(file))
    for block in _ahead(pool, tasks, threads):
        found.shape.merge(block.shape)
        found.record_counts.append(block.record_count)
        found.hints.texts = merged_texts(found.hints.texts, block.texts)
        kept_bytes += sum(part.nbytes for part in block.plain)
        if kept_bytes <= _KEPT_BYTES:
            found.kept.append(block)
    return found


def _second_pass(
    file: DataFile, found: _File, pool: ThreadPoolExecutor, threads: int
) -> Iterator[Chunk]:
    fit = _Fit(file, column_types(file, found.shape), found.shape)
    firsts = [0, *np.cumsum(found.record_counts, dtype=np.int64).tolist()]
    again = _Again(file)
    for i, block in enumerate(found.kept):
        parts, left = fit.plain(block)
        lines = again.block(i) if len(left) else NO_LINES
        yield fit.chunk(parts, left, lines, block.numbers + firsts[i])
    found_count, kept_count = len(found.record_counts), len(found.kept)
    found.kept.clear()
    tasks = (
        partial(_look_and_fit, fit, found.hints, again.block(i), firsts[i])
        for i in range(kept_count, found_count)
    )
    yield from _ahead(pool, tasks, threads)


def _ahead(pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], T]], threads: int) -> Iterator[T]:
    """Yield the results of tasks in their order, while the next ones are under way."""
    waiting: deque[Future[T]] = deque()
    for task in tasks:
        waiting.append(pool.submit(task))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _look(file: DataFile, shared: Hints, lines: Lines) -> _Block:
    hints = Hints(texts=shared.texts, kinds=shared.kinds)
    found = sort_lines(lines, hints)
    is_record = np.ones(len(lines), np.bool_)
    for i in found.others.tolist():
        is_record[i] = bool(lines[i].strip(BLANK))
    return _Block(
        plain=found.plain,
        others=found.others,
        numbers=np.cumsum(is_record) - 1,
        record_count=int(is_record.sum()),
        shape=_shape(file, lines, found.plain, found.others, shared.texts),
        texts=hints.texts,
    )


def _shape(
    file: DataFile, lines: Lines, plain: list[Plain], others: Positions, known: dict[str, Any]
) -> Shape:
    """Return the shape of a block's records, in their order."""
    whole = Shape()
    for part in plain:
        whole.merge(shape_of(part.columns))
    if len(plain) == 1 and not len(others):
        return whole
    whole.merge(shape_of_records(records_of(_texts(lines, others.tolist()), file)))
    # The parts are not in the order of their lines; the first records settle what depends on it.
    shape, begin, end = Shape(), 0, _FIRST_LOOK
    while begin < len(lines) and not shape.settles(whole, known):
        some = range(begin, min(end, len(lines)))
        shape.merge(shape_of_records(records_of(_texts(lines, some), file)))
        begin, end = end, end * 2
    shape.merge(whole)
    return shape


def _look_and_fit(fit: _Fit, shared: Hints, lines: Lines, first: int) -> Chunk:
    block = _look(fit.file, shared, lines)
    parts, left = fit.plain(block)
    return fit.chunk(parts, left, lines, block.numbers + first)


def _texts(lines: Lines, picked: Iterable[int]) -> Iterator[tuple[int, str]]:
    return ((i, text_of(lines[i])) for i in picked)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some lines of a block in the types of the file."""

    picked: Positions
    rows: pa.Table


class _Fit:
    """Blocks as chunks, in the types of their file."""

    def __init__(self, file: DataFile, kinds: dict[str, pa.DataType], records: Shape) -> None:
        self.file = file
        self._kinds = kinds
        self._records = records

    def plain(self, block: _Block) -> tuple[list[_Part], Positions]:
        """Return the plain lines that fit all at once, and which lines are left."""
        parts, left = [], [block.others]
        for plain in block.plain:
            rows = self._table(plain)
            if rows is None:
                left.append(plain.picked)
            else:
                parts.append(_Part(picked=plain.picked, rows=rows))
        return parts, np.sort(np.concatenate(left))

    def chunk(self, parts: list[_Part], left: Positions, lines: Lines, numbers: Positions) -> Chunk:
        """Return parts of a block and its other lines, read one by one, as a chunk in order."""
        if len(parts) == 1 and not len(left):
            return Chunk(rows=parts[0].rows, numbers=numbers_of(numbers))
        texts = ((int(numbers[i]), text) for i, text in _texts(lines, left.tolist()))
        chunk = chunk_of(self.file, self._kinds, self._records, records_of(texts, self.file))
        if not parts:
            return chunk
        rows = pa.concat_tables([*(part.rows for part in parts), chunk.rows])
        found = np.concatenate([*(numbers[p.picked] for p in parts), chunk.numbers.to_numpy()])
        order = np.argsort(found)
        return Chunk(
            rows=keep_rows(rows, order.tolist()),
            numbers=numbers_of(found[order]),
            rejected=chunk.rejected,
        )

    def _table(self, plain: Plain) -> pa.Table | None:
        count = len(plain.picked)
        columns: dict[str, pa.Array] = {}
        for name, kind in self._kinds.items():
            column = plain.columns.get(name)
            if column is None:
                columns[name] = pa.nulls(count, kind)
                continue
            fitted = fit_column(column, kind, self._records.fields[name], name)
            if fitted is None:
                return None
            columns[name] = fitted
        return table_of(columns, count)


class _Again:
    """The blocks of a file once more, as far as they are asked for."""

    def __init__(self, file: DataFile) -> None:
        self._file = file
        self._blocks = enumerate(line_blocks(file))

    def block(self, wanted: int) -> Lines:
        """Return a block; each is later than the one before.

        Raises:
            UnreadableSource: There is no such block any more.
        """
        for i, lines in self._blocks:
            if i == wanted:
                return lines
        raise UnreadableSource(
            f"{self._file.name} became shorter while it was read. Deliver it again.",
            file=self._file.name,
        )
