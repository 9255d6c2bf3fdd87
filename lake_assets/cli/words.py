"""Words of a command line that have parts: ``lang=ko``, ``a,b,c``; and times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import typer

_COMMA = re.compile(r",(?![^(<]*[)>])")
"""One that is not within brackets, as in ``decimal(9,2)``."""


def listed(text: str) -> list[str]:
    """Return the parts of ``a,b,c``, without those that are empty."""
    return [part.strip() for part in _COMMA.split(text) if part.strip()]


def pairs(ctx: typer.Context, option: str, words: Sequence[str]) -> dict[str, str]:
    """Return what words like ``lang=ko`` say.

    Raises:
        A usage error (exit 2): one is not of this form, or two contradict each other.
    """
    said: dict[str, str] = {}
    for word in words:
        name, separator, value = (part.strip() for part in word.partition("="))
        if not (name and separator and value):
            ctx.fail(f"{option} {word!r} is not NAME=VALUE.")
        if said.get(name, value) != value:
            ctx.fail(f"{option} says two things of {name}: {said[name]!r} and {value!r}.")
        said[name] = value
    return said


def instant_of(ctx: typer.Context, text: str) -> datetime:
    """Return the instant that ``--since`` names: a day or time (UTC if it says no zone), or an age.

    Raises:
        A usage error (exit 2): it is neither.
    """
    from lake_assets.cli.repair import age_s

    seconds = age_s(text)
    if seconds is not None:
        return datetime.now(tz=UTC) - timedelta(seconds=seconds)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        ctx.fail(f"--since {text!r} is no time, as 2026-01-31, and no age, as 12h or 7d.")
    return found if found.tzinfo else found.replace(tzinfo=UTC)
