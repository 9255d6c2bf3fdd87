"""Calls that run on threads of their own while the caller goes on.

Invariants: calls of one lane run in order, one at a time; few of them wait, so what they hold is
bounded; the error of a call is never lost, and no call of its lane runs after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

THREAD_NAME = "lake-background"
MOST_WAITING = 1
"""Calls that wait while one runs: more would only hold more memory, as the thread is never idle
for want of one."""


class BackgroundCalls:
    """A thread that is started by the first call and ended by ``finish`` or ``stop``."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()
        self._is_broken = False

    def check(self) -> None:
        """Return unless a call that is known to have ended failed.

        Raises:
            Exception: What it raised.
        """
        self._settle(len(self._pending))

    def submit(self, call: Callable[[], None]) -> None:
        """Have ``call`` run after those before it; waits while enough are waiting.

        Raises:
            Exception: What an earlier call raised, now and at every later use.
        """
        self._settle(MOST_WAITING)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=THREAD_NAME)
        self._pending.append(self._executor.submit(self._run, call))

    def pending(self) -> Sequence[Future[None]]:
        """Return the calls that are not known to have ended, the one that runs first."""
        return tuple(self._pending)

    def finish(self) -> None:
        """Return once all calls have run, and the thread has ended.

        Raises:
            Exception: What a call raised; then call ``stop``.
        """
        self._settle(0)
        self.stop()

    def stop(self) -> None:
        """Drop the calls that have not begun, wait for the one that runs, and end the thread."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = None
        self._pending.clear()
        self._is_broken = False

    def _run(self, call: Callable[[], None]) -> None:
        if not self._is_broken:
            self._is_broken = True  # and stays so if the call raises, whatever it raises
            call()
            self._is_broken = False

    def _settle(self, most: int) -> None:
        # Calls that are done leave at once, or an error would wait for the next call's turn.
        while self._pending and (len(self._pending) > most or self._pending[0].done()):
            self._pending[0].result()  # one that failed stays, and raises again
            self._pending.popleft()


class BackgroundLanes:
    """Several threads; calls of one lane run in order, those of two lanes beside each other."""

    def __init__(self, count: int) -> None:
        self._lanes = tuple(BackgroundCalls() for _ in range(count))

    def submit(self, lane: int, call: Callable[[], None], *, is_large: bool = False) -> None:
        """Have ``call`` run after those of the same lane; waits while enough of them are waiting.

        Args:
            lane: Number of the lane, from 0.
            call: What to run.
            is_large: Whether it holds so much that there may only be as many calls as lanes,
                those included that wait.

        Raises:
            Exception: What an earlier call of any lane raised, now and at every later use.
        """
        self._check()
        while is_large and len(pending := self._pending()) >= len(self._lanes):
            wait(pending, return_when=FIRST_COMPLETED)
            self._check()
        self._lanes[lane].submit(call)

    def finish(self) -> None:
        """Return once all calls have run, and the threads have ended.

        Raises:
            Exception: What a call raised; then call ``stop``.
        """
        for lane in self._lanes:
            lane.finish()

    def stop(self) -> None:
        """Drop the calls that have not begun, wait for those that run, and end the threads."""
        for lane in self._lanes:
            lane.stop()

    def _check(self) -> None:
        for lane in self._lanes:
            lane.check()

    def _pending(self) -> Sequence[Future[None]]:
        return [call for lane in self._lanes for call in lane.pending()]
