"""Whether memory stays flat when a delivery is four times as large."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path
from typing import Any

from benchmarks.lakes import ingest_file
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import Probe, probe
from benchmarks.samples import write_table

_FLAT = Goal(of="ratio", most=1.2)
_SAMPLING_S = 0.02


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Compare the peak memory of ingesting a large file with that of a small one."""
    lines = []
    for suffix, sizes in (
        ("parquet", scale.columnar_rows), ("csv", scale.text_rows), ("jsonl", scale.text_rows),
    ):  # fmt: skip
        small, large = (_ingest(folder, suffix, rows) for rows in sizes)
        what, peer = f"{sizes[1]:,} rows {suffix}", f"{sizes[0]:,} rows"
        lines.append(_line(f"peak memory, {what}", large.peak_mib, peer, small.peak_mib, _FLAT))
        if large.result["anonymous_mib"] and small.result["anonymous_mib"]:
            lines.append(
                _line(f"  of it not file cache, {what}", large.result["anonymous_mib"], peer,
                      small.result["anonymous_mib"], _FLAT)
            )  # fmt: skip
        lines.append(_speed(what, large, peer, small, sizes))
    return lines


def ingest_and_watch(home: str, source: str, rows: int) -> dict[str, Any]:
    """Ingest a file, and return its times and the process's peak of memory that is no file.

    Pages of a memory-mapped file count as resident too, but the system takes them back at will.
    """
    peak = _AnonymousPeak()
    peak.start()
    timed = ingest_file(home, source, rows)
    return {**timed, "anonymous_mib": peak.stop()}


class _AnonymousPeak(threading.Thread):
    """Looks at /proc/self/status now and then; elsewhere than on Linux the peak is 0."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._peak_kib = 0
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until ``stop``."""
        while sys.platform == "linux" and not self._ended.wait(_SAMPLING_S):
            status = Path("/proc/self/status").read_text(encoding="ascii")
            found = next((line for line in status.splitlines() if line.startswith("RssAnon")), "")
            self._peak_kib = max(self._peak_kib, int(found.split()[1]) if found else 0)

    def stop(self) -> float:
        """Return the peak in MiB."""
        self._ended.set()
        self.join()
        return self._peak_kib / 1024


def _ingest(folder: Path, suffix: str, rows: int) -> Probe:
    source, home = folder / f"{rows}.{suffix}", folder / f"lake-{suffix}-{rows}"
    probe(write_table, path=str(source), rows=rows)
    found = probe(ingest_and_watch, home=str(home), source=str(source), rows=rows)
    source.unlink()
    shutil.rmtree(home)
    return found


def _speed(what: str, large: Probe, peer: str, small: Probe, sizes: tuple[int, int]) -> Line:
    """Rows per second of CPU time: whether work grows with the rows and no faster.

    Not by the clock, as the two sizes are ingested minutes apart, and the machine may be busier.
    """
    return Line(
        measure=f"  rows per second of CPU, {what}",
        value=sizes[1] / large.result["ingest_cpu_s"],
        unit="rows/CPU s",
        peer=peer,
        peer_value=sizes[0] / small.result["ingest_cpu_s"],
        goal=None,
    )


def _line(measure: str, value: float, peer: str, peer_value: float, goal: Goal) -> Line:
    return Line(
        measure=measure, value=value, unit="MiB", peer=peer, peer_value=peer_value, goal=goal
    )
