"""What befalls a process at a point: an end, a signal, a limit, a full disk. All are real."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import sqlite3
import time
from pathlib import Path

from lake_assets.storage.tables.leases import Leases
from lake_assets_tests.torture.server import CUT

FILLER = "filler"
_REMOUNT_READ_ONLY = 0x20 | 0x1


def cut() -> None:
    """End this process at once: no handler runs, no buffer is written."""
    os._exit(CUT)


def stop(home: str) -> None:
    """Freeze this process until somebody sends SIGCONT.

    Not while it reads from SQLite or has its lock, for a heartbeat or in this very step: then
    nobody could write to the catalog, and all others would be told so. No program can do anything
    about that.
    """
    beat = Leases._beat_once
    Leases._beat_once = lambda self, leases: None  # type: ignore[method-assign]  # begins no more
    try:
        with contextlib.closing(sqlite3.connect(Path(home, "catalog.db"), timeout=5)) as database:
            database.execute("BEGIN EXCLUSIVE")  # a reader, too, keeps others from committing
            database.rollback()
        os.kill(os.getpid(), signal.SIGSTOP)
    except sqlite3.OperationalError:  # it is our own, of this very step
        return
    finally:
        Leases._beat_once = beat  # type: ignore[method-assign]


def fill(disk: str) -> None:
    """Take all the space that is left on a disk."""
    descriptor = os.open.__wrapped__(  # type: ignore[attr-defined]  # not a step of the lake
        Path(disk, FILLER), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
    )
    try:
        for block_bytes in (2**20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write.__wrapped__(descriptor, bytes(block_bytes))  # type: ignore[attr-defined]
    finally:
        os.close(descriptor)


def few_files() -> None:
    """Let no further file be opened."""
    used = len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))


def short_files() -> None:
    """Let no file grow beyond 100 bytes. Python ignores SIGXFSZ, so writes fail with EFBIG."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))


def read_only(disk: str) -> None:
    """Make a disk read-only, if no file on it is open for writing just now."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(disk), None, _REMOUNT_READ_ONLY, None) != 0:
        code = ctypes.get_errno()
        if code != errno.EBUSY:
            raise OSError(code, os.strerror(code), disk)


def linger(seconds: float) -> None:
    """Work on nothing else for a while; other threads go on."""
    time.sleep(seconds)


def spoil(path: str, how: str) -> None:
    """Do to a source what its owner may do while it is read: grow, shrink, change, vanish."""
    source = Path(path)
    if how == "vanish":
        source.unlink()
        return
    data = source.read_bytes()
    descriptor = os.open.__wrapped__(path, os.O_WRONLY | os.O_TRUNC)  # type: ignore[attr-defined]
    changed = {"grow": data * 2, "shrink": data[: len(data) // 2], "change": data[::-1]}[how]
    os.write(descriptor, changed)
    os.close(descriptor)
    os.utime(source, (1, 1))  # also where the clock of the disk is too coarse to show it
