"""Records of JSON as a table in the types of their whole file.

Invariant: each record is a row of the table, or rejected with the path of the value that does not
fit.
"""

from __future__ import annotations

import pyarrow as pa

from lake_assets.intake.readers.json_records import Block
from lake_assets.intake.readers.json_types import Shape, json_column
from lake_assets.intake.readers.row_json import row_json
from lake_assets.intake.readers.source import (
    Chunk,
    DataFile,
    check_columns,
    check_fields,
    in_order,
    keep_rows,
    misfit_row,
    numbers_of,
    table_of,
)


def shape_of_records(block: Block) -> Shape:
    """Return what the records of a block look like."""
    records = Shape()
    for value in block.values:
        records.see(value)
    return records


def column_types(file: DataFile, records: Shape) -> dict[str, pa.DataType]:
    """Return the columns of a file and their types; those that hold nothing have none.

    Args:
        file: The file.
        records: The shape of all its records.

    Raises:
        UnreadableSource: No table can have columns or fields of these names.
    """
    expected = {field.name: field.type for field in file.expected or ()}
    kinds = {name: shape.kind(expected.get(name)) for name, shape in records.fields.items()}
    known = {name: kind for name, kind in kinds.items() if kind is not None}
    check_columns(list(known), file.name)
    for name, kind in known.items():
        check_fields(kind, name, file.name)
    return known


def chunk_of(file: DataFile, kinds: dict[str, pa.DataType], records: Shape, block: Block) -> Chunk:
    """Return the records of a block that fit the columns, and the rejections of those that do not.

    Args:
        file: The file.
        kinds: Its columns, from ``column_types``.
        records: The shape of all its records.
        block: Some of them.
    """
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
