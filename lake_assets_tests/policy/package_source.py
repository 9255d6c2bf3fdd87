"""The source of ``lake_assets``, parsed: what these tests read. Nothing of it is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = "lake_assets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module, parsed."""

    name: str
    """Dotted, e.g. ``lake_assets.media.inspect``; a package has the name of its folder."""
    path: str
    """Below the repository, with forward slashes."""
    text: str
    tree: ast.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import of one module."""

    importer: str
    target: str
    line: int
    at_start: bool
    """Runs when the importer is imported: not in a function, and not for type checkers only."""


def parse(name: str, text: str, path: str = "") -> Module:
    """Return ``text`` as the module ``name``."""
    return Module(name=name, path=path or name, text=text, tree=ast.parse(text))


def package_modules() -> list[Module]:
    """Return every module of the package, sorted by path."""
    found = []
    for file in sorted((REPOSITORY / PACKAGE).rglob("*.py")):
        parts = file.relative_to(REPOSITORY).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        path = file.relative_to(REPOSITORY).as_posix()
        found.append(parse(name, file.read_text(encoding="utf-8"), path))
    return found


def imports_of(module: Module, known: frozenset[str]) -> list[Import]:
    """Return what ``module`` imports, wherever it does.

    Args:
        module: Whose imports.
        known: Names of modules: ``from a import b`` is an import of ``a.b`` where that is one.

    Raises:
        ValueError: for a relative import.
    """
    return [
        Import(importer=module.name, target=target, line=node.lineno, at_start=at_start)
        for node, at_start in _import_nodes(module.tree, at_start=True)
        for target in _targets(module, node, known)
    ]


def _import_nodes(
    node: ast.AST, *, at_start: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, at_start
        else:
            is_later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            is_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _import_nodes(child, at_start=at_start and not (is_later or is_for_types))


def _targets(module: Module, node: ast.Import | ast.ImportFrom, known: frozenset[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.level:
        raise ValueError(f"{module.path}:{node.lineno}: relative import")
    source = node.module or ""
    names = {f"{source}.{alias.name}" for alias in node.names}
    inside = sorted(names & known)
    return inside if len(inside) == len(names) else [source, *inside]


def is_below(name: str, room: str) -> bool:
    """Tell whether ``name`` is the module or package ``room`` or in it."""
    return name == room or name.startswith(f"{room}.")
