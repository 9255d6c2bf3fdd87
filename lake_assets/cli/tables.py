"""Printed tables: whole values everywhere, folded texts only where a terminal is narrow.

Invariant: no value is cut. Where a terminal is too narrow, columns that another command shows are
left out; a table that still does not fit is printed row after row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from lake_assets.cli.output import print_facts, print_lines, stdout
from lake_assets.cli.values import visible

_GAP_CHARACTERS = 2
"""What a column takes beside its value."""
_LEAST_CHARACTERS = 12
"""A text that is folded into less cannot be read."""
_Item = TypeVar("_Item")
_WIDEST_CHARACTERS = 1_000
"""Off a terminal. A long document in one row would pad all the others to its length."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a printed table."""

    title: str
    is_number: bool = False
    """Printed to the right, on one line."""
    is_whole: bool = False
    """Printed on one line: ids that people copy."""
    is_extra: bool = False
    """Left out where a terminal is too narrow; another command shows it."""

    @property
    def may_fold(self) -> bool:
        """Whether its values may go over several lines."""
        return not (self.is_number or self.is_whole)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout: ruled on a terminal, plain aligned columns elsewhere.

    Where that is too wide, each row becomes some lines of ``name  value``.
    """
    cells = [[visible(cell) for cell in row] for row in rows]
    if not stdout().is_terminal:
        whole = [replace(column, is_whole=True, is_extra=False) for column in columns]
        _print_fitting(whole, cells, available=_WIDEST_CHARACTERS)
    else:
        _print_fitting(columns, cells, available=stdout().width)


def _print_fitting(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], *, available: int
) -> None:
    widths = column_widths(columns, cells, available=available)
    extra = max((index for index, column in enumerate(columns) if column.is_extra), default=None)
    if widths is not None:
        _print_ruled(columns, cells, widths)
    elif extra is not None:
        fewer = [_without(row, extra) for row in cells]
        _print_fitting(_without(columns, extra), fewer, available=available)
    else:
        _print_records(columns, cells)


def _without(items: Sequence[_Item], index: int) -> list[_Item]:
    return [*items[:index], *items[index + 1 :]]


def _print_ruled(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], widths: Sequence[int]
) -> None:
    console = stdout()
    rule = box.SIMPLE_HEAD if console.is_terminal else None
    gap = 1 if rule else _GAP_CHARACTERS  # the rule's own columns add one
    table = Table(box=rule, pad_edge=False, padding=(0, gap, 0, 0), show_edge=False)
    for column, width in zip(columns, widths, strict=True):
        justify: JustifyMethod = "right" if column.is_number else "left"
        title = Text(visible(column.title))
        table.add_column(title, justify=justify, width=width, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def column_widths(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], *, available: int
) -> list[int] | None:
    """Return the width of each column, in characters; None if it cannot be read in ``available``.

    Columns that fold share what the others leave, and none gets more than it needs.
    """
    titles = [visible(column.title) for column in columns]
    widths = [max(map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
    folding = [index for index, column in enumerate(columns) if column.may_fold]
    left = available - _GAP_CHARACTERS * len(columns)
    left -= sum(width for index, width in enumerate(widths) if index not in folding)
    by_need = sorted(folding, key=lambda index: widths[index])
    for done, index in enumerate(by_need):
        share = left // (len(by_need) - done)
        if share < min(widths[index], _LEAST_CHARACTERS):
            return None
        widths[index] = min(widths[index], share)
        left -= widths[index]
    return widths if left >= 0 else None


def _print_records(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    for number, row in enumerate(cells, start=1):
        print_lines(f"- row {number}")
        print_facts(zip((column.title for column in columns), row, strict=True))
