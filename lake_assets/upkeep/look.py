"""Questions about datasets and variants that checks ask of the lake's tables.

Invariant: each looks at the names that it is asked about and at no other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from lake_assets.contracts.names import Destination, parse_destination
from lake_assets.query.duckdb import LakeSql, connect, disk_errors, files_in_sql
from lake_assets.storage.system_tables import DESTINATION_KEY, QUARANTINE, UPLOADS
from lake_assets.stores import Stores

_FETCHED_ROWS = 10_000


class Look:
    """Questions about some datasets, over one connection."""

    def __init__(self, stores: Stores, names: Sequence[Destination]) -> None:
        scratch = stores.layout.scratch
        self._tables = stores.tables
        self._connection = connect(scratch=scratch)
        self._sql = LakeSql(stores.tables, scratch=scratch, connection=self._connection)
        self._keys = [str(name) for name in names]
        self._prune = _own(names[0]) if len(names) == 1 else {}
        self._known = frozenset(stores.tables.names())
        self.key = DESTINATION_KEY
        """Name of what a row of the ledger or the quarantine is about."""
        self.ours = f"{self.key} IN (SELECT unnest($1))"
        """Condition on these tables; queries have the names as parameter 1."""

    def has(self, table: str) -> bool:
        """Return whether there is such a table."""
        return table in self._known

    def rows(
        self, table: str, sql: str, parameters: Sequence[object] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none where ``table`` does not exist yet."""
        return list(self.streamed(table, sql, parameters))

    def streamed(
        self, table: str, sql: str, parameters: Sequence[object] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query as they come."""
        if not self.has(table):
            return
        values = (self._keys,) if parameters is None else parameters
        relation = self._sql.query(sql, values, prune=self._prune)
        while rows := self._fetched(relation):
            yield from rows

    def _fetched(self, relation: Any) -> list[tuple[Any, ...]]:
        with disk_errors(self._tables.warehouse):
            rows: list[tuple[Any, ...]] = relation.fetchmany(_FETCHED_ROWS)
        return rows

    def by_name(self, table: str, sql: str) -> dict[Destination, list[str]]:
        """Return the second column of a query, by what the first one names."""
        found: dict[Destination, list[str]] = defaultdict(list)
        for key, value in self.rows(table, sql):
            found[parse_destination(key)].append(value)
        return found

    def totals(self, count: str) -> dict[Destination, int]:
        """Return the sum of a column of the ledger, or of other SQL, for each name."""
        rows = self.rows(
            UPLOADS.name,
            f"""SELECT {self.key}, sum({count})::BIGINT FROM {UPLOADS.name}
                WHERE {self.ours} GROUP BY ALL""",
        )
        return defaultdict(int, {parse_destination(key): total for key, total in rows})

    def open_rows(self) -> dict[Destination, int]:
        """Return how many rows of each name are in the quarantine and not replayed."""
        rows = self.rows(
            QUARANTINE.name,
            f"""SELECT {self.key}, count(*) FROM {QUARANTINE.name}
                WHERE {self.ours} AND state = 'open' GROUP BY ALL""",
        )
        return defaultdict(int, {parse_destination(key): count for key, count in rows})

    def of_table(self, name: Destination, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query answers about the rows of ``name``; none if there is no table.

        Args:
            sql: With ``{table}``. Of the columns, only the lake's own.
        """
        plan = self._tables.plan(name.table) if self.has(name.table) else None
        if plan is None:  # no such table, or one with delete files
            rows = rows_of(name, name.table)
            return self.rows(name.table, sql.format(table=rows), parameters=())
        files = plan.paths(name.table_rows)
        if not files:
            return []
        # Straight from the files, which all have the lake's columns: 1 ms, where a view of all
        # columns takes 5; and a run may check thousands of tables.
        source = rows_of(name, files_in_sql(files))
        with disk_errors(self._tables.warehouse):
            relation = self._connection.sql(sql.format(table=source))
            answer: list[tuple[Any, ...]] = relation.fetchall()
        return answer

    def of_all_rows(self, name: Destination, asked: str) -> tuple[Any, ...]:
        """Return what aggregates of any columns are over the rows of ``name``.

        Args:
            asked: What stands between SELECT and FROM. The table must be there.
        """
        sql = f"SELECT {asked} FROM {rows_of(name, name.table)}"
        relation = self._sql.query(sql, (), prune=_own(name))
        with disk_errors(self._tables.warehouse):
            (answer,) = relation.fetchall()
        return tuple(answer)

    def of_one(self, name: Destination, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query answers whose parameters are a dataset's provider and name."""
        relation = self._sql.query(sql, (name.provider, name.dataset), prune=_own(name))
        with disk_errors(self._tables.warehouse):
            answer: list[tuple[Any, ...]] = relation.fetchall()
        return answer


def rows_of(name: Destination, source: str) -> str:
    """Return SQL for those rows of a table that are of ``name``."""
    where = " AND ".join(f"{key} = '{value}'" for key, value in name.table_rows.items())
    return f"(SELECT * FROM {source} WHERE {where})" if where else source


def _own(name: Destination) -> dict[str, str]:
    return {"provider": name.provider, "dataset": name.dataset}


def summary(good: str, bad: str, wrong: Sequence[str]) -> str:
    """Return what a check found: ``good``, or how many are ``bad``, and some of them."""
    if not wrong:
        return good
    listed = sorted({*wrong})
    shown = ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")
    return f"{len(listed)} {bad}: {shown}"
