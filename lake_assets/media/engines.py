"""Map a function over many items: here, or in worker processes.

Invariant: one result per item, in the order of the items, with a bounded number of items taken from
the input but not yet answered. A worker that dies costs the one item that killed it, and nothing
outlives the process that started it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from lake_assets.errors import FatalError, InvalidRequest
from lake_assets.media.worker_processes import (
    describe_exits,
    kill_workers,
    process_context,
    processes_of,
    start_worker,
)

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT_PER_WORKER = 4
"""Items handed out ahead. Four keep every worker busy over one slow item, and bound memory: two
workers on 10 MB images hold about 80 MB of input. Items travel one by one: an image takes
milliseconds to inspect and a fraction of one to send, so chunks would only coarsen the blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDied:
    """Stands for the result of an item whose worker process died over it, twice."""

    item_index: int
    """Number of the item in the input, from 0."""
    reason: str


class Engine(Protocol):
    """Something that maps a function over items. A context manager; leaving it frees the workers.

    One map at a time per engine: with two, a death in one could be blamed on the other.
    """

    @property
    def workers(self) -> int:
        """How many items are worked on at the same time, ≥ 1."""
        ...

    def map(
        self, function: Callable[[T], R], items: Iterable[T]
    ) -> Generator[R | WorkerDied, None, None]:
        """Yield ``function(item)`` for each item, in order, or `WorkerDied` in its place.

        Input is taken as results are asked for, so it may be endless. Nothing in gives nothing out.

        Args:
            function: Importable by name (a function of a module), as are items and results
                picklable: they cross processes. May be called again for an item whose worker died.
            items: Anything to iterate over, in the caller's thread.

        Raises:
            Exception: what ``function`` raises, after the results before it; what ``items`` raises,
                at once, so that results of items taken before may be missing.
        """
        ...

    def close(self) -> None:
        """Wait for what is being worked on, and end the workers. May be called twice."""
        ...

    def __enter__(self) -> Self:
        """Return the engine itself; workers start with the first map."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; after an error without waiting."""
        ...


def open_engine(workers: int) -> Engine:
    """Return an engine with ``workers`` workers: this process for one, else a pool of processes.

    Raises:
        InvalidRequest: for fewer than one.
    """
    if workers < 1:
        raise InvalidRequest(f"an engine needs at least 1 worker, not {workers}", workers=workers)
    return SerialEngine() if workers == 1 else ProcessPoolEngine(workers)


class SerialEngine:
    """Works in the calling process. A crash of the function is a crash of the caller."""

    workers = 1

    def map(
        self, function: Callable[[T], R], items: Iterable[T]
    ) -> Generator[R | WorkerDied, None, None]:
        """Yield ``function(item)`` for each item as it is asked for."""
        for item in items:
            yield function(item)

    def close(self) -> None:
        """Do nothing; there is nothing to end."""

    def __enter__(self) -> Self:
        """Return the engine itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


@dataclass(slots=True, kw_only=True)
class _Task(Generic[T, R]):
    """One item on its way."""

    index: int
    item: T
    future: Future[R]


class ProcessPoolEngine:
    """A pool of worker processes, started by the first map and kept warm for the next ones.

    Workers come from a fork server, as forking a process that has threads (Dagster, DuckDB, Arrow)
    can deadlock. They import this package once, in the server. Like all of Python's pools of that
    kind they also import the main module: a script needs its ``if __name__ == "__main__":``.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    @property
    def workers(self) -> int:
        """How many processes."""
        return self._workers

    def map(
        self, function: Callable[[T], R], items: Iterable[T]
    ) -> Generator[R | WorkerDied, None, None]:
        """Yield ``function(item)`` for each item, in order; see `Engine.map`."""
        in_flight: deque[_Task[T, R]] = deque()
        numbered = enumerate(items)
        try:
            while True:
                self._hand_out(function, numbered, in_flight)
                if not in_flight:
                    return
                if not _is_lost(in_flight[0].future):
                    yield in_flight.popleft().future.result()
                    continue
                # Any task that was out may have killed the worker. Alone in the pool, only one can.
                self._end_pool()
                while in_flight:
                    answer = self._second_answer(function, in_flight.popleft())
                    yield answer
        finally:
            for task in in_flight:
                task.future.cancel()

    def close(self) -> None:
        """Wait for what is being worked on, and end the workers."""
        self._end_pool()

    def __enter__(self) -> Self:
        """Return the engine itself; workers start with the first map."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close. After an error, Ctrl-C included, workers are killed over what they work on."""
        if kind is not None and self._pool is not None:
            kill_workers(self._pool)
        self.close()

    def _hand_out(
        self,
        function: Callable[[T], R],
        numbered: Iterator[tuple[int, T]],
        in_flight: deque[_Task[T, R]],
    ) -> None:
        """Fill the window with the next items."""
        free = self._workers * IN_FLIGHT_PER_WORKER - len(in_flight)
        for index, item in islice(numbered, free):
            in_flight.append(_Task(index=index, item=item, future=self._submit(function, item)))

    def _second_answer(self, function: Callable[[T], R], task: _Task[T, R]) -> R | WorkerDied:
        """Return what the task had yielded before the pool broke, or else work on it alone."""
        if not _is_lost(task.future):
            return task.future.result()
        future = self._submit(function, task.item)
        if not _is_lost(future):
            return future.result()
        reason = describe_exits(self._end_pool())
        self._check_workers_start(reason)
        return WorkerDied(item_index=task.index, reason=reason)

    def _check_workers_start(self, reason: str) -> None:
        """Tell an item that kills workers from an environment in which none lives.

        Without this, a script with no main guard would see every image of an upload rejected.
        """
        if _is_lost(self._submit(os.getpid)):
            self._end_pool()
            raise FatalError(
                f"worker processes die as soon as they start ({reason}). Does the script start"
                ' its work under `if __name__ == "__main__":`? Otherwise use 1 worker.',
                workers=self._workers,
            )

    def _submit(self, function: Callable[..., R], *arguments: object) -> Future[R]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers, mp_context=process_context(), initializer=start_worker
            )
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool as error:
            # As if it had been taken and lost: the next look at the oldest task finds the break.
            lost: Future[R] = Future()
            lost.set_exception(error)
            return lost

    def _end_pool(self) -> list[int]:
        """End the pool, and return how each of its workers ended (as ``Process.exitcode``)."""
        pool, self._pool = self._pool, None
        if pool is None:
            return []
        processes = processes_of(pool)
        pool.shutdown(wait=True, cancel_futures=True)
        return [process.exitcode for process in processes if process.exitcode is not None]


def _is_lost(future: Future[R]) -> bool:
    """Wait for ``future``, and tell whether it went down with its pool."""
    return isinstance(future.exception(), BrokenProcessPool)
