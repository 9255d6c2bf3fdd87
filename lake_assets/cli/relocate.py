"""`lake relocate`: let a lake that was copied or moved be one of its own."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lake_assets.cli.context import session

if TYPE_CHECKING:
    from lake_assets.relocating import Relocation


def relocate(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Make the tables of a lake that was copied or moved name their files where they are now.

    Writes each table's metadata and manifests anew, with its whole history, then removes the old
    ones; data files stay as they are. Staged images that a copy without hard links made a second
    file of are one file with the stored image again. Nothing outside of the lake is touched.

    May be stopped at any time: run it again, and it goes on. Waits for ingestions that are under
    way, and keeps others out while it works. In a lake that was not moved it brings tables of
    earlier versions to the locations that Trino and others can read.
    """
    from lake_assets.cli.output import print_json

    with session(ctx) as opened:
        done = opened.lake.relocate(dry_run=dry_run)
        if as_json:
            print_json({**asdict(done), "home": opened.lake.home, "is_done": not dry_run})
        else:
            _print(done, dry_run=dry_run)
            if done.tables:
                again = ("verify",) if not dry_run else ("relocate",)
                _print_next(opened.command(*again))


def _print(done: Relocation, *, dry_run: bool) -> None:
    from lake_assets.cli.output import counted, print_lines

    for home in done.made_at:
        print_lines(f"This lake was made at {home}")
    if not done.tables and not done.linked_files:
        print_lines("Nothing to do: the lake is where its tables say")
        return
    would = "Would write" if dry_run else "Wrote"
    print_lines(f"{would} the metadata of {counted(len(done.tables), 'table')} anew")
    if done.linked_files:
        would = "Up to" if dry_run else "Linked"
        print_lines(
            f"{would} {counted(done.linked_files, 'staged image')} "
            f"{'would be ' if dry_run else ''}to the stored one: "
            f"{done.linked_bytes:,} bytes saved"
        )


def _print_next(command: str) -> None:
    from lake_assets.cli.output import print_lines

    print_lines(f"Next: {command}")
