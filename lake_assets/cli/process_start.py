"""`lake process start`: ingest what is pending, here or in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from lake_assets.cli.boundary import EXIT_WRONG
from lake_assets.cli.context import Session, session
from lake_assets.cli.questions import known_destination

if TYPE_CHECKING:
    from lake_assets.cli.progress import Report
    from lake_assets.cli.work import Plan
    from lake_assets.defs.launch import RunReport
    from lake_assets.ingest.status import UploadStatus


def start(
    ctx: typer.Context,
    job: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this upload; may be given again. Default: all."),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P/D",
            help="Only this dataset and what annotates it, or with /TASK/VARIANT that alone; may "
            "be given again.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Do it here and print what became of it.")
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Read finished uploads again and replace the tables' rows."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="With --rebuild: print how many rows would be accepted, which rejected, and how "
            "columns would change; nothing is changed.",
        ),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="With --rebuild: also where fewer rows would be accepted than now."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Ingest what is pending: in the background, or here with --wait.

    With --wait the exit code tells: 0 all is in the tables, 1 an upload, a run or a check failed,
    75 what failed is pending again. Dagster's UI shows the runs either way.
    """
    if job and (dataset or rebuild):
        ctx.fail("--job excludes --dataset and --rebuild.")
    if (dry_run or yes) and not rebuild:
        ctx.fail("--dry-run and --yes are for --rebuild.")
    with session(ctx) as opened:
        plan = _plan(ctx, opened, job or [], dataset or [], rebuild)
        plan = replace(plan, accepts_fewer_rows=yes)
        if not plan.names:
            _print_nothing_to_do(plan, as_json)
            return
        if dry_run:
            _print_dry_run(opened, plan, as_json)
            return
        if rebuild:
            plan = _agreed(opened, plan, wait=wait)
        if wait:
            run_here(opened, plan, as_json)
        else:
            run_in_background(opened, plan, as_json)


def _print_dry_run(opened: Session, plan: Plan, as_json: bool) -> None:
    from lake_assets.cli.output import print_json
    from lake_assets.cli.rebuild import print_trials, trials, trials_document

    found = trials(opened, plan)
    if as_json:
        print_json(trials_document(found))
    else:
        print_trials(found)


def _agreed(opened: Session, plan: Plan, *, wait: bool) -> Plan:
    from lake_assets.cli.rebuild import agreed

    found = agreed(opened, plan, wait=wait)
    if found is None:
        raise typer.Exit(EXIT_WRONG)
    return found


def _plan(
    ctx: typer.Context, opened: Session, job: list[str], dataset: list[str], rebuild: bool
) -> Plan:
    from lake_assets.cli.work import plan_datasets, plan_jobs

    if job:
        return plan_jobs(opened.lake, job)
    what = "option '--dataset'"
    names = [known_destination(ctx, opened.lake, text, what=what) for text in dataset]
    return plan_datasets(opened.lake, names, rebuild=rebuild)


def _print_nothing_to_do(plan: Plan, as_json: bool) -> None:
    from lake_assets.cli.output import print_json, print_lines

    if as_json:
        print_json({"jobs": [], "done": [item.id for item in plan.done], "runs": []})
    elif plan.done:
        print_lines(*(f"Upload {item.id} of {item.name} is done already" for item in plan.done))
    else:
        print_lines("Nothing is pending")


def run_in_background(opened: Session, plan: Plan, as_json: bool) -> None:
    """Have a process of its own carry out a plan, and print how to follow it."""
    from lake_assets.cli.output import print_json, print_lines
    from lake_assets.defs.launch import start_in_background

    opened.lake.stores.require_here()  # its refusal would stand in a log that nobody reads
    jobs = [item.id for item in plan.uploads]
    started = start_in_background(opened.lake, _same_again(plan))
    if as_json:
        done = [item.id for item in plan.done]
        print_json({"jobs": jobs, "done": done, "pid": started.pid, "log": started.log})
        return
    print_lines(
        *(f"Upload {item.id} of {item.name} is done already" for item in plan.done),
        *(f"Started job {item.id} of {item.name}" for item in plan.uploads),
        *(f"Rebuilding {name}" for name in plan.names if plan.rebuild),
        f"Log: {started.log}",
        f"Follow: {opened.command('process', 'status', jobs[0] if jobs else 'ID')}",
    )


def _same_again(plan: Plan) -> tuple[str, ...]:
    """Return the command that does ``plan`` and waits for it."""
    if plan.only_these:
        chosen = [word for item in plan.uploads for word in ("--job", item.id)]
    else:
        chosen = [word for name in plan.names for word in ("--dataset", str(name))]
    rebuild = ("--rebuild",) if plan.rebuild else ()
    agreed = ("--yes",) if plan.accepts_fewer_rows else ()
    return ("process", "start", "--wait", *chosen, *rebuild, *agreed)


def run_here(opened: Session, plan: Plan, as_json: bool) -> None:
    """Carry out a plan in this process, and print what became of it.

    Raises:
        LakeError: what stands for all that went wrong.
    """
    from lake_assets.cli.documents import status_document
    from lake_assets.cli.output import print_json
    from lake_assets.cli.run_report import print_elsewhere, report_document, trouble

    reports = _run(opened, plan, is_quiet=as_json)
    elsewhere = _done_elsewhere(opened, plan, reports)
    if as_json:
        print_json(
            {
                "runs": [report_document(report) for report in reports],
                "elsewhere": [status_document(status) for status in elsewhere],
                "done": [item.id for item in plan.done],
            }
        )
    else:
        for status in elsewhere:
            print_elsewhere(status)
    error = trouble(reports, elsewhere)
    if error:
        raise error


def _run(opened: Session, plan: Plan, *, is_quiet: bool) -> Sequence[RunReport]:
    """Run the plan; unless it is to be quiet, print what became of each dataset as it ends."""
    import logging

    from lake_assets.cli.progress import Work, shown
    from lake_assets.cli.run_report import print_report
    from lake_assets.cli.work import expected_rows
    from lake_assets.defs.launch import run_now

    log = logging.getLogger(__name__)
    work = Work(what="ingesting", unit="rows", total=expected_rows(opened.lake, plan))
    with shown(opened.err, work) as progress:

        def on_report(report: RunReport) -> None:
            if not is_quiet:
                with progress.paused():
                    print_report(report)

        reports: Sequence[RunReport] = run_now(
            opened.lake,
            upload_ids=plan.upload_ids,
            names=plan.names,
            rebuild=plan.rebuild,
            accepts_fewer_rows=plan.accepts_fewer_rows,
            on_rows=_added_up(progress),
            on_report=on_report,
            on_wait=lambda name: log.info("%s: waiting for another process to be done", name),
        )
    return reports


def _added_up(report: Report) -> Callable[[int], None]:
    """Return a callback that goes on counting when the next dataset begins at nought."""
    before = latest = 0

    def on_rows(rows: int) -> None:
        nonlocal before, latest
        if rows < latest:
            before += latest
        latest = rows
        report(before + rows)

    return on_rows


def _done_elsewhere(
    opened: Session, plan: Plan, reports: Sequence[RunReport]
) -> Sequence[UploadStatus]:
    """Return the planned uploads that no run here had: the daemon may have been faster."""
    told = {item.upload_id for report in reports for item in (*report.outcomes, *report.failures)}
    if any(not report.success for report in reports):
        return []  # then what is missing is missing because of that
    return [opened.lake.status(item.id) for item in plan.uploads if item.id not in told]
