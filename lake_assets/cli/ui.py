"""`lake ui`: Dagster's UI and daemon over the same lake."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Annotated

import typer

from lake_assets.cli.context import session
from lake_assets.errors import InvalidRequest

_HOST = "127.0.0.1"
"""Dagster's UI has no login of its own: nobody but this machine may reach it."""


def ui(
    ctx: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=65_535, help="Default: ui_port of lake.toml, which is 3000."
        ),
    ] = None,
) -> None:
    """Serve the Dagster UI and daemon on 127.0.0.1 until Ctrl-C."""
    from lake_assets.cli.output import print_lines

    with session(ctx) as opened:
        wanted = port or opened.lake.settings.ui_port
        _require_free(wanted)
        from lake_assets.defs.launch import ui_command

        command = ui_command(opened.lake, port=wanted)
    print_lines(f"http://{_HOST}:{wanted} answers in about ten seconds; Ctrl-C ends it")
    sys.stdout.flush()
    # A shell without job control starts `lake ui &` with interrupts ignored, and Dagster would
    # then ignore even SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # In place of this process, so that Ctrl-C and a supervisor's signals reach Dagster itself.
    os.execvpe(command.arguments[0], command.arguments, command.environment)


def _require_free(port: int) -> None:
    """Raise ``InvalidRequest`` if something listens on ``port``; Dagster would tell it late."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise InvalidRequest(
                f"port {port} of {_HOST} cannot be used ({error.strerror}); perhaps another "
                "`lake ui` runs, else choose one with --port",
                port=port,
            ) from None
