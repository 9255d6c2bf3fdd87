"""Large files: how they are copied, and which are not worth it.

Not worth it are sparse ones, and images that no worker could hold. Invariant: what is refused here
would be refused later too, only after gigabytes were copied.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from lake_assets.errors import UnreadableSource
from lake_assets.intake.formats import (
    MAX_RECORD_CHARS,
    DataFormat,
    compression_of,
    data_format,
    image_extension_of,
    looks_like_image_name,
)
from lake_assets.storage.files import CopiedFile, copy_hashed, source_errors

LARGE_BYTES = 32 * 2**20
"""From this size on a file is looked at before it is copied; opening smaller ones costs more."""
MAX_IMAGE_BYTES = 2**30
"""Largest image: a worker reads it whole. 300 megapixels, the limit by default, are 0.9 GB as
uncompressed RGB."""
_ZEROS_BYTES = 2**20
_MOST_WAITING = 8
"""Blocks of a mebibyte that wait to be hashed; hashing takes about as long as copying."""
_FLUSH_BYTES = 2**25
"""The disk begins to write while the rest is copied, or all would be waited for at the end."""
_SYNC_FILE_RANGE_WRITE = 2
"""Source: linux/fs.h; begins to write, and neither waits for it nor takes note of its errors."""

_TEXT = frozenset({DataFormat.CSV, DataFormat.TSV, DataFormat.JSON, DataFormat.JSONL})
_LAST_BYTES = {DataFormat.PARQUET: b"PAR1", DataFormat.ARROW: b"ARROW1"}
# A hole is NUL bytes, two of which may be a character of UTF-16.
_HOPELESS_HOLE_BYTES = 2 * MAX_RECORD_CHARS + 1


def refuse_hopeless(source: Path) -> None:
    """Raise if a file of ``LARGE_BYTES`` or more can be neither a table nor an image of the lake.

    Raises:
        UnreadableSource: It begins with a mebibyte of zeros, as a file that was never written; it
            is text with a hole that is longer than any record; it lacks the end that its format
            has; or it is an image of more than ``MAX_IMAGE_BYTES``.
    """
    with source_errors(source), source.open("rb") as file:
        reason = _hopeless_because(source, file)
    if reason is not None:
        raise UnreadableSource(f"{source} {reason}.", path=str(source))


def copy_large(source: Path, target: Path) -> CopiedFile:
    """Copy a file, and return what was written, as ``copy_hashed``.

    One thread copies, one hashes the blocks that are written, and one has the disk write them.

    Raises:
        StorageUnavailable: The source is gone or changed while it was read, or the disk is full.
        UnreadableSource: The source may not be read, or is not a regular file.
        AlreadyExists: There is a target.
    """
    with closing(_Beside(target)) as beside:
        return copy_hashed(source, target, digest=beside)


class _Beside:
    """What is done with the blocks of a copy while the next ones are copied."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._digest = hashlib.sha256()
        self._hasher, self._flusher = (ThreadPoolExecutor(1) for _ in range(2))
        self._hashed: deque[Future[None]] = deque()
        self._byte_count = self._flushed_bytes = 0

    def update(self, block: bytes) -> None:
        """Have a block hashed, and what was written before it flushed, if that is enough."""
        self._hashed.append(self._hasher.submit(self._digest.update, block))
        if len(self._hashed) > _MOST_WAITING:
            self._hashed.popleft().result()
        if self._byte_count - self._flushed_bytes >= _FLUSH_BYTES:
            self._flusher.submit(_begin_flush, self._target)
            self._flushed_bytes = self._byte_count
        self._byte_count += len(block)

    def hexdigest(self) -> str:
        """Return the hash of all blocks."""
        while self._hashed:
            self._hashed.popleft().result()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Drop what has not begun, and end the threads."""
        for pool in (self._hasher, self._flusher):
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_flush(path: Path) -> None:
    """Have the disk begin to write what was written to a file; its errors are left to ``syncfs``.

    Not by ``fsync``, which would also wait for what others write to the file system.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError), path.open("rb") as file:
        ctypes.CDLL(None).sync_file_range(
            file.fileno(), ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE
        )


def _hopeless_because(source: Path, file: BinaryIO) -> str | None:
    byte_count = os.fstat(file.fileno()).st_size
    head = file.read(_ZEROS_BYTES)
    if len(head) == _ZEROS_BYTES and head.count(0) == _ZEROS_BYTES:
        return "begins with a mebibyte of zeros: nothing was ever written there. Deliver it again"
    kind = data_format(source)
    if kind is not None:
        return _no_table_because(file, kind, head, byte_count)
    is_image = image_extension_of(head) is not None or looks_like_image_name(source.name)
    if is_image and byte_count > MAX_IMAGE_BYTES:
        return (
            f"is an image of {byte_count:,} bytes, and at most {MAX_IMAGE_BYTES:,} can be decoded. "
            "Deliver it in tiles, or compressed"
        )
    return None


def _no_table_because(file: BinaryIO, kind: DataFormat, head: bytes, byte_count: int) -> str | None:
    is_text = kind in _TEXT and compression_of(file.name) is None
    if is_text and _longest_hole(file, byte_count) >= _HOPELESS_HOLE_BYTES:
        return (
            f"is {kind} with a hole of more than {_HOPELESS_HOLE_BYTES - 1:,} bytes, where nothing "
            "was ever written. Deliver it again"
        )
    last = _LAST_BYTES.get(kind, b"")
    # An Arrow stream begins otherwise, and has no end that must be there.
    if last and head.startswith(last):
        file.seek(-len(last), os.SEEK_END)
        if file.read(len(last)) != last:
            return f"does not end as {kind} does: it is cut short. Deliver it again"
    return None


def _longest_hole(file: BinaryIO, byte_count: int) -> int:
    """Return how many bytes in a row a file system has no room for; 0 where it cannot tell."""
    longest = end = 0
    while end < byte_count:
        start = os.lseek(file.fileno(), end, os.SEEK_HOLE)
        try:
            end = os.lseek(file.fileno(), start, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data up to the end
                raise
            end = byte_count
        longest = max(longest, end - start)
    return longest
