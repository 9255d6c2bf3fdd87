"""Small disks of their own, which can be full or read-only without harm to anybody else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lake_assets_tests.torture.strikes import FILLER

DISK_BYTES = 32 * 2**20


@contextmanager
def small_disk(place: Path, *, byte_count: int = DISK_BYTES) -> Iterator[Path]:
    """Mount a tmpfs of so many bytes at ``place`` for the duration of the block.

    Skips the test, with the reason, where this user may not mount.
    """
    place.mkdir(parents=True)
    options = f"size={byte_count},mode=0755"
    done = _run("mount", "-t", "tmpfs", "-o", options, "lake-torture", str(place))
    if done.returncode:
        pytest.skip(
            f"NOT TESTED: full and read-only disks. This user (uid {os.getuid()}) may not mount a "
            f"tmpfs: {done.stderr.strip()}"
        )
    try:
        yield place
    finally:
        # Lazily: a process that a failed test left may still stand in it.
        _run("umount", "-l", str(place))


def lift(disk: Path) -> None:
    """Give a disk its space and its right to write back."""
    done = _run("mount", "-o", "remount,rw", str(disk))
    assert done.returncode == 0, done.stderr
    with suppress(FileNotFoundError):
        (disk / FILLER).unlink()


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
