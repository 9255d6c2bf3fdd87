"""What the columns of Parquet files hold, by their footers: nothing is decoded where these tell it.

Invariant: an answer is about every row; where a footer has no statistics of a column, the column is
read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake_assets.contracts.schema_changes import ITEMS, Steps
from lake_assets.storage.tables.trouble import missing_file


@dataclass(frozen=True, slots=True)
class Span:
    """The least and the greatest value of some rows at one place."""

    low: Any
    high: Any


def all_spans(paths: Iterable[str], steps: Steps, holds: Callable[[Span], bool]) -> bool:
    """Return whether ``holds`` is true of each row group that has values at a place.

    Files are asked in turn, up to the first of which it is not. One that lacks the place has no
    values there.

    Args:
        steps: Of a place that is not nested.

    Raises:
        DamagedTable: when a file is gone.
    """
    leaf = _leaf(steps)
    return all(holds(span) for path in paths for span in _spans(path, leaf))


def count_values(paths: Iterable[str], steps: Steps) -> int:
    """Return how many values files have at a place; of one that is nested, in its first leaf."""
    leaf = _leaf(steps)
    count = 0
    for path in paths:
        metadata = pq.read_metadata(path)
        names = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
        found = [n for n, name in enumerate(names) if name == leaf or name.startswith(f"{leaf}.")]
        for column in found[:1]:
            groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
            count += sum(_value_count(group.column(column)) for group in groups)
    return count


def _value_count(chunk: Any) -> int:
    found = chunk.statistics
    count: int = chunk.num_values if found is None else found.num_values
    return count


def _leaf(steps: Steps) -> str:
    return ".".join("list.element" if step == ITEMS else step for step in steps)


def _spans(path: str, leaf: str) -> Iterator[Span]:
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise missing_file(path) from error
    with file:
        paths = [file.schema.column(number).path for number in range(len(file.schema))]
        if leaf not in paths:
            return
        for number in range(file.num_row_groups):
            chunk = file.metadata.row_group(number).column(paths.index(leaf))
            span = _span(chunk.statistics)
            yield from [_read_span(file, number, leaf)] if span is None else [span]


def _span(found: Any) -> Span | None:
    """Return what statistics say; None: nothing is known."""
    if found is None or not (found.has_min_max or found.num_values == 0):
        return None
    return Span(found.min, found.max) if found.has_min_max else _NOTHING


def _read_span(file: Any, number: int, leaf: str) -> Span:
    values = file.read_row_group(number, columns=[leaf]).column(0).combine_chunks()
    while pa.types.is_nested(values.type):
        values = pc.list_flatten(values) if pa.types.is_list(values.type) else values.field(0)
    found = pc.min_max(values)
    return Span(found["min"].as_py(), found["max"].as_py())


_NOTHING = Span(None, None)
