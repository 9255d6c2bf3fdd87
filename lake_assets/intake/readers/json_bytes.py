"""JSON Lines as blocks of whole lines in bytes, for readers that need no Python text.

Invariant: the blocks together are every byte of the file, in order; none holds part of a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lake_assets.intake.formats import MAX_RECORD_CHARS, compression_of
from lake_assets.intake.readers.source import DataFile, reading
from lake_assets.intake.readers.text import record_too_long

_READ_BYTES = 8 * 1024 * 1024
_BATCHES = 4
"""How many batches a block may fill. Lines of one rare kind are read by a call of their own, which
costs as much as reading a few of them."""
MOST_LINES = 65_536
"""Of a block: pyarrow's JSON parser refuses 100,000 records in one."""
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_NEWLINE = 10
_RETURN = ord("\r")
BLANK = b" \t\r\n"
"""What JSON takes for space."""

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Some consecutive lines, each with its end."""

    data: bytes
    starts: Positions
    """Where each line begins in the data, and last the length of the data."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, i: int) -> bytes:
        return self.data[self.starts[i] : self.starts[i + 1]]

    def take(self, picked: Positions) -> Lines:
        """Return the lines at these positions, which ascend."""
        if len(picked) == len(self):
            return self
        # Runs of neighbours are copied as one.
        breaks = np.flatnonzero(np.diff(picked) != 1) + 1
        firsts = picked[np.concatenate(([0], breaks))] if len(picked) else picked
        lasts = picked[np.concatenate((breaks - 1, [-1]))] if len(picked) else picked
        view = memoryview(self.data)
        runs = zip(self.starts[firsts].tolist(), self.starts[lasts + 1].tolist(), strict=True)
        lengths = self.starts[picked + 1] - self.starts[picked]
        return Lines(data=b"".join(view[i:j] for i, j in runs), starts=_running_sum(lengths))

    def between(self, first: int, last: int) -> Lines:
        """Return the lines from ``first`` up to but not ``last``."""
        if (first, last) == (0, len(self)):
            return self
        starts = self.starts[first : last + 1]
        return Lines(data=self.data[starts[0] : starts[-1]], starts=starts - starts[0])


def joined(blocks: Sequence[Lines]) -> Lines:
    """Return the lines of several blocks as one."""
    lengths = [np.diff(block.starts) for block in blocks]
    starts = _running_sum(np.concatenate([np.zeros(0, np.int64), *lengths]))
    return Lines(data=b"".join(block.data for block in blocks), starts=starts)


def is_utf16(file: DataFile) -> bool:
    """Return whether the file begins with a byte order mark of UTF-16."""
    with reading(file), _stream(file) as raw:
        return raw.read(2) in _UTF16_MARKS


def line_blocks(file: DataFile) -> Iterator[Lines]:
    """Yield the lines of a UTF-8 file, decompressed, in blocks of about 8 MiB.

    A block has at most four times as many lines as the file's limits say, and at least one.

    Raises:
        UnreadableSource: A line is longer than 64 Mi characters, or the file is cut short.
    """
    rest = b""
    for piece in pieces_of(file):
        end = piece.rfind(b"\n") + 1
        if end:
            # Whole lines only, so that a block of all of them need not be copied again.
            yield from blocks_of(b"".join((rest, memoryview(piece)[:end])), file)
            rest = piece[end:]
        else:
            rest += piece
        _check_length(rest, file)
    if rest:
        yield Lines(data=rest + b"\n", starts=np.array([0, len(rest) + 1]))


def blocks_of(data: bytes, file: DataFile) -> Iterator[Lines]:
    """Yield lines, each of which has an end, in blocks as those of ``line_blocks``."""
    starts = np.concatenate(([0], _newlines(data) + 1))
    lines = _without_empty(Lines(data=data, starts=starts))
    most = min(_BATCHES * file.limits.rows, MOST_LINES)
    for first in range(0, len(lines), most):
        block = lines.between(first, min(first + most, len(lines)))
        _check_lengths(block, file)
        yield block


def pieces_of(file: DataFile) -> Iterator[bytes]:
    """Yield the bytes of a file, decompressed, without the byte order mark of UTF-8."""
    with reading(file), _stream(file) as raw:
        yield raw.read(_READ_BYTES).removeprefix(_UTF8_MARK)
        yield from iter(partial(raw.read, _READ_BYTES), b"")


def _newlines(data: bytes) -> Positions:
    """Return where the line ends are."""
    return np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)


def _without_empty(lines: Lines) -> Lines:
    """Return the lines without those that have nothing but their end, which are no records.

    One megabyte of gzip may be a billion of them.
    """
    lengths = np.diff(lines.starts)
    content = np.frombuffer(lines.data, np.uint8)
    is_empty = lengths == 1
    of_two = np.flatnonzero(lengths == 2)
    is_empty[of_two] = content[lines.starts[of_two]] == _RETURN
    return lines.take(np.flatnonzero(~is_empty)) if is_empty.any() else lines


def _check_lengths(block: Lines, file: DataFile) -> None:
    if len(block.data) >= MAX_RECORD_CHARS:
        for i in range(len(block)):
            _check_length(block[i], file)


def _check_length(line: bytes, file: DataFile) -> None:
    # Characters count, as in every text file; there are at most as many as bytes.
    if len(line) >= MAX_RECORD_CHARS and len(text_of(line)) >= MAX_RECORD_CHARS:
        raise record_too_long(file)


def text_of(line: bytes) -> str:
    """Return a line as text; bytes that are not UTF-8 come through as lone surrogates."""
    return line.decode("utf-8", "surrogateescape")


def _running_sum(lengths: Positions) -> Positions:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))


def _stream(file: DataFile) -> pa.NativeFile:
    return pa.input_stream(str(file.path), compression=compression_of(file.path.name))
