"""How worker processes start and end.

Invariant: no worker outlives the process that uses the pool, however that one ended.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess


def process_context() -> BaseContext:
    """Return the way to start workers: from a fork server, or by spawning where there is none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Pillow, NumPy and imagehash take 0.2 s to import. Has no effect on a server that runs already.
    context.set_forkserver_preload(["lake_assets.media.inspect"])
    return context


def start_worker() -> None:
    """Prepare a worker for its end. Runs in each of them before the first item."""
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the process that uses the pool is gone, however it went.

    A worker holds both ends of its own call queue, so it would never see that queue close. Linux's
    PR_SET_PDEATHSIG would watch the fork server instead, which is the worker's parent there.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def processes_of(pool: ProcessPoolExecutor) -> list[BaseProcess]:
    """Return the workers of ``pool`` that were started so far; none after its shutdown."""
    # Private, but the same from Python 3.11 to 3.14, where kill_workers() reads it too.
    return list((pool._processes or {}).values())


def kill_workers(pool: ProcessPoolExecutor) -> None:
    """End the workers at once, over whatever they work on."""
    for process in processes_of(pool):
        process.kill()


def describe_exits(codes: list[int]) -> str:
    """Say how workers ended, of which one died, from their ``Process.exitcode``."""
    # The pool ends the survivors with SIGTERM, so that one says nothing about the first death.
    telling = [code for code in codes if code != -signal.SIGTERM] or codes
    return "worker process ended: " + (", ".join(map(_describe_exit, telling)) or "unknown cause")


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    hint = ", perhaps out of memory" if code == -signal.SIGKILL else ""
    return f"signal {name}{hint}"
