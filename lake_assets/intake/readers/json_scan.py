"""What the bytes of lines tell of them before they are parsed.

Invariant: a line is usable only if pyarrow's parser surely takes it for one record, if for any.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.intake.readers.json_bytes import Lines, Positions

_SHORT_LINE = 1024
"""Bytes of a line that cannot be nested so deeply that pyarrow's recursion ends in a crash.

pyarrow 26 takes 5,000 levels and dies of 20,000.
"""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BELOW_SIGNS = ord("-")
"""Space, quotes, commas and a few more are below; minus and point are not, as they tell nothing."""
_COUNTED_BYTES = 256 * 1024
"""At once, so that what is counted stays in the processor's cache. A multiple of 8."""


def usable_lines(lines: Lines) -> Positions:
    """Return the lines that are valid UTF-8 and can only be one object each.

    pyarrow takes records for what follows each other, whatever the line ends. If each line begins
    with ``{`` and ends with ``}``, none can go on in the next, as no JSON has ``} {`` inside.
    """
    data = np.frombuffer(lines.data, np.uint8)
    firsts, ends = lines.starts[:-1], lines.starts[1:] - 2
    # The first line may be just "\n"; then this looks at the last byte, and the first tells.
    lasts = data[ends]
    lasts = np.where(lasts == ord("\r"), data[np.maximum(ends - 1, 0)], lasts)
    usable = (data[firsts] == ord("{")) & (lasts == ord("}"))
    lengths = np.diff(lines.starts)
    for i in np.flatnonzero(usable & (lengths > _SHORT_LINE)).tolist():
        usable[i] = _is_shallow(lines[i])
    try:
        _as_text(lines).validate(full=True)
    except pa.ArrowInvalid:
        for i in np.flatnonzero(usable).tolist():
            usable[i] = _is_utf8(lines[i])
    return np.flatnonzero(usable)


def unusual_lines(lines: Lines) -> npt.NDArray[np.bool_]:
    """Return a flag for each line, whether it has more or fewer quotes and commas than most.

    A string for a number, a number for a string, a list for either and another key all show so;
    text with spaces or commas of its own does too, and then this tells nothing.
    """
    data = np.frombuffer(lines.data, np.uint8)
    parts = (data[i : i + _COUNTED_BYTES] for i in range(0, len(data), _COUNTED_BYTES))
    flags = [np.packbits(part < _BELOW_SIGNS, bitorder="little") for part in parts]
    bits = np.concatenate([*flags, np.zeros(1, np.uint8)])
    before = np.concatenate(([0], np.cumsum(np.bitwise_count(bits), dtype=np.int32)))
    at, rest = lines.starts >> 3, lines.starts & 7
    counts = np.diff(before[at] + np.bitwise_count(bits[at] & ((1 << rest) - 1).astype(np.uint8)))
    unusual: npt.NDArray[np.bool_] = counts != np.median(counts)
    return unusual


def matching(lines: Lines, pattern: str) -> Any:
    """Return a flag for each line, whether it matches a regular expression somewhere."""
    found = pc.match_substring_regex(_as_text(lines), pattern)
    return found.to_numpy(zero_copy_only=False)


def _is_shallow(line: bytes) -> bool:
    """Return whether a line is surely not nested so deeply that reading it is unsafe."""
    if line.count(b"{") + line.count(b"[") <= _SHORT_LINE:
        return True
    code = np.frombuffer(_STRING.sub(b"", line), np.uint8)
    opens = (code == ord("{")) | (code == ord("["))
    closes = (code == ord("}")) | (code == ord("]"))
    return int(np.cumsum(opens.astype(np.int64) - closes).max()) <= _SHORT_LINE


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _as_text(lines: Lines) -> pa.StringArray:
    offsets = pa.py_buffer(lines.starts.astype(np.int32))
    return pa.Array.from_buffers(pa.string(), len(lines), [None, offsets, pa.py_buffer(lines.data)])
