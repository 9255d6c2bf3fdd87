"""How fast tables go into the lake, against DuckDB writing the same rows as Parquet."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.lakes import DATASET, PROVIDER, ingest_file
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import lake_command, probe, run, seconds_of
from benchmarks.samples import write_table

_FEW_ROWS = 10
_ROUNDS = 2
_READERS = {"parquet": "read_parquet", "csv": "read_csv", "jsonl": "read_json"}
_PEERS = {
    "parquet": "DuckDB COPY to Parquet, zstd",
    "csv": "DuckDB CSV to Parquet",
    "jsonl": "DuckDB JSON to Parquet",
}
_LEAST = {"parquet": 0.6, "csv": 0.5, "jsonl": 0.5}


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time upload and ingestion of a table in each format, and of one through Dagster."""
    lines = []
    for suffix in _READERS:
        rows = scale.parquet_rows if suffix == "parquet" else scale.text_rows
        lines += _of_format(folder, suffix, rows, min(scale.rounds, _ROUNDS))
    return [*lines, *_through_commands(scale, folder)]


def _of_format(folder: Path, suffix: str, rows: int, rounds: int) -> list[Line]:
    source = folder / f"rows.{suffix}"
    probe(write_table, path=str(source), rows=rows)
    copied, timed = [], []
    for _ in range(rounds):  # in turns: a busy minute hits both
        copied.append(probe(copy_by_duckdb, source=str(source)).result["copy_s"])
        home = folder / "lake"
        timed.append(ingest_file_in(str(home), source, rows=rows))
        shutil.rmtree(home)
    source.unlink()
    best = min(timed, key=lambda times: times["upload_s"] + times["ingest_s"])
    goal = Goal(of="ratio", least=_LEAST[suffix])
    both = best["upload_s"] + best["ingest_s"]
    seconds = {"upload and ingest": both, "ingest alone": best["ingest_s"]}
    return [
        Line(
            measure=f"{rows:,} rows {suffix}: {what}",
            value=rows / taken,
            unit="rows/s",
            peer=_PEERS[suffix],
            peer_value=rows / min(copied),
            goal=goal,
        )
        for what, taken in seconds.items()
    ]


def ingest_file_in(home: str, source: Path, *, rows: int) -> dict[str, Any]:
    """Return the times of ingesting ``source`` into a new lake, in a process of its own."""
    return probe(ingest_file, home=home, source=str(source), rows=rows).result


def copy_by_duckdb(source: str) -> dict[str, Any]:
    """Return the seconds in which DuckDB writes a file's rows as Parquet: the floor."""
    import duckdb

    target = f"{source}.copy"
    reader = _READERS[source.rpartition(".")[2]]
    with duckdb.connect() as connection:
        started = time.perf_counter()
        connection.execute(
            f"COPY (FROM {reader}('{source}')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )
        taken = time.perf_counter() - started
    Path(target).unlink()
    return {"copy_s": taken}


def _through_commands(scale: Scale, folder: Path) -> list[Line]:
    """Time `lake process start --wait`: a Dagster run with checks and the catalog."""
    many, few = folder / "many.parquet", folder / "few.parquet"
    probe(write_table, path=str(many), rows=scale.command_rows)
    probe(write_table, path=str(few), rows=_FEW_ROWS)
    rounds = range(min(scale.rounds, _ROUNDS))
    started = min(_by_command(folder / f"few{n}", few) for n in rounds)
    taken = min(_by_command(folder / f"many{n}", many) for n in rounds)
    return [
        Line(
            measure=f"{scale.command_rows:,} rows parquet: process start --wait",
            value=taken,
            unit="s",
            peer=f"the same, {_FEW_ROWS} rows",
            peer_value=started,
        )
    ]


def _by_command(home: Path, source: Path) -> float:
    lake = lake_command("--home", str(home))
    run(*lake, "init")
    run(*lake, "upload", "raw", str(source), "--provider", PROVIDER, "--dataset", DATASET,
        "--create")  # fmt: skip
    return seconds_of(*lake, "process", "start", "--wait")
