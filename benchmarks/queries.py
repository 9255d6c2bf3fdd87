"""What the lake adds to a query: names instead of files, one snapshot, a schema that grew."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.lakes import TABLE, Unaccounted, deliver, new_lake
from benchmarks.model import Line, Scale
from benchmarks.probe import probe
from benchmarks.samples import write_table

_QUERIES = {
    "filter and sum": "SELECT count(*), sum(quantity), min(price) FROM {table} "
    "WHERE symbol = 'SYM42' AND price > 50",
    "search in text": "SELECT count(*) FROM {table} WHERE note LIKE '%card home%' AND is_buy",
    "nothing to read": "SELECT count(*) FROM {table}",
}


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time queries by name through the lake against DuckDB on the same files."""
    source = folder / "many.parquet"
    probe(write_table, path=str(source), rows=scale.query_rows)
    found = probe(query, home=str(folder / "lake"), source=str(source), rounds=scale.rounds).result[
        "ms"
    ]
    return [
        Line(
            measure=f"SQL on {scale.query_rows:,} rows: {name}",
            value=found[name]["lake"],
            unit="ms",
            peer="DuckDB on the files",
            peer_value=found[name]["duckdb"],
        )
        for name in _QUERIES
    ]


def query(home: str, source: str, rounds: int) -> dict[str, Any]:
    """Return the best milliseconds of each query, by name and on the files; in turns."""
    with new_lake(Path(home)) as lake:
        lake.ingest(deliver(lake, Path(source)).id)
        files = lake.stores.tables.data_files(TABLE)
        return {
            "ms": {
                name: _best(
                    lambda text=text: lake.sql(text.format(table=TABLE)).fetchall(),
                    lambda text=text: _by_duckdb(text, files),
                    rounds,
                )
                for name, text in _QUERIES.items()
            }
        }


def _by_duckdb(text: str, files: tuple[str, ...]) -> Any:
    import duckdb

    listed = ", ".join(f"'{file}'" for file in files)
    with duckdb.connect() as connection:  # a new one each time, as `Lake.sql` does
        return connection.execute(text.format(table=f"read_parquet([{listed}])")).fetchall()


def _best(lake: Callable[[], Any], duckdb: Callable[[], Any], rounds: int) -> dict[str, float]:
    if lake() != duckdb():  # warms both, too
        raise Unaccounted("the lake and DuckDB do not agree")
    times = [(_ms(lake), _ms(duckdb)) for _ in range(rounds)]
    return {"lake": min(t[0] for t in times), "duckdb": min(t[1] for t in times)}


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1_000
