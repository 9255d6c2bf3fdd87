"""Printing: tables and sentences for people, one JSON document for programs.

Invariant: off a terminal there are no colours, and nothing is wrapped or cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from lake_assets.cli.values import json_value, visible

_UNLIMITED_WIDTH = 1_000_000
"""Columns off a terminal; a table is only as wide as its values."""
_GAP_CHARACTERS = 3
"""Between two columns, on a terminal."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a printed table."""

    title: str
    is_number: bool = False
    is_whole: bool = False
    """Never wrapped, also on a narrow terminal: ids that people copy."""


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


def print_lines(*lines: str) -> None:
    """Print sentences to stdout, unwrapped, so that they can be searched and copied."""
    sys.stdout.writelines(f"{visible(line)}\n" for line in lines)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout: ruled on a terminal, plain aligned columns elsewhere."""
    console = stdout()
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for column in columns:
        table.add_column(
            Text(visible(column.title)),
            justify="right" if column.is_number else "left",
            no_wrap=column.is_whole,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console.print(table)


def print_records(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print each row as lines of ``name  value``: for tables too wide to be read as such."""
    for number, row in enumerate(rows, start=1):
        print_lines(f"- row {number}")
        print_facts(zip((column.title for column in columns), row, strict=True))


def fits(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> bool:
    """Return whether a table can be printed to stdout without wrapping its values."""
    cells = zip([column.title for column in columns], *rows, strict=True)
    widths = [max(cell_len(cell) for cell in column) for column in cells]
    return sum(widths) + _GAP_CHARACTERS * len(widths) <= stdout().width


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print ``name  value`` lines to stdout; facts without a value are left out."""
    told = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in told), default=0)
    print_lines(*(f"{name:<{width}}  {value}" for name, value in told))


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
