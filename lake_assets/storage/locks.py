"""Locks between processes of one machine.

The kernel drops a ``flock`` when its holder ends, however it ends: a lock can never be left
behind, so nobody has to guess whether its holder is alive.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lake_assets.errors import DatasetBusy
from lake_assets.storage.files import storage_errors

_POLL_S = 0.1


@contextmanager
def exclusive_lock(
    path: Path, *, timeout_s: float, what: str, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the lock at ``path`` for the duration of the block.

    Args:
        path: The lock file; made when missing, never removed (removing one would let two
            processes lock two files of the same name).
        timeout_s: How long to wait for another holder, in seconds; 0: not at all.
        what: What is locked, for the error message.
        on_wait: Called once when another process holds the lock.

    Raises:
        DatasetBusy: when the other holder kept it for ``timeout_s``.
        StorageUnavailable: when the lock file cannot be made or opened.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, timeout_s=timeout_s, what=what, on_wait=on_wait)
        yield
    finally:
        os.close(descriptor)


def _acquire(
    descriptor: int, *, timeout_s: float, what: str, on_wait: Callable[[], None] | None
) -> None:
    deadline = time.monotonic() + timeout_s
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DatasetBusy(
                    f"another process is working on {what}; try again when it is done", what=what
                ) from None
        if on_wait and not told:
            on_wait()
            told = True
        time.sleep(_POLL_S)
