"""A new lake for one measurement, and what ingesting one delivery into it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lake_assets.intake.uploads import Upload
    from lake_assets.lake import Lake

PROVIDER, DATASET = "bench", "trades"
WORKERS = 2
"""Processes that look at images: the issue counts two cores."""
TABLE = f"{PROVIDER}.{DATASET}"


class Unaccounted(Exception):
    """A lake did not take in what it was given, so its times mean nothing."""


@contextmanager
def new_lake(home: Path, *, workers: int | None = None) -> Iterator[Lake]:
    """Give a lake at ``home``; ``workers`` goes into its lake.toml."""
    from lake_assets.lake import Lake

    Lake.init(home).close()
    if workers is not None:
        (home / "lake.toml").write_text(f"workers = {workers}\n", encoding="utf-8")
    with Lake.open(home) as lake:
        yield lake


def deliver(lake: Lake, source: Path) -> Upload:
    """Stage ``source`` for the dataset that all measures use."""
    return lake.upload_raw_data(source, provider=PROVIDER, dataset=DATASET, create_provider=True)


def ingest_file(home: str, source: str, rows: int) -> dict[str, Any]:
    """Return the seconds that staging and ingesting a file into a new lake take."""
    with new_lake(Path(home)) as lake:
        started = time.perf_counter()
        upload = deliver(lake, Path(source))
        staged, staged_cpu = time.perf_counter(), time.process_time()
        done = lake.ingest(upload.id)
        ended, ended_cpu = time.perf_counter(), time.process_time()
    require_accepted(sum(outcome.accepted for outcome in done.outcomes), rows)
    return {
        "upload_s": staged - started,
        "ingest_s": ended - staged,
        "ingest_cpu_s": ended_cpu - staged_cpu,
    }


def ingest_images(home: str, folder: str) -> dict[str, Any]:
    """Return the seconds that staging and ingesting a folder of images take."""
    source = Path(folder)
    count = sum(1 for _ in source.iterdir())
    with new_lake(Path(home), workers=WORKERS) as lake:
        started = time.perf_counter()
        upload = deliver(lake, source)
        staged = time.perf_counter()
        done = lake.ingest(upload.id)
        ended = time.perf_counter()
    require_accepted(sum(outcome.images_stored for outcome in done.outcomes), count)
    return {"upload_s": staged - started, "ingest_s": ended - staged}


def require_accepted(accepted: int, expected: int) -> None:
    """Raise unless all rows arrived.

    Raises:
        Unaccounted.
    """
    if accepted != expected:
        raise Unaccounted(f"{accepted} of {expected} rows are in the table")
