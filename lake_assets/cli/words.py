"""Words of a command line that have parts: ``lang=ko``, ``a,b,c``."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
