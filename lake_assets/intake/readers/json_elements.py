"""The elements of a JSON array as lines, where they can be told apart without parsing them.

Most programs write an array of objects with one and the same text between all of them, such as
``}, {``. Cut there, the pieces are the elements if and only if each is valid JSON by itself, which
who reads them has to see to. Invariant: joined again, the lines are the array.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lake_assets.errors import UnreadableSource
from lake_assets.intake.formats import MAX_RECORD_CHARS
from lake_assets.intake.readers.json_bytes import BLANK, Lines, blocks_of, pieces_of
from lake_assets.intake.readers.source import DataFile

_BETWEEN = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*\{")


class NotPlain(UnreadableSource):
    """The file is read otherwise. Never leaves the readers, unless it changes meanwhile."""


def element_blocks(file: DataFile) -> Iterator[Lines]:
    """Yield the elements of an array in UTF-8 as lines, in blocks as those of ``line_blocks``.

    Raises:
        NotPlain: They cannot be told apart in this way.
        UnreadableSource: The file is cut short.
    """
    pieces = pieces_of(file)
    rest = _without_bracket(next(pieces), file)
    separator = _separator(rest, file)
    for piece in pieces:
        end = rest.rfind(separator) + 1
        if end:
            yield from _blocks(rest[:end], separator, file)
            rest = rest[end + len(separator) - 2 :]
        rest += piece
        if len(rest) >= MAX_RECORD_CHARS:
            raise not_plain(file)
    rest = rest.rstrip(BLANK)
    if not rest.endswith(b"]"):
        raise not_plain(file)
    yield from _blocks(rest[:-1].rstrip(BLANK), separator, file)


def _without_bracket(data: bytes, file: DataFile) -> bytes:
    begin = data.lstrip(BLANK)
    if not begin.startswith(b"["):
        raise not_plain(file)
    return begin[1:].lstrip(BLANK)


def _separator(data: bytes, file: DataFile) -> bytes:
    found = _BETWEEN.search(data)
    if found is None:
        raise not_plain(file)
    return found.group()


def _blocks(data: bytes, separator: bytes, file: DataFile) -> Iterator[Lines]:
    lines = data.replace(separator, b"}\n{") + b"\n"
    # What is on several lines would come apart; and two that no comma parts would be two.
    if lines.count(b"\n") != data.count(separator) + 1:
        raise not_plain(file)
    yield from blocks_of(lines, file)


def not_plain(file: DataFile) -> NotPlain:
    """Return the error that the elements of a file cannot be told apart without parsing it."""
    return NotPlain(f"{file.name} changed while it was read. Deliver it again.", file=file.name)
