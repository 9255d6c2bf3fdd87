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
from lake_assets.intake.readers.json_elements import element_blocks, not_plain
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
    texts: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class _File:
    """What the first pass found in a file."""

    file: DataFile
    blocks: Callable[[DataFile], Iterator[Lines]]
    shape: Shape = field(default_factory=Shape)
    record_counts: list[int] = field(default_factory=list)
    kept: deque[_Block] = field(default_factory=deque)
    """The first blocks."""
    hints: Hints = field(default_factory=Hints)


def read_lines(file: DataFile) -> Iterator[Chunk]:
    """Yield the records of a JSON Lines file in UTF-8.

    Raises:
        UnreadableSource: It has names that no table can have, or it is cut short.
    """
    yield from _chunks(_File(file=file, blocks=line_blocks))


def read_elements(file: DataFile) -> Iterator[Chunk]:
    """Yield the records of a JSON array in UTF-8, if it is a plain one.

    Raises:
        NotPlain: It is not, or an element would be rejected for more than a misfit. Nothing has
            been yielded then.
        UnreadableSource: It has names that no table can have, or it is cut short.
    """
    yield from _chunks(_File(file=file, blocks=element_blocks))


def _chunks(found: _File) -> Iterator[Chunk]:
    threads = min(4, pa.cpu_count())
    pool = ThreadPoolExecutor(threads, thread_name_prefix="json")
    try:
        _first_pass(found, pool, threads)
        for chunk in _second_pass(found, pool, threads):
            # A block may be nothing but empty lines.
            if chunk.rows.num_rows or chunk.rejected:
                yield from cut(chunk, found.file.limits)
    finally:
        pool.shutdown(cancel_futures=True)


def _first_pass(found: _File, pool: ThreadPoolExecutor, threads: int) -> None:
    kept_bytes = 0
    tasks = (partial(_look_and_shape, found, lines) for lines in found.blocks(found.file))
    for block, shape in _ahead(pool, tasks, threads):
        found.shape.merge(shape)
        found.record_counts.append(block.record_count)
        found.hints.texts = merged_texts(found.hints.texts, block.texts)
        kept_bytes += sum(part.nbytes for part in block.plain)
        if kept_bytes <= _KEPT_BYTES:
            found.kept.append(block)


def _second_pass(found: _File, pool: ThreadPoolExecutor, threads: int) -> Iterator[Chunk]:
    fit = _Fit(found.file, column_types(found.file, found.shape), found.shape)
    firsts = [0, *np.cumsum(found.record_counts, dtype=np.int64).tolist()]
    again = _Again(found)
    kept_count, count = len(found.kept), len(found.record_counts)
    for i in range(kept_count):
        block = found.kept.popleft()
        parts, left = fit.plain(block)
        lines = again.block(i) if len(left) else NO_LINES
        yield fit.chunk(parts, left, lines, block.numbers + firsts[i])
    tasks = (
        partial(_look_and_fit, fit, found, again.block(i), firsts[i])
        for i in range(kept_count, count)
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


def _look(found: _File, lines: Lines) -> _Block:
    hints = Hints(texts=found.hints.texts, kinds=found.hints.kinds)
    lots = sort_lines(lines, hints)
    is_record = np.ones(len(lines), np.bool_)
    for i in lots.others.tolist():
        is_record[i] = bool(lines[i].strip(BLANK))
    return _Block(
        plain=lots.plain,
        others=lots.others,
        numbers=np.cumsum(is_record) - 1,
        record_count=int(is_record.sum()),
        texts=hints.texts,
    )


def _look_and_shape(found: _File, lines: Lines) -> tuple[_Block, Shape]:
    block = _look(found, lines)
    return block, _shape(found, lines, block)


def _look_and_fit(fit: _Fit, found: _File, lines: Lines, first: int) -> Chunk:
    block = _look(found, lines)
    parts, left = fit.plain(block)
    return fit.chunk(parts, left, lines, block.numbers + first)


def _shape(found: _File, lines: Lines, block: _Block) -> Shape:
    """Return the shape of a block's records; its order is right after the blocks before it."""
    whole = Shape()
    for part in block.plain:
        whole.merge(shape_of(part.columns))
    if len(block.plain) == 1 and not len(block.others):
        return whole
    others = records_of(_texts(lines, block.others.tolist()), found.file)
    if others.rejected and found.blocks is element_blocks:
        # Perhaps it is no element by itself, only cut where it should not be.
        raise not_plain(found.file)
    whole.merge(shape_of_records(others))
    # The parts are not in the order of their lines. What depends on that, the first lines decide,
    # unless earlier blocks have: those that are merged into the file's shape by now.
    shape, begin, end = Shape(), 0, _FIRST_LOOK
    while begin < len(lines) and not shape.settles(whole, found.shape):
        shape.merge(_shape_of_lines(found.file, lines, range(begin, min(end, len(lines)))))
        begin, end = end, end * 2
    shape.merge(whole)
    return shape


def _shape_of_lines(file: DataFile, lines: Lines, picked: Iterable[int]) -> Shape:
    return shape_of_records(records_of(_texts(lines, picked), file))


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
        self._file = file
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
        chunk = chunk_of(self._file, self._kinds, self._records, records_of(texts, self._file))
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

    def __init__(self, found: _File) -> None:
        self._file = found.file
        self._blocks = enumerate(found.blocks(found.file))

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
