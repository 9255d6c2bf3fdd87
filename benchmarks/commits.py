"""What a small delivery costs: many by themselves, and many as one group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.lakes import TABLE, deliver, new_lake, require_accepted
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import probe
from benchmarks.rows import ingest_file_in
from benchmarks.samples import write_table, write_tables

_ROWS = 10
_TIMES = ("lake_ms", "lake_cpu_ms", "bare_ms", "bare_cpu_ms")


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time small uploads ingested one by one and together, against bare commits."""
    single, group = str(folder / "single"), str(folder / "group")
    probe(write_tables, folder=single, count=scale.single_uploads, rows=_ROWS)
    probe(write_tables, folder=group, count=scale.small_uploads, rows=_ROWS)
    whole = str(folder / "whole.parquet")
    probe(write_table, path=whole, rows=scale.small_uploads * _ROWS)
    each = probe(ingest_one_by_one, folder=single, home=str(folder / "alone")).result
    together = probe(ingest_as_group, folder=group, home=str(folder / "together")).result
    one = [ingest_file_in(str(folder / f"one{n}"), Path(whole), rows=scale.small_uploads * _ROWS)
           for n in range(min(scale.rounds, 3))]  # fmt: skip
    count, ms_each = scale.small_uploads, together["ms_each"]
    alone, bare = median(each["lake_ms"]), median(each["bare_ms"])
    return [
        Line(
            measure=f"{count:,} uploads of {_ROWS} rows, ingested together",
            value=ms_each * count / 1_000,
            unit="s",
            peer="the same rows as one upload",
            peer_value=min(times["ingest_s"] for times in one),
            goal=Goal(of="ratio", most=10),
        ),
        _line("  each", ms_each, "bare PyIceberg append", bare, Goal(of="value", most=60)),
        _line("  staging each", together["upload_ms_each"], "bare PyIceberg append", bare),
        _line(f"{scale.single_uploads} uploads of {_ROWS} rows, one by one, each", alone,
              "bare PyIceberg append", bare),
        _growth("  CPU, last fifth of them", each["lake_cpu_ms"]),
        _growth("  CPU of bare appends, last fifth", each["bare_cpu_ms"]),
        *_of_history(scale, folder),
    ]  # fmt: skip


def _of_history(scale: Scale, folder: Path) -> list[Line]:
    few, many = scale.grown_keys
    found = probe(append_onto_history, home=str(folder / "history"), sizes=[few, many]).result
    peer = f"after {few:,}"
    return [
        _line(f"which of 10 keys are there, after {many:,} commits", found["look_ms"][1], peer,
              found["look_ms"][0], Goal(of="ratio", most=1.5)),
        _line(f"  an append, after {many:,} commits", found["append_ms"][1], peer,
              found["append_ms"][0]),
        _line("  and with all but the last expired", found["expired_ms"], peer,
              found["append_ms"][0], Goal(of="ratio", most=1.5)),
    ]  # fmt: skip


def append_onto_history(home: str, sizes: list[int]) -> dict[str, Any]:
    """Return what a look for keys and an append cost a table of so many commits, best of ten."""
    from datetime import UTC, datetime

    import pyarrow as pa

    from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec
    from lake_assets.storage.tables.catalog import LakeCatalog

    place = (Path(home) / "tables", Path(home) / "catalog.db")
    place[0].mkdir(parents=True)
    spec = TableSpec(name="bench.keys", schema=pa.schema([("a", pa.int64())]))
    tables, keys = IcebergTables(*place), iter(range(10**9))

    def append() -> None:
        tables.append_once(spec, [Delivery(keys=(f"u{next(keys)}",), parts=())])

    looks, appends, count = [], [], 0
    ten = [f"u{number}" for number in range(10)]
    for size in sizes:
        while count < size:
            append()
            count += 1
        looks.append(min(_cost(lambda: tables.committed(spec.name, ten))[0] for _ in range(10)))
        appends.append(min(_cost(append)[0] for _ in range(10)))
        count += 10
    catalog = LakeCatalog(*place)
    expiry = catalog.load_table(spec.name).maintenance.expire_snapshots()
    expiry.older_than(datetime.now(tz=UTC)).commit()
    catalog.close()
    require_accepted(len(tables.committed(spec.name, [f"u{n}" for n in range(count)])), count)
    expired = min(_cost(append)[0] for _ in range(10))
    tables.close()
    return {"look_ms": looks, "append_ms": appends, "expired_ms": expired}


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
    """Return the milliseconds per upload of one ``Lake.ingest_pending``, and of staging them."""
    files = sorted(Path(folder).iterdir())
    with new_lake(Path(home)) as lake:
        staged, _ = _cost(lambda: [deliver(lake, file) for file in files])
        total, _ = _cost(lake.ingest_pending)
        require_accepted(_rows(lake), _ROWS * len(files))
    return {"ms_each": total / len(files), "upload_ms_each": staged / len(files)}


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


def _line(
    measure: str, value: float, peer: str, peer_value: float, goal: Goal | None = None
) -> Line:
    return Line(
        measure=measure, value=value, unit="ms", peer=peer, peer_value=peer_value, goal=goal
    )
