"""Whether memory is bounded, and stays flat when a delivery is twice as large."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.lakes import ingest_file, ingest_images
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import Probe, probe
from benchmarks.samples import write_images, write_jsonl, write_table

_MOST = Goal(of="value", most=1_024)
_FLAT = Goal(of="ratio", most=1.2)
_SIDE_PX = 640
"""Of the images: how many there are is what may take memory, so they are small."""


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Compare the peak of the largest process with that for half as much."""
    images, rows, size = scale.memory_images, scale.memory_rows, scale.memory_jsonl_bytes
    return [
        *_lines(folder, f"{images:,} images", images, _images),
        *_lines(folder, f"{rows:,} rows parquet", rows, _rows),
        *_lines(folder, f"{size / 1e9:g} GB jsonl", size, _jsonl),
    ]


def _lines(folder: Path, what: str, size: int, ingest: Callable[[Path, int], Probe]) -> list[Line]:
    half, whole = _ingested(folder, size // 2, ingest), _ingested(folder, size, ingest)

    def line(name: str, value: float, peer_value: float, goal: Goal | None) -> Line:
        return Line(measure=name, value=value, unit="MiB", peer="half of it",
                    peer_value=peer_value, goal=goal)  # fmt: skip

    lines = [
        line(f"peak memory, {what}", whole.peak_mib, half.peak_mib, _MOST),
        line("  flat when it doubles", whole.peak_mib, half.peak_mib, _FLAT),
    ]
    if whole.anonymous_mib and half.anonymous_mib:
        lines.append(line("  not file cache", whole.anonymous_mib, half.anonymous_mib, _FLAT))
    return lines


def _ingested(folder: Path, size: int, ingest: Callable[[Path, int], Probe]) -> Probe:
    place = folder / "half-or-whole"
    place.mkdir()
    found = ingest(place, size)
    shutil.rmtree(place)
    return found


def _images(place: Path, count: int) -> Probe:
    source = str(place / "images")
    probe(write_images, folder=source, count=count, longest_side_px=_SIDE_PX)
    return probe(ingest_images, home=str(place / "lake"), folder=source)


def _rows(place: Path, rows: int) -> Probe:
    source = str(place / "rows.parquet")
    probe(write_table, path=source, rows=rows)
    return _file(place, source, rows)


def _jsonl(place: Path, byte_count: int) -> Probe:
    source = str(place / "rows.jsonl")
    written: dict[str, Any] = probe(write_jsonl, path=source, byte_count=byte_count).result
    return _file(place, source, written["rows"])


def _file(place: Path, source: str, rows: int) -> Probe:
    return probe(ingest_file, home=str(place / "lake"), source=source, rows=rows)
