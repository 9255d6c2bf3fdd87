"""How fast tables go into the lake, against DuckDB writing the same rows as Parquet."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.lakes import DATASET, PROVIDER, ingest_file
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import lake_command, probe, run, seconds_of
from benchmarks.samples import write_drifting, write_table

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
    drifting = _drifting(folder, scale.text_rows, min(scale.rounds, _ROUNDS))
    return [*lines, drifting, *_through_commands(scale, folder)]


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


def _drifting(folder: Path, rows: int, rounds: int) -> Line:
    source = folder / "drifting.jsonl"
    probe(write_drifting, path=str(source), rows=rows)
    copied, written = [], []
    for _ in range(rounds):
        copied.append(probe(copy_by_duckdb, source=str(source)).result["copy_s"])
        target = folder / "written" / "data"
        written.append(probe(write_parts, source=str(source), target=str(target), rows=rows).result)
        shutil.rmtree(target.parent)
    source.unlink()
    return Line(
        measure=f"{rows:,} rows jsonl, 5 % drifting: schema merged, and written",
        value=rows / min(taken["write_s"] for taken in written),
        unit="rows/s",
        peer=_PEERS["jsonl"],
        peer_value=rows / min(copied),
        goal=Goal(of="ratio", least=_LEAST["jsonl"]),
    )


def write_parts(source: str, target: str, rows: int) -> dict[str, Any]:
    """Return the seconds from a JSON Lines file to the finished Parquet parts of a new table."""
    import pyarrow as pa

    from lake_assets.contracts.drift import fit_rows
    from lake_assets.ingest.tuning import tuned_for
    from lake_assets.intake.model import ReadOptions, StagedFile
    from lake_assets.intake.readers import read_upload
    from lake_assets.storage.tables.parts import PartWriter

    file = Path(source)
    size = file.stat().st_size
    staged = StagedFile(name=file.name, byte_count=size, sha256="0" * 64, role="data")
    schema = pa.schema([])
    started = time.perf_counter()
    with tuned_for(size), PartWriter(Path(target), stem="rows") as writer:
        for batch in read_upload(file.parent, [staged], ReadOptions()):
            fitted = fit_rows(batch.rows, schema)
            schema = fitted.schema
            writer.write(fitted.rows)
        found = sum(part.rows for part in writer.close())
    taken = time.perf_counter() - started
    if found != rows:
        raise RuntimeError(f"{found:,} rows were written, not {rows:,}")
    return {"write_s": taken}


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
