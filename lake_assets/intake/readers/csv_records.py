"""CSV text as records: every one of them is either fields or a reason why not.

Invariant: each physical record comes out exactly once, with its raw text at hand.

This is the way for what ``csv_columns`` does not take. The standard library's parser does the
parsing: a state machine in C that takes RFC 4180 strictly
and says where it stands. DuckDB 1.5 (``store_rejects``) gives up every row after an open quote and
shows bad bytes as ``?``; pyarrow 26 gives up the file at the first byte that is not UTF-8.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers.source import DataFile, broken_row
from lake_assets.intake.readers.text import blocks_of, is_valid

_DELIMITERS = ",;|\t"
# How far the end of a quoted field is looked for. Behind a quote that is never closed, this much
# is held as lines: 140 MB of memory, where 64 Mi characters took 560 MB.
_MAX_FIELD_CHARS = 16 * 1024 * 1024


@dataclass(slots=True)
class Block:
    """Some consecutive records: those with the right number of fields, and those without."""

    numbers: Sequence[int] = field(default_factory=list)
    fields: list[list[str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """The raw text of each entry in ``fields``."""
    rejected: list[RejectedRow] = field(default_factory=list)


@dataclass(slots=True)
class Record:
    """One parsed record; ``fields`` is None where the parser gave up, empty for an empty line."""

    text: str
    fields: list[str] | None
    problem: str = ""


class Feed:
    """Lines that can be put back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._back: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return self._back.popleft() if self._back else next(self._lines)

    def put_back(self, lines: Sequence[str]) -> None:
        """Make these the next lines."""
        self._back.extendleft(reversed(lines))

    def rest(self) -> str:
        """Return the lines that were put back and not taken again."""
        return "".join(self._back)


def record_block(
    feed: Feed, file: DataFile, *, delimiter: str, width: int, rows: int
) -> Block | None:
    """Return the next records, numbered from 0, or None at the end; empty lines are no records.

    Args:
        feed: The file's lines after its header, with their ends.
        file: Names the rejected rows, and sets the limits of a block.
        delimiter: One character.
        width: How many fields a record has.
        rows: How many lines to take, if they are within the limits.
    """
    _allow_long_fields()
    limits = replace(file.limits, rows=min(rows, file.limits.rows))
    lines = next(blocks_of(feed, limits), None)
    if lines is None:
        return None
    block = _plain_block(lines, delimiter, width)
    return block or _checked(_records(feed, lines, delimiter), file.name, width)


def next_record(feed: Feed, delimiter: str) -> Record | None:
    """Return the next record, or None at the end.

    Where quotes do not add up, only the line with the opening one is given up: the rest is put
    back, because usually the lines after it are fine.
    """
    taken: list[str] = []
    reader = csv.reader(_noting(feed, taken), delimiter=delimiter, strict=True)
    try:
        fields = next(reader, None)
    except csv.Error as error:
        feed.put_back(taken[1:])
        return Record(taken[0], None, str(error))
    return None if fields is None else Record("".join(taken), fields)


def likely_delimiter(lines: Sequence[str]) -> str:
    """Return the character that separates the fields of these first lines of a file.

    The first record must have it; then the one wins by which most records have as many fields as
    the first. A comma if none does.
    """
    _allow_long_fields()
    scores = {delimiter: _score(lines, delimiter) for delimiter in _DELIMITERS}
    return max(scores, key=lambda delimiter: scores[delimiter])


def quoted_empties(text: str, delimiter: str) -> list[int]:
    """Return which fields of a valid record are ``""``: empty on purpose, and so not null."""
    escaped = re.escape(delimiter)
    pattern = rf'("(?:[^"]|"")*"|[^{escaped}]*)(?:{escaped}|$)'
    fields = re.findall(pattern, text.rstrip("\r\n"))
    return [i for i, value in enumerate(fields) if value == '""']


def _allow_long_fields() -> None:
    # The parser's limit is one for the process; it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD_CHARS))


def _noting(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _plain_block(lines: list[str], delimiter: str, width: int) -> Block | None:
    """Return the block if each line is one good record, as in most files; else None."""
    whole = "".join(lines)
    if not is_valid(whole) or "\0" in whole:
        return None
    try:
        fields = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    if len(fields) != len(lines) or set(map(len, fields)) != {width}:
        return None
    return Block(numbers=range(len(lines)), fields=fields, texts=lines)


def _records(feed: Feed, lines: list[str], delimiter: str) -> Iterator[Record]:
    """Yield the records that begin in these lines; the last may go on in the feed."""
    feed.put_back(lines)
    left = len(lines)
    while left > 0:
        record = next_record(feed, delimiter)
        if record is None:
            return
        left -= record.text.count("\n") + record.text.count("\r") - record.text.count("\r\n") or 1
        yield record


def _checked(records: Iterable[Record], file: str, width: int) -> Block:
    block = Block()
    numbers: list[int] = []
    number = 0
    for record in records:
        if record.fields == []:
            continue
        rejected = _rejected(record, file, width, number)
        if rejected is not None:
            block.rejected.append(rejected)
        else:
            numbers.append(number)
            block.fields.append(record.fields or [])
            block.texts.append(record.text)
        number += 1
    block.numbers = numbers
    return block


def _rejected(record: Record, file: str, width: int, number: int) -> RejectedRow | None:
    if not is_valid(record.text):
        rule, expected, actual = "line_is_valid_utf8", "UTF-8 text", "other bytes"
    elif "\0" in record.text:
        rule, expected, actual = "line_has_no_nul_characters", "text", "a NUL character"
    elif record.fields is None:
        rule, expected = "line_is_valid_csv", "quotes that are closed, and doubled inside"
        actual = record.problem
    elif len(record.fields) != width:
        rule = "row_has_as_many_fields_as_the_header"
        expected, actual = f"{width} fields", f"{len(record.fields)} fields"
    else:
        return None
    return broken_row(file, number, rule, expected=expected, actual=actual, text=record.text)


def _score(lines: Sequence[str], delimiter: str) -> tuple[bool, float, int]:
    try:
        widths = [len(fields) for fields in csv.reader(lines, delimiter=delimiter) if fields]
    except csv.Error:  # an enormous field, say: it is not what separates these lines
        return (False, 0.0, 0)
    if not widths or widths[0] == 1:
        return (False, 0.0, 0)
    return (True, widths.count(widths[0]) / len(widths), widths[0])
