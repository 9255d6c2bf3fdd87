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
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.intake.readers.json_arrow import (
    LOST_NULLS,
    depth_of,
    held_texts,
    inexact_lines,
    merged_texts,
    odd_names,
    read_with,
    times_in,
)
from lake_assets.intake.readers.json_bytes import MOST_LINES, Lines, Positions
from lake_assets.intake.readers.json_parser import MAX_DEPTH
from lake_assets.intake.readers.json_scan import matching, unusual_lines, usable_lines

_FEWEST_LINES = 32
"""Fewer lines are as quickly read one by one: a call of pyarrow's costs 0.2 ms."""
_MOST_SPLITS = 256
"""How often a block is split before the rest of it is read line by line."""
_PACKED_LINES = 2048
"""Of fewer lines packing saves little memory, and takes 20 µs a column."""
_MOST_READS = 4
_MOST_KINDS = 64
"""Patterns that are looked for in every block."""
_RARE = 8
"""A name is rare that one line of so many has, and so are several together."""
_STEP_LINES = 512
_CHANGED = re.compile(r"Column\((.*)\) changed from (\w+) to (\w+) in row \d+", re.DOTALL)
_IN_ROW = re.compile(r".* in row (\d+)", re.DOTALL)
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
        """How much memory the lines take."""
        columns: int = sum(column.nbytes for column in self.columns.values())
        return self.picked.nbytes + columns

    def packed(self) -> Plain:
        """Return the same with small integers in as few bytes as they need, if it is large."""
        if len(self.picked) < _PACKED_LINES:
            return self
        columns = {name: _packed(column) for name, column in self.columns.items()}
        return Plain(picked=self.picked, columns=columns)

    def unpacked(self) -> dict[str, pa.Array]:
        """Return the columns as they were before ``packed``."""
        return {
            name: column.cast(pa.int64()) if _is_packed(column.type) else column
            for name, column in self.columns.items()
        }


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
    """Patterns of the rarer kinds of values at places that have several, and of rare names."""
    rare_names: list[bool] = field(default_factory=list)
    """Whether a pattern of rare names was found; empty until they were looked for."""
    misleading_counts: list[bool] = field(default_factory=list)
    """Holds something once a line of a rarer kind had as many quotes and commas as most lines."""


def sort_lines(lines: Lines, hints: Hints) -> Sorted:
    """Return the lines as columns, as far as that is exact.

    Args:
        lines: A block.
        hints: From other blocks; what this one shows is added.
    """
    if not _FEWEST_LINES <= len(lines) <= MOST_LINES or b"\0" in lines.data:
        return Sorted(others=np.arange(len(lines)))
    sorter = _Sorter(lines, hints)
    sorter.run()
    taken = np.zeros(len(lines), np.bool_)
    for part in sorter.plain:
        taken[part.picked] = True
    return Sorted(plain=sorter.plain, others=np.flatnonzero(~taken))


def _is_packed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) and kind.bit_width < 64)


def _packed(column: pa.Array) -> pa.Array:
    if not pa.types.is_int64(column.type) or column.null_count == len(column):
        return column
    extremes = pc.min_max(column)
    low, high = extremes["min"].as_py(), extremes["max"].as_py()
    for kind in (pa.int8(), pa.int16(), pa.int32()):
        limit = 1 << (kind.bit_width - 1)
        if -limit <= low and high < limit:
            return column.cast(kind, safe=False)
    return column


class _Sorter:
    def __init__(self, lines: Lines, hints: Hints) -> None:
        self._lines = lines
        self._hints = hints
        self._groups: list[Positions] = []
        self._budget = _MOST_SPLITS
        self._counted: tuple[str, ...] = ()
        """Kinds of which only unusual lines were taken apart."""
        self.plain: list[Plain] = []

    def run(self) -> None:
        self._groups = self._by_kind(usable_lines(self._lines))
        while self._groups and self._budget:
            self._take(self._groups.pop())

    def _by_kind(self, usable: Positions) -> list[Positions]:
        """Return the lines in groups: one for each rare kind, and the others."""
        kinds = list(self._hints.kinds)[:_MOST_KINDS]
        if not kinds:
            return [usable]
        rare = self._rare_among(usable, kinds)
        left = usable[rare]
        groups = []
        for kind in kinds:
            if not len(left):
                break
            match = self._matching(left, kind)
            groups.append(left[match])
            left = left[~match]
        return [*groups, left, usable[~rare]]

    def _rare_among(self, usable: Positions, kinds: Sequence[str]) -> Any:
        """Return a flag for each line, whether it seems to be of one of the kinds.

        Only lines are searched that are unusual at all, where few are: counting takes an eighth of
        the time. A line that is missed makes the parser stop, and then all are searched.
        """
        pattern = "|".join(kinds)
        unusual = unusual_lines(self._lines)[usable]
        if self._hints.misleading_counts or _RARE * unusual.sum() > len(usable):
            return self._matching(usable, pattern)
        self._counted = tuple(kinds)
        unusual[unusual] = self._matching(usable[unusual], pattern)
        return unusual

    def _take(self, picked: Positions) -> None:
        """Read a group of lines, or split it into smaller ones that may be read."""
        if len(picked) < _FEWEST_LINES:
            return
        lines = self._lines.take(picked)
        read = self._read(lines)
        if read == LOST_NULLS:
            begins = self._matching(picked, r"\[[ \t]*null")
            self._groups += [picked[~begins]] if begins.any() else []
            return
        if isinstance(read, str):
            self._split(picked, read)
            return
        inexact = inexact_lines(lines, read)
        if inexact.any():
            # Read again, as these may be all that made a column of integers one of doubles.
            self._groups.append(picked[~inexact])
            return
        alike = odd_names(read)
        if alike:
            self._split_by_name(picked, alike)
        elif depth_of(read) <= MAX_DEPTH:
            self.plain.append(Plain(picked=picked, columns=read))
            if 2 * len(picked) > len(self._lines) and not self._hints.rare_names:
                self._learn_rare_names(picked, read)

    def _learn_rare_names(self, picked: Positions, columns: dict[str, pa.Array]) -> None:
        """Let other blocks read lines with rare names apart.

        pyarrow fills a column in each line, with a null where the line does not name it: ten rare
        names beside thirty common ones took a fifth of the time.
        """
        counts = {name: len(column) - column.null_count for name, column in columns.items()}
        most = len(picked) // _RARE
        names = [_quoted(name) for name, count in counts.items() if 0 < count <= most]
        pattern = f"(?:{'|'.join(names)})[ \t]*:"
        found = 0 < len(names) <= _MOST_KINDS and self._matching(picked, pattern).sum() <= most
        self._hints.rare_names.append(bool(found))
        if found:
            self._hints.kinds.setdefault(pattern)

    def _split_by_name(self, picked: Positions, names: Sequence[str]) -> None:
        """Take lines apart whose keys no record can have (one name), or not at once (several)."""
        self._budget -= 1
        patterns = [rf"{_quoted(name)}[ \t]*:" for name in names]
        matches = [self._matching(picked, pattern) for pattern in patterns]
        if len(names) == 1:
            match = matches[0]
            self._groups += [picked[~match]] if match.any() else []
            return
        some = [i for i, match in enumerate(matches) if 0 < match.sum() < len(picked)]
        if some:  # else each line has both, or they are written with escapes
            rarest = min(some, key=lambda i: int(matches[i].sum()))
            self._hints.kinds.setdefault(patterns[rarest])
            self._groups += [picked[matches[rarest]], picked[~matches[rarest]]]

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
        name = _quoted(place.rpartition("/")[2])
        inside = "" if place == path else r"\[[^\]]*"
        best: tuple[Any, str] | None = None
        for kind in (was, becomes):
            pattern = rf"{name}[ \t]*:[ \t]*{inside}{_BEGINNINGS.get(kind, '$^')}"
            match = self._matching(picked, pattern)
            if 0 < match.sum() < len(picked) and (best is None or match.sum() < best[0].sum()):
                best = match, pattern
        if best is None:
            return False
        if best[1] in self._counted:
            self._hints.misleading_counts.append(True)
        self._hints.kinds.setdefault(best[1])
        self._groups += [picked[best[0]], picked[~best[0]]]
        return True

    def _matching(self, picked: Positions, pattern: str) -> Any:
        return matching(self._lines.take(picked), pattern)

    def _read(self, lines: Lines) -> dict[str, pa.Array] | str:
        """Return the columns, no string of which was taken for a time, or why there are none."""
        texts = self._hints.texts
        for _ in range(_MOST_READS):
            read = read_with(lines, texts)
            if isinstance(read, str) and read.endswith(f" in row {len(lines)}"):
                # What was text in other lines is something else in these.
                texts = {}
                continue
            if isinstance(read, str):
                return read
            # What only the hint has must leave no trace, not even a column of nulls.
            wanted = merged_texts(held_texts(texts, read), times_in(read))
            if wanted == texts:
                return read
            texts = wanted
            if 2 * len(lines) > len(self._lines):
                self._hints.texts = merged_texts(self._hints.texts, texts)
        return "strings cannot be told from times"


def _quoted(name: str) -> str:
    return re.escape(json.dumps(name, ensure_ascii=False))
