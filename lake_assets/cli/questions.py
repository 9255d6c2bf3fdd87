"""What was left out: asked for on a terminal, an error that names it anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, redirect_stdout
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lake_assets.contracts.names import DatasetName, Destination
    from lake_assets.lake import Lake

_IN_VARIANT = 3
"""Slashes in the name of a variant, ``provider/dataset/task/variant``."""


def is_interactive() -> bool:
    """Return whether somebody can answer."""
    return sys.stdin.isatty()


def answer(
    ctx: typer.Context, given: str | None, *, what: str, question: str, known: Sequence[str] = ()
) -> str:
    """Return what was given, or else ask for it.

    Args:
        given: From the command line; None: left out.
        what: How the command line calls it: ``option '--provider'``.
        question: What to ask.
        known: Answers to offer; others are taken too.

    Raises:
        A usage error (exit 2) that names ``what``, if nobody can be asked.
    """
    if given is not None:
        return given
    if not is_interactive():
        ctx.fail(f"Missing {what}.")
    if known:
        typer.echo(f"Known: {', '.join(known)}", err=True)
    with _on_stderr():
        reply: str = typer.prompt(question)
    return reply


def agrees(question: str) -> bool:
    """Return the answer to a yes-or-no question."""
    with _on_stderr():
        return typer.confirm(question)


def _on_stderr() -> AbstractContextManager[object]:
    # stdout may be a file that gets the results; typer's own `err=True` leaves a space in it.
    return redirect_stdout(sys.stderr)


def optional_answer(question: str, *, known: Sequence[str] = ()) -> str:
    """Return what is typed at a question that may be left empty."""
    if known:
        typer.echo(f"Known: {', '.join(known)}", err=True)
    with _on_stderr():
        reply: str = typer.prompt(question, default="", show_default=False)
    return reply.strip()


def known_dataset(ctx: typer.Context, lake: Lake, given: str | None, *, what: str) -> DatasetName:
    """Return the dataset that is meant, asking for it if it was left out.

    Raises:
        InvalidName, UnknownDataset: the latter with all those that there are.
    """
    from lake_assets.contracts.names import DatasetName
    from lake_assets.errors import UnknownDataset

    known = [str(name) for name in lake.registry.dataset_names()]
    text = answer(ctx, given, what=what, question="Dataset (provider/dataset)", known=known)
    name = DatasetName.parse(text)
    if str(name) not in known:
        raise UnknownDataset(
            f"unknown dataset {name} (known: {', '.join(known) or 'none yet'}); "
            "`lake upload raw` makes one",
            dataset=str(name),
        )
    return name


def known_destination(
    ctx: typer.Context, lake: Lake, given: str | None, *, what: str
) -> Destination:
    """Return the dataset, or the variant of a task on one, that is meant.

    Raises:
        InvalidName, UnknownDataset, UnknownTask.
    """
    from lake_assets.contracts.names import VariantName, parse_destination

    name = parse_destination(given) if given and given.count("/") == _IN_VARIANT else None
    if not isinstance(name, VariantName):
        return known_dataset(ctx, lake, given, what=what)
    known_dataset(ctx, lake, str(name.of), what=what)
    lake.registry.task(name.task)
    return name
