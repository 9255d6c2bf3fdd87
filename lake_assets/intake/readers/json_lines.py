"""JSON Lines and JSON files as chunks of typed columns.

Invariant: a first pass over the whole file finds the types of all records at every depth; records
that do not fit them are rejected, each with the path of the value that does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from lake_assets.intake.readers.json_records import Block, record_blocks
from lake_assets.intake.readers.json_types import Shape, json_column
from lake_assets.intake.readers.row_json import row_json
from lake_assets.intake.readers.source import (
    Chunk,
    DataFile,
    check_columns,
    check_fields,
    cut,
    in_order,
    keep_rows,
    misfit_row,
    numbers_of,
    table_of,
)


def read_json(file: DataFile) -> Iterator[Chunk]:
    """Yield every record of a JSON Lines or JSON file, or its rejection.

    Columns that hold nothing in the whole file are left out: their type is not known.

    Raises:
        UnreadableSource: An array or object is not valid JSON, or has names that no table can have.
    """
    records = Shape()
    for block in record_blocks(file):
        for value in block.values:
            records.see(value)
    kinds = _column_types(file, records)
    for block in record_blocks(file):
        yield from cut(_chunk(file, kinds, records, block), file.limits)


def head_json(file: DataFile) -> pa.Table:
    """Return the first rows, within the file's limits, in the types that they show."""
    block = next(record_blocks(file), Block())
    records = Shape()
    for value in block.values:
        records.see(value)
    return _chunk(file, _column_types(file, records), records, block).rows


def _column_types(file: DataFile, records: Shape) -> dict[str, pa.DataType]:
    expected = {field.name: field.type for field in file.expected or ()}
    kinds = {name: shape.kind(expected.get(name)) for name, shape in records.fields.items()}
    known = {name: kind for name, kind in kinds.items() if kind is not None}
    check_columns(list(known), file.name)
    for name, kind in known.items():
        check_fields(kind, name, file.name)
    return known


def _chunk(file: DataFile, kinds: dict[str, pa.DataType], records: Shape, block: Block) -> Chunk:
    columns = {
        name: json_column([v.get(name) for v in block.values], kind, records.fields[name], name)
        for name, kind in kinds.items()
    }
    problems = {i: problem for column in columns.values() for i, problem in column.misfits.items()}
    rows = table_of({name: column.values for name, column in columns.items()}, len(block.values))
    kept = [i for i in range(len(block.values)) if i not in problems]
    misfits = [
        misfit_row(file.name, block.numbers[i], problem, row_json(block.values[i]))
        for i, problem in problems.items()
    ]
    return Chunk(
        rows=keep_rows(rows, kept) if problems else rows,
        numbers=numbers_of(block.numbers[i] for i in kept),
        rejected=in_order(block.rejected + misfits),
    )
