"""The bytes of a CSV file, in pieces that begin and end with a record.

Invariant: quotes decide where records end, so a piece is only cut where all quotes before it stand
where RFC 4180 has them: around a field, or doubled inside one. Everything else is handed out as
lines, for a parser that looks at every character.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from lake_assets.intake.formats import MAX_RECORD_CHARS
from lake_assets.intake.readers.csv_records import Feed
from lake_assets.intake.readers.source import DataFile
from lake_assets.intake.readers.text import (
    UTF8_MARK,
    Utf8Source,
    record_too_long,
)

_Bytes = npt.NDArray[np.uint8]
_Positions = npt.NDArray[np.intp]

_LINE_PIECE_BYTES = 64 * 1024
_SKIPPED_BYTES = 1024 * 1024
_QUOTE, _CR, _LF = b'"\r\n'
# Line ends inside quotes that are passed over in search of one outside; then it is no plain file.
_MOST_TRIES = 64


class ByteFeed:
    """The bytes of a text file from its start, taken as records or as lines."""

    def __init__(self, utf8: Utf8Source, file: DataFile) -> None:
        self._source = utf8.source
        self.errors = utf8.errors
        self._file = file
        self._buffer = b""
        self._decoded: deque[str] = deque()
        self._read = 0
        self._is_ended = False
        self._fill(len(UTF8_MARK))
        self._buffer = self._buffer.removeprefix(UTF8_MARK)

    @property
    def position(self) -> int:
        """How many bytes lie before what is taken next."""
        return self._read - len(self._buffer)

    def skip_to(self, position: int) -> None:
        """Pass over bytes that were taken when the file was read before."""
        while self.position < position:
            self._fill(min(position - self.position, _SKIPPED_BYTES))
            if not self._buffer:
                return
            self._buffer = self._buffer[position - self.position :]

    def take_records(self, size: int, delimiter: str) -> bytes:
        """Return up to ``size`` bytes of whole records with well-formed quotes.

        None at the end, and none where only lines can be taken.
        """
        self._fill(size + 1)
        end = records_end(self._buffer, size, delimiter, is_all=self._is_ended)
        data, self._buffer = self._buffer[:end], self._buffer[end:]
        return data

    @contextmanager
    def lines(self) -> Iterator[Feed]:
        """Give the lines from here on; those left at the end of the block are put back.

        Raises:
            UnreadableSource: A line is longer than 64 Mi characters.
        """
        feed = Feed(self._lines())
        yield feed
        left = feed.rest() + "".join(self._decoded)
        self._decoded.clear()
        self._buffer = left.encode("utf-8", self.errors) + self._buffer

    def _lines(self) -> Iterator[str]:
        while piece := self._whole_lines():
            self._decoded.extend(lines_in(piece, self.errors))
            while self._decoded:
                line = self._decoded.popleft()
                if len(line) >= MAX_RECORD_CHARS:
                    raise record_too_long(self._file)
                yield line

    def _whole_lines(self) -> bytes:
        size = _LINE_PIECE_BYTES
        while True:
            self._fill(size + 1)
            is_all = self._is_ended and len(self._buffer) <= size
            end = len(self._buffer) if is_all else _line_end(self._buffer, size)
            if end or is_all:
                piece, self._buffer = self._buffer[:end], self._buffer[end:]
                return piece
            self._require_short(size)
            # A character more than the limit is enough to know, if a byte is a character.
            size = MAX_RECORD_CHARS + 4 if size < MAX_RECORD_CHARS <= 2 * size else 2 * size

    def _require_short(self, size: int) -> None:
        if size < MAX_RECORD_CHARS:
            return
        # The last character may be cut into as many as three.
        if len(self._buffer[:size].decode("utf-8", self.errors)) >= MAX_RECORD_CHARS + 3:
            raise record_too_long(self._file)

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size and not self._is_ended:
            piece = self._source.read(size - len(self._buffer))
            self._is_ended = not piece
            self._read += len(piece)
            self._buffer += piece


def lines_in(piece: bytes, errors: str) -> io.StringIO:
    """Return the lines of a piece of a file, with their ends: LF, CR LF or CR."""
    return io.StringIO(piece.decode("utf-8", errors), newline="")


def records_in(data: bytes, size: int, delimiter: str) -> Iterator[bytes]:
    """Yield whole records in pieces of about ``size`` bytes, where all quotes are well formed."""
    start = 0
    while start < len(data):
        end, wanted = 0, max(size, 1)
        while not end:
            piece = data[start : start + wanted + 1]
            end = records_end(piece, wanted, delimiter, is_all=True)
            wanted *= 2
        yield data[start : start + end]
        start += end


def records_end(data: bytes, size: int, delimiter: str, *, is_all: bool) -> int:
    """Return how much of the first ``size`` bytes, which begin with a record, is whole records.

    0: none can be told to be, because the first is longer, or has quotes where none should be.

    Args:
        data: UTF-8, or what is left of it.
        size: How much to look at; a copy of that much would take a third of the time.
        delimiter: One ASCII character.
        is_all: Whether nothing follows the bytes.
    """
    size = min(size, len(data))
    is_all = is_all and size == len(data)
    if data.find(b'"', 0, size) < 0:
        return size if is_all else data.rfind(b"\n", 0, size) + 1
    text = np.frombuffer(data, np.uint8, size)
    quotes = np.flatnonzero(text == _QUOTE)
    good = _well_formed(text, quotes, delimiter)
    if is_all and good == len(quotes) and good % 2 == 0:
        return size
    end = size if good == len(quotes) else int(quotes[good])
    for _ in range(_MOST_TRIES):
        end = data.rfind(b"\n", 0, end)
        before = int(np.searchsorted(quotes, end))
        if end < 0 or before % 2 == 0:
            return end + 1
        end = int(quotes[before - 1])
    return 0


def _well_formed(text: _Bytes, quotes: _Positions, delimiter: str) -> int:
    """Return how many quotes, from the first on, stand where they may.

    Every other one opens a field: before it is a delimiter or a line end, or the quote that closed
    the field, which makes the two one doubled quote. The others close one, and mirror that.
    """
    edges = np.zeros(256, np.bool_)
    edges[[ord(delimiter), _CR, _LF, _QUOTE]] = True
    opening, closing = quotes[::2], quotes[1::2]
    is_good = np.ones(len(quotes), np.bool_)
    # The first byte follows a line end; the last is followed by one, or by what is not seen yet.
    is_good[::2] = (opening == 0) | edges[text[opening - 1]]
    after = np.minimum(closing + 1, len(text) - 1)
    is_good[1::2] = (after == closing) | edges[text[after]]
    bad = np.flatnonzero(~is_good)
    return int(bad[0]) if len(bad) else len(quotes)


def _line_end(data: bytes, size: int) -> int:
    """Return where the last line that ends in the first ``size`` bytes does; 0: none does."""
    end = data.rfind(b"\n", 0, size) + 1
    # A CR as the last byte could be half of a CR LF.
    return end or data.rfind(b"\r", 0, size - 1) + 1
