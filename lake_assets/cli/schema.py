"""`lake schema`: columns of tables, how they changed, and what a delivery would change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake_assets.cli.context import session
from lake_assets.cli.datasets import AsJson, DatasetArgument
from lake_assets.cli.questions import answer, known_dataset, known_destination
from lake_assets.cli.words import instant_of
from lake_assets.errors import InvalidRequest

if TYPE_CHECKING:
    from lake_assets.contracts.names import Destination
    from lake_assets.intake.uploads import Upload
    from lake_assets.lake import Lake
    from lake_assets.upkeep.schemas import ColumnFacts, SchemaDiff

app = typer.Typer(no_args_is_help=True, help="Columns of tables, and how they change.")
TableArgument = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="A dataset P/D, or a variant of a task P/D/TASK/VARIANT."),
]


@app.command("show")
def show(ctx: typer.Context, name: TableArgument = None, as_json: AsJson = False) -> None:
    """Print the columns of a table, and which upload added them."""
    from lake_assets.cli.output import print_json
    from lake_assets.upkeep.schemas import schema_columns

    with session(ctx) as opened:
        meant = _meant(ctx, opened.lake, name)
        columns = schema_columns(opened.lake.stores, meant)
    if as_json:
        print_json({"table": meant.table, "columns": [asdict(column) for column in columns]})
    else:
        _print_columns(columns)


@app.command("log")
def log(
    ctx: typer.Context,
    name: TableArgument = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Only later changes: 2026-01-31, or an age as 12h, 7d."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print how tables changed, oldest first."""
    from lake_assets.cli.output import print_json
    from lake_assets.upkeep.schemas import schema_log

    after = None if since is None else instant_of(ctx, since)
    with session(ctx) as opened:
        meant = None if name is None else _meant(ctx, opened.lake, name)
        rows = schema_log(opened.lake.stores, meant, since=after)
    if as_json:
        print_json({"schema_changes": rows})
    else:
        _print_log(rows)


@app.command("diff")
def diff(
    ctx: typer.Context,
    name: DatasetArgument = None,
    source: Annotated[
        str | None, typer.Argument(metavar="FILE|ID", help="A data file, or a staged upload.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what a data file or an upload would change in a dataset's table; nothing is changed."""
    from lake_assets.cli.output import print_json
    from lake_assets.upkeep.schemas import schema_diff

    with session(ctx) as opened:
        dataset = known_dataset(ctx, opened.lake, name, what="argument 'P/D'")
        text = answer(ctx, source, what="argument 'FILE|ID'", question="Data file or upload")
        found = schema_diff(opened.lake.stores, dataset, _source(opened.lake, text))
        mode = opened.lake.registry.contract(dataset).drift
    if as_json:
        print_json({"dataset": str(dataset), "drift": mode, **asdict(found)})
    else:
        _print_diff(found, mode)


def _meant(ctx: typer.Context, lake: Lake, name: str | None) -> Destination:
    """Return the dataset or variant that is meant.

    Raises:
        InvalidName, UnknownDataset, UnknownTask: it has no table either.
    """
    from lake_assets.contracts.names import parse_destination

    known = [str(item) for item in lake.registry.dataset_names()]
    text = answer(ctx, name, what="argument 'NAME'", question="Dataset", known=known)
    meant = parse_destination(text)
    if not lake.stores.tables.exists(meant.table):  # that of a deleted task stays
        known_destination(ctx, lake, text, what="argument 'NAME'")
    return meant


def _source(lake: Lake, text: str) -> Path | Upload:
    """Return the file or upload that is meant.

    Raises:
        InvalidRequest, UnknownUpload.
    """
    path = Path(text)
    if path.is_file():
        return path
    if not text.isalnum():
        raise InvalidRequest(f"there is no file {text}", path=text)
    return lake.stores.staging.find(text)


def _print_columns(columns: Sequence[ColumnFacts]) -> None:
    from lake_assets.cli.output import print_lines
    from lake_assets.cli.tables import Column, print_table

    if not columns:
        print_lines("Nothing of it is in a table yet.")
        return
    titles = [Column("column", is_whole=True), Column("type"), Column("since upload"),
              Column("comment")]  # fmt: skip
    rows = ([item.name, item.type, item.since, _comment(item)] for item in columns)
    print_table(titles, rows)


def _comment(column: ColumnFacts) -> str:
    if not column.variant_of:
        return column.comment
    return f"as JSON, what {column.variant_of} cannot hold"


def _print_log(rows: Sequence[dict[str, Any]]) -> None:
    from lake_assets.cli.output import print_lines
    from lake_assets.cli.tables import Column, print_table
    from lake_assets.cli.values import instant

    if not rows:
        print_lines("No table has changed.")
        return
    titles = [Column("when"), Column("table", is_whole=True), Column("change"),
              Column("path", is_whole=True), Column("type"), Column("rows", is_number=True),
              Column("upload", is_whole=True)]  # fmt: skip
    print_table(
        titles,
        (
            [instant(row["changed_at"]), row["table_name"], row["change"], row["path"],
             _types(row["old_type"], row["new_type"]), f"{row['rows_affected']:,}",
             row["upload_id"]]
            for row in rows
        ),
    )  # fmt: skip


def _types(old: str | None, new: str) -> str:
    return new if old is None else f"{old} -> {new}"


def _print_diff(found: SchemaDiff, mode: str) -> None:
    from lake_assets.cli.output import counted, print_lines

    for file, reason in found.unreadable.items():
        print_lines(f"{file}: {reason}")
    if found.is_new:
        print_lines("There is no table yet; it would have these columns:")
        print_lines(*(f"  {name}: {kind}" for name, kind in found.columns))
        return
    if not found.needs:
        print_lines(f"{counted(found.rows, 'row')} fit the table as it is.")
        return
    changes = [
        f"  {change.change} {change.path}: {_types(change.old_type, change.new_type)} "
        f"({counted(change.rows_affected, 'row')})"
        for change in found.changes
    ]
    print_lines(f"evolve{_mark('evolve', mode)}: {counted(len(changes), 'change')} of the table")
    print_lines(*changes)
    print_lines(f"freeze{_mark('freeze', mode)}: the upload fails, because it needs")
    print_lines(*(f"  {line}" for line in found.needs))
    rejected = f"{found.rejected:,} of {counted(found.rows, 'row')} rejected"
    print_lines(f"quarantine{_mark('quarantine', mode)}: {rejected}")


def _mark(mode: str, present: str) -> str:
    return " (the contract's mode)" if mode == present else ""
