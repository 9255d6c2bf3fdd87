"""One plain table for people, and the same as JSON for those who compare runs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.model import Line, Scale

_HEAD = ("measure", "value", "floor or peer", "", "ratio", "goal", "")
_RIGHT = (1, 3, 4)
"""Columns of numbers."""
_PACKAGES = ("dagster", "duckdb", "pillow", "pyarrow", "pyiceberg")


def table(lines: Sequence[Line]) -> str:
    """Return the lines as text in columns."""
    cells = [_HEAD, *(_cells(line) for line in lines)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(_HEAD))]
    return "\n".join(_row(row, widths) for row in cells)


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_1min": os.getloadavg()[0],
        **{name: version(name) for name in _PACKAGES},
    }


def write(folder: Path, scale: Scale, results: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the results of a run, by the name of the measure, into a file named by the time."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(tz=UTC)
    document = {
        "finished_at": now.isoformat(),
        "scale": scale.name,
        "machine": machine(),
        "measures": results,
    }
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def _cells(line: Line) -> tuple[str, ...]:
    verdict = {True: "met", False: "MISSED", None: ""}[line.is_met]
    return (
        line.measure,
        f"{_number(line.value)} {line.unit}",
        line.peer,
        f"{_number(line.peer_value)} {line.unit}",
        f"{line.ratio:.2f}",
        str(line.goal) if line.goal else "",
        verdict,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if n in _RIGHT else cell.ljust(width)
        for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
