"""`lake upload undo` and `lake upload redo`: take an upload out of the tables, and put it back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lake_assets.cli.context import session

if TYPE_CHECKING:
    from lake_assets.undoing import Revision

_Id = Annotated[
    str | None, typer.Argument(metavar="ID", help="The upload, from `lake process list`.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change and stop.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not show it and do not ask.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def undo(
    ctx: typer.Context,
    upload_id: _Id = None,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    as_json: _Json = False,
) -> None:
    """Take an upload out of all tables again, as if it had never come.

    Shows what would change, asks, and reads the other uploads of its dataset again. A row that
    another upload delivered too is then that one's. Annotations of an image that goes come into
    the quarantine. Its files stay in staging/removed: `lake upload redo ID` puts it back.

    May be stopped at any time: `lake process start` finishes what was begun.
    """
    _revise(ctx, upload_id, is_undo=True, dry_run=dry_run, yes=yes, as_json=as_json)


def redo(
    ctx: typer.Context,
    upload_id: _Id = None,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    as_json: _Json = False,
) -> None:
    """Put an upload back that was taken out, as if it had always been there.

    Shows what would change, asks, and reads the uploads of its dataset again, in the order in
    which they came. Annotations that were in the quarantine for want of its images pass again.
    """
    _revise(ctx, upload_id, is_undo=False, dry_run=dry_run, yes=yes, as_json=as_json)


def _revise(
    ctx: typer.Context, given: str | None, *, is_undo: bool, dry_run: bool, yes: bool, as_json: bool
) -> None:
    from lake_assets.cli.output import print_json, print_lines
    from lake_assets.cli.questions import answer
    from lake_assets.undoing import plan_revision, revise

    with session(ctx) as opened:
        upload_id = answer(ctx, given, what="argument 'ID'", question="Upload id").strip()
        stores = opened.lake.stores
        plan = None
        if dry_run or not yes:
            plan = plan_revision(stores, upload_id, is_undo=is_undo)
            if not as_json:
                print_lines(*_lines(plan))
        if not dry_run:
            _require_consent(ctx, upload_id, yes=yes, is_undo=is_undo)
            # Whoever said --yes has not seen that rows of others go; the error then says it.
            revise(stores, upload_id, is_undo=is_undo, accepts_fewer_rows=not yes)
        if as_json:
            shown = asdict(plan) if plan else {"upload_id": upload_id, "is_undo": is_undo}
            print_json({**shown, "is_done": not dry_run})
        elif not dry_run:
            what, other = ("Taken out", "redo") if is_undo else ("Put back", "undo")
            back = opened.command("upload", other, upload_id)
            print_lines(f"{what}: {upload_id}", f"The other way: {back}")


def _require_consent(ctx: typer.Context, upload_id: str, *, yes: bool, is_undo: bool) -> None:
    from lake_assets.cli.questions import agrees, is_interactive

    if yes:
        return
    verb = "Take it out" if is_undo else "Put it back"
    if not is_interactive():
        raise typer.BadParameter(
            "say --yes to do it, or --dry-run to see what it changes", ctx=ctx, param_hint=upload_id
        )
    if not agrees(f"{verb}?"):
        raise typer.Exit(0)


def _lines(plan: Revision) -> list[str]:
    from lake_assets.cli.output import counted, size
    from lake_assets.cli.run_report import by_count, change_line

    verb = "Taking out" if plan.is_undo else "Putting back"
    lines = [
        f"{verb} {plan.upload_id} of {plan.name} ({size(plan.byte_count)} of files, which stay)",
        f"  rows: {plan.rows_before:,} now, {plan.rows:,} then",
    ]
    if plan.images_before or plan.images:
        lines.append(f"  images: {plan.images_before:,} now, {plan.images:,} then")
    if plan.annotations:
        about = counted(plan.annotations, "annotation")
        lines.append(f"  {about} of images that go: into the quarantine")
    lines += [
        f"  rejected then: {counted(count, 'row')} by {rule}"
        for rule, count in by_count(plan.rejected_by_rule)
    ]
    if plan.loses_rows:
        lines.append(
            "  Careful: rows of other uploads break their contract by now and go into quarantine"
        )
    lines += [f"  {change_line(change, verb='becomes')}" for change in plan.columns]
    lines += [f"  read again: {variant}" for variant in plan.variants]
    return lines
