"""Tables that somebody hands in from memory, as a file of a delivery.

Invariant: what is written holds every value of the table, or nothing is written and the error
names the column.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lake_assets.errors import InvalidRequest
from lake_assets.storage.files import CopiedFile, storage_errors

FRAME_NAME = "data.parquet"
"""Staged name of a table from memory."""

# Small groups, so that readers need little memory where rows hold whole images.
_GROUP_ROWS = 65_536
_GROUP_BYTES = 64 * 2**20
# pyarrow says it in any of these, depending on the type that it first believed in.
_REFUSALS = (pa.ArrowException, ValueError, TypeError, OverflowError)


def as_table(source: object) -> pa.Table | None:
    """Return a DataFrame or Arrow table as an Arrow table, or None if it is neither.

    An index is kept as columns if it has a name; a nameless one is only row numbers.

    Raises:
        InvalidRequest: A column holds what Arrow cannot.
    """
    if isinstance(source, pa.Table):
        return source
    # Not imported: whoever hands in a DataFrame has pandas, and everybody else saves half a second.
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(source, pandas.DataFrame):
        return None
    named_index = any(name is not None for name in source.index.names)
    try:
        return pa.Table.from_pandas(source, preserve_index=named_index)
    except _REFUSALS as error:
        raise _unusable_frame(source, error) from error


def write_frame(table: pa.Table, target: Path) -> CopiedFile:
    """Write a table as Parquet and return the file's size and hash.

    Raises:
        InvalidRequest: It has no columns, or one that Parquet cannot hold.
        StorageUnavailable: The disk is full.
    """
    if not table.column_names:
        raise InvalidRequest("This table has no columns, so there is nothing to deliver.")
    try:
        with storage_errors(target):
            pq.write_table(table, target, row_group_size=_group_rows(table))
    except _REFUSALS as error:
        raise InvalidRequest(
            f"This table cannot be written as Parquet: {_first_line(error)}. Convert the column to "
            "numbers, strings, bytes, lists or dicts with fields.",
        ) from error
    with storage_errors(target), target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return CopiedFile(byte_count=target.stat().st_size, sha256=digest)


def _group_rows(table: pa.Table) -> int:
    row_bytes = max(1, table.nbytes // max(1, table.num_rows))
    return int(max(1, min(_GROUP_ROWS, _GROUP_BYTES // row_bytes)))


def _unusable_frame(frame: Any, error: Exception) -> InvalidRequest:
    if not frame.columns.is_unique:
        twice = ", ".join(map(str, frame.columns[frame.columns.duplicated()]))
        return InvalidRequest(f"The DataFrame has the same column more than once: {twice}.")
    for name in frame.columns:
        try:
            pa.Array.from_pandas(frame[name])
        except _REFUSALS as reason:
            return _unusable_column(str(name), frame[name], reason)
    return InvalidRequest(f"The DataFrame cannot become an Arrow table: {_first_line(error)}.")


def _unusable_column(name: str, values: Any, reason: Exception) -> InvalidRequest:
    kinds = sorted({type(value).__name__ for value in values.dropna()})
    if any(hasattr(value, "tobytes") and hasattr(value, "size") for value in values.dropna()):
        advice = (
            "For images give their file's path or encoded bytes: "
            "`buffer = io.BytesIO(); image.save(buffer, 'PNG'); buffer.getvalue()`."
        )
    else:
        advice = "Make all its values of one type: numbers, strings, bytes, lists or dicts."
    return InvalidRequest(
        f"Column {name!r} of the DataFrame holds {', '.join(kinds)}, which Arrow cannot store as "
        f"one column ({_first_line(reason)}). {advice}",
        column=name,
    )


def _first_line(error: Exception) -> str:
    # pyarrow puts a pair into args; str() of that would be a tuple.
    return str(error.args[0] if error.args else error).partition("\n")[0].rstrip(".")
