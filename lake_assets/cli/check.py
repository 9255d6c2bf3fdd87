"""`lake check`: run the checks on what is in the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake_assets.cli.boundary import EXIT_WRONG
from lake_assets.cli.context import Session, session
from lake_assets.cli.documents import name_document
from lake_assets.cli.questions import known_dataset

if TYPE_CHECKING:
    from lake_assets.contracts.names import DatasetName, Destination
    from lake_assets.upkeep.check_model import Check, CheckResult


def check(
    ctx: typer.Context,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="P/D", help="Only this dataset; may be given again."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check that the tables hold what they should.

    Exit code 1 if a check failed that stands for wrong data; warnings alone are 0.
    """
    from lake_assets.cli.output import print_json

    with session(ctx) as opened:
        what = "option '--dataset'"
        named = [known_dataset(ctx, opened.lake, text, what=what) for text in dataset or ()]
        rows = _run_checks(opened, named or list(opened.lake.registry.dataset_names()))
    if as_json:
        print_json({"checks": rows})
    else:
        _print_checks(rows)
    if any(row["outcome"] == "failed" for row in rows):
        raise typer.Exit(EXIT_WRONG)


def _run_checks(opened: Session, names: list[DatasetName]) -> list[dict[str, Any]]:
    from lake_assets.cli.progress import Work, shown

    rows: list[dict[str, Any]] = []
    with shown(opened.err, Work(what="checking", unit="datasets", total=len(names))) as report:
        for done, name in enumerate(names, start=1):
            rows += [_row(*found) for found in opened.lake.check([name])]
            report(done)
    return rows


def _row(name: Destination, rule: Check, result: CheckResult) -> dict[str, Any]:
    return {
        **name_document(name),
        "check": rule.name,
        "outcome": "passed" if result.passed else "failed" if rule.blocking else "warning",
        "summary": result.summary,
        "numbers": result.numbers,
    }


def _print_checks(rows: list[dict[str, Any]]) -> None:
    from lake_assets.cli.output import print_lines
    from lake_assets.cli.tables import Column, print_table

    if not rows:
        print_lines("No datasets yet: nothing to check")
        return
    titles = ("dataset", "check", "outcome", "summary")
    columns = [Column(title, is_whole=title != "summary") for title in titles]
    print_table(columns, ([_text(row, title) for title in titles] for row in rows))


def _text(row: dict[str, Any], title: str) -> str:
    if title == "dataset" and row["variant"]:
        return f"{row['dataset']}/{row['task']}/{row['variant']}"
    return str(row[title])
