"""Text files as blocks of lines: decompressed, decoded, and bounded in memory.

Invariant: no character is lost. A byte that is not UTF-8 comes through as a lone surrogate
(``surrogateescape``), so that only its own line is refused.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TextIO, cast

import pyarrow as pa

from lake_assets.errors import UnreadableSource
from lake_assets.intake.formats import MAX_RECORD_CHARS, compression_of
from lake_assets.intake.readers.source import DataFile, Limits, reading

UTF8_MARK = codecs.BOM_UTF8

# UTF-32 is left out: its little-endian mark begins with UTF-16's, and nobody delivers it.
_UTF_8 = "utf-8-sig"
_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class ByteSource(Protocol):
    """What bytes are read from, in order."""

    def read(self, size: int, /) -> bytes:
        """Return about ``size`` bytes; none at the end only."""
        ...


@dataclass(frozen=True, slots=True)
class Utf8Source:
    """A text file as bytes in UTF-8, whatever it is written in, its byte order mark included."""

    source: ByteSource
    errors: str
    """How to decode the bytes so that none is lost, and to encode what came of it again."""


@contextmanager
def open_utf8(file: DataFile) -> Iterator[Utf8Source]:
    """Open a text file as UTF-8 bytes, decompressed by its name, decoded by its byte order mark."""
    with reading(file), _open_bytes(file) as raw:
        if _encoding(file) == _UTF_8:
            yield Utf8Source(raw, "surrogateescape")
        else:
            text = io.TextIOWrapper(raw, encoding="utf-16", errors="surrogatepass", newline="")
            yield Utf8Source(_Encoded(text), "surrogatepass")


@contextmanager
def open_text(file: DataFile, *, newline: str) -> Iterator[TextIO]:
    """Open a text file for reading, decompressed by its name and decoded by its byte order mark.

    Args:
        file: The file.
        newline: As in ``open``: ``""`` ends lines at LF, CR LF and CR, ``"\\n"`` at LF only.
    """
    with reading(file):
        encoding = _encoding(file)
        errors = "surrogateescape" if encoding == _UTF_8 else "surrogatepass"
        with _open_bytes(file) as raw:
            yield io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline=newline)


def lines_of(text: TextIO, file: DataFile) -> Iterator[str]:
    """Yield the lines with their ends.

    Raises:
        UnreadableSource: A line is longer than 64 Mi characters.
    """
    for line in iter(partial(text.readline, MAX_RECORD_CHARS), ""):
        if len(line) == MAX_RECORD_CHARS:
            raise record_too_long(file)
        yield line


def blocks_of(lines: Iterator[str], limits: Limits) -> Iterator[list[str]]:
    """Yield lists of consecutive lines; one ends when either limit is reached.

    No line is read ahead, so that a caller may put lines back between two blocks.
    """
    block: list[str] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line)
        if len(block) >= limits.rows or size >= limits.byte_count:
            yield block
            block, size = [], 0
    if block:
        yield block


def is_valid(text: str) -> bool:
    """Return whether the text came from valid bytes, and so can be stored as UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def record_too_long(file: DataFile) -> UnreadableSource:
    """Return the error for a record that would not fit into memory."""
    return UnreadableSource(
        f"{file.name} has a record of more than {MAX_RECORD_CHARS:,} characters, so it does not "
        f"look like {file.format}. Split it into lines or records.",
        file=file.name,
    )


@dataclass(frozen=True, slots=True)
class _Encoded:
    text: TextIO

    def read(self, size: int, /) -> bytes:
        return self.text.read(size).encode("utf-8", "surrogatepass")


def _open_bytes(file: DataFile) -> io.BufferedReader:
    # pyarrow's streams read several gzip members and tell a truncated file, as zlib alone does not.
    stream = pa.input_stream(str(file.path), compression=compression_of(file.path.name))
    return cast(io.BufferedReader, stream)


def _encoding(file: DataFile) -> str:
    with _open_bytes(file) as raw:
        return "utf-16" if raw.read(2) in _BYTE_ORDER_MARKS else _UTF_8
