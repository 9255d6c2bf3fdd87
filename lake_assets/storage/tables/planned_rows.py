"""Read the rows of a planned table by PyArrow alone.

Invariant: it answers only where a file's columns are plainly the table's: the same names and
types, or columns that came after the file. How rows are converted is for PyIceberg to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lake_assets.storage.tables.arrow_types import plain_schema
from lake_assets.storage.tables.plans import TablePlan
from lake_assets.storage.tables.trouble import missing_file


def read_planned(
    plan: TablePlan, *, where: Mapping[str, str], columns: tuple[str, ...], limit: int | None
) -> Any | None:
    """Return rows of a table as a ``pyarrow.Table``, in the order of its files.

    Args:
        where: Column → value that the rows have; empty: all rows.
        columns: Names of those to read; ``("*",)``: all.
        limit: At most so many rows; None: all.

    Returns:
        None if PyIceberg has to read them.

    Raises:
        DamagedTable: when a file is gone.
    """
    names = plan.schema.names if columns == ("*",) else columns
    if not {*names, *where}.issubset(plan.schema.names):
        return None
    wanted = pa.schema([field for field in plan.schema if field.name in names])
    batches: list[Any] = []
    count = 0
    for path in plan.paths(where):
        with _parquet_file(path) as file:
            if not _fits(file.schema_arrow, plan.schema, {*names, *where}):
                return None
            for batch in _batches(file, wanted, where):
                batches.append(batch)
                count += batch.num_rows
                if limit is not None and count >= limit:
                    return pa.Table.from_batches(batches, schema=wanted).slice(0, limit)
    return pa.Table.from_batches(batches, schema=wanted)


@contextmanager
def _parquet_file(path: str) -> Iterator[Any]:
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise missing_file(path) from error
    with file:
        yield file


def _fits(file_schema: Any, schema: Any, names: set[str]) -> bool:
    present = plain_schema(file_schema)
    return all(
        "." not in name  # PyArrow takes it for a path into a struct
        and (name not in present.names or present.field(name).type == schema.field(name).type)
        for name in names
    )


def _batches(file: Any, wanted: Any, where: Mapping[str, str]) -> Iterator[Any]:
    present = set(file.schema_arrow.names)
    if not present.issuperset(where):
        return  # these columns are null in all of its rows
    needed = [name for name in {**dict.fromkeys(wanted.names), **where} if name in present]
    for batch in file.iter_batches(columns=needed):
        rows = _selected(batch, where)
        arrays = [
            _as(field.type, rows.column(field.name))
            if field.name in present
            else pa.nulls(rows.num_rows, field.type)
            for field in wanted
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _as(kind: Any, column: Any) -> Any:
    # Files may have `large_string` where the table has `string`. A cast imports pyarrow.compute.
    return column if column.type == kind else column.cast(kind)


def _selected(batch: Any, where: Mapping[str, str]) -> Any:
    if not where:
        return batch
    import pyarrow.compute as pc  # 0.05 s, and most readers ask for whole tables

    for column, value in where.items():
        batch = batch.filter(pc.equal(batch.column(column), value))
    return batch
