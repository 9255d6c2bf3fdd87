"""What commands share: which lake is meant, its log lines, and hints that can be typed."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from lake_assets.lake import Lake

_TALKATIVE = ("dagster", "pyiceberg", "alembic", "botocore", "urllib3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One opened lake for one command."""

    lake: Lake
    err: Console
    """Where log lines and progress go."""
    home_option: Path | None

    def command(self, *words: str) -> str:
        """Return a command of this program as a person would type it for this lake."""
        home = ("--home", str(self.home_option)) if self.home_option else ()
        return shlex.join(["lake", *home, *words])


@contextmanager
def session(ctx: typer.Context) -> Iterator[Session]:
    """Open the lake that is meant, and close it after the command."""
    from lake_assets.cli.output import stderr
    from lake_assets.lake import Lake

    home: Path | None = ctx.obj
    with Lake.open(home) as lake:
        err = stderr()
        with log_lines(err, level=lake.settings.log_level):
            yield Session(lake=lake, err=err, home_option=home)


@contextmanager
def log_lines(console: Console, *, level: str) -> Iterator[None]:
    """Send log lines to ``console``: ours from ``level``, those of libraries from WARNING."""
    handler = ConsoleHandler(console)
    logging.getLogger("lake_assets").setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


class ConsoleHandler(logging.Handler):
    """Writes ``12:00:01 INFO text`` lines; through rich, because a progress bar may be there."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        self._console.print(self.format(record), soft_wrap=True)
