"""What commands about one dataset share: which one is meant, and the columns that its table has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lake_assets.cli.context import session
from lake_assets.cli.questions import known_dataset

if TYPE_CHECKING:
    from lake_assets.contracts.names import DatasetName
    from lake_assets.lake import Lake

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DatasetArgument = Annotated[str | None, typer.Argument(metavar="P/D", help="As provider/dataset.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The dataset that a command shows."""

    lake: Lake
    name: DatasetName
    columns: list[dict[str, str]]
    """Name, type and comment of each column of its table; empty: no table yet."""


@contextmanager
def shown_dataset(ctx: typer.Context, given: str | None) -> Iterator[Shown]:
    """Open the lake and give the dataset that is meant, asking for it if it was left out."""
    with session(ctx) as opened:
        name = known_dataset(ctx, opened.lake, given, what="argument 'P/D'")
        yield Shown(lake=opened.lake, name=name, columns=table_columns(opened.lake, name.table))


def print_columns(columns: list[dict[str, str]]) -> None:
    """Print the columns of a dataset's table, or that there is none."""
    from lake_assets.cli.output import print_lines
    from lake_assets.cli.tables import Column, print_table

    if not columns:
        print_lines("Nothing of it is in a table yet.")
        return
    titles = [Column("column", is_whole=True), Column("type"), Column("comment")]
    print_table(titles, ([item["name"], item["type"], item["comment"]] for item in columns))


def table_columns(lake: Lake, table: str) -> list[dict[str, str]]:
    """Return name, type and comment of each column; empty: there is no such table."""
    if not lake.stores.tables.exists(table):
        return []
    return [
        {"name": column, "type": kind, "comment": doc}
        for column, kind, doc in lake.stores.tables.facts(table).columns
    ]
