"""Whether a file holds certain bytes.

Invariant: nothing is believed of a file but what was read of it. Blocks stay in the processor's
cache and are compared without Python's lock: 0.4 MB take 0.02 ms, where making ``bytes`` of them
and comparing those takes two to four times as long and keeps other threads waiting.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

_BLOCK_BYTES = 2**17

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_memcmp.restype = ctypes.c_int


class _Scratch(threading.local):
    """A block of each thread's own, made once: a new one would take a page fault for each page."""

    def __init__(self) -> None:
        self.block = memoryview(bytearray(_BLOCK_BYTES))
        self.address = _address_of(self.block)


def holds(path: Path | str, content: bytes | memoryview) -> bool:
    """Return whether a file is there and holds exactly ``content``.

    One that the disk cannot read any more (EIO) does not.

    Raises:
        OSError: It cannot be opened for another reason than that there is none.
    """
    # Only of what may be written to does ctypes give the address.
    view = memoryview(content)
    view = memoryview(bytearray(view)) if view.readonly else view
    return _answered(path, lambda descriptor: _reads(descriptor, view))


def holds_file(path: Path, source: Path) -> bool:
    """Return whether a file is there and holds exactly what ``source`` does.

    Raises:
        OSError: as ``holds``, and if ``source`` cannot be read.
    """
    with source.open("rb", buffering=0) as wanted:
        return _answered(path, lambda descriptor: _reads_file(descriptor, wanted.fileno()))


def _answered(path: Path | str, ask: Callable[[int], bool]) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return ask(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.EIO:
            return False
        raise


def _reads(descriptor: int, content: memoryview) -> bool:
    address, byte_count, done = _address_of(content), len(content), 0
    while count := os.readv(descriptor, [_scratch.block]):
        is_longer = done + count > byte_count
        if is_longer or _memcmp(address + done, _scratch.address, count) != 0:
            return False
        done += count
    return done == byte_count


def _reads_file(descriptor: int, wanted: int) -> bool:
    if os.path.sameopenfile(descriptor, wanted):
        return True
    while block := os.read(wanted, _BLOCK_BYTES):
        if os.read(descriptor, len(block)) != block:
            return False
    return not os.read(descriptor, 1)


def _address_of(view: memoryview) -> int:
    return ctypes.addressof((ctypes.c_char * len(view)).from_buffer(view))


_scratch = _Scratch()
