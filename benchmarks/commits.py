"""What a small delivery costs: many by themselves, and many as one group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.lakes import TABLE, deliver, new_lake, require_accepted
from benchmarks.model import Line, Scale
from benchmarks.probe import probe
from benchmarks.samples import write_tables

_ROWS = 10
_TIMES = ("lake_ms", "lake_cpu_ms", "bare_ms", "bare_cpu_ms")


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time small uploads ingested one by one and together, against bare commits."""
    tables = str(folder / "tables")
    count = scale.commits
    probe(write_tables, folder=tables, count=count, rows=_ROWS)
    each = probe(ingest_one_by_one, folder=tables, home=str(folder / "alone")).result
    group = probe(ingest_as_group, folder=tables, home=str(folder / "group")).result["ms_each"]
    alone, bare = median(each["lake_ms"]), median(each["bare_ms"])
    return [
        _line(f"{count} uploads of {_ROWS} rows, one by one", alone, "bare PyIceberg append", bare),
        _growth("  CPU, last fifth of them", each["lake_cpu_ms"]),
        _growth("  CPU of bare appends, last fifth", each["bare_cpu_ms"]),
        _line("the same as one group, each", group, "one by one", alone),
    ]


def ingest_one_by_one(folder: str, home: str) -> dict[str, Any]:
    """Return the milliseconds of each ``Lake.ingest``, and of appending the same rows without it.

    In turns, so that a busy minute hits both. Staging is not among them.
    """
    import pyarrow.parquet as pq

    files = sorted(Path(folder).iterdir())
    times: dict[str, list[float]] = {key: [] for key in _TIMES}
    with new_lake(Path(home)) as lake, _bare_table(Path(f"{home}-bare"), files[0]) as table:
        for upload, file in [(deliver(lake, file), file) for file in files]:
            rows = pq.read_table(file)
            bare = _cost(lambda rows=rows: table.append(rows))
            alone = _cost(lambda upload=upload: lake.ingest(upload.id))
            for key, ms in zip(_TIMES, (*alone, *bare), strict=True):
                times[key].append(ms)
        require_accepted(_rows(lake), _ROWS * len(files))
    return dict(times)


def ingest_as_group(folder: str, home: str) -> dict[str, Any]:
    """Return the milliseconds per upload of one ``Lake.ingest_pending``."""
    with new_lake(Path(home)) as lake:
        uploads = [deliver(lake, file) for file in sorted(Path(folder).iterdir())]
        total, _ = _cost(lake.ingest_pending)
        require_accepted(_rows(lake), _ROWS * len(uploads))
    return {"ms_each": total / len(uploads)}


@contextmanager
def _bare_table(place: Path, like: Path) -> Iterator[Any]:
    """Give an empty table with the columns of a Parquet file: the floor of a commit."""
    import pyarrow.parquet as pq
    from pyiceberg.catalog.sql import SqlCatalog  # noqa: TID251  the floor, without the lake

    place.mkdir()
    catalog = SqlCatalog("bare", uri=f"sqlite:///{place}/catalog.db", warehouse=str(place))
    catalog.create_namespace("bench")
    yield catalog.create_table("bench.trades", pq.read_schema(like))
    catalog.close()


def _rows(lake: Any) -> int:
    return int(lake.sql(f"SELECT count(*) FROM {TABLE}").fetchone()[0])


def _cost(work: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds of ``work`` by the clock, and those of this process's CPU time."""
    started, started_cpu = time.perf_counter(), time.process_time()
    work()
    ended, ended_cpu = time.perf_counter(), time.process_time()
    return (ended - started) * 1_000, (ended_cpu - started_cpu) * 1_000


def _growth(measure: str, times: list[float]) -> Line:
    """Compare the last ones with the first; in CPU time, as the machine may be busier by then."""
    few = max(1, len(times) // 5)
    return _line(measure, median(times[-few:]), "first fifth", median(times[:few]))


def _line(measure: str, value: float, peer: str, peer_value: float) -> Line:
    return Line(measure=measure, value=value, unit="ms", peer=peer, peer_value=peer_value)
