"""`lake catalog`: what the lake holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake_assets.cli.context import Session, session
from lake_assets.cli.datasets import AsJson, print_columns, table_columns
from lake_assets.cli.documents import name_document
from lake_assets.cli.questions import known_destination
from lake_assets.contracts.names import RAW

if TYPE_CHECKING:
    from lake_assets.contracts.names import DatasetName, Destination
    from lake_assets.ingest.status import UploadStatus
    from lake_assets.lake import Lake

app = typer.Typer(no_args_is_help=True, help="What the lake holds.")
_LATEST = 10
"""Uploads that `show` prints; `--json` has all."""


@app.command("list")
def list_catalog(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print the datasets that are in the tables, each with what annotates it."""
    from lake_assets.cli.output import print_json

    with session(ctx) as opened:
        rows = opened.lake.catalog()
        if as_json:
            print_json({"datasets": rows})
        else:
            _print_catalog(opened, rows)


@app.command("show")
def show_dataset(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="A dataset P/D, or what annotates it: P/D/TASK/VARIANT."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print numbers, columns and uploads of a dataset or variant, and what annotates a dataset."""
    from lake_assets.cli.documents import status_document
    from lake_assets.cli.output import print_json
    from lake_assets.contracts.names import DatasetName

    with session(ctx) as opened:
        lake = opened.lake
        meant = known_destination(ctx, lake, name, what="argument 'NAME'")
        entries = lake.catalog()
        entry = _entry(lake, meant, entries)
        notes = _annotations(meant, entries) if isinstance(meant, DatasetName) else []
        columns = table_columns(lake, meant.table)
        uploads = [lake.status(upload.id) for upload in reversed(lake.uploads(name=meant))]
        if as_json:
            told = [status_document(item) for item in uploads]
            print_json({**entry, "columns": columns, "annotations": notes, "uploads": told})
            return
        _print_entry(meant, entry, columns)
        _print_annotations(notes)
        _print_uploads(uploads)


def _entry(lake: Lake, name: Destination, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the catalog's row of a dataset or variant; what is promised only, if it has none."""
    own = name_document(name)
    for row in entries:
        if name_document(name) == _named(row):
            return row
    contract = lake.registry.promise(name)
    return {
        **own,
        "provider": name.provider,
        "dataset": name.dataset,
        "description": contract.description,
        "owner": contract.owner,
    }


def _named(row: dict[str, Any]) -> dict[str, str]:
    return {
        "dataset": f"{row['provider']}/{row['dataset']}",
        "task": row["task"],
        "variant": row["variant"],
    }


def _annotations(name: DatasetName, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the catalog's rows of what annotates a dataset."""
    own = (name.provider, name.dataset)
    return [
        row for row in entries if (row["provider"], row["dataset"]) == own and row["task"] != RAW
    ]


def _print_annotations(rows: Sequence[dict[str, Any]]) -> None:
    from lake_assets.cli.output import print_lines
    from lake_assets.cli.tables import Column, print_table
    from lake_assets.cli.values import instant

    if not rows:
        return
    titles = [Column("task", is_whole=True), Column("variant", is_whole=True),
              *(Column(title, is_number=True) for title in ("rows", "images", "quarantined")),
              Column("last")]  # fmt: skip
    print_lines("")
    print_table(
        titles,
        (
            [row["task"], row["variant"], f"{row['rows']:,}", f"{row['images']:,}",
             f"{row['quarantined']:,}", instant(row["last_ingested_at"])]
            for row in rows
        ),
    )  # fmt: skip


def _print_catalog(opened: Session, rows: Sequence[dict[str, Any]]) -> None:
    from lake_assets.cli.output import counted, print_lines, size
    from lake_assets.cli.tables import Column, print_table
    from lake_assets.cli.values import instant
    from lake_assets.intake.uploads import State

    if rows:
        numbers = ("rows", "images", "bytes", "quarantined", "uploads")
        columns = [*(Column(item, is_whole=True) for item in ("dataset", "task", "variant")),
                   *(Column(item, True) for item in numbers)]  # fmt: skip
        table = (
            [f"{row['provider']}/{row['dataset']}", row["task"], row["variant"],
             f"{row['rows']:,}", f"{row['images']:,}",
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


def _print_entry(name: Destination, entry: dict[str, Any], columns: list[dict[str, str]]) -> None:
    from lake_assets.cli.output import counted, print_facts, print_lines, size
    from lake_assets.cli.values import instant

    own = name_document(name)
    facts = [("dataset", own["dataset"]), ("task", own["task"] if own["variant"] else ""),
             ("variant", own["variant"]), ("description", entry["description"]),
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
