"""Who may import whom. `LAYERS` is the plan of the house; a new room has to be put into it."""

from __future__ import annotations

import ast
import graphlib

import pytest

from lake_assets_tests.policy.package_source import (
    PACKAGE,
    Module,
    imports_of,
    is_below,
    package_modules,
    parse,
)

LAYERS: tuple[tuple[str, ...], ...] = (
    # Bottom first. A room imports itself and what is below it; never what is beside or above it.
    ("errors", "imports"),
    # Files and locks lie under the contracts: the registry is a file that people edit.
    # A lock is a file, and says what the disk says.
    ("settings", "layout", "media", "storage.files"),
    ("storage.locks",),
    ("contracts",),
    # Shards, tables, text index: laid out by the names and the registry of the contracts.
    ("storage",),
    # Ways in (deliveries become staged uploads) and ways to look (SQL over tables).
    ("intake", "query"),
    # One lake's settings, staging, tables and shards in one object.
    ("stores",),
    # What is done with a lake. All read tables through query.
    ("ingest", "export", "governance", "upkeep"),
    # What takes ingestion and more: to ingest and bring the catalog up to date; to have rows of the
    # quarantine tried again; to tell what a delivery would change; to move a lake.
    ("ingest_here", "relocating", "replays", "schema_diffs"),
    # To take an upload out and read again what depended on it.
    ("undoing",),
    ("lake",),
    # Faces. The command line starts Dagster runs, so it stands on the shell.
    ("defs",),
    ("definitions",),
    ("cli", "server", "gallery"),
)

BESIDE_THE_HOUSE = {
    # Generates deliveries as a provider would: knows nothing of the lake but its errors.
    "samples": ("errors",),
    # `from lake_assets import Lake`.
    "": ("lake",),
}

EXCEPTIONS = {
    ("lake_assets.defs.launch", "lake_assets.definitions"):
        "A run from the command line is a run of the very job that Dagster would load. Imported"
        " in the function, so there is no cycle.",
}  # fmt: skip

LIBRARIES = {
    # Of each library, the only rooms that may import it.
    "dagster": ("defs", "definitions"),
    "pyiceberg": ("storage.tables",),
    "sqlalchemy": ("storage.tables",),
    "tantivy": ("storage.text_index",),
    "duckdb": ("query", "cli.sql"),  # cli.sql renders SQL text and catches duckdb.Error
    "PIL": ("media", "samples"),
    "imagehash": ("media",),
    "typer": ("cli",),
    "click": ("cli",),
    "rich": ("cli",),
    "fastapi": ("server",),
    "streamlit": ("gallery",),
    "pydantic_settings": ("settings",),  # reads the environment
}

READERS_OF_THE_ENVIRONMENT = {
    "lake_assets.settings": "the one reader: LAKE_* variables",
    "lake_assets.defs.launch": "passes all of it on to a child process; takes nothing from it",
}

MODULES = package_modules()
KNOWN = frozenset(module.name for module in MODULES)


def room_of(name: str) -> str:
    """The longest room that ``name`` (below the package) lies in; '' is the package itself."""
    inside = name.removeprefix(PACKAGE).removeprefix(".")
    rooms = [room for layer in LAYERS for room in layer] + list(BESIDE_THE_HOUSE)
    fitting = [room for room in rooms if room and is_below(inside, room)]
    if fitting:
        return max(fitting, key=len)
    if inside:
        raise LookupError(f"{name} is in no room: put it into LAYERS")
    return ""


def floor_of(room: str) -> int:
    return next(floor for floor, rooms in enumerate(LAYERS) if room in rooms)


def may_import(importer: str, target: str) -> bool:
    own, other = room_of(importer), room_of(target)
    if own == other or (importer, target) in EXCEPTIONS:
        return True
    if own in BESIDE_THE_HOUSE:
        return other in BESIDE_THE_HOUSE[own]
    return other not in BESIDE_THE_HOUSE and floor_of(other) < floor_of(own)


def wrong_arrows(module: Module, known: frozenset[str] = KNOWN) -> list[str]:
    return [
        f"{module.path}:{item.line} imports {item.target}"
        for item in imports_of(module, known)
        if is_below(item.target, PACKAGE) and not may_import(module.name, item.target)
    ]


def wrong_libraries(module: Module) -> list[str]:
    inside = module.name.removeprefix(f"{PACKAGE}.")
    wrong = []
    for item in imports_of(module, KNOWN):
        rooms = LIBRARIES.get(item.target.split(".")[0])
        if rooms is not None and not any(is_below(inside, room) for room in rooms):
            wrong.append(f"{module.path}:{item.line} imports {item.target}")
    return wrong


def reads_of_the_environment(module: Module) -> list[str]:
    """Where a module reads variables, by ``os`` or by an option of typer."""
    names = ("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv")
    found = []
    for node in ast.walk(module.tree):
        by_attribute = (
            isinstance(node, ast.Attribute)
            and node.attr in names
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        )
        by_name = (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and any(alias.name in names for alias in node.names)
        )
        by_option = isinstance(node, ast.keyword) and node.arg in ("envvar", "auto_envvar_prefix")
        if by_attribute or by_name or by_option:
            found.append(f"{module.path}:{node.lineno}")
    return found


def cycle(modules: list[Module]) -> list[str]:
    """Modules that import each other in a ring while they are imported; empty: there is none."""
    known = frozenset(module.name for module in modules)
    graph = {
        module.name: {
            item.target
            for item in imports_of(module, known)
            if item.at_start and item.target in known and item.target != module.name
        }
        for module in modules
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path)
def test_arrows_point_down(module):
    assert wrong_arrows(module) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path)
def test_a_library_is_known_to_its_room_only(module):
    assert wrong_libraries(module) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path)
def test_only_the_settings_read_the_environment(module):
    if module.name not in READERS_OF_THE_ENVIRONMENT:
        assert reads_of_the_environment(module) == []


def test_no_module_imports_in_a_ring():
    assert cycle(MODULES) == []


def test_exceptions_are_still_needed():
    by_name = {module.name: module for module in MODULES}
    for importer, target in EXCEPTIONS:
        taken = {item.target: item.at_start for item in imports_of(by_name[importer], KNOWN)}
        assert taken.get(target) is False, f"{importer} imports {target} not, or at its start"
    for name in READERS_OF_THE_ENVIRONMENT:
        assert reads_of_the_environment(by_name[name]), f"{name} does not read the environment"


def test_the_whole_package_was_looked_at():
    assert {f"{PACKAGE}.errors", f"{PACKAGE}.definitions", f"{PACKAGE}.storage.tables"} <= KNOWN


# That these tests bite.

BAD_ARROWS = {
    "core imports the shell": ("storage.shards", "from lake_assets.defs import partitions"),
    "a room imports the one beside": ("ingest.rows", "import lake_assets.upkeep.catalog"),
    "files import contracts": ("storage.files", "from lake_assets.contracts.names import X"),
    "media import storage": ("media.inspect", "import lake_assets.storage.files"),
    "contracts import tables": ("contracts.drift", "from lake_assets.storage import tables"),
    "in a function": ("query.duckdb", "def f():\n    from lake_assets.lake import Lake"),
    "for types only": (
        "errors", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from lake_assets.lake import Lake"
    ),
    "by the package itself": ("intake.uploads", "from lake_assets import Lake"),
    "the lake imports a face": ("lake", "from lake_assets.cli import output"),
    "the lake imports samples": ("lake", "import lake_assets.samples"),
    "samples import the lake": ("samples.demo", "from lake_assets.lake import Lake"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), BAD_ARROWS.values(), ids=BAD_ARROWS)
def test_an_arrow_that_points_up_is_found(name, text):
    assert len(wrong_arrows(parse(f"{PACKAGE}.{name}", text))) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ingest.session", "from lake_assets.query.duckdb import connect"),
        ("contracts.registry", "from lake_assets.storage.files import write_atomically"),
        ("media.reencode", "from lake_assets.media.inspect import ImageFacts"),
        ("cli.ui", "def f():\n    from lake_assets.defs import launch"),
    ],
    ids=lambda value: value if "." in value[:20] and " " not in value else "",
)
def test_an_arrow_that_points_down_is_not(name, text):
    assert wrong_arrows(parse(f"{PACKAGE}.{name}", text)) == []


def test_a_module_in_no_room_is_found():
    with pytest.raises(LookupError, match="put it into LAYERS"):
        wrong_arrows(parse(f"{PACKAGE}.attic", "import lake_assets.errors"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ingest.session", "import dagster as dg"),
        ("lake", "def f():\n    from dagster import asset"),
        ("storage.system_tables", "from pyiceberg.schema import Schema"),
        ("defs.pictures", "from PIL import Image"),
        ("cli.sql", "import pyiceberg.catalog"),
        ("upkeep.checks", "from rich import print"),
    ],
)
def test_a_library_in_the_wrong_room_is_found(name, text):
    assert len(wrong_libraries(parse(f"{PACKAGE}.{name}", text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import os\nhome = os.environ['HOME']",
        "import os\ndef f():\n    return os.getenv('HOME', '')",
        "from os import environ",
        "import typer\nhome = typer.Option(None, envvar='LAKE_HOME')",
    ],
)
def test_a_read_of_the_environment_is_found(text):
    assert len(reads_of_the_environment(parse(f"{PACKAGE}.lake", text))) == 1


def test_a_relative_import_is_found():
    with pytest.raises(ValueError, match="relative"):
        wrong_arrows(parse(f"{PACKAGE}.lake", "from . import errors"))


def test_a_ring_is_found_but_not_one_that_closes_later():
    one = parse("a.one", "from a import two")
    assert cycle([one, parse("a.two", "from a.one import f")])
    assert cycle([one, parse("a.two", "def f():\n    from a import one")]) == []
