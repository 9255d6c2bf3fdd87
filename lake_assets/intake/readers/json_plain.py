"""Lines of JSON as Arrow columns at once, where that provably means what one at a time does.

pyarrow's parser is an order of magnitude faster than Python's, but laxer and less exact: it takes
NaN, two records on a line, a record on two lines and bytes that are no UTF-8; it makes times of
strings, and doubles of integers among doubles. Invariant: what comes out of here is exactly what
``json_records`` and ``Shape`` make of the same lines; lines of which that is not certain are left
to them. Which those are says nothing about the lines: it may change from release to release.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from lake_assets.intake.readers.json_bytes import Lines, Positions
from lake_assets.intake.readers.json_records import MAX_DEPTH
from lake_assets.intake.readers.values import MAX_EXACT_INT

_FEWEST_LINES = 32
"""Fewer lines are as quickly read one by one: a call of pyarrow's costs 0.2 ms."""
_MOST_SPLITS = 256
"""How often a block is split before the rest of it is read line by line."""
_MOST_READS = 4
_STEP_LINES = 512
_MOST_LINES = 65_536
"""pyarrow refuses 100,000 records in one block."""
_SHORT_LINE = 1024
"""Bytes of a line that cannot be nested so deeply that pyarrow's recursion ends in a crash.

pyarrow 26 takes 5,000 levels and dies of 20,000.
"""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
# An integer that a double may not hold, -0 (which is 0 as an integer), or no number at all.
_INEXACT = re.compile(rb"(?<![0-9.eE+])[0-9]{16,}(?![0-9.eE])|-0(?![0-9.eE])|NaN|Inf", re.I)
_CHANGED = re.compile(r"Column\((.*)\) changed from (\w+) to (\w+) in row \d+", re.DOTALL)
_IN_ROW = re.compile(r".* in row (\d+)", re.DOTALL)
_LOST_NULLS = "nulls at the beginning of a list are lost"
_BEGINNINGS = {
    "string": '"',
    "number": "[-0-9NI]",
    "boolean": "[tf]",
    "object": r"\{",
    "array": r"\[",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """Lines that are one object each, as columns named and ordered as their keys appear."""

    picked: Positions
    """Which lines of the block these are."""
    columns: dict[str, pa.Array]

    @property
    def nbytes(self) -> int:
        """How much memory the columns take."""
        return sum(column.nbytes for column in self.columns.values())


@dataclass(slots=True)
class Sorted:
    """A block's lines: those that are plain, in parts of uniform kinds, and the others."""

    plain: list[Plain] = field(default_factory=list)
    others: Positions = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(slots=True)
class Hints:
    """What other blocks of a file showed. It makes reading faster; what is read is the same."""

    texts: dict[str, Any] = field(default_factory=dict)
    """A record with ``"x"`` where most lines of a block had strings that look like times."""
    kinds: dict[str, None] = field(default_factory=dict)
    """Patterns of the rarer kinds of values at places that have several."""


def sort_lines(lines: Lines, hints: Hints) -> Sorted:
    """Return the lines as columns, as far as that is exact.

    Args:
        lines: A block.
        hints: From other blocks; what this one shows is added.
    """
    if not _FEWEST_LINES <= len(lines) <= _MOST_LINES or b"\0" in lines.data:
        return Sorted(others=np.arange(len(lines)))
    sorter = _Sorter(lines, hints)
    sorter.run()
    taken = np.zeros(len(lines), np.bool_)
    for part in sorter.plain:
        taken[part.picked] = True
    return Sorted(plain=sorter.plain, others=np.flatnonzero(~taken))


class _Sorter:
    def __init__(self, lines: Lines, hints: Hints) -> None:
        self._lines = lines
        self._hints = hints
        self._groups: list[Positions] = []
        self._budget = _MOST_SPLITS
        self.plain: list[Plain] = []

    def run(self) -> None:
        usable = _usable_lines(self._lines)
        rare = self._matching(usable, "|".join(self._hints.kinds)) if self._hints.kinds else None
        if rare is None or not rare.any():
            self._groups = [usable]
        else:
            self._groups = [usable[rare], usable[~rare]]
        while self._groups and self._budget:
            self._take(self._groups.pop())

    def _take(self, picked: Positions) -> None:
        """Read a group of lines, or split it into smaller ones that may be read."""
        if len(picked) < _FEWEST_LINES:
            return
        lines = self._lines.take(picked)
        read = self._read(lines)
        if read == _LOST_NULLS:
            begins = self._matching(picked, r"\[[ \t]*null")
            self._groups += [picked[~begins]] if begins.any() else []
            return
        if isinstance(read, str):
            self._split(picked, read)
            return
        inexact = _inexact_lines(lines, read)
        if inexact.any():
            # Read again, as these may be all that made a column of integers one of doubles.
            self._groups.append(picked[~inexact])
        elif _depth(read) <= MAX_DEPTH:
            self.plain.append(Plain(picked=picked, columns=read))

    def _split(self, picked: Positions, error: str) -> None:
        self._budget -= 1
        changed = _CHANGED.fullmatch(error)
        if changed and self._split_by_kind(picked, *changed.groups()):
            return
        row = _IN_ROW.fullmatch(error)
        if row and int(row[1]) < len(picked):
            at = int(row[1])
            # Where there is one bad line there are more: go on in smaller steps for a while.
            end = at + 1 + max(2 * at, _STEP_LINES)
            # The last goes first: the parts come out in their order.
            self._groups += [picked[end:], picked[at + 1 : end], picked[:at]]

    def _split_by_kind(self, picked: Positions, path: str, was: str, becomes: str) -> bool:
        """Take the rarer of two kinds of values at a path apart; return whether it could be."""
        place = path.removesuffix("/[]")
        name = re.escape(json.dumps(place.rpartition("/")[2], ensure_ascii=False))
        inside = "" if place == path else r"\[[^\]]*"
        best: tuple[Any, str] | None = None
        for kind in (was, becomes):
            pattern = rf"{name}[ \t]*:[ \t]*{inside}{_BEGINNINGS.get(kind, '$^')}"
            match = self._matching(picked, pattern)
            if 0 < match.sum() < len(picked) and (best is None or match.sum() < best[0].sum()):
                best = match, pattern
        if best is None:
            return False
        self._hints.kinds.setdefault(best[1])
        self._groups += [picked[best[0]], picked[~best[0]]]
        return True

    def _matching(self, picked: Positions, pattern: str) -> Any:
        lines = self._lines.take(picked)
        found = pc.match_substring_regex(_as_text(lines), pattern)
        return found.to_numpy(zero_copy_only=False)

    def _read(self, lines: Lines) -> dict[str, pa.Array] | str:
        """Return the columns, no string of which was taken for a time, or why there are none."""
        texts = self._hints.texts
        for _ in range(_MOST_READS):
            read = _read_with(lines, texts)
            if isinstance(read, str) and read.endswith(f" in row {len(lines)}"):
                # What was text in other lines is something else in these.
                texts = {}
                continue
            if isinstance(read, str):
                return read
            # What only the hint has must leave no trace, not even a column of nulls.
            wanted = merged_texts(_held(texts, read), _times(read))
            if wanted == texts:
                return read
            texts = wanted
            if 2 * len(lines) > len(self._lines):
                self._hints.texts = merged_texts(self._hints.texts, texts)
        return "strings cannot be told from times"


def _usable_lines(lines: Lines) -> Positions:
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


def _read_with(lines: Lines, texts: dict[str, Any]) -> dict[str, pa.Array] | str:
    """Return the lines as columns, or pyarrow's reason why not.

    ``texts`` is read as one more line, which keeps pyarrow from taking those strings for times.
    """
    more = json.dumps(texts).encode() if texts else b""
    try:
        table = pj.read_json(
            pa.BufferReader(lines.data + more if more else lines.data),
            read_options=pj.ReadOptions(
                use_threads=False, block_size=len(lines.data) + len(more) + 1
            ),
        )
    except pa.ArrowInvalid as error:
        return str(error).removeprefix("JSON parse error: ")
    except UnicodeDecodeError as error:
        return str(error)
    if table.num_rows != len(lines) + bool(more):
        return "there are several records on a line"
    # One chunk each, as all was one block.
    columns = {name: table[i].chunk(0) for i, name in enumerate(table.column_names)}
    if not all(_is_whole(column) for column in columns.values()):
        return _LOST_NULLS
    return {name: column.slice(0, len(lines)) for name, column in columns.items()}


def _is_whole(column: pa.Array) -> bool:
    """Return whether lists have all of their items.

    pyarrow 26 loses nulls at the beginning of a list before the first one that holds something:
    https://github.com/apache/arrow/issues/51305.
    """
    kind = column.type
    if pa.types.is_struct(kind):
        return all(_is_whole(column.field(i)) for i in range(kind.num_fields))
    if pa.types.is_list(kind):
        return column.offsets[-1].as_py() == len(column.values) and _is_whole(column.values)
    return True


def _times(columns: dict[str, pa.Array]) -> dict[str, Any]:
    """Return a record with ``"x"`` at each place that is a time."""
    times = {name: _time_in(column.type) for name, column in columns.items()}
    return {name: inner for name, inner in times.items() if inner is not None}


def _time_in(kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(kind):
        return "x"
    if pa.types.is_list(kind):
        inner = _time_in(kind.value_type)
        return None if inner is None else [inner]
    if pa.types.is_struct(kind):
        fields = {f.name: _time_in(f.type) for f in kind}
        return {name: inner for name, inner in fields.items() if inner is not None} or None
    return None


def _held(texts: dict[str, Any], columns: dict[str, pa.Array]) -> dict[str, Any]:
    """Return ``texts`` without the places at which the columns have no value."""
    held = {name: _held_in(inner, columns[name]) for name, inner in texts.items()}
    return {name: inner for name, inner in held.items() if inner is not None}


def _held_in(text: Any, column: pa.Array) -> Any:
    if isinstance(text, dict):
        names = [field.name for field in column.type]
        return _held(text, dict(zip(names, column.flatten(), strict=True))) or None
    if isinstance(text, list):
        inner = _held_in(text[0], column.flatten())
        return None if inner is None else [inner]
    return text if column.null_count < len(column) else None


def merged_texts(one: Any, other: Any) -> Any:
    """Return what both of two such records show to be text."""
    if isinstance(one, dict) and isinstance(other, dict):
        both = {name: merged_texts(one[name], other[name]) for name in one.keys() & other.keys()}
        return one | other | both
    if isinstance(one, list) and isinstance(other, list):
        return [merged_texts(one[0], other[0])]
    return other


def _depth(columns: dict[str, pa.Array]) -> int:
    """Return how many levels of objects and lists the records have; not by recursion."""
    level, depth = [column.type for column in columns.values()], 1
    while level:
        level = [
            k.field(i).type for k in level if pa.types.is_nested(k) for i in range(k.num_fields)
        ]
        depth += bool(level)
    return depth


def _inexact_lines(lines: Lines, columns: dict[str, pa.Array]) -> Any:
    """Return a flag for each line that may have an integer where its column has doubles."""
    inexact = np.zeros(len(lines), np.bool_)
    suspects: set[int] = set()
    for column in columns.values():
        for rows in _suspects(column):
            suspects.update(rows.tolist())
    for i in suspects:
        inexact[i] = _INEXACT.search(lines[i]) is not None
    return inexact


def _suspects(column: pa.Array) -> Iterator[Positions]:
    """Yield the positions of values in which there are doubles that may not be what was written."""
    kind = column.type
    if pa.types.is_float64(kind):
        rows = _suspect_doubles(column)
        if len(rows):
            yield rows
    elif pa.types.is_struct(kind):
        for inner in column.flatten():
            yield from _suspects(inner)
    elif pa.types.is_list(kind) and _has_doubles(kind):
        for rows in _suspects(column.flatten()):
            yield pc.list_parent_indices(column).to_numpy()[rows]


def _has_doubles(kind: pa.DataType) -> bool:
    if pa.types.is_float64(kind):
        return True
    return any(_has_doubles(kind.field(i).type) for i in range(kind.num_fields))


def _suspect_doubles(column: pa.DoubleArray) -> Positions:
    values = np.frombuffer(column.buffers()[1], np.float64)[column.offset :][: len(column)]
    # Also true of NaN. Nulls may hold anything, so some are suspected in vain.
    return np.flatnonzero(~(np.abs(values) < MAX_EXACT_INT) | ((values == 0) & np.signbit(values)))
