"""Whole records of a table: what stands in variant columns is back in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from lake_assets.contracts.names import Destination
from lake_assets.contracts.variants import merged_rows
from lake_assets.query.duckdb import LakeSql, batches_of
from lake_assets.storage.tables import IcebergTables

_ROWS = 2048


def records(
    sql: LakeSql,
    tables: IcebergTables,
    name: Destination,
    *,
    where: str | None = None,
    parameters: Sequence[object] = (),
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield rows of a dataset, or of a variant of a task, in any order.

    Keys are the table's columns but for variants, which are merged at every depth. Values of
    variants are as JSON has them (see ``contracts.json_texts``), all others as Python has them.

    Args:
        where: Condition in DuckDB's SQL; ``?`` stands for a parameter.
        parameters: Values for the condition.
        limit: At most so many.

    Raises:
        QueryFailed: the condition is wrong, or there is no table.
    """
    conditions = [f'"{column}" = ?' for column in name.table_rows]
    conditions += [f"({where})"] if where else []
    said = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    most = "" if limit is None else f" LIMIT {int(limit)}"
    relation = sql.query(
        f"SELECT * FROM {name.table}{said}{most}",
        [*name.table_rows.values(), *parameters],
        prune=name.table_rows,
    )
    for batch in batches_of(relation, _ROWS, warehouse=tables.warehouse):
        yield from merged_rows(pa.Table.from_batches([batch]))
