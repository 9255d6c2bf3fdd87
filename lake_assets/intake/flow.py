"""Many files on their way into an upload: worked on by threads, told of in order, written early.

Invariants: each entry comes out once, in the order it went in, with what the work on it returned;
nothing is worked on any more once ``in_turn`` is left, however it is left.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lake_assets.storage.shards import sync_file_system

E = TypeVar("E")
R = TypeVar("R")

_IN_FLIGHT = 256
"""Entries taken and not told of yet, at most."""
_TOGETHER = 64
"""Entries that are told of together: to wake a thread for each took as long as linking it."""
_LOOK_AGAIN_S = 0.1
"""And yet one that takes long is told of by then."""
_FLUSH_BYTES = 2**27
"""The disk begins to write while the rest is read, or all of it would be waited for at the end."""


def in_turn(
    entries: Iterable[E], work: Callable[[E], R], *, threads: int
) -> Generator[tuple[E, R], None, None]:
    """Yield each entry and ``work(entry)``, in order, done by that many threads.

    Raises:
        Exception: What ``entries`` or ``work`` raises, at once: results before it may be missing.
    """
    line: _Line[E, R] = _Line(entries, work, threads)
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(line.work) for _ in range(threads)]
        try:
            while line.is_worked_on:
                line.wait()
                yield from line.arrived()
        finally:
            line.stop()
        for future in running:
            future.result()
    yield from line.arrived()


@dataclass(slots=True)
class _Place(Generic[E, R]):
    """An entry's place in the line."""

    number: int
    entry: E
    result: Any = None
    is_done: bool = False


class _Line(Generic[E, R]):
    """Entries in the order they were taken. Threads take them one by one, from one iterator."""

    def __init__(self, entries: Iterable[E], work: Callable[[E], R], threads: int) -> None:
        self._entries = enumerate(entries, start=1)
        self._work = work
        self._places: deque[_Place[E, R]] = deque()
        self._at_work = threads
        self._taking = threading.Lock()
        self._news = threading.Event()
        self._room = threading.Event()
        self._is_over = False

    @property
    def is_worked_on(self) -> bool:
        """Whether a thread has not come to its end."""
        return self._at_work > 0

    def work(self) -> None:
        """Take entries and work on them, until there are none left or one fails."""
        try:
            while place := self._next():
                place.result = self._work(place.entry)
                place.is_done = True
                if place.number % _TOGETHER == 0 or self._is_full:
                    self._news.set()
        finally:
            self.stop()
            with self._taking:
                self._at_work -= 1
            self._news.set()

    def arrived(self) -> Iterator[tuple[E, R]]:
        """Yield what is done, up to the first entry that is not."""
        while self._places and self._places[0].is_done:
            place = self._places.popleft()
            self._room.set()
            yield place.entry, place.result

    def wait(self) -> None:
        """Return when there is probably something to tell of."""
        self._news.wait(_LOOK_AGAIN_S)
        self._news.clear()

    def stop(self) -> None:
        """Have no more entries taken."""
        self._is_over = True
        self._room.set()

    def _next(self) -> _Place[E, R] | None:
        with self._taking:
            self._wait_for_room()
            if self._is_over:
                return None
            for number, entry in self._entries:
                place: _Place[E, R] = _Place(number, entry)
                self._places.append(place)
                return place
        return None

    @property
    def _is_full(self) -> bool:
        return len(self._places) >= _IN_FLIGHT

    def _wait_for_room(self) -> None:
        while self._is_full and not self._is_over:
            self._room.clear()
            if self._is_full and not self._is_over:  # it may have been told before it was cleared
                self._room.wait()


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

    def __enter__(self) -> Flushing:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)  # what it could not write, the last sync will tell
