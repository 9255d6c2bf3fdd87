"""`lake process`: uploads on their way into the tables. (`start` is in process_start.py.)"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lake_assets.cli.context import Session, session
from lake_assets.cli.questions import answer

if TYPE_CHECKING:
    from lake_assets.ingest.status import UploadStatus
    from lake_assets.intake.uploads import Upload

app = typer.Typer(no_args_is_help=True, help="Bring uploads into the tables.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
UploadId = Annotated[
    str | None, typer.Argument(metavar="ID", help="Job id, which is the upload id.")
]


class StateName(StrEnum):
    """The names of intake.uploads.State, here so that `--help` imports nothing; a test compares."""

    INCOMING = "incoming"
    PENDING = "pending"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REMOVED = "removed"


@app.command("status")
def status(ctx: typer.Context, upload_id: UploadId = None, as_json: AsJson = False) -> None:
    """Print where an upload is, and what became of it."""
    from lake_assets.cli.documents import status_document
    from lake_assets.cli.output import print_json

    with session(ctx) as opened:
        found = opened.lake.status(_wanted(ctx, upload_id))
        if as_json:
            print_json(status_document(found))
        else:
            _print_status(opened, found)


@app.command("list")
def list_uploads(
    ctx: typer.Context,
    mine: Annotated[bool, typer.Option("--mine", help="Only those of this user.")] = False,
    state: Annotated[
        list[StateName] | None,
        typer.Option(
            metavar="STATE",
            help=f"Only those in this state: {', '.join(StateName)}; may be given again.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Most uploads to print.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Print uploads, newest first."""
    from lake_assets.cli.documents import upload_document
    from lake_assets.cli.output import print_json
    from lake_assets.intake.uploads import State
    from lake_assets.storage.processes import created_by

    with session(ctx) as opened:
        found = opened.lake.uploads(*(State(item) for item in state or ()))
    me = created_by()
    wanted = [item for item in reversed(found) if not mine or item.manifest.created_by == me]
    if as_json:
        print_json({"uploads": [upload_document(item) for item in wanted[:limit]]})
    else:
        _print_uploads(wanted, limit)


@app.command("retry")
def retry(ctx: typer.Context, upload_id: UploadId = None, as_json: AsJson = False) -> None:
    """Make a failed or cancelled upload pending again."""
    with session(ctx) as opened:
        moved = opened.lake.retry(_wanted(ctx, upload_id))
        start = opened.command("process", "start", "--job", moved.id, "--wait")
        _print_moved(moved, f"Next: {start}", as_json)


@app.command("cancel")
def cancel(ctx: typer.Context, upload_id: UploadId = None, as_json: AsJson = False) -> None:
    """Take back an upload that is not being ingested; its files are kept."""
    with session(ctx) as opened:
        moved = opened.lake.cancel(_wanted(ctx, upload_id))
        undo = opened.command("process", "retry", moved.id)
        _print_moved(moved, f"To undo: {undo}", as_json)


def _wanted(ctx: typer.Context, upload_id: str | None) -> str:
    return answer(ctx, upload_id, what="argument 'ID'", question="Upload id").strip()


def _print_moved(upload: Upload, hint: str, as_json: bool) -> None:
    from lake_assets.cli.documents import upload_document
    from lake_assets.cli.output import print_json, print_lines

    if as_json:
        print_json(upload_document(upload))
    else:
        print_lines(f"Upload {upload.id} of {upload.name} is {upload.state}", hint)


def _redo(opened: Session, upload: Upload) -> str:
    from lake_assets.intake.uploads import State

    is_out = upload.state is State.REMOVED
    return opened.command("upload", "redo", upload.id) if is_out else ""


def _print_status(opened: Session, found: UploadStatus) -> None:
    from lake_assets.cli.documents import name_facts
    from lake_assets.cli.output import counted, print_facts, print_lines, size
    from lake_assets.cli.run_report import account
    from lake_assets.cli.values import instant

    upload, manifest = found.upload, found.upload.manifest
    read = "" if found.rows_read is None else counted(found.rows_read, "row")
    died = f"{upload.deaths:,}" if upload.deaths else ""
    print_facts(
        [
            ("upload", upload.id),
            *name_facts(upload),
            ("state", str(upload.state)),
            ("to put it back", _redo(opened, upload)),
            ("error", found.error or ""),
            ("read so far", read),
            ("processes died", died),
            ("uploaded", f"{instant(manifest.created_at)} by {manifest.created_by}"),
            ("source", manifest.source),
            ("files", f"{counted(manifest.file_count, 'file')}, {size(manifest.byte_count)}"),
            ("refused", counted(len(manifest.refused), "file") if manifest.refused else ""),
            ("tags", ", ".join(manifest.tags)),
            ("run", found.outcome.run_id if found.outcome else ""),
        ]
    )
    if found.outcome:
        print_lines(*account(found.outcome))
    print_lines(*_next_step(opened, upload))


def _next_step(opened: Session, upload: Upload) -> tuple[str, ...]:
    """Return what to do with an upload that is not in the tables, if there is something."""
    if upload.state == "pending":
        return (f"Next: {opened.command('process', 'start', '--job', upload.id, '--wait')}",)
    if upload.state in ("failed", "cancelled"):
        return (f"Again: {opened.command('process', 'retry', upload.id)}",)
    return ()


def _print_uploads(uploads: Sequence[Upload], limit: int) -> None:
    from lake_assets.cli.output import counted, print_lines, size
    from lake_assets.cli.tables import Column, print_table
    from lake_assets.cli.values import instant

    if not uploads:
        print_lines("No such uploads")
        return
    columns = [
        *(Column(title, is_whole=True) for title in ("upload", "dataset", "state")),
        Column("files", is_number=True, is_extra=True),
        Column("size", is_number=True),
        Column("uploaded"),
        *(Column(title, is_extra=True) for title in ("by", "source")),
    ]
    rows = (
        [item.id, str(item.name), str(item.state), f"{item.manifest.file_count:,}",
         size(item.manifest.byte_count), instant(item.manifest.created_at),
         item.manifest.created_by, item.manifest.source]
        for item in uploads[:limit]
    )  # fmt: skip
    print_table(columns, rows)
    if len(uploads) > limit:
        print_lines(f"and {counted(len(uploads) - limit, 'older upload')}; see --limit")
