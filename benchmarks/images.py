"""How many images per second go all the way, against two processes that only look at them."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pool, forkserver
from pathlib import Path
from typing import Any

from benchmarks.lakes import WORKERS, deliver, new_lake, require_accepted
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import probe
from benchmarks.samples import write_images

_CHUNK = 4
_NEW = Goal(of="ratio", least=0.85)
_AGAIN = Goal(of="ratio", least=0.6)
_CPU_FIELDS = slice(11, 15)
"""Of /proc/PID/stat, behind the command: user and system time of the process, and of the children
that it waited for (proc_pid_stat(5))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One measured step of all rounds, and its floor: seconds each."""

    measure: str
    key: str
    peer: str
    floor: str
    goal: Goal | None = None


_LOOK, _HASH = "2 processes only look", "2 processes SHA-256"
_PARTS = (
    _Part(measure="new images, both", key="new_s", peer=_LOOK, floor="look_s", goal=_NEW),
    _Part(measure="new images, ingest alone", key="new_ingest_s", peer=_LOOK, floor="look_s"),
    _Part(measure="new images, both, by CPU time", key="new_cpu_s", peer=_LOOK, floor="look_cpu_s"),
    _Part(measure="the same again, both", key="again_s", peer=_HASH, floor="hash_s", goal=_AGAIN),
    _Part(measure="the same again, upload alone", key="again_upload_s", peer=_HASH, floor="hash_s"),
    _Part(measure="the same again, ingest alone", key="again_ingest_s", peer=_HASH, floor="hash_s"),
    _Part(measure="the same again, both, by CPU time", key="again_cpu_s", peer=_HASH,
          floor="hash_cpu_s"),
)  # fmt: skip


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time the ingestion of new images, and of the same ones again."""
    images = folder / "images"
    probe(write_images, folder=str(images), count=scale.images)
    rounds: list[dict[str, Any]] = []
    for number in range(min(scale.rounds, 3)):  # in turns: a busy minute hits all of them
        floors = probe(look_and_hash, folder=str(images)).result
        lake = probe(ingest_twice, home=str(folder / f"lake{number}"), folder=str(images))
        rounds.append({**floors, **lake.result, "peak_mib": lake.peak_mib})
    return [_line(part, scale.images, rounds) for part in _PARTS]


def look_and_hash(folder: str) -> dict[str, Any]:
    """Return the seconds that two warm processes take to look at, and to hash, all images."""
    paths = sorted(map(str, Path(folder).iterdir()))
    found: dict[str, Any] = {}
    with Pool(WORKERS) as pool:
        for name, function in (("look", look), ("hash", sha256)):
            pool.map(function, paths[: 8 * WORKERS], 1)  # start, import, and fill the disk cache
            started = time.perf_counter()
            found[f"{name}_cpu_s"] = sum(pool.imap_unordered(function, paths, _CHUNK))
            found[f"{name}_s"] = time.perf_counter() - started
        # Not left to the block's end, which terminates: a worker that waits may then stay for ever.
        pool.close()
        pool.join()
    return found


def look(path: str) -> float:
    """Read, hash and decode an image at a reduced scale; pHash and thumbnail come with it.

    Returns the seconds of CPU that it took, as ``sha256`` does.
    """
    from lake_assets.media.inspect import inspect_image

    started = time.process_time()
    inspect_image(Path(path).read_bytes(), name=path)
    return time.process_time() - started


def sha256(path: str) -> float:
    """Read and hash a file."""
    started = time.process_time()
    hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return time.process_time() - started


def ingest_twice(home: str, folder: str) -> dict[str, Any]:
    """Return the seconds of delivering and ingesting new images, and then the same ones again."""
    source = Path(folder)
    count = sum(1 for _ in source.iterdir())
    found: dict[str, Any] = {}
    with new_lake(Path(home), workers=WORKERS) as lake:
        for name in ("new", "again"):
            started, cpu = time.perf_counter(), cpu_s()
            upload = deliver(lake, source)
            staged = time.perf_counter()
            done = lake.ingest(upload.id)
            ended = time.perf_counter()
            stored = sum(outcome.images_stored for outcome in done.outcomes)
            duplicate = sum(outcome.duplicate for outcome in done.outcomes)
            require_accepted(stored if name == "new" else duplicate, count)
            found |= {
                f"{name}_s": ended - started,
                f"{name}_upload_s": staged - started,
                f"{name}_ingest_s": ended - staged,
                f"{name}_cpu_s": cpu_s() - cpu,
            }
    return found


def cpu_s() -> float:
    """Return the seconds of CPU of this process and of all workers that it ever ended.

    Workers are children of the fork server, so no ``getrusage`` of this process counts them.
    Elsewhere than on Linux they are left out.
    """
    server = forkserver._forkserver._forkserver_pid
    if server is None or sys.platform != "linux":
        return time.process_time()
    fields = Path(f"/proc/{server}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return time.process_time() + sum(map(int, fields[_CPU_FIELDS])) / os.sysconf("SC_CLK_TCK")


def _line(part: _Part, count: int, rounds: Sequence[dict[str, Any]]) -> Line:
    value, floor = (count / min(one[key] for one in rounds) for key in (part.key, part.floor))
    return Line(
        measure=f"{count:,} {part.measure}",
        value=value,
        unit="images/CPU s" if "cpu" in part.key else "images/s",
        peer=part.peer,
        peer_value=floor,
        goal=part.goal,
    )
