"""The edge of every command: what goes wrong becomes one line on stderr and an exit code.

Invariant: a ``LakeError`` never shows a traceback. Any other exception is a fault of this package
and keeps its traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from lake_assets.errors import LakeError, RetryableError

EXIT_WRONG = 1
"""The data or the request is wrong."""
EXIT_TRY_LATER = 75
"""The same command may work later; EX_TEMPFAIL of sysexits.h."""
EXIT_INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT, as shells have it."""
_HOME = "--home"
_PLAIN_WORDS = {
    "Value error, ": "",
    "Input should be greater than or equal to": "it should be at least",
    "Input should be": "it should be",
}


class LakeGroup(TyperGroup):
    """The root of the commands, and their error boundary."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept ``--home`` anywhere on the line: people add it to a command that they repeat."""
        return super().parse_args(ctx, _home_first(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; tell of a known error in one line and exit with its code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a reader that went away must be noticed here, not at exit
        except LakeError as error:
            complain(error.message)
            raise typer.Exit(exit_code(error)) from None
        except typer.BadParameter as error:
            error.message = in_plain_words(error.message)
            raise
        except (KeyboardInterrupt, typer.Abort):
            complain("interrupted; uploads are kept, run the command again to go on")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:  # `lake sql … | head` has read enough
            _discard_stdout()
            raise typer.Exit(EXIT_WRONG) from None
        return result


def in_plain_words(message: str) -> str:
    """Return what is wrong with an option without the words of the library that found it."""
    for words, plain in _PLAIN_WORDS.items():
        message = message.replace(words, plain)
    return message


def exit_code(error: LakeError) -> int:
    """Return 75 if the same command may work later, else 1."""
    return EXIT_TRY_LATER if isinstance(error, RetryableError) else EXIT_WRONG


def complain(message: str) -> None:
    """Print ``lake: message`` to stderr, in red on a terminal."""
    from rich.text import Text

    from lake_assets.cli.output import stderr

    stderr().print(Text(f"lake: {message}", style="red"), soft_wrap=True)


def _home_first(args: Sequence[str]) -> list[str]:
    """Return ``args`` with ``--home X`` and ``--home=X`` moved to the front; after ``--`` none."""
    home: list[str] = []
    rest: list[str] = []
    waiting = list(args)
    while waiting and waiting[0] != "--":
        word = waiting.pop(0)
        if word == _HOME and waiting:
            home += [word, waiting.pop(0)]
        elif word.startswith(f"{_HOME}="):
            home.append(word)
        else:
            rest.append(word)
    return [*home, *rest, *waiting]


def _discard_stdout() -> None:
    """Let Python's own flush at exit go nowhere (see the note on SIGPIPE in Python's docs)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
