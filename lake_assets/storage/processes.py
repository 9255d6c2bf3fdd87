"""Which process did something: a signature that tells one process from all others.

A pid alone may be used again after its process ended, so the time when it began belongs to it.
"""

from __future__ import annotations

import getpass
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lake_assets.errors import StorageUnavailable

_ENDED = ("Z", "X", "x")
"""States of a process (proc(5), field 3) that runs no more."""


def created_by() -> str:
    """Return ``user@host`` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def signature() -> dict[str, Any]:
    """Return what tells this process from all others: host, pid and when it began."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "process_started": _process_started(pid),
        "heartbeat_at": datetime.now(tz=UTC).isoformat(),
    }


def is_dead(lease: dict[str, Any]) -> bool:
    """Return whether the process that signed ``lease`` ran on this host and has ended."""
    # A pid may be used again: it is the same process only if it began at the same time.
    started = _process_started(lease["pid"])
    here = bool(lease["host"] == socket.gethostname())
    return here and started != lease["process_started"]


def _process_started(pid: int) -> str | None:
    """Return when a process began, in clock ticks since boot (proc(5), field 22), or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return _is_running_elsewhere(pid)
    except OSError as error:  # too many open files: it may well be alive
        raise StorageUnavailable(
            f"cannot see whether process {pid} runs: {error.strerror}. Try again"
        ) from error
    fields = text.rpartition(")")[2].split()
    # A zombie has ended; its entry stays until its parent asks how, which may be never.
    return None if fields[0] in _ENDED else fields[19]


def _is_running_elsewhere(pid: int) -> str | None:
    """Answer for systems without /proc (macOS): the pid alone."""
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"
