"""`lake verify`: is everything that was stored still there, and as it was?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from lake_assets.cli.boundary import EXIT_TRY_LATER, EXIT_WRONG
from lake_assets.cli.context import Session, session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from lake_assets.upkeep.verify import Choice, Finding, Report

_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")
_SHOWN = 50
"""Findings of one severity that are printed; ``--json`` has all."""


def verify(
    ctx: typer.Context,
    full: Annotated[bool, typer.Option("--full", help="Read every file.")] = False,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="N%|COUNT",
            help="Read this share of the files, or so many of each kind. Default: 500.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Which files a sample takes. Default: another one each time; printed."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a --full run that was interrupted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Verify that everything the lake stored is there, opens, and is as it was written.

    Looks at the existence and size of every file: the catalog, metadata, manifests and parts of
    each table (and counts of rows), images, thumbnails, staged uploads. Reads a sample of them,
    or all with --full, and compares their SHA-256. Lists what nothing refers to, with its age, and
    work that was left half done. Changes nothing, and may run while uploads are ingested.

    lake.toml and config/schema.yaml are yours to edit: they are validated, and a change since the
    last verify is told. dagster/, files/, index/, logs/, removed/ and tmp/ hold no data of the lake
    and are not looked into.

    Exit code 1 if something is damaged; `lake repair` shows what can be put back. Exit code 75 if
    some of it cannot be read just now (no right to, a full disk) and the rest is good.
    """
    from lake_assets.cli.output import print_json
    from lake_assets.upkeep.verify import Request
    from lake_assets.upkeep.verify import verify as verify_lake

    choice = _choice(ctx, full=full or resume, sample=sample, seed=seed)
    with session(ctx) as opened, progress(opened) as report_progress:
        report = verify_lake(
            opened.lake.stores,
            Request(choice=choice, resume=resume, on_progress=report_progress),
        )
        next_step = _next_step(opened, report)
    if as_json:
        print_json({**report.to_plain(), "seed": choice.seed})
    else:
        print_report(report, next_step)
    if not report.is_good:
        raise typer.Exit(EXIT_TRY_LATER if report.is_unknown else EXIT_WRONG)


def progress(
    opened: Session,
) -> AbstractContextManager[Callable[[str, int, int], None]]:
    """Show how many bytes were read, over all sections, for the duration of the block."""
    from contextlib import contextmanager

    from lake_assets.cli.progress import Work, shown

    @contextmanager
    def bar() -> Iterator[Callable[[str, int, int], None]]:
        read: dict[str, int] = {}
        with shown(opened.err, Work(what="verifying", unit="bytes")) as tell:

            def on_progress(section: str, _files: int, read_bytes: int) -> None:
                read[section] = read_bytes
                tell(sum(read.values()))

            yield on_progress

    return bar()


def _next_step(opened: Session, report: Report) -> str:
    from lake_assets.upkeep.verify import Kind

    if any(item.kind is Kind.TABLE_OUTSIDE for item in report.findings):
        return f"The lake was copied or moved: {opened.command('relocate')}"
    return f"See what can be put back: {opened.command('repair')} --dry-run"


def print_report(report: Report, next_step: str) -> None:
    """Print what was looked at and what was found, for people."""
    from lake_assets.cli.output import print_lines, size
    from lake_assets.cli.tables import Column, print_table
    from lake_assets.upkeep.verify import Severity

    columns = [
        Column("section", is_whole=True),
        *(Column(title, is_number=True) for title in ("files", "read", "bytes read")),
    ]
    rows = [
        [name, f"{tally.files:,}", f"{tally.read_files:,}", size(tally.read_bytes)]
        for name, tally in report.tallies.items()
        if tally.files
    ]
    print_lines(f"Looked at every file; read {report.choice}, in {report.seconds:.1f} s")
    if report.resumed_files:
        print_lines(f"An interrupted run had read {report.resumed_files:,} of them before")
    print_table(columns, rows)
    for severity in Severity:
        print_findings(report.of(severity))
    if report.is_unknown:
        print_lines("Some of the lake cannot be read just now. Mend that, then try again")
        return
    damage = len(report.of(Severity.DAMAGE))
    print_lines(f"Damaged: {damage:,}. {next_step}" if damage else "Nothing is damaged")


def print_findings(findings: Sequence[Finding]) -> None:
    """Print findings of one severity as a table; nothing if there are none."""
    from lake_assets.cli.output import print_lines
    from lake_assets.cli.tables import Column, print_table

    if not findings:
        return
    columns = [
        Column("finding", is_whole=True), Column("what", is_whole=True),
        Column("age", is_number=True), Column("path"), Column("message"),
    ]  # fmt: skip
    rows = [
        [str(item.severity), str(item.kind), age(item.age_s), item.path, item.message]
        for item in findings[:_SHOWN]
    ]
    print_table(columns, rows)
    if len(findings) > _SHOWN:
        print_lines(f"and {len(findings) - _SHOWN:,} more; --json has all")


def age(age_s: float | None) -> str:
    """Return an age for people: ``5 min``, ``3 h``, ``12 d``; empty for None."""
    if age_s is None:
        return ""
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if age_s >= seconds:
            return f"{age_s // seconds:.0f} {unit}"
    return f"{age_s:.0f} s"


def _choice(ctx: typer.Context, *, full: bool, sample: str | None, seed: int | None) -> Choice:
    import secrets

    from lake_assets.upkeep.verify import DEFAULT_CHOICE, Choice

    if full:
        if sample is not None:
            ctx.fail("--full and --resume read every file; leave --sample out.")
        return Choice(is_full=True)
    number = secrets.randbelow(10**9) if seed is None else seed
    if sample is None:
        return Choice(count=DEFAULT_CHOICE.count, seed=number)
    share = _SHARE.fullmatch(sample)
    if share and 0 < float(share[1]) <= 100:
        return Choice(share=float(share[1]) / 100, seed=number)
    if sample.isdecimal() and int(sample) > 0:
        return Choice(count=int(sample), seed=number)
    ctx.fail(f"--sample {sample!r} is neither a share, as 5%, nor a count, as 1000.")
