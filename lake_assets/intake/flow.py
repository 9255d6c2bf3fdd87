"""Many things on their way: worked on by threads, told of in order, written early.

Invariants: each entry comes out once, in the order it went in, with what the work on it returned;
nothing is worked on any more once ``worked_on`` is left, however it is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from lake_assets.storage.shards import sync_file_system

E = TypeVar("E")
R = TypeVar("R")

_FLUSH_BYTES = 2**27
"""The disk begins to write while the rest is read, or all of it would be waited for at the end."""


def worked_on(
    entries: Iterable[E], work: Callable[[E], R], *, threads: int, ahead: int
) -> Generator[tuple[E, R], None, None]:
    """Yield each entry and ``work(entry)``, in order, done by that many threads.

    Args:
        ahead: How many entries are taken and not told of yet, at most.

    Raises:
        Exception: What ``work`` raises, after the results before it; what ``entries`` raises, at
            once, so that results of entries taken before may be missing.
    """
    coming: deque[tuple[E, Future[R]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for entry in entries:
                coming.append((entry, pool.submit(work, entry)))
                if len(coming) > ahead:
                    first, result = coming.popleft()
                    yield first, result.result()
            while coming:
                first, result = coming.popleft()
                yield first, result.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Flushing:
    """Has the disk write what was staged so far, while more is staged."""

    def __init__(self, folder: Path, *, since: int) -> None:
        self._folder = folder
        self._flushed_bytes = since
        self._pool = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def reach(self, byte_count: int) -> None:
        """Begin to write, if much was staged since the last time and that is over."""
        is_running = self._running is not None and not self._running.done()
        if byte_count - self._flushed_bytes < _FLUSH_BYTES or is_running:
            return
        self._flushed_bytes = byte_count
        self._running = self._pool.submit(sync_file_system, self._folder)

    def close(self) -> None:
        """Wait for what was begun."""
        self._pool.shutdown(wait=True)  # what it could not write, the last sync will tell
