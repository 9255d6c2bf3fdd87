"""JSON Lines in two passes: first what all records look like, then the records as their columns.

Invariant: what comes out depends neither on which lines were read at once and which one by one,
nor on where the file was cut into blocks. Memory is bounded by a few blocks and what is kept of the
first pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from lake_assets.errors import UnreadableSource
from lake_assets.intake.readers.json_arrow import merged_texts
from lake_assets.intake.readers.json_bytes import (
    BLANK,
    Lines,
    Positions,
    line_blocks,
    text_of,
)
from lake_assets.intake.readers.json_columns import Doubtful, NotColumnar, fit_columns
from lake_assets.intake.readers.json_elements import element_blocks, not_plain
from lake_assets.intake.readers.json_fit import without_unused
from lake_assets.intake.readers.json_plain import Hints, Plain, sort_lines
from lake_assets.intake.readers.json_records import Block, records_of
from lake_assets.intake.readers.json_scan import matching
from lake_assets.intake.readers.json_table import Places, as_surveyed, table_of_records
from lake_assets.intake.readers.source import (
    Chunk,
    DataFile,
    KeptBytes,
    in_order,
    keep_rows,
    numbers_of,
    table_of,
    within_limits,
)
from lake_assets.intake.readers.survey import Survey
from lake_assets.intake.readers.variant_text import LONG_NUMBER

_LEARNED_LINES = 4096
"""So many show nearly every rare name that one line in a thousand has."""

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class _Block:
    """What the first pass found in a block."""

    plain: list[Plain]
    others: Positions
    """Lines that are read one by one."""
    other_lines: Lines
    """These lines themselves: few, as a rule, and then the file need not be read again."""
    numbers: Positions
    """Number of the record on each line, from the block's first."""
    record_count: int
    texts: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """How much memory what was read takes."""
        arrays = (self.others, self.numbers, self.other_lines.starts)
        counted = sum(part.nbytes for part in self.plain) + sum(array.nbytes for array in arrays)
        return counted + len(self.other_lines.data)


class BlockFile:
    """A file of lines, each a record.

    Args:
        file: The file, in UTF-8.
        blocks: Gives its lines.
        kept: How much may be kept from the first pass for the second.
        is_array: Whether the lines are what lies between the commas of an array.
    """

    def __init__(
        self,
        file: DataFile,
        blocks: Callable[[DataFile], Iterator[Lines]],
        kept: KeptBytes,
        *,
        is_array: bool,
    ) -> None:
        self._file = file
        self._blocks = blocks
        self._kept_bytes = kept
        self._is_array = is_array
        self._record_counts: list[int] = []
        self._kept: deque[_Block] = deque()
        """The first blocks."""
        self._hints = Hints()

    def survey(self) -> Survey:
        """Return what all records look like.

        Raises:
            NotPlain: An array's elements cannot be told apart without parsing it.
            UnreadableSource: It is cut short.
        """
        found, is_kept = Survey(), True
        with _threads() as (pool, threads):
            blocks = self._having_learned(self._blocks(self._file))
            tasks = (partial(self._look_and_survey, lines) for lines in blocks)
            for block, survey in _ahead(pool, tasks, threads):
                found.merge(survey)
                self._record_counts.append(block.record_count)
                self._hints.texts = merged_texts(self._hints.texts, block.texts)
                is_kept = is_kept and self._kept_bytes.take(block.nbytes)
                if is_kept:
                    self._kept.append(block)
        return found

    def _having_learned(self, blocks: Iterator[Lines]) -> Iterator[Lines]:
        """Yield the blocks, the first once a few of its lines told what may come.

        Else each thread would find it out by reading its first block again and again.
        """
        for number, lines in enumerate(blocks):
            if number == 0 and len(lines) > 2 * _LEARNED_LINES:
                sort_lines(lines.between(0, _LEARNED_LINES), self._hints)
            yield lines

    def chunks(self, places: Places) -> Iterator[Chunk]:
        """Yield every record, or its rejection; once."""
        for chunk in self._fitted(_Fit(self._file, places)):
            # A block may be nothing but empty lines.
            if chunk.rows.num_rows or chunk.rejected:
                yield from within_limits(chunk, self._file.limits)

    def _fitted(self, fit: _Fit) -> Iterator[Chunk]:
        firsts = [0, *np.cumsum(self._record_counts, dtype=np.int64).tolist()]
        kept_count, count = len(self._kept), len(self._record_counts)
        with _threads() as (pool, threads):
            again = _Again(self._file, self._blocks)
            kept = (partial(fit.begin, self._kept.popleft(), firsts[i]) for i in range(kept_count))
            for i, begun in enumerate(_ahead(pool, kept, threads)):
                yield begun if isinstance(begun, Chunk) else fit.end(begun, again.block(i))
            if kept_count < count:
                again = _Again(self._file, self._blocks)
                others = (
                    partial(self._look_and_fit, fit, again.block(i), firsts[i])
                    for i in range(kept_count, count)
                )
                yield from _ahead(pool, others, threads)

    def _look(self, lines: Lines) -> _Block:
        hints = replace(self._hints)  # what it shows of texts is merged in the order of blocks
        lots = sort_lines(lines, hints)
        is_record = np.ones(len(lines), np.bool_)
        for i in lots.others.tolist():
            is_record[i] = bool(lines[i].strip(BLANK))
        return _Block(
            plain=lots.plain,
            others=lots.others,
            other_lines=lines.take(lots.others),
            numbers=np.cumsum(is_record) - 1,
            record_count=int(is_record.sum()),
            texts=hints.texts,
        )

    def _look_and_survey(self, lines: Lines) -> tuple[_Block, Survey]:
        block, survey = self._look(lines), Survey()
        for part in block.plain:
            survey.see_columns(part.columns, lines, part.picked)
        others = records_of(_texts(block.other_lines, block.others), self._file)
        if self._is_array and not all(row.rule.startswith("keys_") for row in others.rejected):
            # Perhaps it is no element by itself, only cut where it should not be.
            raise not_plain(self._file)
        survey.see_records(others)
        block.plain = [part.packed() for part in block.plain]
        return block, survey

    def _look_and_fit(self, fit: _Fit, lines: Lines, first: int) -> Chunk:
        begun = fit.begin(self._look(lines), first)
        return begun if isinstance(begun, Chunk) else fit.end(begun, lines)


def line_file(file: DataFile, kept: KeptBytes) -> BlockFile:
    """Return a JSON Lines file."""
    return BlockFile(file, line_blocks, kept, is_array=False)


def element_file(file: DataFile, kept: KeptBytes) -> BlockFile:
    """Return a JSON array whose elements may be told apart without parsing it."""
    return BlockFile(file, element_blocks, kept, is_array=True)


@contextmanager
def _threads() -> Iterator[tuple[ThreadPoolExecutor, int]]:
    count = min(4, pa.cpu_count())
    pool = ThreadPoolExecutor(count, thread_name_prefix="json")
    try:
        yield pool, count
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], T]], threads: int) -> Iterator[T]:
    """Yield the results of tasks in their order, while the next ones are under way."""
    waiting: deque[Future[T]] = deque()
    for task in tasks:
        waiting.append(pool.submit(task))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _texts(lines: Lines, numbers: Positions) -> Iterator[tuple[int, str]]:
    return ((number, text_of(lines[i])) for i, number in enumerate(numbers.tolist()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some lines of a block in the types of the upload."""

    picked: Positions
    rows: pa.Table

    def without(self, gone: Positions) -> _Part:
        """Return the part without some lines."""
        kept = np.flatnonzero(~np.isin(self.picked, gone))
        return _Part(picked=self.picked[kept], rows=keep_rows(self.rows, pa.array(kept)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A block of which some lines are still to be read one by one."""

    parts: list[_Part]
    left: Positions
    """Lines that are in no part."""
    doubtful: Positions
    """Lines of the parts, of which long numbers are to be read one by one."""
    numbers: Positions
    """Number of the record on each line."""


class _Fit:
    """Blocks as chunks, in the types of their upload."""

    def __init__(self, file: DataFile, places: Places) -> None:
        self._file = file
        self._places = places

    def begin(self, block: _Block, first: int) -> Chunk | _Begun:
        """Return a block's records in order, or what ``end`` needs its lines for.

        Args:
            block: Its lines as far as they were read at once.
            first: Number of its first record.
        """
        with as_surveyed(self._file):
            begun = self._at_once(block, block.numbers + first)
            if len(begun.doubtful) or len(begun.left) > len(block.others):
                return begun
            return self._whole(begun, block.other_lines)

    def end(self, begun: _Begun, lines: Lines) -> Chunk:
        """Return the records of a block in order, some of which are to be read one by one.

        Args:
            lines: All lines of the block.
        """
        with as_surveyed(self._file):
            if len(begun.doubtful):
                long = begun.doubtful[matching(lines.take(begun.doubtful), LONG_NUMBER)]
                left = np.sort(np.concatenate([begun.left, long]))
                begun = replace(begun, parts=[p.without(long) for p in begun.parts], left=left)
            return self._whole(begun, lines.take(begun.left))

    def _whole(self, begun: _Begun, left: Lines) -> Chunk:
        numbers = begun.numbers
        others = records_of(_texts(left, numbers[begun.left]), self._file)
        return self._used(self._in_order(begun.parts, others, numbers))

    def _used(self, chunk: Chunk) -> Chunk:
        rows = without_unused(chunk.rows, self._places)
        return Chunk(rows=rows, numbers=chunk.numbers, rejected=chunk.rejected)

    def _in_order(self, parts: list[_Part], others: Block, numbers: Positions) -> Chunk:
        if len(parts) == 1 and not others.values and not others.rejected:
            return Chunk(rows=parts[0].rows, numbers=numbers_of(numbers[parts[0].picked]))
        tables = [part.rows for part in parts]
        if others.values or not tables:
            tables.append(table_of_records(self._places, others))
        found = np.concatenate(
            [*(numbers[part.picked] for part in parts), np.array(others.numbers, np.int64)]
        )
        order = np.argsort(found, kind="stable")  # the fastest for runs in order
        return Chunk(
            rows=keep_rows(pa.concat_tables(tables), pa.array(order)),
            numbers=numbers_of(found[order]),
            rejected=in_order(others.rejected),
        )

    def _at_once(self, block: _Block, numbers: Positions) -> _Begun:
        parts, left, in_doubt = [], [block.others], [block.others[:0]]
        for plain in block.plain:
            doubtful = Doubtful()
            count = len(plain.picked)
            try:
                columns = fit_columns(plain.unpacked(), self._places, count, doubtful)
            except NotColumnar:
                left.append(plain.picked)
                continue
            parts.append(_Part(picked=plain.picked, rows=table_of(columns, count)))
            in_doubt += [plain.picked[rows] for rows in doubtful.rows]
        return _Begun(
            parts=parts,
            left=np.sort(np.concatenate(left)),
            doubtful=np.unique(np.concatenate(in_doubt)),
            numbers=numbers,
        )


class _Again:
    """The blocks of a file once more, as far as they are asked for."""

    def __init__(self, file: DataFile, blocks: Callable[[DataFile], Iterator[Lines]]) -> None:
        self._file = file
        self._blocks = enumerate(blocks(file))

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
