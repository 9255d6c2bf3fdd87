"""Seals: the SHA-256 of every file of a table, written down when the file is.

A table's folder has one log, ``seals.log``, which is only ever appended to, one line per file::

    <CRC-32 of the rest> <SHA-256> <size in bytes> <path below the table's folder>

Invariants: a line is written by one ``write`` to a file opened with O_APPEND, so lines of several
processes never mix; of several lines about a file the last one counts; lines of files that are
gone are no damage. A line that a power cut tore is told from one that was changed later: only the
last line can lack its end, and who appends after it marks it as torn.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lake_assets.storage.files import BLOCK_BYTES, storage_errors, write_atomically

SEAL_LOG = "seals.log"
_FOLDERS = frozenset({"data", "metadata"})
# Longer than one changed byte could make of a good line.
_TORN = b" #torn\n"
_CRC_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What a file holds."""

    sha256: str
    """64 lower-case hex digits."""
    byte_count: int

    @property
    def is_given_up(self) -> bool:
        """Whether `lake repair` took the damaged file away, which no present row needs."""
        return self == GIVEN_UP


GIVEN_UP = Seal(sha256="0" * 64, byte_count=0)
"""Stands for a file that is gone on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealLog:
    """All seals of one table."""

    seals: Mapping[str, Seal]
    """By path below the table's folder, with forward slashes."""
    damaged_lines: tuple[int, ...] = ()
    """Numbers, from 1, of lines that are not as they were written."""


def seal(paths: Iterable[Path | str]) -> None:
    """Read finished files of tables and write their seals down.

    For Parquet parts, whose content is still in the page cache: 0.5 to 0.7 s per GB. Nothing is
    fsynced: the caller syncs the file system before a table names the files.

    Raises:
        StorageUnavailable: A file is gone, or the disk is full.
    """
    by_folder: dict[Path, dict[str, Seal]] = {}
    for path in map(Path, paths):
        folder = table_folder(path)
        by_folder.setdefault(folder, {})[path.relative_to(folder).as_posix()] = seal_of(path)
    for folder, found in by_folder.items():
        append_seals(folder, found)


def seal_of(path: Path) -> Seal:
    """Return what a file holds now.

    Raises:
        StorageUnavailable: It cannot be read.
    """
    digest, byte_count = hashlib.sha256(), 0
    with storage_errors(path), path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            byte_count += len(block)
    return Seal(sha256=digest.hexdigest(), byte_count=byte_count)


def table_folder(path: Path) -> Path:
    """Return the folder of the table whose data or metadata ``path`` is.

    Raises:
        ValueError: It is in neither.
    """
    for parent in path.parents:
        if parent.name in _FOLDERS:
            return parent.parent
    raise ValueError(f"{path} is no file of a table")


def append_seals(folder: Path, seals: Mapping[str, Seal]) -> None:
    """Write seals of files below ``folder`` down.

    Raises:
        StorageUnavailable: The disk is full.
    """
    lines = b"".join(_line(path, item) for path, item in seals.items())
    log = folder / SEAL_LOG
    with storage_errors(log):
        descriptor = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = _TORN + lines
            # The kernel appends a write as a whole; one that is cut short leaves a torn line.
            while lines:
                lines = lines[os.write(descriptor, lines) :]
        finally:
            os.close(descriptor)


def read_seals(folder: Path) -> SealLog:
    """Return the seals of the table in ``folder``; none where it has no log.

    Raises:
        StorageUnavailable: The log cannot be read.
    """
    log = folder / SEAL_LOG
    try:
        with storage_errors(log):
            content = log.read_bytes() if log.exists() else b""
    except FileNotFoundError:
        content = b""
    *lines, rest = content.split(b"\n")
    seals: dict[str, Seal] = {}
    damaged = []
    for number, line in enumerate(lines, start=1):
        found = _parsed(line)
        if found is not None:
            seals[found[0]] = found[1]
        elif not line.endswith(_TORN[:-1]):
            damaged.append(number)
    # What is behind the last newline was cut off, unless it is whole but for its newline, which
    # is then not missing but another byte.
    if rest and _parsed(rest[:-1]) is not None:
        damaged.append(len(lines) + 1)
    return SealLog(seals=seals, damaged_lines=tuple(damaged))


def write_seals(folder: Path, seals: Mapping[str, Seal]) -> None:
    """Put these seals in the place of the whole log. Nobody may be appending to it."""
    content = b"".join(_line(path, item) for path, item in seals.items())
    write_atomically(folder / SEAL_LOG, content)


def _line(path: str, item: Seal) -> bytes:
    if "\n" in path:
        raise ValueError(f"a path with a line break cannot be sealed: {path!r}")
    body = f"{item.sha256} {item.byte_count} {path}".encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _parsed(line: bytes) -> tuple[str, Seal] | None:
    """Return (path, seal), or None if the line is not as it was written."""
    head, body = line[: _CRC_DIGITS + 1], line[_CRC_DIGITS + 1 :]
    if head != b"%08x " % zlib.crc32(body):
        return None
    sha256, byte_count, path = body.decode().split(" ", 2)
    return path, Seal(sha256=sha256, byte_count=int(byte_count))
