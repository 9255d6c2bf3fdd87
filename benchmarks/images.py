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
from typing import TYPE_CHECKING, Any

from benchmarks.lakes import DATASET, PROVIDER, TABLE, deliver, new_lake, require_accepted
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import probe
from benchmarks.samples import write_images

if TYPE_CHECKING:
    from lake_assets.lake import Lake

_WORKERS = 2
_CHUNK = 4
_NEW = Goal(of="ratio", least=0.85)
_AGAIN = Goal(of="ratio", least=0.6)
_FLAT = Goal(of="ratio", most=1.2)
_GROWTH = {"full": (1_000, 10_000, 100_000), "small": (10, 100)}
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
    """Time the ingestion of new images, of the same ones again, and into a lake that has many."""
    images = folder / "images"
    probe(write_images, folder=str(images), count=scale.images)
    rounds: list[dict[str, Any]] = []
    for number in range(min(scale.rounds, 3)):  # in turns: a busy minute hits all of them
        floors = probe(look_and_hash, folder=str(images)).result
        lake = probe(ingest_twice, home=str(folder / f"lake{number}"), folder=str(images))
        rounds.append({**floors, **lake.result, "peak_mib": lake.peak_mib})
    lines = [_line(part, scale.images, rounds) for part in _PARTS]
    return [*lines, *_growth(scale, folder, images)]


def look_and_hash(folder: str) -> dict[str, Any]:
    """Return the seconds that two warm processes take to look at, and to hash, all images."""
    paths = sorted(map(str, Path(folder).iterdir()))
    found: dict[str, Any] = {}
    with Pool(_WORKERS) as pool:
        for name, function in (("look", look), ("hash", sha256)):
            pool.map(function, paths[: 8 * _WORKERS], 1)  # start, import, and fill the disk cache
            started = time.perf_counter()
            found[f"{name}_cpu_s"] = sum(pool.imap_unordered(function, paths, _CHUNK))
            found[f"{name}_s"] = time.perf_counter() - started
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
    with new_lake(Path(home), workers=_WORKERS) as lake:
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


# -- growth


def _growth(scale: Scale, folder: Path, images: Path) -> list[Line]:
    """CPU time, as the sizes are minutes apart; each image is new to all of them."""
    sizes = _GROWTH[scale.name]
    found = probe(
        ingest_into_more, home=str(folder / "grown"), folder=str(images), sizes=list(sizes)
    ).result["cpu_s"]
    return [
        Line(
            measure=f"CPU per new image, {size:,} in the lake",
            value=1000 * cpu,
            unit="ms",
            peer=f"{sizes[0]:,} in the lake",
            peer_value=1000 * found[0],
            goal=_FLAT if number else None,
        )
        for number, (size, cpu) in enumerate(zip(sizes, found, strict=True))
    ]


def ingest_into_more(home: str, folder: str, sizes: Sequence[int]) -> dict[str, Any]:
    """Return the CPU seconds per new image where so many images, and rows, are there before.

    Those are rows without files: what is there is never opened.
    """
    sources = sorted(Path(folder).iterdir())
    each = len(sources) // (len(sizes) + 1)
    found = []
    with new_lake(Path(home), workers=_WORKERS) as lake:
        _ingest_some(lake, sources[:each])  # makes the tables, imports what is needed
        for number, size in enumerate(sizes, start=1):
            _fill(lake, size)
            started = cpu_s()
            _ingest_some(lake, sources[number * each : (number + 1) * each])
            found.append((cpu_s() - started) / each)
    return {"cpu_s": found}


def _ingest_some(lake: Lake, sources: Sequence[Path]) -> None:
    folder = lake.home / "some" / sources[0].stem
    folder.mkdir(parents=True)
    for source in sources:
        (folder / source.name).hardlink_to(source)
    done = lake.ingest(deliver(lake, folder).id)
    require_accepted(sum(outcome.images_stored for outcome in done.outcomes), len(sources))


def _fill(lake: Lake, size: int) -> None:
    """Add made-up rows to both tables until there are ``size`` of each."""
    from lake_assets.contracts.names import DatasetName
    from lake_assets.storage.system_tables import IMAGES, RAW_COLUMNS, raw_spec
    from lake_assets.storage.tables import Delivery, PartWriter

    tables, name = lake.stores.tables, f"filled-{size}"
    present = tables.read(IMAGES.name)
    if (wanted := size - present.num_rows) <= 0:
        return
    shas = [hashlib.sha256(f"{size} {number}".encode()).hexdigest() for number in range(wanted)]
    contract = lake.registry.datasets[f"{PROVIDER}/{DATASET}"]
    own = tables.read(TABLE).drop_columns(RAW_COLUMNS.names).schema
    raw = raw_spec(DatasetName(PROVIDER, DATASET), contract, own)
    for spec, keys in ((IMAGES, ("sha256",)), (raw, ("_record_id", "_image"))):
        rows = _repeated(tables.read(spec.name), shas, keys)
        writer = PartWriter(tables.data_folder(spec.name), stem=name)
        writer.write(rows)
        tables.append_once(spec, [Delivery(key=name, parts=writer.close())])


def _repeated(rows: Any, shas: Sequence[str], keys: Sequence[str]) -> Any:
    """Return as many of ``rows`` as there are ``shas``, which become their ``keys``."""
    import pyarrow as pa

    filled = rows.take(pa.array([number % rows.num_rows for number in range(len(shas))]))
    for key in keys:
        position = filled.schema.get_field_index(key)
        filled = filled.set_column(position, filled.schema.field(key), pa.array(shas))
    return filled


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
