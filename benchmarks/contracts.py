"""What contracts cost: loading a large schema.yaml, and judging what is said of an upload."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import probe

_TASKS = 50
_PROVIDERS = 20
_LOAD = Goal(of="value", most=0.1)
_JUDGE = Goal(of="value", most=0.05)


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time the registry of many datasets, and one upload's metadata, against libyaml alone."""
    found = probe(load, path=str(folder / "schema.yaml"), datasets=scale.partitions,
                  rounds=scale.rounds).result  # fmt: skip
    parsed = "parse the file with libyaml"
    return [
        Line(
            measure=f"load schema.yaml, {scale.partitions:,} datasets and {_TASKS} tasks",
            value=found["load_s"], unit="s", peer=parsed, peer_value=found["parse_s"], goal=_LOAD,
        ),
        Line(
            measure="validate an upload's metadata",
            value=found["judge_s"], unit="s", peer=parsed, peer_value=found["parse_s"],
            goal=_JUDGE,
        ),
    ]  # fmt: skip


def load(path: str, datasets: int, rounds: int) -> dict[str, Any]:
    """Return seconds: to load, to parse alone, and to find what is wrong with metadata."""
    from lake_assets.contracts.registry import load_registry, save_registry
    from lake_assets.contracts.registry_text import parse_yaml
    from lake_assets.contracts.tasks import metadata_problems

    file = Path(path)
    save_registry(_registry(datasets), file)
    text = file.read_text(encoding="utf-8")
    said = {"lang": "fr", "scr": "real"}  # so that all that is wrong is looked for
    best: dict[str, float] = {}

    def timed(name: str, work: Any) -> Any:
        started = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - started
        best[name] = min(seconds, best.get(name, seconds))
        return result

    for _ in range(rounds):
        file.touch()  # a file that changed is read again
        timed("parse_s", lambda: parse_yaml(text))
        registry = timed("load_s", lambda: load_registry(file))
        timed("judge_s", lambda known=registry: [*metadata_problems(known.task("task07"), said)])
    return best


def _registry(datasets: int) -> Any:
    from lake_assets.contracts.registry import Registry

    return Registry.model_validate(
        {
            "providers": [f"p{number}" for number in range(_PROVIDERS)],
            "datasets": {
                f"p{number % _PROVIDERS}/d{number:05d}": {"description": f"Dataset {number}"}
                for number in range(datasets)
            },
            "tasks": {
                f"task{number:02d}": {
                    "record_type": "ocr",
                    "required_fields": ["lang", "src"],
                    "allowed_values": {"lang": ["ko", "en", "ja"], "src": ["real", "synthetic"]},
                    "fields": {"score": "double"},
                }
                for number in range(_TASKS)
            },
        }
    )
