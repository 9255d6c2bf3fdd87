"""How the process is set up while much is read and written: Arrow's memory, and turns of threads.

Invariant: what held before holds again afterwards.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pyarrow as pa

MUCH_BYTES = 32 * 2**20
TURN_S = 0.0005
"""How long a thread may keep Python's lock that another one waits for; Python's default is 5 ms."""
_SLOW = "mimalloc"
_guard = threading.Lock()
_depth = 0
"""Blocks that threads are in."""
_undo = ExitStack()
"""What the last of them does when it ends."""


@contextmanager
def tuned_for(byte_count: int) -> Iterator[None]:
    """Set the process up for the block; little needs nothing.

    Memory: Arrow takes it from ``malloc`` where it would take it from mimalloc, pyarrow 26's
    default. That gives pages back that are wanted again at once, and new ones are dear, most of all
    in a virtual machine: a million rows of CSV or JSON took 15 % more CPU time, 5 M rows of Parquet
    10 %. Another pool was somebody's choice, and stays.

    Turns: a thread that comes back from Arrow wants Python's lock for some microseconds, and waited
    up to 5 ms for it while another one ran Python. A million records of drifting JSON Lines took
    6 % longer.

    Args:
        byte_count: Size of what is read.
    """
    global _depth, _undo
    if byte_count < MUCH_BYTES:
        yield
        return
    with _guard:
        if not _depth:
            _undo = _set_up()
        _depth += 1
    try:
        yield
    finally:
        with _guard:
            _depth -= 1
            if not _depth:
                _undo.close()


def _set_up() -> ExitStack:
    undo = ExitStack()
    undo.callback(sys.setswitchinterval, sys.getswitchinterval())
    sys.setswitchinterval(TURN_S)
    pool = pa.default_memory_pool()
    if pool.backend_name == _SLOW:
        undo.callback(pa.system_memory_pool().release_unused)
        undo.callback(pa.set_memory_pool, pool)
        pa.set_memory_pool(pa.system_memory_pool())
    return undo
