"""What a small delivery costs: many by themselves, and many as one group."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.lakes import TABLE, deliver, new_lake, require_accepted
from benchmarks.model import Line, Scale
from benchmarks.probe import probe
from benchmarks.samples import write_tables

_ROWS = 10


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time small uploads ingested one by one and together, against bare commits."""
    tables = str(folder / "tables")
    count = scale.commits
    probe(write_tables, folder=tables, count=count, rows=_ROWS)
    bare = probe(append_by_pyiceberg, folder=tables, home=str(folder / "bare")).result["ms"]
    alone = probe(ingest_one_by_one, folder=tables, home=str(folder / "alone")).result["ms"]
    group = probe(ingest_as_group, folder=tables, home=str(folder / "group")).result["ms_each"]
    few = max(1, count // 5)
    peer = "bare PyIceberg append"
    return [
        _line(f"{count} uploads of {_ROWS} rows, one by one", median(alone), peer, median(bare)),
        _line("  last fifth of them", median(alone[-few:]), "first fifth", median(alone[:few])),
        _line("  bare appends, last fifth", median(bare[-few:]), "first fifth", median(bare[:few])),
        _line("the same as one group, each", group, "one by one", median(alone)),
    ]


def ingest_one_by_one(folder: str, home: str) -> dict[str, Any]:
    """Return the milliseconds of each ``Lake.ingest``; staging is not among them."""
    with new_lake(Path(home)) as lake:
        uploads = [deliver(lake, file) for file in sorted(Path(folder).iterdir())]
        times = [_ms(lambda upload=upload: lake.ingest(upload.id)) for upload in uploads]
        require_accepted(_rows(lake), _ROWS * len(uploads))
    return {"ms": times}


def ingest_as_group(folder: str, home: str) -> dict[str, Any]:
    """Return the milliseconds per upload of one ``Lake.ingest_pending``."""
    with new_lake(Path(home)) as lake:
        uploads = [deliver(lake, file) for file in sorted(Path(folder).iterdir())]
        total = _ms(lake.ingest_pending)
        require_accepted(_rows(lake), _ROWS * len(uploads))
    return {"ms_each": total / len(uploads)}


def append_by_pyiceberg(folder: str, home: str) -> dict[str, Any]:
    """Return the milliseconds of each append to one plain table: what a commit costs at least."""
    import pyarrow.parquet as pq
    from pyiceberg.catalog.sql import SqlCatalog  # noqa: TID251  the floor, without the lake

    place = Path(home)
    place.mkdir()
    files = sorted(Path(folder).iterdir())
    catalog = SqlCatalog("bare", uri=f"sqlite:///{place}/catalog.db", warehouse=str(place))
    catalog.create_namespace("bench")
    table = catalog.create_table("bench.trades", pq.read_schema(files[0]))
    times = [_ms(lambda file=file: table.append(pq.read_table(file))) for file in files]
    catalog.close()
    return {"ms": times}


def _rows(lake: Any) -> int:
    return int(lake.sql(f"SELECT count(*) FROM {TABLE}").fetchone()[0])


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1_000


def _line(measure: str, value: float, peer: str, peer_value: float) -> Line:
    return Line(measure=measure, value=value, unit="ms", peer=peer, peer_value=peer_value)
