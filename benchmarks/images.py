"""How many images per second go all the way, against two processes that only look at them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from benchmarks.lakes import WORKERS, deliver, new_lake, require_accepted
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import probe
from benchmarks.samples import write_images

_CHUNK = 4


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time the ingestion of new images, and of the same ones again."""
    images = folder / "images"
    probe(write_images, folder=str(images), count=scale.images)
    looked, hashed, new, new_both, again, both = [], [], [], [], [], []
    for number in range(min(scale.rounds, 3)):  # in turns: a busy minute hits all of them
        floors = probe(look_and_hash, folder=str(images)).result
        lake = probe(ingest_twice, home=str(folder / f"lake{number}"), folder=str(images)).result
        looked.append(floors["look_s"])
        hashed.append(floors["hash_s"])
        new.append(lake["new_s"])
        new_both.append(lake["new_upload_s"] + lake["new_s"])
        again.append(lake["again_s"])
        both.append(lake["again_upload_s"] + lake["again_s"])
    look, sha = "2 processes only look", "2 processes SHA-256"
    count = scale.images
    as_fast, again_as_fast = Goal(of="ratio", least=0.85), Goal(of="ratio", least=0.6)
    return [
        _line(f"{count:,} new images, upload and ingest", count, new_both, look, looked, as_fast),
        _line("  ingest alone", count, new, look, looked, as_fast),
        _line("the same again, upload and ingest", count, both, sha, hashed, again_as_fast),
        _line("  ingest alone", count, again, sha, hashed, None),
    ]


def look_and_hash(folder: str) -> dict[str, Any]:
    """Return the seconds that two warm processes take to look at, and to hash, all images."""
    paths = sorted(map(str, Path(folder).iterdir()))
    with Pool(WORKERS) as pool:
        for function in (look, sha256):  # start, import, and fill the disk cache
            pool.map(function, paths[: 8 * WORKERS], 1)
        return {
            "look_s": _seconds(pool.imap_unordered, look, paths),
            "hash_s": _seconds(pool.imap_unordered, sha256, paths),
        }


def look(path: str) -> int:
    """Read, hash and decode an image at a reduced scale; pHash and thumbnail come with it."""
    from lake_assets.media.inspect import inspect_image

    return inspect_image(Path(path).read_bytes(), name=path).byte_count


def sha256(path: str) -> str:
    """Read and hash a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def ingest_twice(home: str, folder: str) -> dict[str, Any]:
    """Return the seconds of ingesting new images and then the same ones again."""
    source = Path(folder)
    count = sum(1 for _ in source.iterdir())
    with new_lake(Path(home), workers=WORKERS) as lake:
        begun = time.perf_counter()
        first = deliver(lake, source)
        started_new = time.perf_counter()
        done = lake.ingest(first.id)
        new_s = time.perf_counter() - started_new
        require_accepted(sum(outcome.images_stored for outcome in done.outcomes), count)
        started = time.perf_counter()
        second = deliver(lake, source)
        staged = time.perf_counter()
        repeated = lake.ingest(second.id)
        ended = time.perf_counter()
        require_accepted(sum(outcome.duplicate for outcome in repeated.outcomes), count)
    return {
        "new_upload_s": started_new - begun,
        "new_s": new_s,
        "again_upload_s": staged - started,
        "again_s": ended - staged,
    }


def _seconds(mapped: Callable[..., Any], function: Callable[[str], Any], paths: list[str]) -> float:
    started = time.perf_counter()
    for _ in mapped(function, paths, _CHUNK):
        pass
    return time.perf_counter() - started


def _line(
    measure: str, count: int, times: list[float], peer: str, peer_times: list[float],
    goal: Goal | None,
) -> Line:  # fmt: skip
    return Line(
        measure=measure,
        value=count / min(times),
        unit="images/s",
        peer=peer,
        peer_value=count / min(peer_times),
        goal=goal,
    )
