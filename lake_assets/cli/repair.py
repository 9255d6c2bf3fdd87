"""`lake repair`: show what can be put back, and put it back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from lake_assets.cli.boundary import EXIT_WRONG
from lake_assets.cli.context import Session, session

if TYPE_CHECKING:
    from lake_assets.upkeep.repair import Plan
    from lake_assets.upkeep.verify import Report

_AGE = re.compile(r"(\d+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def repair(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Read every file first. Default: a sample, and what the last verify found.",
        ),
    ] = False,
    older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE", help="Move away what nothing refers to if it is older: 12h, 7d, 2w."
        ),
    ] = "7d",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Put back what is damaged, as far as the lake has it twice or can make it again.

    Verifies first, shows its plan, and asks. Restores images and staged files from their other
    copies, remakes thumbnails and the catalog, goes back to the last good state of a table (and
    has its dataset rebuilt from the uploads in staging/done), seals what has no seal. Orphans are
    moved to removed/<date>/; nothing is deleted but drafts that a dead process left.

    Waits for ingestions that are under way, and keeps others out while it works. Exit code 1 if
    damage is left.
    """
    from lake_assets.cli.output import print_json
    from lake_assets.upkeep.repair import carry_out

    older_than_s = _seconds(ctx, older_than)
    with session(ctx) as opened:
        plan = _plan(opened, full=full, older_than_s=older_than_s)
        if not as_json:
            _print_plan(plan)
        left: Report | None = None
        if plan.steps and not dry_run:
            _require_consent(ctx, yes=yes)
            carry_out(opened.lake.stores, plan)
            left = _verify_again(opened, plan)
        if as_json:
            done = left.to_plain() if left else None
            print_json({**plan.to_plain(), "is_done": left is not None, "after": done})
        elif left is not None:
            _print_left(opened, left)
    is_good = left.is_good if left else not plan.is_needed
    if not is_good:
        raise typer.Exit(EXIT_WRONG)


def _plan(opened: Session, *, full: bool, older_than_s: float) -> Plan:
    from lake_assets.cli.verify import progress
    from lake_assets.upkeep.repair import Request, plan_repair
    from lake_assets.upkeep.verify import DEFAULT_CHOICE, Choice

    choice = Choice(is_full=True) if full else DEFAULT_CHOICE
    with progress(opened) as report_progress:
        return plan_repair(
            opened.lake.stores,
            Request(choice=choice, older_than_s=older_than_s, on_progress=report_progress),
        )


def _verify_again(opened: Session, plan: Plan) -> Report:
    """Look at the whole lake once more, and read what was damaged."""
    from lake_assets.upkeep.verify import Request, verify

    suspects = frozenset(item.path for item in plan.findings)
    return verify(opened.lake.stores, Request(suspects=suspects))


def _require_consent(ctx: typer.Context, *, yes: bool) -> None:
    from lake_assets.cli.questions import agrees, is_interactive

    if yes:
        return
    if not is_interactive():
        ctx.fail("Nobody can be asked here: add --yes to do it, or --dry-run to only look.")
    if not agrees("Do this?"):
        raise typer.Exit


def _print_plan(plan: Plan) -> None:
    from lake_assets.cli.output import counted, print_lines
    from lake_assets.cli.tables import Column, print_table

    if plan.hopeless:
        print_lines(f"Nothing in the lake can put this back ({len(plan.hopeless):,}):")
        columns = [Column(title) for title in ("path", "what is wrong", "what to do")]
        print_table(columns, [[item.path, item.message, item.advice] for item in plan.hopeless])
    if not plan.steps:
        print_lines("Nothing to repair" if not plan.hopeless else "Nothing else to repair")
        return
    print_lines(f"{counted(len(plan.steps), 'step')}:")
    columns = [Column("step", is_whole=True), Column("path"), Column("how")]
    print_table(columns, [[str(step.action), step.path, step.what] for step in plan.steps])


def _print_left(opened: Session, left: Report) -> None:
    from lake_assets.cli.output import print_lines
    from lake_assets.cli.verify import print_findings
    from lake_assets.upkeep.verify import Severity

    print_findings(left.of(Severity.DAMAGE))
    if list(opened.lake.stores.rebuilds.names()):
        print_lines(f"Next: {opened.command('process', 'start', '--wait')}")
    elif left.is_good:
        print_lines("Done. Nothing is damaged")
    else:
        print_lines(f"Done. See what else can be put back: {opened.command('repair', '--dry-run')}")


def _seconds(ctx: typer.Context, text: str) -> float:
    seconds = age_s(text)
    if seconds is None:
        ctx.fail(f"--older-than {text!r} is no age, as 12h, 7d or 2w.")
    return seconds


def age_s(text: str) -> float | None:
    """Return the seconds of an age as 12h, 7d or 2w; None: it is none."""
    found = _AGE.fullmatch(text)
    return None if found is None else float(int(found[1]) * _SECONDS[found[2]])
