"""Where Arrow's memory comes from while an upload is read and written.

Invariant: the pool that the process had before holds again afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

MUCH_BYTES = 32 * 2**20
_SLOW = "mimalloc"
_guard = threading.Lock()
_before: list[pa.MemoryPool] = []
"""One per block that threads are in: the pool to go back to, the same for all."""


@contextmanager
def reused_memory(byte_count: int) -> Iterator[None]:
    """Let Arrow take memory from ``malloc`` in the block, where it would take it from mimalloc.

    That is pyarrow 26's default. It gives pages back that are wanted again at once, and new ones
    are dear, most of all in a virtual machine: a million rows of CSV or JSON took 15 % more CPU
    time, 5 M rows of Parquet 10 %. Another pool was somebody's choice, and stays.

    Args:
        byte_count: Size of what is read; little takes no memory to speak of.
    """
    if byte_count < MUCH_BYTES:
        yield
        return
    with _guard:
        pool = _before[0] if _before else pa.default_memory_pool()
        is_slow = pool.backend_name == _SLOW
        if is_slow:
            _before.append(pool)
            pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        if is_slow:
            _leave()


def _leave() -> None:
    with _guard:
        pool = _before.pop()
        if not _before:
            pa.set_memory_pool(pool)
            pa.system_memory_pool().release_unused()
