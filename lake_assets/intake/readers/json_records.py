"""JSON text as records: one per line, one per element of an array, or a whole file as one.

Invariant: each record comes out exactly once, as an object or as a rejected row with its raw text.
Memory is bounded by the batch, and by one record of at most 64 Mi characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

from lake_assets.errors import UnreadableSource
from lake_assets.intake.formats import MAX_RECORD_CHARS, DataFormat
from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers.json_parser import (
    OF_NAMES,
    Broken,
    Parsed,
    Parser,
    broken_record,
    parsed_line,
)
from lake_assets.intake.readers.row_json import readable
from lake_assets.intake.readers.source import DataFile, broken_row
from lake_assets.intake.readers.text import (
    is_valid,
    lines_of,
    open_text,
    record_too_long,
)

_READ_CHARS = 1024 * 1024
_BLANK = " \t\r\n"
_SPACE = re.compile(r"[ \t\r\n]*")
# How close to the end of what has been read an error may only mean that the rest is missing.
_LOOKAHEAD_CHARS = 32


@dataclass(slots=True)
class Block:
    """Some consecutive records: the objects, and what was none."""

    numbers: list[int] = field(default_factory=list)
    values: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """The raw text of each entry in ``values``."""
    rejected: list[RejectedRow] = field(default_factory=list)


def record_blocks(file: DataFile) -> Iterator[Block]:
    """Yield all records of a JSON or JSON Lines file in blocks of about the file's limits.

    Raises:
        UnreadableSource: A JSON array or object is not valid as a whole.
    """
    by_line = is_by_line(file)
    with open_text(file, newline="\n") as text:
        pieces = _lines(lines_of(text, file)) if by_line else _values(text, file)
        yield from _blocks(pieces, file)


def records_of(lines: Iterable[tuple[int, str]], file: DataFile) -> Block:
    """Return the records on some lines; empty ones have none.

    Args:
        lines: Each with the number of the record on it.
        file: Where they are from.
    """
    block, parser = Block(), Parser()
    for number, line in lines:
        stripped = line.strip(_BLANK)
        if stripped:
            _add(block, file, number, parsed_line(parser, stripped))
    return block


def _blocks(pieces: Iterable[Parsed], file: DataFile) -> Iterator[Block]:
    block, size = Block(), 0
    for number, piece in enumerate(pieces):
        _add(block, file, number, piece)
        size += len(piece.text)
        count = len(block.values) + len(block.rejected)
        if count >= file.limits.rows or size >= file.limits.byte_count:
            yield block
            block, size = Block(), 0
    if block.values or block.rejected:
        yield block


def _add(block: Block, file: DataFile, number: int, piece: Parsed) -> None:
    broken = piece.broken or broken_record(piece)
    if broken is None:
        block.numbers.append(number)
        block.values.append(piece.value)
        block.texts.append(piece.text)
    else:
        block.rejected.append(_rejected(file, number, broken, piece.text))


def _rejected(file: DataFile, number: int, broken: Broken, text: str) -> RejectedRow:
    row = broken_row(
        file.name,
        number,
        broken.rule,
        expected=broken.expected,
        actual=broken.actual,
        text=text.rstrip("\r\n"),
    )
    if broken.rule in OF_NAMES and is_valid(text):
        row = replace(row, row_json=text)
    return replace(row, path=readable(broken.path))


def _lines(lines: Iterable[str]) -> Iterator[Parsed]:
    parser = Parser()
    for line in lines:
        stripped = line.strip(_BLANK)
        if stripped:
            yield parsed_line(parser, stripped)


def is_by_line(file: DataFile) -> bool:
    """Return whether a file is JSON Lines: by its name, or as its first line is an object."""
    if file.format is DataFormat.JSONL:
        return True
    with open_text(file, newline="\n") as text:
        lines = (line.strip() for line in iter(lambda: text.readline(MAX_RECORD_CHARS), ""))
        first = next((line for line in lines if line), "")
    closed = first.count("{") == first.count("}")
    return first.startswith("{") and first.endswith("}") and closed


def _values(text: TextIO, file: DataFile) -> Iterator[Parsed]:
    """Yield the elements of an array, or the values that simply follow each other."""
    window = _Window(text, file)
    if window.peek() != "[":
        while window.peek():
            yield window.take_value()
        return
    yield from _elements(window)
    if window.peek():
        raise window.error("there is more text after the array")


def _elements(window: _Window) -> Iterator[Parsed]:
    window.take("[")
    while window.peek() != "]":
        yield window.take_value()
        if window.peek() != "]":
            window.take(",")
    window.take("]")


class _Window:
    """The part of a text that is being parsed; it grows only while a value does not end in it."""

    def __init__(self, text: TextIO, file: DataFile) -> None:
        self._text = text
        self._file = file
        self._parser = Parser()
        self._buffer = ""
        self._start = 0
        self._gone = 0
        self._at_end = False

    def peek(self) -> str:
        """Return the next character that is no space, ``""`` at the end of the text."""
        while True:
            space = _SPACE.match(self._buffer, self._start)
            self._start = space.end() if space else self._start
            if self._start < len(self._buffer) or self._at_end:
                return self._buffer[self._start : self._start + 1]
            self._grow()

    def take(self, char: str) -> None:
        """Move past this character; anything else there is an error."""
        found = self.peek()
        if found != char:
            raise self.error(f"expected {char!r}, found {found!r}" if found else "it is cut short")
        self._start += 1

    def take_value(self) -> Parsed:
        """Move past one value and return it."""
        self.peek()
        while True:
            problem = self._try_value()
            if isinstance(problem, Parsed):
                return problem
            if self._at_end or self._is_final(problem):
                raise self.error(str(problem) or "it is nested too deeply")
            if len(self._buffer) - self._start > MAX_RECORD_CHARS:
                raise record_too_long(self._file)
            self._grow()

    def error(self, reason: str) -> UnreadableSource:
        """Return the error that this file is not JSON, and where."""
        return UnreadableSource(
            f"{self._file.name} is not valid JSON near character {self._gone + self._start}: "
            f"{reason}. Correct it, or deliver one object per line (JSON Lines).",
            file=self._file.name,
        )

    def _try_value(self) -> Parsed | Exception:
        try:
            parsed, end = self._parser.decode(self._buffer, self._start)
        except (ValueError, RecursionError) as error:
            return error
        # A number may go on beyond what has been read.
        if end == len(self._buffer) and not self._at_end:
            return json.JSONDecodeError("it is cut short", self._buffer, end)
        self._start = end
        return parsed

    def _is_final(self, problem: Exception) -> bool:
        """Return whether reading on cannot make this error go away."""
        if not isinstance(problem, json.JSONDecodeError):
            return True
        near_end = problem.pos >= len(self._buffer) - _LOOKAHEAD_CHARS
        return not near_end and not problem.msg.startswith("Unterminated string")

    def _grow(self) -> None:
        # By as much again as there is, so that a long value is parsed few times.
        kept = self._buffer[self._start :]
        more = self._text.read(max(_READ_CHARS, len(kept)))
        self._gone += self._start
        self._buffer, self._start, self._at_end = kept + more, 0, not more


@dataclass(frozen=True, slots=True)
class Member:
    """One item of a list that is a value of a file's one object."""

    key: str
    value: dict[str, Any] | None
    """The item; None if it is rejected."""
    rejected: RejectedRow | None


def list_members(file: DataFile) -> Iterator[Member]:
    """Yield the items of the lists in a file that is one object; its other values are skipped.

    Raises:
        UnreadableSource: The file is not one valid JSON object.
    """
    with open_text(file, newline="\n") as text:
        window = _Window(text, file)
        window.take("{")
        while window.peek() != "}":
            key = window.take_value().value
            if not isinstance(key, str):
                raise window.error("a key is no string")
            window.take(":")
            yield from _members(window, key, file)
            if window.peek() != "}":
                window.take(",")
        window.take("}")
        if window.peek():
            raise window.error("there is more text after the object")


def _members(window: _Window, key: str, file: DataFile) -> Iterator[Member]:
    if window.peek() != "[":
        window.take_value()
        return
    for number, piece in enumerate(_elements(window)):
        broken = piece.broken or broken_record(piece)
        yield Member(
            key,
            None if broken else piece.value,
            _rejected(file, number, broken, piece.text) if broken else None,
        )
