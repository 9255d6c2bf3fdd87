"""`lake catalog`: what the lake holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from lake_assets.cli.context import Session, session
from lake_assets.cli.datasets import AsJson, DatasetArgument, print_columns, shown_dataset

if TYPE_CHECKING:
    from lake_assets.contracts.names import DatasetName
    from lake_assets.lake import Lake, UploadStatus

app = typer.Typer(no_args_is_help=True, help="What the lake holds.")
_LATEST = 10
"""Uploads that `show` prints; `--json` has all."""


@app.command("list")
def list_catalog(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print the datasets that are in the tables."""
    from lake_assets.cli.output import print_json

    with session(ctx) as opened:
        rows = opened.lake.catalog()
        if as_json:
            print_json({"datasets": rows})
        else:
            _print_catalog(opened, rows)


@app.command("show")
def show_dataset(
    ctx: typer.Context, dataset: DatasetArgument = None, as_json: AsJson = False
) -> None:
    """Print a dataset's numbers, columns and uploads."""
    from lake_assets.cli.documents import status_document
    from lake_assets.cli.output import print_json

    with shown_dataset(ctx, dataset) as shown:
        lake, name = shown.lake, shown.name
        entry = _entry(lake, name)
        uploads = [lake.status(upload.id) for upload in reversed(lake.uploads(name=name))]
        if as_json:
            told = [status_document(item) for item in uploads]
            print_json({**entry, "columns": shown.columns, "uploads": told})
        else:
            _print_entry(name, entry, shown.columns)
            _print_uploads(uploads)


def _entry(lake: Lake, name: DatasetName) -> dict[str, Any]:
    """Return the catalog's row of a dataset; what is promised only, if it has none yet."""
    for row in lake.catalog():
        if (row["provider"], row["dataset"], row["task"]) == (name.provider, name.dataset, "raw"):
            return row
    contract = lake.registry.contract(name)
    return {
        "provider": name.provider,
        "dataset": name.dataset,
        "description": contract.description,
        "owner": contract.owner,
    }


def _print_catalog(opened: Session, rows: Sequence[dict[str, Any]]) -> None:
    from lake_assets.cli.output import counted, print_lines, size
    from lake_assets.cli.tables import Column, print_table
    from lake_assets.cli.values import instant
    from lake_assets.intake.uploads import State

    if rows:
        numbers = ("rows", "images", "bytes", "quarantined", "uploads")
        columns = [Column("dataset", is_whole=True), *(Column(item, True) for item in numbers)]
        table = (
            [f"{row['provider']}/{row['dataset']}", f"{row['rows']:,}", f"{row['images']:,}",
             size(row["table_bytes"] + row["image_bytes"]), f"{row['quarantined']:,}",
             f"{row['uploads']:,}", instant(row["last_ingested_at"])]
            for row in rows
        )  # fmt: skip
        print_table([*columns, Column("last")], table)
    else:
        print_lines("No datasets in the tables yet; lake upload raw PATH brings one")
    waiting = len(opened.lake.uploads(State.PENDING))
    if waiting:
        start = opened.command("process", "start")
        print_lines(f"Pending: {counted(waiting, 'upload')}; ingest with {start}")


def _print_entry(name: DatasetName, entry: dict[str, Any], columns: list[dict[str, str]]) -> None:
    from lake_assets.cli.output import counted, print_facts, print_lines, size
    from lake_assets.cli.values import instant

    facts = [("dataset", str(name)), ("description", entry["description"]),
             ("owner", entry["owner"])]  # fmt: skip
    if "rows" in entry:
        facts += [
            ("table", entry["table_name"]),
            ("rows", f"{entry['rows']:,} ({size(entry['table_bytes'])})"),
            ("images", f"{entry['images']:,} ({size(entry['image_bytes'])})"),
            ("quarantined", counted(entry["quarantined"], "row")),
            ("last ingested", instant(entry["last_ingested_at"])),
        ]
    print_facts(facts)
    print_lines("")
    print_columns(columns)


def _print_uploads(uploads: Sequence[UploadStatus]) -> None:
    from lake_assets.cli.output import counted, print_lines
    from lake_assets.cli.tables import Column, print_table
    from lake_assets.cli.values import instant

    if not uploads:
        return
    texts = [Column("upload", is_whole=True), Column("state"), Column("uploaded"),
             Column("by", is_extra=True)]  # fmt: skip
    numbers = [Column(item, True) for item in ("rows in", "accepted", "rejected", "duplicates")]
    rows = (
        [item.upload.id, str(item.upload.state), instant(item.upload.manifest.created_at),
         item.upload.manifest.created_by, *_counts(item)]
        for item in uploads[:_LATEST]
    )  # fmt: skip
    print_lines("")
    print_table([*texts, *numbers], rows)
    if len(uploads) > _LATEST:
        print_lines(f"and {counted(len(uploads) - _LATEST, 'older upload')}")


def _counts(status: UploadStatus) -> list[str]:
    outcome = status.outcome
    if outcome is None:
        return [""] * 4
    counts = (outcome.rows_in, outcome.accepted, outcome.rejected, outcome.duplicate)
    return [f"{count:,}" for count in counts]
