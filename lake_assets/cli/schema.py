"""`lake schema`: columns of tables, how they changed, and what a delivery would change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake_assets.cli.context import session
from lake_assets.cli.datasets import AsJson
from lake_assets.cli.questions import answer, known_destination
from lake_assets.cli.words import instant_of
from lake_assets.errors import InvalidRequest

if TYPE_CHECKING:
    from lake_assets.contracts.datasets import DatasetContract
    from lake_assets.intake.uploads import Upload
    from lake_assets.lake import Lake
    from lake_assets.schema_diffs import SchemaDiff
    from lake_assets.upkeep.schemas import ColumnFacts

app = typer.Typer(no_args_is_help=True, help="Columns of tables, and how they change.")
_ID_LENGTH = 26
"""Of an upload's id, a ULID."""
TableArgument = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="A dataset P/D, or a variant of a task P/D/TASK/VARIANT."),
]
AnyTableArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="A dataset P/D, a variant of a task P/D/TASK/VARIANT, or a table as tasks.ocr.",
    ),
]


@app.command("show")
def show(ctx: typer.Context, name: AnyTableArgument = None, as_json: AsJson = False) -> None:
    """Print the columns of a table, and which upload added them."""
    from lake_assets.cli.output import print_json
    from lake_assets.upkeep.schemas import schema_columns

    with session(ctx) as opened:
        table, _ = _meant(ctx, opened.lake, name)
        contract = opened.lake.registry.datasets.get(table.replace(".", "/"))
        columns = schema_columns(opened.lake.stores, table, contract)
    if as_json:
        print_json({"table": table, "columns": [asdict(column) for column in columns]})
    else:
        _print_columns(columns, contract)


@app.command("log")
def log(
    ctx: typer.Context,
    name: AnyTableArgument = None,
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
        where = None if name is None else _meant(ctx, opened.lake, name)[1]
        rows = schema_log(opened.lake.stores, where, since=after)
    if as_json:
        print_json({"schema_changes": rows})
    else:
        _print_log(rows)


@app.command("diff")
def diff(
    ctx: typer.Context,
    name: TableArgument = None,
    source: Annotated[
        str | None, typer.Argument(metavar="FILE|ID", help="A data file, or a staged upload.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what a data file or an upload would change in a table; nothing is changed."""
    from lake_assets.cli.output import print_json
    from lake_assets.schema_diffs import schema_diff

    with session(ctx) as opened:
        if name is not None and _names_table(name):
            raise InvalidRequest(
                f"a delivery goes to a dataset P/D or a variant P/D/TASK/VARIANT; {name} is a "
                "table for all of them"
            )
        meant = known_destination(ctx, opened.lake, name, what="argument 'NAME'")
        text = answer(ctx, source, what="argument 'FILE|ID'", question="Data file or upload")
        found = schema_diff(opened.lake.stores, meant, _source(opened.lake, text))
        mode = opened.lake.registry.promise(meant).drift
    if as_json:
        print_json({"name": str(meant), "table": meant.table, "drift": mode, **asdict(found)})
    else:
        _print_diff(found, mode)


def _meant(ctx: typer.Context, lake: Lake, name: str | None) -> tuple[str, dict[str, str]]:
    """Return the table that is meant, and what its rows of the log of changes have.

    Raises:
        InvalidName, UnknownDataset, UnknownTask: it has no table either.
    """
    from lake_assets.contracts.names import VariantName, parse_destination

    known = [str(item) for item in lake.registry.dataset_names()]
    text = answer(ctx, name, what="argument 'NAME'", question="Dataset", known=known)
    if _names_table(text):
        _require_table(lake, text)
        return text, {"table_name": text}
    meant = parse_destination(text)
    if not lake.stores.tables.exists(meant.table):  # that of a deleted task stays
        known_destination(ctx, lake, text, what="argument 'NAME'")
    elif isinstance(meant, VariantName):
        known_destination(ctx, lake, str(meant.of), what="argument 'NAME'")
    return meant.table, meant.own_rows


def _names_table(text: str) -> bool:
    """Return whether a table is named as in SQL that is no dataset's."""
    from lake_assets.contracts.names import RESERVED

    namespace, dot, _ = text.partition(".")
    return bool(dot) and namespace.lower() in RESERVED


def _require_table(lake: Lake, name: str) -> None:
    namespace = name.partition(".")[0]
    tables = [table for table in lake.stores.tables.names() if table.startswith(f"{namespace}.")]
    if name not in tables:
        known = ", ".join(sorted(tables)) or "none yet"
        raise InvalidRequest(f"there is no table {name} (known: {known})", table=name)


def _source(lake: Lake, text: str) -> Path | Upload:
    """Return the file or upload that is meant.

    Raises:
        InvalidRequest, UnknownUpload.
    """
    path = Path(text)
    if path.is_file():
        return path
    if text and path.is_dir():
        raise InvalidRequest(
            f"{text} is a folder. Name a file in it; or upload it, and name the upload by its id: "
            "nothing is ingested before `lake process start`, or the UI's sensor, does it",
            path=text,
        )
    if len(text) != _ID_LENGTH:
        raise InvalidRequest(f"there is no file {text!r}, and it is no upload's id", path=text)
    return lake.stores.staging.find(text)


def _print_columns(columns: Sequence[ColumnFacts], contract: DatasetContract | None) -> None:
    from lake_assets.cli.output import print_lines
    from lake_assets.cli.tables import Column, print_table

    if not columns:
        print_lines("Nothing of it is in a table yet.")
        for name, rule in () if contract is None else contract.columns.items():
            print_lines(f"  {name}: {rule.type}, as the contract says")
        return
    titles = [Column("column", is_whole=True), Column("type"), Column("since upload"),
              Column("comment")]  # fmt: skip
    rows = ([item.name, item.type, item.since, _comment(item)] for item in columns)
    print_table(titles, rows)


def _comment(column: ColumnFacts) -> str:
    if column.declared and column.declared != column.type:
        return f"the contract says {column.declared}: a rebuild reads it so"
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


def _types(old: str | None, new: str | None) -> str:
    if new is None:
        return f"{old} -> gone"
    return new if old is None else f"{old} -> {new}"


def _print_diff(found: SchemaDiff, mode: str) -> None:
    from lake_assets.cli.output import counted, print_lines

    for file, reason in found.unreadable.items():
        print_lines(f"{file}: {reason}")
    for count, what in ((found.unusable, "cannot be used"), (found.broken, "break the contract")):
        if count:
            print_lines(f"{count:,} of {counted(found.rows, 'row')} {what}.")
    if found.is_new:
        print_lines("There is no table yet; it would have these columns:")
        print_lines(*(f"  {name}: {kind}" for name, kind in found.columns))
        return
    if not found.needs:
        print_lines(f"The table can take {counted(found.usable, 'row')} as it is.")
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
