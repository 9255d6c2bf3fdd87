"""Run one function in a process of its own, and tell what it returned and what it took.

A process has one peak of memory, so whatever is measured gets a new one. The calling process stays
small: on Linux a child's ``ru_maxrss`` begins with what its parent had at the time of the fork.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
TIMEOUT_S = 1_200
_SAMPLING_S = 0.05
_KIB_PER_UNIT = 1 / 1024 if sys.platform == "darwin" else 1  # ru_maxrss is in bytes on macOS
_SHOWN_CHARACTERS = 2_000


class ProbeFailed(Exception):
    """A process that was measured ended with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a function returned, and the memory of the process that ran it."""

    result: dict[str, Any]
    peak_mib: float
    """Largest resident set of any one of its processes, in MiB."""
    anonymous_mib: float
    """The same without pages of files, which the system takes back at will; 0 but on Linux."""


def probe(function: Callable[..., dict[str, Any]], **arguments: Any) -> Probe:
    """Call ``function``, of a module, with ``arguments`` of JSON's types in a new process.

    Raises:
        ProbeFailed: with the end of what the process said.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    command = (sys.executable, "-m", "benchmarks.probe", name, json.dumps(arguments))
    with _Watch() as watch:
        done = run(*command, on_start=watch.look_at)
    answer = json.loads(done.stdout.splitlines()[-1])
    return Probe(
        result=answer["result"],
        peak_mib=max(answer["peak_mib"], watch.peak_mib),
        anonymous_mib=watch.anonymous_mib,
    )


def run(
    *command: str, on_start: Callable[[int], None] = lambda pid: None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without the environment's settings of some other lake.

    Args:
        on_start: Called with the process id, which is also that of its session.

    Raises:
        ProbeFailed.
    """
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    on_start(process.pid)
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise ProbeFailed(f"{' '.join(command)}: took more than {TIMEOUT_S} s") from None
    if process.returncode != 0:
        said = (err or out)[-_SHOWN_CHARACTERS:]
        raise ProbeFailed(f"{' '.join(command)}: exit code {process.returncode}\n{said}")
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class _Watch(threading.Thread):
    """Looks at the memory of each process of a session, workers of its workers too.

    What a process waited for is known to it (``RUSAGE_CHILDREN``), but a fork server's children
    are not the children of the one that they work for.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mib = 0.0
        self.anonymous_mib = 0.0
        self._session = 0
        self._ended = threading.Event()

    def look_at(self, session: int) -> None:
        """Begin."""
        self._session = session
        if sys.platform == "linux":
            self.start()

    def run(self) -> None:
        """Look until the block ends."""
        while not self._ended.wait(_SAMPLING_S):
            for status in self._statuses():
                self.peak_mib = max(self.peak_mib, status.get("VmHWM", 0) / 1024)
                self.anonymous_mib = max(self.anonymous_mib, status.get("RssAnon", 0) / 1024)

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self.is_alive():
            self.join()

    def _statuses(self) -> Iterator[dict[str, int]]:
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    if os.getsid(int(folder.name)) == self._session:
                        yield _kib_of((folder / "status").read_text(encoding="ascii"))
                except (ProcessLookupError, FileNotFoundError, PermissionError):
                    continue  # it has ended meanwhile


def _kib_of(status: str) -> dict[str, int]:
    """Return the sizes in proc(5)'s ``status``, by name."""
    fields = (line.split() for line in status.splitlines() if line.endswith(" kB"))
    return {name.removesuffix(":"): int(size) for name, size, _ in fields}


def seconds_of(*command: str) -> float:
    """Return how long a command takes, its start included."""
    started = time.perf_counter()
    run(*command)
    return time.perf_counter() - started


def lake_command(*words: str) -> tuple[str, ...]:
    """Return ``lake WORDS`` as the program that is installed beside this Python."""
    return (str(Path(sys.executable).with_name("lake")), *words)


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LAKE_")}
    return {key: value for key, value in kept.items() if not key.startswith("DAGSTER_")}


def _peak_mib() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, children) * _KIB_PER_UNIT / 1024


def _main(name: str, arguments: str) -> None:
    module, _, function = name.partition(":")
    result = getattr(import_module(module), function)(**json.loads(arguments))
    sys.stdout.write(json.dumps({"result": result, "peak_mib": _peak_mib()}) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
