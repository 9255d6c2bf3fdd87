"""Whether an image takes longer to ingest the more images the lake has.

The images that the lake "has" are rows only, written by the lake's own part writer and committed
as so many uploads of a thousand: ingesting 100,000 real ones would take ten minutes, and what may
slow down new ones is the tables. The new ones are real.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.lakes import DATASET, PROVIDER, TABLE, WORKERS, deliver, new_lake, require_accepted
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import probe
from benchmarks.samples import write_images

if TYPE_CHECKING:
    from lake_assets.lake import Lake
    from lake_assets.storage.tables import TableSpec

_FLAT = Goal(of="ratio", most=1.2)
_UPLOAD_ROWS = 1_000
_SIDE_PX = 640
_AT = datetime(2026, 1, 1, tzinfo=UTC)


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time new images into a lake of each size, in the same lake as it grows."""
    rounds = min(scale.rounds, 3)
    for number in range(rounds * len(scale.grown_images)):
        probe(write_images, folder=str(folder / f"new{number}"), count=scale.new_images,
              first=number * scale.new_images, longest_side_px=_SIDE_PX)  # fmt: skip
    result = probe(
        ingest_into_growing_lake,
        home=str(folder / "lake"),
        folder=str(folder),
        sizes=list(scale.grown_images),
        rounds=rounds,
    ).result
    first, *others = scale.grown_images
    return [
        Line(
            measure=f"{scale.new_images} new images into {size:,}, each",
            value=result["ms"][str(size)],
            unit="ms",
            peer=f"into {first:,}",
            peer_value=result["ms"][str(first)],
            goal=_FLAT,
        )
        for size in others
    ]


def ingest_into_growing_lake(
    home: str, folder: str, sizes: list[int], rounds: int
) -> dict[str, Any]:
    """Return the best milliseconds per new image in a lake of each size, catalog included."""
    number = 0
    best: dict[str, float] = {}
    with new_lake(Path(home), workers=WORKERS) as lake:
        has = 0
        for size in sizes:
            has = _grow(lake, has, size)
            times = []
            for _ in range(rounds):
                source = Path(folder) / f"new{number}"
                times.append(_ms_each(lake, source))
                number += 1
            best[str(size)] = min(times)
    return {"ms": best}


def _ms_each(lake: Lake, source: Path) -> float:
    upload = deliver(lake, source)
    started = time.perf_counter()
    done = lake.ingest(upload.id)
    taken = time.perf_counter() - started
    stored = sum(outcome.images_stored for outcome in done.outcomes)
    require_accepted(stored, sum(1 for _ in source.iterdir()))
    return taken / stored * 1_000


def _grow(lake: Lake, has: int, size: int) -> int:
    """Commit rows of images that were never ingested, until the tables have ``size`` of them."""
    from lake_assets.contracts.datasets import DatasetContract
    from lake_assets.contracts.names import DatasetName
    from lake_assets.contracts.registry import update_registry
    from lake_assets.storage.system_tables import IMAGES, UPLOADS, table_spec

    name, contract = DatasetName(PROVIDER, DATASET), DatasetContract()
    if not has:
        lake.create_provider(PROVIDER)
        update_registry(
            lake.stores.layout.registry_file, lambda known: known.with_dataset(name, contract)
        )
    for first in range(has, size, _UPLOAD_ROWS):
        numbers = range(first, min(first + _UPLOAD_ROWS, size))
        key = f"synthetic-{first:09d}"
        _append(lake, IMAGES, key, (_image(number, key) for number in numbers))
        raw = table_spec(name, contract, _no_columns())
        _append(lake, raw, key, (_row(number, key) for number in numbers))
        _append(lake, UPLOADS, key, iter([_upload(key, len(numbers))]))
    require_accepted(int(lake.sql(f"SELECT count(*) FROM {TABLE}").fetchone()[0]) >= size, True)
    return size


def _append(lake: Lake, spec: TableSpec, key: str, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa

    from lake_assets.storage.tables import Delivery

    with lake.stores.tables.part_writer(spec, stem=key) as parts:
        parts.write(pa.Table.from_pylist(list(rows), schema=spec.schema))
        lake.stores.tables.append_once(spec, [Delivery(keys=(key,), parts=parts.close())])


def _no_columns() -> Any:
    import pyarrow as pa

    return pa.schema([])


def _sha(number: int) -> str:
    return hashlib.sha256(b"synthetic %d" % number).hexdigest()


def _image(number: int, key: str) -> dict[str, Any]:
    sha = _sha(number)
    place = f"provider={PROVIDER}/dataset={DATASET}/{sha[:2]}/{sha[2:4]}/{sha}.jpg"
    return {
        "provider": PROVIDER, "dataset": DATASET, "sha256": sha, "location": place,
        "thumbnail": place, "byte_count": 50_000, "mime_type": "image/jpeg", "width_px": 480,
        "height_px": 640, "orientation": 1, "phash": int(sha[:15], 16), "sharpness": 1.0,
        "brightness": 0.5, "stored_sha256": sha, "stored_byte_count": 50_000,
        "source_name": f"{number:09d}.jpg", "tag": None, "_upload_id": key, "upload_time": _AT,
    }  # fmt: skip


def _row(number: int, key: str) -> dict[str, Any]:
    sha = _sha(number)
    return {"_record_id": sha, "_upload_id": key, "_ingested_at": _AT, "_image": sha}


def _upload(key: str, rows: int) -> dict[str, Any]:
    counts = {"rows_in": rows, "accepted": rows, "images_in": rows, "images_stored": rows}
    return {
        "upload_id": key, "provider": PROVIDER, "dataset": DATASET, "task": "raw", "variant": "",
        "kind": "delivery", "meta": [], "created_at": _AT,
        "finished_at": _AT, "rejected": 0, "duplicate": 0, "data_files": [], **counts,
    }  # fmt: skip
