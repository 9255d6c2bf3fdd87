"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lake_assets.cli.output import size

if TYPE_CHECKING:
    from rich.console import Console

_log = logging.getLogger(__name__)
_LINE_EVERY_S = 5.0
Report = Callable[[int], None]
"""Called with how much is done so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is being done, and how it is counted."""

    what: str
    unit: str
    """``rows``, ``images``, ``bytes``…"""
    total: int | None = None
    """None: not known, and then no time left is shown."""

    def amount(self, count: float) -> str:
        """Return ``1,200 rows`` or ``3.4 MB``."""
        return size(int(count)) if self.unit == "bytes" else f"{count:,.0f} {self.unit}"

    def part(self, count: float) -> str:
        """Return ``1,200 rows``, or ``1,200 of 5,000 rows`` where the total is known."""
        if self.total is None:
            return self.amount(count)
        done = size(int(count)) if self.unit == "bytes" else f"{count:,.0f}"
        return f"{done} of {self.amount(self.total)}"


@contextmanager
def shown(console: Console, work: Work) -> Iterator[Bar | LogLines]:
    """Show how far ``work`` is for the duration of the block; call what it gives to say so."""
    if not console.is_terminal:
        yield LogLines(work)
        return
    with Progress(*_columns(work), console=console, transient=True) as bar:
        task = bar.add_task(work.what, total=work.total)
        yield Bar(bar, task)


class Bar:
    """A bar on a terminal."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def __call__(self, done: int) -> None:
        """Show that ``done`` is done so far."""
        self._bar.update(self._task, completed=done)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bar away for the duration of the block, in which results are printed.

        While it is there, rich sends stdout where the bar is: to stderr.
        """
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()


class LogLines:
    """Logs how far the work is, at most every five seconds.

    Args:
        clock: Seconds since some instant.
    """

    def __init__(self, work: Work, clock: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._clock = clock
        self._began_at = self._told_at = clock()

    def __call__(self, done: int) -> None:
        """Take note that ``done`` is done so far."""
        now = self._clock()
        if now - self._told_at < _LINE_EVERY_S:
            return
        self._told_at = now
        rate = done / (now - self._began_at)
        speed = f"{self._work.amount(rate)}/s"
        left = self._left(done, rate)
        _log.info("%s: %s, %s%s", self._work.what, self._work.part(done), speed, left)

    def paused(self) -> AbstractContextManager[None]:
        """Do nothing: lines do not get in the way of results."""
        return nullcontext()

    def _left(self, done: int, rate: float) -> str:
        if not self._work.total or not rate:
            return ""
        return f", {max(self._work.total - done, 0) / rate:,.0f} s left"


class _Done(ProgressColumn):
    """What is done, and of how much."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def render(self, task: Task) -> Text:
        """Return ``1,200 of 5,000 rows``."""
        return Text(self._work.part(task.completed))


class _Rate(ProgressColumn):
    """How fast it goes."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def render(self, task: Task) -> Text:
        """Return ``340 rows/s``."""
        speed = task.finished_speed or task.speed
        return Text(f"{self._work.amount(speed)}/s" if speed else "")


def _columns(work: Work) -> list[ProgressColumn]:
    known = work.total is not None
    return [
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        *([BarColumn()] if known else []),
        _Done(work),
        _Rate(work),
        TimeRemainingColumn() if known else TimeElapsedColumn(),
    ]
