"""`python -m benchmarks [--small] [--only NAME …]`: measure, print, keep."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    commits,
    contracts,
    growth,
    images,
    memory,
    partitions,
    queries,
    report,
    rewrites,
    rows,
    startup,
)
from benchmarks.model import FULL, SMALL, Line, Scale
from benchmarks.probe import REPOSITORY, ProbeFailed

MEASURES: Mapping[str, Callable[[Scale, Path], list[Line]]] = {
    "images": images.measure,
    "rows": rows.measure,
    "commits": commits.measure,
    "startup": startup.measure,
    "memory": memory.measure,
    "growth": growth.measure,
    "partitions": partitions.measure,
    "contracts": contracts.measure,
    "queries": queries.measure,
    "rewrites": rewrites.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measures and return 0, or 1 if one could not be taken. A missed goal is no error."""
    options = _options(arguments)
    scale = SMALL if options.small else FULL
    results: dict[str, dict[str, Any]] = {}
    lines: list[Line] = []
    for name in options.only or MEASURES:
        found, results[name] = _taken(name, scale, options.folder)
        lines += found
    sys.stdout.write(f"{report.table(lines)}\n")
    sys.stderr.write(f"{report.write(options.results, scale, results)}\n")
    return 1 if any("error" in result for result in results.values()) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--small", action="store_true", help="only show that everything runs")
    parser.add_argument("--only", nargs="+", choices=MEASURES, metavar="NAME",
                        help=f"of {', '.join(MEASURES)}")  # fmt: skip
    parser.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results",
                        help="folder for the JSON file")  # fmt: skip
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's")
    return parser.parse_args(arguments)


def _taken(name: str, scale: Scale, folder: Path | None) -> tuple[list[Line], dict[str, Any]]:
    """Return the lines of a measure and its record; one that fails leaves the others alone."""
    load, started = os.getloadavg()[0], time.monotonic()
    sys.stderr.write(f"{name} (load {load:.1f}) … ")
    sys.stderr.flush()
    try:
        with tempfile.TemporaryDirectory(prefix=f"lake-bench-{name}-", dir=folder) as scratch:
            lines = MEASURES[name](scale, Path(scratch).resolve())
    except ProbeFailed as error:
        sys.stderr.write(f"failed\n{error}\n")
        return [], {"error": str(error), "load_1min": load}
    seconds = round(time.monotonic() - started, 1)
    sys.stderr.write(f"{seconds} s\n")
    plain = [line.plain() for line in lines]
    return lines, {"lines": plain, "seconds": seconds, "load_1min": load}


if __name__ == "__main__":
    raise SystemExit(main())
