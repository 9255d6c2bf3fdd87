"""Printing: sentences for people, one JSON document for programs.

Invariant: off a terminal there are no colours, and nothing is wrapped or cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.filesize import decimal

from lake_assets.cli.values import json_value, visible

_UNLIMITED_WIDTH = 1_000_000
"""Columns off a terminal; a table is only as wide as its values."""


def stdout() -> Console:
    """Return a console for results."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Return a console for everything else. Log lines and a progress bar must share one."""
    return _console(sys.stderr)


def print_json(value: object) -> None:
    """Print one JSON document to stdout."""
    text = json.dumps(json_value(value), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(text + "\n")


def print_yaml(value: object) -> None:
    """Print a part of config/schema.yaml to stdout, and an empty line."""
    import yaml

    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    print_lines(*text.splitlines(), "")


def print_lines(*lines: str) -> None:
    """Print sentences to stdout, unwrapped, so that they can be searched and copied."""
    sys.stdout.writelines(f"{visible(line)}\n" for line in lines)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print ``name  value`` lines to stdout; facts without a value are left out.

    Further lines of a value stand below its first.
    """
    told = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        first, *others = value.split("\n")
        print_lines(f"{name:<{width}}  {first}", *(f"{'':<{width}}  {line}" for line in others))


def counted(count: int, noun: str) -> str:
    """Return ``1 row``, ``1,200 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size(byte_count: int) -> str:
    """Return a size for people, in powers of 1000: ``12.3 MB``."""
    return f"-{decimal(-byte_count)}" if byte_count < 0 else decimal(byte_count)


def _console(stream: TextIO) -> Console:
    is_terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=None if is_terminal else False,  # whatever FORCE_COLOR says
        width=None if is_terminal else _UNLIMITED_WIDTH,
        # Data may hold [brackets], :colons: and numbers; none of it is markup.
        markup=False,
        emoji=False,
        highlight=False,
    )
