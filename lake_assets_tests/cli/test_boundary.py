"""Exit codes, streams, and what every command has in common."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from lake_assets.cli.boundary import exit_code
from lake_assets.cli.main import app
from lake_assets.cli.process import StateName
from lake_assets.errors import DatasetBusy, LakeError, QueryFailed, UnknownOutcome
from lake_assets.intake.uploads import State
from lake_assets_tests.cli.conftest import MODULE, Run

HEAVY = ("pyarrow", "pyiceberg", "duckdb", "dagster", "pydantic", "rich.console", "sqlalchemy")


def test_help_imports_nothing_heavy():
    program = f"""
import sys
from lake_assets.cli.main import app
try:
    app(["--help"])
except SystemExit as end:
    assert not end.code
print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr


def test_every_command_has_help(bare: Run):
    def paths(command: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        below = getattr(command, "commands", {})
        return [path, *(p for name, sub in below.items() for p in paths(sub, (*path, name)))]

    for path in paths(typer.main.get_command(app)):
        answer = bare(*path, "--help")
        assert answer.code == 0
        assert "Usage: lake" in answer.out or "Usage: root" in answer.out


def test_the_version_is_printed(bare: Run):
    answer = bare("--version")
    assert (answer.code, answer.out[:5]) == (0, "lake ")


def test_states_are_those_of_staging():
    assert [str(item) for item in StateName] == [str(item) for item in State]


@pytest.mark.parametrize(
    ("error", "code"),
    [(DatasetBusy("busy"), 75), (QueryFailed("no"), 1), (UnknownOutcome("?"), 1)],
    ids=["retryable", "fatal", "unknown outcome"],
)
def test_an_error_has_its_exit_code(error: LakeError, code: int):
    assert exit_code(error) == code


def test_no_lake_is_one_line_on_stderr(bare: Run, tmp_path: Path):
    answer = bare("--home", str(tmp_path / "none"), "catalog", "list", "--json")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("lake: there is no lake at ")
    assert answer.err.count("\n") == 1


def test_a_lake_without_its_registry_is_told_from_no_lake(bare: Run, tmp_path: Path):
    home = tmp_path / "lake"
    assert bare("--home", str(home), "init").code == 0
    registry = home / "config" / "schema.yaml"
    registry.unlink()
    answer = bare("--home", str(home), "catalog", "list")
    assert answer.code == 1
    assert answer.err.startswith(f"lake: {registry} is missing from the lake")
    assert f"`lake init {home}` writes an empty one" in answer.err
    assert bare("--home", str(home), "init").code == 0
    assert bare("--home", str(home), "catalog", "list").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("process", "list", "--limit", "-1"), "it should be at least 1"),
        (("process", "list", "--state", "pendin"), "'--state': 'pendin' is not one of"),
    ],
)
def test_a_wrong_option_is_told_in_plain_words(typed: Run, words: tuple[str, ...], said: str):
    answer = typed(*words)
    assert answer.code == 2
    assert said in " ".join(answer.err.split())


def test_wrong_settings_are_told(typed: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAKE_WORKERS", "many")
    answer = typed("catalog", "list")
    assert answer.code == 1
    assert "LAKE_WORKERS" in answer.err


@pytest.mark.parametrize("words", [("nonsense",), ("sql", "select 1", "--nonsense"), ("process",)])
def test_wrong_usage_is_2(typed: Run, words: tuple[str, ...]):
    assert typed(*words).code == 2


def test_home_may_stand_anywhere(bare: Run, home: Path):
    assert bare("process", "list", "--home", str(home)).out == "No such uploads\n"
    assert bare("process", f"--home={home}", "list").out == "No such uploads\n"
    assert bare("process", "list", "--", "--home").code == 2


def test_home_may_come_from_the_environment(bare: Run, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAKE_HOME", str(home))
    assert bare("process", "list").code == 0


def test_colour_is_for_terminals_only(process: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    answer = process("sql", "selec")
    assert answer.code == 1
    assert "\x1b" not in answer.err


def test_a_reader_that_stops_early_is_no_error(home: Path):
    command = [*MODULE, "--home", str(home), "sql", "select * from range(300000)", "--csv"]
    lake = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert lake.stdout is not None and lake.stderr is not None
    assert lake.stdout.readline() == b"range\n"
    lake.stdout.close()
    assert lake.stderr.read() == b""
    lake.stderr.close()
    assert lake.wait() == 1
