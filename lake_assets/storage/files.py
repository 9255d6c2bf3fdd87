"""File-system primitives that the exactly-once protocol stands on.

Invariant: nothing here overwrites a file that is there, but ``write_atomically``, which replaces
it as a whole. A step that fails leaves no partial target behind.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import uuid4

from lake_assets.errors import AlreadyExists, StorageUnavailable, UnreadableSource

BLOCK_BYTES = 2**20
_WRITE_BYTES = 2**16
"""One call to write takes so much. In blocks of 64 kB images of 0.4 MB took 0.5 ms of CPU each, in
one piece 1.0 ms: for large pieces ext4 (Linux 6.18) has to find large folios."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CANNOT_LINK = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedFile:
    """What was written."""

    byte_count: int
    sha256: str
    """64 lower-case hex digits."""


class Digest(Protocol):
    """What hashes the bytes that it is given, as ``hashlib`` has it."""

    def update(self, block: bytes, /) -> None:
        """Take some more bytes."""

    def hexdigest(self) -> str:
        """Return the hash of all bytes so far."""
        ...


def copy_hashed(source: Path, target: Path, *, digest: Digest | None = None) -> CopiedFile:
    """Copy a file, hashing it on the way, and return what was written.

    Args:
        source: A regular file, or a symbolic link to one.
        target: Must not exist; its folder must.
        digest: Makes the SHA-256, here or on another thread; None: ``hashlib`` here.

    Raises:
        StorageUnavailable: The source is gone or changed while it was read, or the disk is full.
        UnreadableSource: The source may not be read, or is not a regular file.
        AlreadyExists: There is a target.
    """
    with _open_source(source) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise UnreadableSource(f"{source} is not a regular file.", path=str(source))
        with new_file(target) as writer:
            copied = writer.write_all(_blocks_of(source, file), digest)
            _require_unchanged(source, before, os.fstat(file.fileno()), copied.byte_count)
    return copied


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 lower-case hex digits.

    Raises:
        StorageUnavailable, UnreadableSource.
    """
    with source_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_whole(source: Path | str, buffer: memoryview) -> memoryview | None:
    """Return the content of a file, read into ``buffer``; None if it does not fit in.

    Raises:
        StorageUnavailable: The source is gone or changed while it was read.
        UnreadableSource: The source may not be read, or is not a regular file.
    """
    with source_errors(source):
        descriptor = _without_waiting(source, os.O_RDONLY)
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise UnreadableSource(f"{source} is not a regular file.", path=str(source))
            if before.st_size >= len(buffer):
                return None
            byte_count = 0
            # There is room for more than its size, so one that grew is read as larger.
            while count := os.readv(descriptor, [buffer[byte_count:]]):
                byte_count += count
                if byte_count >= before.st_size:
                    break
            _require_unchanged(source, before, os.fstat(descriptor), byte_count)
        finally:
            os.close(descriptor)
    return buffer[:byte_count]


def write_new(path: Path | str, data: memoryview, *, mode: int) -> None:
    """Write a new file, whole; if that fails, there is none.

    Raises:
        AlreadyExists: There is one.
        StorageUnavailable: The disk is full.
    """
    with storage_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            while data:
                data = data[os.write(descriptor, data[:_WRITE_BYTES]) :]
        finally:
            os.close(descriptor)
            if data:
                Path(path).unlink(missing_ok=True)


class HashingWriter:
    """Writes a new file and knows the hash of what it wrote."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def write_all(self, blocks: Iterable[bytes], digest: Digest | None = None) -> CopiedFile:
        """Write every block and return their count and hash. Call it once."""
        digest, byte_count = digest or hashlib.sha256(), 0
        for block in blocks:
            digest.update(block)
            byte_count += len(block)
            if _is_hole(block):  # the copy of a sparse file, and what a bomb unpacks to, is sparse
                os.lseek(self._descriptor, len(block), os.SEEK_CUR)
            else:
                self._write(block)
        with storage_errors(self._path):
            os.ftruncate(self._descriptor, byte_count)  # a hole at the end
        return CopiedFile(byte_count=byte_count, sha256=digest.hexdigest())

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        with storage_errors(self._path):
            while rest:
                rest = rest[os.write(self._descriptor, rest[:_WRITE_BYTES]) :]


@contextmanager
def new_file(path: Path) -> Iterator[HashingWriter]:
    """Open a new file for writing; if the body fails, the file is gone again.

    Raises:
        AlreadyExists: There is one.
        StorageUnavailable: The disk is full.
    """
    with storage_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    complete = False
    try:
        yield HashingWriter(path, descriptor)
        complete = True
    finally:
        os.close(descriptor)
        if not complete:
            path.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> bool:
    """Give a file a second name, or copy it where the file system cannot; return whether it linked.

    Only for files that nobody writes to any more: both names share their content.

    Raises:
        AlreadyExists: There is a target.
    """
    with storage_errors(target):
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
        else:
            return True
    copy_hashed(source, target)
    return False


def fsync_file(path: Path) -> None:
    """Return once the content of a file has reached the disk."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Return once the names in a folder have reached the disk."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def write_atomically(path: Path, data: bytes) -> None:
    """Make ``data`` the content of a file: readers see the old content or the new, never less.

    It has reached the disk when this returns.
    """
    # A name of its own, not one made from `path.name`, which may be 255 bytes long already.
    draft = path.with_name(f".draft-{uuid4().hex}")
    with new_file(draft) as writer:
        writer.write_all([data])
        fsync_file(draft)
        with storage_errors(path):
            draft.replace(path)
    fsync_folder(path.parent)


def move_atomically(source: Path, target: Path, *, is_durable: bool = True) -> bool:
    """Rename a folder; return False if it is gone, because another process was faster.

    Exactly one of several callers that move the same folder gets True.

    Args:
        is_durable: Return only once the new name has reached the disk.

    Raises:
        AlreadyExists: There is a target, and the source still is where it was.
    """
    # A rename would silently replace an empty folder.
    if os.path.lexists(target):
        return _lost(source, target)
    with storage_errors(target):
        try:
            source.rename(target)
        except FileNotFoundError:
            if os.path.lexists(source):  # then it is the target's parent that is missing
                raise
            return False
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return _lost(source, target)
    for folder in dict.fromkeys((target.parent, source.parent)) if is_durable else ():
        fsync_folder(folder)
    return True


def remove_tree(path: Path) -> None:
    """Return once a folder and everything in it is gone; it may be gone already.

    Symbolic links in it are removed, not followed.
    """
    with storage_errors(path):
        # Another process may be removing it too; each round finds less than the last.
        while os.path.lexists(path):
            with suppress(FileNotFoundError):
                shutil.rmtree(path)


@contextmanager
def storage_errors(path: Path | str) -> Iterator[None]:
    """Raise what the system says about a path of the lake as one of this package's errors."""
    try:
        yield
    except FileExistsError:
        raise AlreadyExists(f"There is already something at {path}.", path=str(path)) from None
    except OSError as error:
        if error.errno in _FULL:
            message = f"No space left for {path}. Free some on this disk, then try again."
        else:
            message = (
                f"Cannot use {path}: {error.strerror or error}. Try again once that is mended."
            )
        raise StorageUnavailable(message, path=str(path)) from error


@contextmanager
def source_errors(path: Path | str) -> Iterator[None]:
    """Raise what the system says about a file that is only read as one of this package's errors."""
    try:
        yield
    except PermissionError as error:
        message = (
            f"{path} may not be read. Give this user the right to (chmod u+r), then try again."
        )
        raise UnreadableSource(message, path=str(path)) from error
    except OSError as error:
        message = f"Cannot read {path}: {error.strerror or error}. Try again once that is mended."
        raise StorageUnavailable(message, path=str(path)) from error


def _open_source(path: Path) -> BinaryIO:
    with source_errors(path):
        return open(path, "rb", buffering=0, opener=_without_waiting)


def _without_waiting(path: Path | str, flags: int) -> int:
    # A fifo that took the file's place would wait for a writer for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def _blocks_of(path: Path, file: BinaryIO) -> Iterator[bytes]:
    while True:
        with source_errors(path):
            block = file.read(BLOCK_BYTES)
        if not block:
            return
        yield block


def _is_hole(block: bytes) -> bool:
    # The ends first: to count costs 40 microseconds a block, which real data need not pay.
    return len(block) == BLOCK_BYTES and block[0] == block[-1] == 0 and block.count(0) == len(block)


def _require_unchanged(
    source: Path | str, before: os.stat_result, after: os.stat_result, byte_count: int
) -> None:
    if _version(before) != _version(after) or byte_count != before.st_size:
        raise StorageUnavailable(
            f"{source} changed while it was read. Deliver it again once it is complete.",
            path=str(source),
        )


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _lost(source: Path, target: Path) -> bool:
    """Return False if the source went to the target already; else the target is another's."""
    if os.path.lexists(source):
        raise AlreadyExists(f"There is already something at {target}.", path=str(target))
    return False


def _fsync(path: Path, flags: int) -> None:
    with storage_errors(path):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
