"""Runs functions in processes of their own, in milliseconds each: forked from one that has imported
everything and has not started a thread.

The processes are real ones, each opens the lake anew, and each may be killed, stopped or end itself
at any point. Starting Python and importing the lake costs 1.3 s, a fork 10 ms, and a thousand
points are walked.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lake_assets.errors import LakeError, RetryableError
from lake_assets_tests.torture.points import Points, watch

REPOSITORY = Path(__file__).resolve().parents[2]
CUT = 86
"""Exit code of a process that was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A function of ``steps`` or ``crowd`` to be called."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    watched: str | None = None
    """The lake at whose points to look; None: run it as it is."""
    at: int | None = None
    """Number of the point to strike at."""
    strike: str = "cut"
    """Function of ``strikes``."""
    struck_with: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended. ``value`` and ``error`` are None where it did not get to its end."""

    code: int
    """Exit code, or minus the signal."""
    value: Any = None
    error: str | None = None
    """What it raised: the class's name and the message."""
    is_known: bool = False
    """Whether that is an error of the lake's, rather than a fault."""
    is_retryable: bool = False
    trace: str = ""
    labels: tuple[str, ...] = ()
    """The points it passed."""
    struck: str | None = None

    def require(self) -> Any:
        """Return the value of a process that ended as it should."""
        assert self.code == 0, f"exit code {self.code}"
        assert self.error is None, f"{self.error}\n{self.trace}"
        return self.value


class Server:
    """The process that forks. A context manager."""

    def __init__(self) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("LAKE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            # One thread of OpenBLAS and none of jemalloc: nothing that a fork would lose.
            env={**kept, "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
        )

    def start(self, task: Task) -> int:
        """Start a task in a process of its own, and return its pid, which leads its group."""
        return int(self._ask(("start", task)))

    def join(self, pid: int, *, timeout_s: float = 120) -> Ended:
        """Return how a process ended; one that does not within ``timeout_s`` is killed.

        Raises:
            TimeoutError: with what all its threads were doing.
        """
        ended = self._ask(("join", pid, timeout_s))
        if isinstance(ended, Ended):
            return ended
        raise TimeoutError(ended)

    def run(self, name: str, /, *, timeout_s: float = 120, **arguments: Any) -> Ended:
        """Call a function of ``steps`` in a process of its own, and wait for its end."""
        return self.do(Task(name=name, arguments=arguments), timeout_s=timeout_s)

    def do(self, task: Task, *, timeout_s: float = 120) -> Ended:
        """Start a task and wait for its end."""
        return self.join(self.start(task), timeout_s=timeout_s)

    def warm(self, task: Task) -> None:
        """Let all later processes begin with every module imported that ``task`` imports."""
        self._ask(("warm", task))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def _ask(self, question: tuple[Any, ...]) -> Any:
        assert self._process.stdin and self._process.stdout
        pickle.dump(question, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)


# -- in the server


class _Children:
    def __init__(self) -> None:
        self._pipes: dict[int, int] = {}

    def start(self, task: Task) -> int:
        """Fork a process that runs ``task``."""
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            _be_child(task, write_end)
        os.close(write_end)
        os.setpgid(pid, pid)
        self._pipes[pid] = read_end
        return pid

    def join(self, pid: int, timeout_s: float) -> Ended | str:
        """Wait for the end of a child."""
        pipe = self._pipes.pop(pid)
        answer, in_time = _read_all(pipe, time.monotonic() + timeout_s)
        os.close(pipe)
        if not in_time:
            said = _say_where_it_is(pid)
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return f"process {pid} still runs after {timeout_s} s:\n{said}"
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return pickle.loads(answer) if answer and code == 0 else Ended(code=code)

    def warm(self, task: Task) -> None:
        """Import what ``task`` imports."""
        named = Task(name="modules_after", arguments={"task": task})
        ended = self.join(self.start(named), 120)
        for name in ended.require() if isinstance(ended, Ended) else ():
            with contextlib.suppress(ImportError):  # an alias, or made by its importer
                importlib.import_module(name)


def _read_all(pipe: int, deadline: float) -> tuple[bytes, bool]:
    blocks = []
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return b"", False
        block = os.read(pipe, 2**20)
        if not block:
            return b"".join(blocks), True
        blocks.append(block)


def _say_where_it_is(pid: int) -> str:
    stack = Path(f"/proc/{pid}/wchan")
    return stack.read_text() if stack.exists() else "?"


def _be_child(task: Task, write_end: int) -> None:
    """Run ``task`` and end this process, whatever happens."""
    os.setpgid(0, 0)
    os.set_inheritable(write_end, False)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    try:
        answer = pickle.dumps(_run(task))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        while answer:
            answer = answer[os.write(write_end, answer) :]
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)


def _run(task: Task) -> Ended:
    from lake_assets_tests.torture import crowd, steps, strikes

    step = getattr(steps, task.name, None) or getattr(crowd, task.name)
    if task.watched is None:
        return _outcome(lambda: step(**task.arguments))
    strike = getattr(strikes, task.strike)
    points = Points(task.watched, at=task.at, strike=lambda: strike(**task.struck_with))
    with watch(points):
        ended = _outcome(lambda: step(**task.arguments))
    return Ended(
        code=0, value=ended.value, error=ended.error, is_known=ended.is_known,
        is_retryable=ended.is_retryable, trace=ended.trace,
        labels=tuple(points.labels), struck=points.struck,
    )  # fmt: skip


def _outcome(call: Callable[[], Any]) -> Ended:
    try:
        return Ended(code=0, value=call())
    except Exception as error:  # noqa: BLE001  # whatever it is, the test has to hear of it
        return Ended(
            code=0,
            error=f"{type(error).__name__}: {error}",
            is_known=isinstance(error, LakeError),
            is_retryable=isinstance(error, RetryableError),
            trace=traceback.format_exc(),
        )


def main() -> None:
    """Answer questions from stdin until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests to tell of
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    children = _Children()
    for module in ("lake_assets_tests.torture.crowd", "lake_assets_tests.torture.steps"):
        importlib.import_module(module)
    while True:
        try:
            word, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(getattr(children, word)(*arguments), answers)
        answers.flush()


if __name__ == "__main__":
    # As a module of the name that the pickles know, not as `__main__`.
    from lake_assets_tests.torture.server import main as main_by_name

    main_by_name()
