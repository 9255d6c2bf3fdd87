"""What is written down agrees with what there is."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from lake_assets import errors
from lake_assets.cli.main import app
from lake_assets_tests.policy.package_source import REPOSITORY

# Put together here, or else this file would be the one that has them.
MACHINE_PATH = re.compile(r"(?<![\w.$}~-])/(?:" + "|".join(("work", "root", "farm")) + r")/")
TEXT_FOLDERS = ("lake_assets", "lake_assets_tests", "benchmarks", "deploy", "docs", ".ci")
TEXT_SUFFIXES = {
    "", ".cfg", ".html", ".ini", ".json", ".lock", ".md", ".py", ".sh", ".sql", ".toml", ".txt",
    ".yaml", ".yml",
}  # fmt: skip
IGNORED_FOLDERS = {"__pycache__", "results"}


def text_files() -> list[str]:
    """Paths below the repository of every text file that belongs to it."""
    # In a worktree .git is a file, and Git writes it.
    top = [path for path in REPOSITORY.iterdir() if path.is_file() and path.name != ".git"]
    below = [path for folder in TEXT_FOLDERS for path in (REPOSITORY / folder).rglob("*")]
    return sorted(
        path.relative_to(REPOSITORY).as_posix()
        for path in [*top, *below]
        if path.suffix in TEXT_SUFFIXES and path.is_file()
        if IGNORED_FOLDERS.isdisjoint(path.parts)
    )


def machine_paths(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if MACHINE_PATH.search(line)]


def commands(command: Any, name: str) -> Iterator[str]:
    """Every command that does something, as a person types it."""
    if not isinstance(command, TyperGroup):
        yield name
        return
    for word, inner in command.commands.items():
        if not inner.hidden:
            yield from commands(inner, f"{name} {word}")


COMMANDS = sorted(commands(typer.main.get_command(app), "lake"))


def readme() -> str:
    return (REPOSITORY / "README.md").read_text(encoding="utf-8")


def lock() -> str:
    path = REPOSITORY / "requirements.lock"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", text_files())
def test_no_file_names_a_place_on_one_machine(path):
    assert machine_paths((REPOSITORY / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("cd /" + "work/main", 1),
        ("HOME='/" + "root/.cache'", 1),
        ("see docs/" + "work/plan.md and $HOME/" + "work/x", 0),
    ],
)
def test_a_place_on_one_machine_is_found(text, count):
    assert len(machine_paths(text)) == count


def test_the_lock_names_no_index_and_no_place():
    told = re.compile(r"https?://|file:|^\s*-(-index-url|-extra-index-url|-find-links|f|i|e)\b| @ ")
    assert [line for line in lock().splitlines() if told.search(line)] == []


def test_the_lock_pins_every_package_by_hash():
    entries = re.split(r"(?m)^(?=\w)", lock())[1:]
    assert entries
    assert [e.splitlines()[0] for e in entries if "==" not in e or "--hash=sha256:" not in e] == []


def test_the_lock_has_every_dependency():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[^\w.-]", text)[0].lower().replace("_", "-") for text in wanted}
    locked = set(re.findall(r"(?m)^([\w.-]+)==", lock()))
    assert names - locked == set()


def test_the_commands_were_found():
    assert {"lake init", "lake upload raw", "lake sql"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_mentions_the_command(command):
    assert re.search(rf"\b{re.escape(command)}\b", readme()), (
        f"README.md says nothing of `{command}`"
    )


def unknown_commands(text: str) -> set[str]:
    """Of each ``lake …`` that opens a line or a code span, those that are no command.

    Words behind a command are its arguments; a group on its own (``lake config``) is known.
    """
    told = re.findall(r"(?m)(?:^ *(?:\$ )?|`)(lake(?: [a-z]+){1,3})", text)
    return {
        words
        for words in told
        if not any(f"{words} ".startswith(f"{command} ") for command in COMMANDS)
        and not any(command.startswith(f"{words} ") for command in COMMANDS)
    }


def test_every_command_in_the_readme_exists():
    assert unknown_commands(readme()) == set()


def test_a_command_that_does_not_exist_is_found():
    text = "$ lake upload raw x\nlake sql\nlake sank\nuse `lake config` or `lake upload cooked y`"
    assert unknown_commands(text) == {"lake sank", "lake upload cooked y"}


def test_the_tree_of_errors_is_drawn_as_it_is():
    drawn: dict[str, str] = {}
    path = ["LakeError"]
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"((?:│   |    )*)[├└]── (\w+)", line):
            depth = len(match[1]) // 4 + 1
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1]
    real = {
        name: kind.__bases__[0].__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.LakeError) and kind is not errors.LakeError
    }
    assert drawn == real
