"""How long a table of 100,000 rows takes: in this process, and through Dagster."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.lakes import DATASET, PROVIDER, ingest_file
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import lake_command, probe, run, seconds_of
from benchmarks.samples import write_table

_FEW_ROWS = 10
_WITHIN = Goal(of="value", most=10)


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time upload and ingestion of a Parquet file against DuckDB rewriting it."""
    many, few = folder / "many.parquet", folder / "few.parquet"
    probe(write_table, path=str(many), rows=scale.table_rows)
    probe(write_table, path=str(few), rows=_FEW_ROWS)
    rounds = range(min(scale.rounds, 3))
    copied = min(probe(copy_by_duckdb, source=str(many)).result["copy_s"] for _ in rounds)
    here = [ingest_file_in(str(folder / f"here{n}"), many, rows=scale.table_rows) for n in rounds]
    best = min(here, key=lambda timed: timed["upload_s"] + timed["ingest_s"])
    started = min(_through_dagster(folder / f"few{n}", few) for n in rounds)
    walls = min(_through_dagster(folder / f"many{n}", many) for n in rounds)
    what = f"{scale.table_rows:,} rows Parquet"
    peer = "DuckDB COPY to Parquet, zstd"
    return [
        _line(f"{what}: upload", best["upload_s"], peer, copied, None),
        _line(f"{what}: ingest", best["ingest_s"], peer, copied, None),
        _line(f"{what}: both", best["upload_s"] + best["ingest_s"], peer, copied, _WITHIN),
        _line(f"{what}: process start --wait", walls, f"the same, {_FEW_ROWS} rows", started,
              _WITHIN),
        _line(f"{what}: the same minus start-up", max(0.0, walls - started), peer, copied, _WITHIN),
    ]  # fmt: skip


def ingest_file_in(home: str, source: Path, *, rows: int) -> dict[str, Any]:
    """Return the times of ingesting ``source`` into a new lake, in a process of its own."""
    return probe(ingest_file, home=home, source=str(source), rows=rows).result


def copy_by_duckdb(source: str) -> dict[str, Any]:
    """Return the seconds in which DuckDB rewrites a Parquet file: the floor of any ingestion."""
    import duckdb

    target = f"{source}.copy"
    with duckdb.connect() as connection:
        started = time.perf_counter()
        connection.execute(
            f"COPY (FROM read_parquet('{source}')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )
        return {"copy_s": time.perf_counter() - started}


def _through_dagster(home: Path, source: Path) -> float:
    lake = lake_command("--home", str(home))
    run(*lake, "init")
    run(*lake, "upload", "raw", str(source), "--provider", PROVIDER, "--dataset", DATASET,
        "--create")  # fmt: skip
    return seconds_of(*lake, "process", "start", "--wait")


def _line(measure: str, value: float, peer: str, peer_value: float, goal: Goal | None) -> Line:
    return Line(measure=measure, value=value, unit="s", peer=peer, peer_value=peer_value, goal=goal)
