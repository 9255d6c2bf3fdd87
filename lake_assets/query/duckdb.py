"""SQL over every table of the lake, by DuckDB.

A table is read from the Parquet files that PyIceberg plans for its present snapshot, so DuckDB
pushes columns and filters down into them; only a table with delete files goes through PyIceberg's
own scan. Invariant: one query sees one snapshot of each table that it names.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from lake_assets.errors import QueryFailed, StorageUnavailable
from lake_assets.query.guard import require_outside
from lake_assets.storage.system_tables import with_new_columns
from lake_assets.storage.tables.trouble import damaged_table, missing_file

if TYPE_CHECKING:
    from lake_assets.storage.tables import IcebergTables


def connect(*, scratch: Path, memory_limit: str | None = None) -> Any:
    """Return an in-memory DuckDB connection that spills to ``scratch`` and speaks UTC."""
    config = {"temp_directory": str(scratch), "autoinstall_known_extensions": "false"}
    if memory_limit:
        config["memory_limit"] = memory_limit
    connection = duckdb.connect(config=config)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    return connection


@contextmanager
def disk_errors(warehouse: Path) -> Iterator[None]:
    """Raise what a disk refuses DuckDB, and want of memory, as ``StorageUnavailable``.

    Args:
        warehouse: Folder of the tables. What DuckDB says of a file elsewhere, which a person's SQL
            may name, is raised as it is.

    Raises:
        DamagedTable: when a table's file is missing or is no Parquet file.
        StorageUnavailable.
    """
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InvalidInputException) as error:
        file = _file_below(warehouse, str(error))
        is_missing = any(said in str(error) for said in _MISSING)
        if file is not None and is_missing:
            raise missing_file(file) from error
        if file is not None and isinstance(error, duckdb.InvalidInputException):
            raise damaged_table(file, "cannot be read") from error
        if is_missing or isinstance(error, duckdb.InvalidInputException):
            raise
        is_forbidden = "Permission denied" in str(error)
        advice = "Give this user the right to do so" if is_forbidden else "Free space or memory"
        raise StorageUnavailable(
            f"DuckDB cannot go on: {error}. {advice}, then try again"
        ) from error


def batches_of(relation: Any, rows_at_once: int, *, warehouse: Path) -> Iterator[Any]:
    """Yield a relation as ``pyarrow.RecordBatch``. DuckDB reads the parts only now, and spills.

    Raises:
        QueryFailed: A part is not what it should be.
        DamagedTable, StorageUnavailable: as ``disk_errors`` says.
    """
    try:
        with disk_errors(warehouse):
            yield from relation.to_arrow_reader(rows_at_once)
    except duckdb.Error as error:
        raise QueryFailed(str(error)) from error


def _file_below(warehouse: Path, message: str) -> Path | None:
    """Return the Parquet file of a table that a message of DuckDB's names."""
    for text in (str(warehouse), exact(str(warehouse))):
        found = re.search(rf"{re.escape(text)}(/.*?\.parquet)", message)
        if found:
            return Path(f"{warehouse}{found[1]}")
    return None


_EITHER = """
    CREATE OR REPLACE MACRO main.either(main, beside) AS
    CASE
        WHEN main IS NULL THEN beside::JSON
        WHEN to_json(main)::VARCHAR IN ('NaN', 'Infinity', '-Infinity')
        THEN json_object('float', to_json(main)::VARCHAR)
        ELSE to_json(main)
    END
"""
"""``either(k, k__variant)``: what a place holds, whichever column has it, as JSON."""
_MISSING = ("No files found", "No such file")
_NO_TABLE = re.compile(r'Table with name "?([^"\s]+)"? does not exist')
_SHOW = "show."
_ABOUT_TABLES = (
    "information_schema.", "pg_catalog.", ".duckdb_", ".pragma_", ".sqlite_master", _SHOW
)  # fmt: skip


class LakeSql:
    """Answers SQL in which the lake's tables are named ``provider.dataset`` or ``lake.images``.

    Args:
        tables: What to ask.
        scratch: Folder for what does not fit into memory.
        home: Folder into which no query may write; None: any may.
        connection: Used for every query, where there are many: a new one costs 4 ms, most of a
            small query. A relation must then be read before the next query. None: one per query.
    """

    def __init__(
        self,
        tables: IcebergTables,
        *,
        scratch: Path,
        home: Path | None = None,
        connection: Any | None = None,
    ) -> None:
        self._home = home
        self._tables = tables
        self._scratch = scratch
        self._connection = connection

    def query(
        self,
        sql: str,
        parameters: Sequence[object] | Mapping[str, object] | None = None,
        *,
        prune: Mapping[str, str] | None = None,
    ) -> Any:
        """Return a ``duckdb.DuckDBPyRelation`` (None for statements without a result).

        Args:
            sql: One statement; ``?`` stands for a parameter, ``$name`` for a named one.
            prune: Column → value. Files that can't hold such rows are not opened, in tables that
                have these columns. It saves work; the statement must still say which rows it wants.

        Raises:
            QueryFailed: with DuckDB's message and, for an unknown table, those that exist; also if
                it would write into the lake's folder.
            DamagedTable: when a table's file is gone.
            StorageUnavailable: when a table's files cannot be read just now.
        """
        connection = self._connection or connect(scratch=self._scratch)
        try:
            with disk_errors(self._tables.warehouse):
                if "either" in sql.lower():  # to make it takes 2 ms
                    connection.execute(_EITHER)
                if self._home is not None:
                    require_outside(connection, sql, self._home)
                self._register(connection, self._wanted(connection, sql), prune or {})
                return connection.sql(sql, params=parameters)
        except duckdb.Error as error:
            raise QueryFailed(self._explain(str(error)), sql=sql) from None

    def rows(
        self, table: str, sql: str, parameters: Sequence[object], *, prune: Mapping[str, str]
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT from one table, which ``{table}`` in ``sql`` stands for.

        For small questions that are asked often. DuckDB looks into each of a table's files as often
        as it meets it: four times for ``query``, with its view and its relation, and once here.

        Args:
            table: One that exists, and has the columns of ``prune``.
            sql: As for ``query``.
            parameters: Values of its ``$1``, ``$2`` and so on.
            prune: As for ``query``.

        Raises:
            QueryFailed, DamagedTable, StorageUnavailable: as ``query``.
        """
        plan = self._tables.plan(table)
        files = plan.paths(prune) if plan is not None else ()
        if files:
            connection = self._connection or connect(scratch=self._scratch)
            try:
                with disk_errors(self._tables.warehouse):
                    direct = sql.format(table=files_in_sql(files))
                    return list(connection.execute(direct, parameters).fetchall())
            except duckdb.BinderException:
                pass  # no file has a column that the table has: `query` knows it
            except duckdb.Error as error:
                raise QueryFailed(str(error), sql=sql) from None
        return list(self.query(sql.format(table=table), parameters, prune=prune).fetchall())

    def _wanted(self, connection: Any, sql: str) -> Iterable[str]:
        """Return the lake's tables that ``sql`` names; all of them if it asks what there is."""
        known = self._tables.names()
        named = _tables_named(connection, sql)
        if named is None:  # no SELECT: SHOW TABLES, DESCRIBE, CREATE … AS
            return [name for name in known if name in sql.lower()] or known
        if any(name.startswith(_ABOUT_TABLES) for name in named):
            return known
        return [name for name in known if name in named]

    def _register(self, connection: Any, names: Iterable[str], prune: Mapping[str, str]) -> None:
        names = tuple(names)
        for name in names:
            space, _, table = name.partition(".")
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{space}"')
            plan = self._tables.plan(name)
            if plan is None:
                rows = self._tables.read(name)
                connection.register(f"_scan_{space}_{table}", rows)
                source = f'"_scan_{space}_{table}"'
                columns = "*"
            else:
                where = prune if {*plan.schema.names}.issuperset(prune) else {}
                schema = with_new_columns(name, plan.schema)
                source, columns = files_as_sql(connection, plan.paths(where), schema)
            view = f'"{space}"."{table}"'
            connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT {columns} FROM {source}")
        # SHOW TABLES names what lies in the search path only.
        schemas = sorted({name.partition(".")[0] for name in names})
        connection.execute(f"SET search_path = '{','.join(['main', *schemas])}'")

    def _explain(self, message: str) -> str:
        missing = _NO_TABLE.search(message)
        if missing is None:
            return message
        known = self._tables.names()
        alike = get_close_matches(missing[1], known, n=1)
        meant = f" Did you mean {alike[0]}?" if alike else ""
        listed = ", ".join(known) or "none yet"
        return f"There is no table {missing[1]}.{meant} Tables of this lake: {listed}."


def files_as_sql(connection: Any, files: Sequence[str], schema: Any) -> tuple[str, str]:
    """Return (FROM item, select list) that read Parquet files as one table of ``schema``.

    Columns that a file lacks, because it is older than they are, are null.
    """
    empty = connection.from_arrow(schema.empty_table())
    types = {name: str(kind) for name, kind in zip(empty.columns, empty.types, strict=True)}
    if not files:
        nulls = ", ".join(f"NULL::{kind} AS {_quoted(name)}" for name, kind in types.items())
        return f"(SELECT {nulls} WHERE false)", "*"
    source = files_in_sql(files)
    present = set(connection.sql(f"SELECT * FROM {source} LIMIT 0").columns)
    columns = ", ".join(
        f"CAST({_quoted(name) if name in present else 'NULL'} AS {kind}) AS {_quoted(name)}"
        for name, kind in types.items()
    )
    return source, columns


def files_in_sql(files: Sequence[str]) -> str:
    """Return the FROM item that reads Parquet files, with the columns that any of them has."""
    listed = ", ".join(_text(exact(file)) for file in files)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def exact(path: str) -> str:
    """Return the pattern by which DuckDB reads this file and no other.

    A path with ``?``, ``*`` or ``[`` is a pattern to it even if there is such a file: in a lake at
    ``a?b`` it would also read the files of one at ``axb``.
    """
    return glob.escape(path)


def _tables_named(connection: Any, sql: str) -> frozenset[str] | None:
    """Return ``schema.table`` of each table in a SELECT, lower case, or None for other statements.

    From DuckDB's own parse tree; its ``get_table_names`` also binds, and fails on tables that
    are not there yet.
    """
    (text,) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree = json.loads(text)
    if tree["error"]:
        return None
    return frozenset(_base_tables(tree))


def _base_tables(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _base_tables(item)
    elif isinstance(node, dict):
        if node.get("type") == "SHOW_REF" and not node["query"]:
            yield _SHOW  # SHOW TABLES and the like; DESCRIBE has the table in its query
        elif node.get("type") == "BASE_TABLE":
            yield f"{node['schema_name']}.{node['table_name']}".lower()
        elif node.get("type") == "TABLE_FUNCTION":
            yield f".{node['function']['function_name']}".lower()
        for item in node.values():
            yield from _base_tables(item)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
