"""One worker process: how it starts, what it is bound to, and how it ends.

Invariants: no worker outlives the process that uses it, however that one ended, nor works on one
item for longer than it may; and the user always knows over which item a worker died.
"""

from __future__ import annotations

import fcntl
import importlib
import multiprocessing
import os
import pickle
import resource
import signal
import threading
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

_FUNCTION, _ITEM = b"f", b"i"
_PAGE_BYTES = 4096
_PIPE_BYTES = 2**20
_SMALL_PIPE_BYTES = 16_384  # macOS; Linux tells
_WARM = "lake_assets.media.warm"
_LAST_WORDS_S = 10.0
_PLAIN_BYTES = 2 * 2**30
_BYTES_PER_PIXEL = 24
_LEAST_MEMORY_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What a worker may take."""

    item_timeout_s: float = 60.0
    """By the clock, for one item. The system itself ends a worker that is over it, as code that
    hangs may well hold the interpreter's lock."""
    memory_bytes: int | None = None
    """Address space (RLIMIT_AS); None: no limit. Beyond it memory cannot be allocated, so it is
    the item that fails, not whatever process the system chooses."""


def memory_limit_bytes(workers: int, pixel_limit: int) -> int:
    """Return the memory that each of ``workers`` processes may take to look at images.

    What the largest image accepted can need: 24 bytes a pixel (a palette with transparency is
    five pictures at once: 1 + 4 × 4 bytes; 32-bit samples are copied twice), and 2 GiB for Python
    and its libraries, most of which is never touched. On a machine with less memory than that for
    each, an equal share of it, and 1 GiB at least.
    """
    needed = _PLAIN_BYTES + _BYTES_PER_PIXEL * pixel_limit
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(_LEAST_MEMORY_BYTES, min(needed, machine // workers))


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """One item on its way through a worker."""

    index: int
    payload: bytes
    """The item, as ``item_message`` makes it."""
    deaths: int = 0
    """Workers that died over it."""
    is_answered: bool = False
    answer: Any = None
    error: BaseException | None = None

    @property
    def pipe_bytes(self) -> int:
        """Room that it takes in a pipe at most, which is handed out in pages."""
        return -(-len(self.payload) // _PAGE_BYTES) * _PAGE_BYTES + _PAGE_BYTES


def function_message(function: Any) -> bytes:
    """Return the message that says what to do with the items that follow."""
    return _FUNCTION + pickle.dumps(function)


def item_message(item: Any) -> bytes:
    """Return the message that an item goes to a worker in."""
    return _ITEM + pickle.dumps(item)


class WorkerTraceback(Exception):
    """Where in a worker an error came from, as the cause of that error."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Worker:
    """A worker process, seen from the one that uses it.

    Tasks wait for it in a pipe, so that it need not wait for its user between two of them. What
    is written always fits into the pipe, or the worker is reading from it: writing never hangs.
    """

    def __init__(self, limits: WorkerLimits) -> None:
        context = process_context()
        theirs, self._inbox = context.Pipe(duplex=False)
        self.results, answers = context.Pipe(duplex=False)
        # A daemon: ended with this process, should nobody have closed the engine.
        self._process = context.Process(  # type: ignore[attr-defined]
            target=_work, args=(theirs, answers, limits), name="image-worker", daemon=True
        )
        try:
            self._process.start()
        finally:
            theirs.close()
            answers.close()
        self.outstanding: deque[Task] = deque()
        """What it was sent and has not answered, in order: it works on the first."""
        self.is_started = False
        self._pipe_bytes = _with_room(self._inbox.fileno())
        self._function: bytes = b""

    @property
    def pid(self) -> int | None:
        """Process id."""
        pid: int | None = self._process.pid
        return pid

    def has_room_for(self, task: Task) -> bool:
        """Return whether ``task`` can be sent without waiting."""
        if not self.outstanding:
            return True
        queued = sum(item.pipe_bytes for item in self.outstanding)
        return queued + task.pipe_bytes <= self._pipe_bytes

    def send(self, function: bytes, task: Task) -> bool:
        """Have ``function`` (its message) work on ``task``; return False if the worker is dead."""
        try:
            if function is not self._function and not self.outstanding:
                self._inbox.send_bytes(function)
                self._function = function
            self._inbox.send_bytes(task.payload)
        except BrokenPipeError:
            return False
        self.outstanding.append(task)
        return True

    def receive(self) -> bool:
        """Take one message, waiting for it; return False if the worker is dead."""
        try:
            message = pickle.loads(self.results.recv_bytes())
        except (EOFError, OSError):  # OSError: it died over the message
            return False
        if not self.is_started:  # its first word
            self.is_started = True
            return True
        task = self.outstanding.popleft()
        task.is_answered = True
        task.answer, task.error = message.answer, message.error
        if message.error is not None:
            message.error.__cause__ = WorkerTraceback(message.trace)
        return True

    def end(self, *, is_busy: bool) -> int | None:
        """End the process, at once if it is busy, and return how it ended (``Process.exitcode``).

        None: the system cannot end it, as its disk does not answer; it ends once that does.
        """
        self._inbox.close()  # an idle worker takes that for its end
        if is_busy:
            self._process.kill()
        self._process.join(_LAST_WORDS_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join(_LAST_WORDS_S)
        self.results.close()
        code: int | None = self._process.exitcode
        if code is not None:
            self._process.close()
        return code

    def exit_code(self) -> int | None:
        """Return how a worker ended that is dead."""
        return self.end(is_busy=False)


def process_context() -> BaseContext:
    """Return the way to start workers: from a fork server, or by spawning where there is none.

    Forking a process that has threads (Dagster, DuckDB, Arrow) can deadlock.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # 0.6 s of imports, once. Has no effect on a server that runs already.
    context.set_forkserver_preload([_WARM, "lake_assets.storage.image_shards"])
    return context


def start_server() -> None:
    """Have the fork server start and import, if there is one, without waiting for it."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        process_context()
        forkserver.ensure_running()


def describe_exit(code: int | None, *, limits: WorkerLimits) -> str:
    """Say how a worker ended, from its ``Process.exitcode``."""
    if code is None:
        return "worker process does not end: its disk does not answer"
    if timed_out(code):
        return f"still at work after {limits.item_timeout_s:g} s"
    if code >= 0:
        return f"worker process ended: exit code {code}"
    name = signal.Signals(-code).name
    hint = ", perhaps out of memory" if code == -signal.SIGKILL else ""
    return f"worker process ended: signal {name}{hint}"


def timed_out(code: int | None) -> bool:
    """Return whether a worker with this ``Process.exitcode`` was over its time."""
    return code == -signal.SIGALRM


def _with_room(descriptor: int) -> int:
    """Make a pipe larger where that is possible, and return how many bytes it takes."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return _SMALL_PIPE_BYTES
    with suppress(OSError):  # one user's pipes may have so much memory and no more
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)


# -- in the worker


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    answer: Any = None
    error: BaseException | None = None
    trace: str = ""


def _work(inbox: Connection, results: Connection, limits: WorkerLimits) -> None:
    """Answer one item after the other until the inbox is closed."""
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever runs in it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if limits.memory_bytes is not None:
        _limit_memory(limits.memory_bytes)
    importlib.import_module(_WARM)
    results.send_bytes(pickle.dumps(_Answer()))
    function = None
    with suppress(EOFError, BrokenPipeError):
        while True:
            payload = memoryview(inbox.recv_bytes())
            kind, content = payload[:1], payload[1:]
            if kind == _FUNCTION:  # may have to be imported, which is no item's fault
                function = pickle.loads(content)
                continue
            signal.setitimer(signal.ITIMER_REAL, limits.item_timeout_s)
            answer = _answered(function, content)
            signal.setitimer(signal.ITIMER_REAL, 0)  # its user may take the answer much later
            results.send_bytes(answer)


def _answered(function: Any, item: memoryview) -> bytes:
    try:
        return pickle.dumps(_Answer(answer=function(pickle.loads(item))))
    except Exception as error:  # noqa: BLE001 – raised again by the process that asked
        trace = "".join(traceback.format_exception(error))
        return pickle.dumps(_Answer(error=error, trace=trace))


def _limit_memory(limit_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit_bytes = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    with suppress(ValueError, OSError):  # macOS knows the limit, and refuses to set it
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, hard))


def _end_with_parent() -> None:
    """End this worker when the process that uses it is gone, however it went.

    One that is at work would see its inbox close only after that. Linux's PR_SET_PDEATHSIG would
    watch the fork server instead, which is the worker's parent there.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
