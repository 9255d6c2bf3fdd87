"""`lake sql`: ask the tables."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake_assets.cli.context import session
from lake_assets.cli.questions import answer
from lake_assets.errors import QueryFailed

if TYPE_CHECKING:
    from lake_assets.cli.tables import Column
    from lake_assets.lake import Lake

_SHOWN_ROWS = 1_000
_CELL_CHARACTERS = 80
"""Longest value on a terminal; elsewhere values are whole."""
_FETCHED_ROWS = 10_000
_NUMBERS = frozenset(
    "tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint uhugeint "
    "decimal float double".split()
)
"""DuckDB's types that are printed to the right."""


def sql(
    ctx: typer.Context,
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="SQL; - or left out: from stdin.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Most rows to print. Default: 1000; --json and --csv: all."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print {columns: […], rows: [[…]]}.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """Print what a query answers.

    Tables are named provider.dataset, lake.images, lake.uploads… `show all tables` lists them.

    In JSON and CSV, bytes are base64, decimals and times are text, and numbers that are not
    finite are null.
    """
    if as_json and as_csv:
        ctx.fail("--json and --csv exclude each other.")
    text = _query_text(ctx, query)
    write = _write_json if as_json else _write_csv if as_csv else _write_table
    with session(ctx) as opened:
        _answer(opened.lake, text, write, limit)


def _query_text(ctx: typer.Context, query: str | None) -> str:
    if query == "-" or (query is None and not sys.stdin.isatty()):
        query = sys.stdin.read()
    text = answer(ctx, query, what="argument 'QUERY'", question="SQL")
    if not text.strip():
        ctx.fail("Missing argument 'QUERY': stdin is empty.")
    return text


def _answer(
    lake: Lake, text: str, write: Callable[[Any, int | None], None], limit: int | None
) -> None:
    """Run the query and write its rows.

    Raises:
        QueryFailed, DamagedTable: also when DuckDB finds out only while it makes the rows.
    """
    import duckdb

    from lake_assets.query.duckdb import disk_errors

    try:
        with disk_errors(lake.stores.tables.warehouse):
            write(lake.sql(text), limit)
    except duckdb.Error as error:
        raise QueryFailed(str(error), sql=text) from None


def _write_table(relation: Any, limit: int | None) -> None:
    from lake_assets.cli.output import counted, print_lines
    from lake_assets.cli.tables import print_table

    if relation is None:  # CREATE, COPY…
        print_lines("done")
        return
    shown = _SHOWN_ROWS if limit is None else limit
    columns = _columns(relation)
    rows = _cells(relation.limit(shown).fetchall())
    print_table(columns, rows)
    # Counted only when there may be more: it runs the query once again.
    total = _row_count(relation) if len(rows) == shown else len(rows)
    hidden = f"; {total - shown:,} not shown, see --limit" if total > shown else ""
    typer.echo(f"({counted(total, 'row')}{hidden})", err=True)


def _columns(relation: Any) -> list[Column]:
    from lake_assets.cli.tables import Column

    return [
        Column(name, is_number=kind.id in _NUMBERS, is_whole=True)
        for name, kind in zip(relation.columns, relation.types, strict=True)
    ]


def _cells(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    from lake_assets.cli.output import stdout
    from lake_assets.cli.values import text_value

    longest = _CELL_CHARACTERS if stdout().is_terminal else None
    return [[text_value(item, longest=longest) for item in row] for row in rows]


def _write_json(relation: Any, limit: int | None) -> None:
    """Write one document, row by row: the result may be larger than memory."""
    from lake_assets.cli.values import json_value

    columns = [] if relation is None else relation.columns
    sys.stdout.write(f'{{"columns": {json.dumps(columns, ensure_ascii=False)}, "rows": [')
    separator = "\n"
    for row in _rows(relation, limit):
        line = json.dumps(json_value(row), ensure_ascii=False, allow_nan=False)
        sys.stdout.write(f"{separator}{line}")
        separator = ",\n"
    sys.stdout.write("\n]}\n")


def _write_csv(relation: Any, limit: int | None) -> None:
    from lake_assets.cli.values import csv_value

    writer = csv.writer(sys.stdout, lineterminator="\n")
    if relation is not None:
        writer.writerow(relation.columns)
    writer.writerows([csv_value(item) for item in row] for row in _rows(relation, limit))


def _rows(relation: Any, limit: int | None) -> Iterator[tuple[Any, ...]]:
    if relation is None:
        return
    wanted = relation if limit is None else relation.limit(limit)
    while rows := wanted.fetchmany(_FETCHED_ROWS):
        yield from rows


def _row_count(relation: Any) -> int:
    (count,) = relation.aggregate("count(*)").fetchone()
    return int(count)
