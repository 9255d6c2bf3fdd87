"""A lake in a temporary folder, and commands as typed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lake_assets.cli.main import app
from lake_assets.lake import Lake
from lake_assets.samples import SampleFacts, write_samples

MODULE = (sys.executable, "-m", "lake_assets.cli.main")


@dataclass(frozen=True)
class Typed:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Typed]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("LAKE_") or name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Lake.init(tmp_path / "lake").close()
    return tmp_path / "lake"


@pytest.fixture
def lake(home: Path) -> Iterator[Lake]:
    with Lake.open(home) as opened:
        yield opened


@pytest.fixture
def bare() -> Run:
    """Commands in this process, without a home."""

    def run(*words: str, stdin: str = "") -> Typed:
        result = CliRunner().invoke(app, [*words], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Typed(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def typed(bare: Run, home: Path) -> Run:
    """Commands in this process, on the lake in ``home``."""
    return lambda *words, stdin="": bare("--home", str(home), *words, stdin=stdin)


@pytest.fixture
def process(home: Path) -> Run:
    """Commands in a process of their own, on the lake in ``home``; what Dagster needs."""

    def run(*words: str, stdin: str = "") -> Typed:
        done = subprocess.run(
            [*MODULE, "--home", str(home), *words], input=stdin, capture_output=True, text=True
        )
        return Typed(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def at_terminal(home: Path) -> Run:
    """Commands whose stdin is a terminal at which ``answers`` are typed; stdout is a pipe."""

    def run(*words: str, answers: str) -> Typed:
        keyboard, terminal = pty.openpty()
        try:
            os.write(keyboard, answers.encode())
            done = subprocess.run(
                [*MODULE, "--home", str(home), *words],
                stdin=terminal,
                capture_output=True,
                text=True,
            )
        finally:
            os.close(terminal)
            os.close(keyboard)
        return Typed(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleFacts:
    return write_samples(tmp_path_factory.mktemp("samples"), receipts=12)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A small table."""
    path = tmp_path / "people.csv"
    path.write_text("name,age\nAda,36\nAlan,41\nGrace,85\n")
    return path
