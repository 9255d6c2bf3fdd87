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
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
TIMEOUT_S = 1_200
_KIB_PER_UNIT = 1 / 1024 if sys.platform == "darwin" else 1  # ru_maxrss is in bytes on macOS
_SHOWN_CHARACTERS = 2_000


class ProbeFailed(Exception):
    """A process that was measured ended with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a function returned, and the memory of the process that ran it."""

    result: dict[str, Any]
    peak_mib: float
    """Largest resident set of the process or of one that it waited for, in MiB."""


def probe(function: Callable[..., dict[str, Any]], **arguments: Any) -> Probe:
    """Call ``function``, of a module, with ``arguments`` of JSON's types in a new process.

    Raises:
        ProbeFailed: with the end of what the process said.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    done = run(sys.executable, "-m", "benchmarks.probe", name, json.dumps(arguments))
    answer = json.loads(done.stdout.splitlines()[-1])
    return Probe(result=answer["result"], peak_mib=answer["peak_mib"])


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without the environment's settings of some other lake.

    Raises:
        ProbeFailed.
    """
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout)[-_SHOWN_CHARACTERS:]
        raise ProbeFailed(f"{' '.join(command)}: exit code {done.returncode}\n{said}")
    return done


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
