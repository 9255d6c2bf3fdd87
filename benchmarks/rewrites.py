"""What it takes that a column of many rows becomes another type, for which its files are written
anew, against the first ingestion of these rows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.lakes import TABLE, deliver, ingest_file, require_accepted
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import Probe, probe
from benchmarks.samples import write_table

_MOST = Goal(of="ratio", most=1.5)
_MOST_MIB = Goal(of="value", most=1_024)
_ROUNDS = 2


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time a delivery of one row with a fraction in a column of whole numbers."""
    rows, source = scale.parquet_rows, folder / "rows.parquet"
    probe(write_table, path=str(source), rows=rows)
    rounds = [_round(folder / f"lake{n}", source, rows) for n in range(min(scale.rounds, _ROUNDS))]
    firsts, rewrites = zip(*rounds, strict=True)
    peer = "their first ingestion"
    return [
        Line(
            measure=f"{rows:,} rows: a long becomes a double",
            value=min(found.result["ingest_s"] for found in rewrites),
            unit="s",
            peer=peer,
            peer_value=min(found.result["ingest_s"] for found in firsts),
            goal=_MOST,
        ),
        Line(
            measure="  peak memory",
            value=max(found.peak_mib for found in rewrites),
            unit="MiB",
            peer=peer,
            peer_value=max(found.peak_mib for found in firsts),
            goal=_MOST_MIB,
        ),
    ]


def _round(home: Path, source: Path, rows: int) -> tuple[Probe, Probe]:
    first = probe(ingest_file, home=str(home), source=str(source), rows=rows)
    return first, probe(ingest_fraction, home=str(home), rows=rows + 1)


def ingest_fraction(home: str, rows: int) -> dict[str, Any]:
    """Return the seconds that one row with a fraction takes, whose column then is of doubles."""
    from lake_assets.lake import Lake

    source = Path(home).with_suffix(".csv")
    source.write_text("trade_id,quantity\n0,40.5\n", encoding="utf-8")
    with Lake.open(home) as lake:
        upload = deliver(lake, source)
        started = time.perf_counter()
        lake.ingest(upload.id)
        ended = time.perf_counter()
        question = f"SELECT count(*) FROM {TABLE} WHERE typeof(quantity) = 'DOUBLE'"
        require_accepted(int(lake.sql(question).fetchone()[0]), rows)
    return {"ingest_s": ended - started}
