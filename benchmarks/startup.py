"""How long a command takes that has next to nothing to do."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import lake_command, probe, run, seconds_of
from benchmarks.rows import ingest_file_in
from benchmarks.samples import write_table


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time `lake --help`, and two commands that open a lake, against Python and Dagster."""
    home = str(folder / "lake")
    probe(write_table, path=str(folder / "few.parquet"), rows=10)
    ingest_file_in(home, folder / "few.parquet", rows=10)
    commands = {
        "python": (sys.executable, "-c", "pass"),
        "dagster": (sys.executable, "-c", "import dagster"),
        "help": lake_command("--help"),
        "catalog": lake_command("--home", home, "catalog", "list"),
        "start": lake_command("--home", home, "process", "start"),
    }
    for command in commands.values():  # compiles what was never imported, and warms the disk cache
        run(*command)
    # Round by round rather than command by command: a busy minute hits all of them.
    timed = [{name: seconds_of(*command) for name, command in commands.items()}
             for _ in range(scale.rounds)]  # fmt: skip
    best = {name: min(times[name] for times in timed) for name in commands}
    within = Goal(of="value", most=round(best["dagster"] + 1, 2))
    return [
        _line("lake --help", best["help"], "python -c pass", best["python"],
              Goal(of="value", most=0.3)),
        _line("lake catalog list", best["catalog"], "import dagster", best["dagster"],
              Goal(of="value", most=0.6)),
        _line("lake process start, nothing pending", best["start"], "import dagster",
              best["dagster"], within),
    ]  # fmt: skip


def _line(
    measure: str, value: float, peer: str, peer_value: float, goal: Goal | None = None
) -> Line:
    return Line(measure=measure, value=value, unit="s", peer=peer, peer_value=peer_value, goal=goal)
