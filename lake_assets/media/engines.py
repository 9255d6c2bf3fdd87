"""Map a function over many items in worker processes.

Invariant: one result per item, in the order of the items, with a bounded number of items taken from
the input but not yet answered. A worker that dies or hangs costs the one item that it worked on,
and nothing outlives the process that started it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from lake_assets.errors import FatalError, InvalidRequest
from lake_assets.media.worker_processes import (
    Task,
    Worker,
    WorkerLimits,
    describe_exit,
    function_message,
    item_message,
    memory_limit_bytes,
    timed_out,
)

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT_PER_WORKER = 64
"""Items taken from the input and not yielded yet. Results are small and come in order, so behind
one slow image (seconds) the others go on."""
QUEUED_PER_WORKER = 16
"""Of those, the items that wait for one worker, next to the one that it works on: 100 ms of images
of 0.4 MB, for which the process that asks may be busy with something else. Fewer where items
are large: what waits also fits into a pipe of 1 MiB, so no image bytes pile up anywhere."""

_TRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDied:
    """Stands for the result of an item whose worker process died over it, twice."""

    item_index: int
    """Number of the item in the input, from 0."""
    reason: str
    is_timeout: bool = False
    """Whether it was ended for taking too long."""


def open_engine(
    workers: int, *, item_timeout_s: float = 60.0, pixel_limit: int = 300_000_000
) -> Engine:
    """Return an engine with ``workers`` processes to look at images.

    One worker is a process too: an image that hangs or crashes its decoder must not take the
    caller with it.

    Args:
        item_timeout_s: How long one image may take, by the clock.
        pixel_limit: Of the largest image that is accepted; a worker's memory follows from it.

    Raises:
        InvalidRequest: for fewer than one worker.
    """
    if workers < 1:
        raise InvalidRequest(f"an engine needs at least 1 worker, not {workers}", workers=workers)
    memory_bytes = memory_limit_bytes(workers, pixel_limit)
    limits = WorkerLimits(item_timeout_s=item_timeout_s, memory_bytes=memory_bytes)
    return Engine(workers, limits)


class Engine:
    """Worker processes, started when a map has work for them and kept warm for the next one.

    A context manager; leaving it ends the workers. One map at a time. Workers come from a fork
    server, which imports this package once. Like all of Python's of that kind they also import the
    main module: a script needs its ``if __name__ == "__main__":``.
    """

    def __init__(self, workers: int, limits: WorkerLimits | None = None) -> None:
        self.workers = workers
        """How many items are worked on at the same time, ≥ 1."""
        self.limits = limits or WorkerLimits()
        self.processes: list[Worker] = []
        """Those that run now."""

    def map(
        self, function: Callable[[T], R], items: Iterable[T]
    ) -> Generator[R | WorkerDied, None, None]:
        """Yield ``function(item)`` for each item, in order, or `WorkerDied` in its place.

        Input is taken as results are asked for, so it may be endless. Nothing in gives nothing out.

        Args:
            function: Importable by name (a function of a module, or a ``functools.partial`` of
                one), as are items and results picklable: they cross processes. May be called again
                for an item whose worker died.
            items: Anything to iterate over, in the caller's thread.

        Raises:
            Exception: what ``function`` raises, after the results before it; what ``items`` raises,
                at once, so that results of items taken before may be missing.
            FatalError: when worker processes do not start.
        """
        flow: _Flow[R] = _Flow(self, function, items)
        try:
            yield from flow.results()
        finally:
            self._end(only_busy=True)

    def close(self) -> None:
        """End the workers. May be called twice."""
        self._end(only_busy=False)

    def __enter__(self) -> Self:
        """Return the engine itself; workers start with the first map."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _end(self, *, only_busy: bool) -> None:
        """End workers. Those over an item that nobody waits for any more are killed over it."""
        ending = [worker for worker in self.processes if worker.outstanding or not only_busy]
        self.processes = [worker for worker in self.processes if worker not in ending]
        for worker in ending:
            worker.end(is_busy=bool(worker.outstanding))


class _Flow(Generic[R]):
    """One map: items on their way from the input, through workers, to the caller."""

    def __init__(self, engine: Engine, function: Callable[..., R], items: Iterable[Any]) -> None:
        self._engine = engine
        self._function = function_message(function)
        self._items: Iterator[Any] = iter(items)
        self._taken = 0
        self._window: deque[Task] = deque()
        """Taken and not yielded, in order."""
        self._unsent: deque[Task] = deque()
        """Of those, what no worker has. A worker that dies gives back what it had not begun."""
        self._suspects: deque[Task] = deque()
        """What a worker died over once. It gets a second try, alone on the machine."""

    def results(self) -> Iterator[R | WorkerDied]:
        while True:
            self._hand_out()
            if not self._window:
                return
            if not self._window[0].is_answered:
                self._receive()
                continue
            task = self._window.popleft()
            if task.error is not None:
                raise task.error
            yield task.answer

    def _hand_out(self) -> None:
        if self._suspects:
            if not any(worker.outstanding for worker in self._engine.processes):
                self._send(self._suspects[0])
            return
        while self._next():
            task = self._unsent.popleft()
            if not self._send(task):
                self._unsent.appendleft(task)
                return

    def _next(self) -> bool:
        """Take an item from the input if nothing else is to be sent; return whether anything is."""
        if not self._unsent and len(self._window) < self._engine.workers * IN_FLIGHT_PER_WORKER:
            for item in self._items:
                task = Task(index=self._taken, payload=item_message(item))
                self._taken += 1
                self._window.append(task)
                self._unsent.append(task)
                break
        return bool(self._unsent)

    def _send(self, task: Task) -> bool:
        """Send a task to the worker with the fewest; return False if none has room for it."""
        while True:
            worker = self._worker()
            if len(worker.outstanding) > QUEUED_PER_WORKER or not worker.has_room_for(task):
                return False
            if worker.send(self._function, task):
                return True
            self._lose(worker)  # it died while it was idle, or is about to be found dead

    def _worker(self) -> Worker:
        """Return the worker to send to: an idle one, else a new one, else the least busy."""
        running = self._engine.processes
        best = min(running, key=lambda worker: len(worker.outstanding), default=None)
        if best is None or (best.outstanding and len(running) < self._engine.workers):
            best = Worker(self._engine.limits)
            running.append(best)
        return best

    def _receive(self) -> None:
        """Wait for messages, and take one of each worker that has one."""
        by_pipe = {worker.results: worker for worker in self._engine.processes}
        for pipe in wait(list(by_pipe)):
            worker = by_pipe[pipe]  # type: ignore[index]
            if not worker.receive():
                self._lose(worker)
        while self._suspects and self._suspects[0].is_answered:
            self._suspects.popleft()

    def _lose(self, worker: Worker) -> None:
        """Take out a worker that is dead, and blame the item that it worked on."""
        self._engine.processes.remove(worker)
        while worker.receive():
            pass  # what it answered before it died
        code = worker.exit_code()
        reason = describe_exit(code, limits=self._engine.limits)
        if not worker.is_started:
            raise FatalError(
                f"worker processes die as soon as they start ({reason}). Does the script start"
                ' its work under `if __name__ == "__main__":`?',
                workers=self._engine.workers,
            )
        if not worker.outstanding:
            return
        task = worker.outstanding.popleft()
        self._unsent.extendleft(reversed(worker.outstanding))
        task.deaths += 1
        if task.deaths < _TRIES:
            self._suspects.append(task)
            return
        task.is_answered = True
        task.answer = WorkerDied(item_index=task.index, reason=reason, is_timeout=timed_out(code))
