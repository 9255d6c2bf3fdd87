"""One call of pyarrow's JSON parser, and what its columns tell of the lines.

See ``json_plain`` for what the parser does otherwise than it should.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from lake_assets.contracts.names import OWN_COLUMNS
from lake_assets.contracts.variants import is_variant
from lake_assets.intake.readers.json_bytes import Lines, Positions
from lake_assets.intake.readers.variant_text import MAX_EXACT_INT

LOST_NULLS = "nulls at the beginning of a list are lost"

# An integer that a double may not hold, -0 (which is 0 as an integer), or no number at all.
_INEXACT = re.compile(rb"(?<![0-9.eE+])[0-9]{16,}(?![0-9.eE])|-0(?![0-9.eE])|NaN|Inf", re.I)


def read_with(lines: Lines, texts: dict[str, Any]) -> dict[str, pa.Array] | str:
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
        return LOST_NULLS
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


def times_in(columns: dict[str, pa.Array]) -> dict[str, Any]:
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


def held_texts(texts: dict[str, Any], columns: dict[str, pa.Array]) -> dict[str, Any]:
    """Return ``texts`` without the places at which the columns have no value."""
    held = {name: _held_in(inner, columns[name]) for name, inner in texts.items()}
    return {name: inner for name, inner in held.items() if inner is not None}


def _held_in(text: Any, column: pa.Array) -> Any:
    if isinstance(text, dict):
        names = [field.name for field in column.type]
        return held_texts(text, dict(zip(names, column.flatten(), strict=True))) or None
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


def odd_names(columns: dict[str, pa.Array]) -> tuple[str, ...]:
    """Return a name that no key may have, or some of one object that differ only in case."""
    own = [name for name in columns if name.lower() in OWN_COLUMNS]
    if own:
        return (own[0],)
    levels = [list(columns)]
    level = [column.type for column in columns.values()]
    while level:
        levels += [[f.name for f in kind] for kind in level if pa.types.is_struct(kind)]
        level = [
            k.field(i).type for k in level if pa.types.is_nested(k) for i in range(k.num_fields)
        ]
    return next(filter(None, map(_odd, levels)), ())


def _odd(names: list[str]) -> tuple[str, ...]:
    bad = [name for name in names if not name or is_variant(name)]
    if bad:
        return (bad[0],)
    lower = [name.lower() for name in names]
    if len(set(lower)) == len(lower):
        return ()
    twice = next(name for name in lower if lower.count(name) > 1)
    return tuple(name for name in names if name.lower() == twice)


def depth_of(columns: dict[str, pa.Array]) -> int:
    """Return how many levels of objects and lists the records have; not by recursion."""
    level, depth = [column.type for column in columns.values()], 1
    while level:
        level = [
            k.field(i).type for k in level if pa.types.is_nested(k) for i in range(k.num_fields)
        ]
        depth += bool(level)
    return depth


def inexact_lines(lines: Lines, columns: dict[str, pa.Array]) -> Any:
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
