"""How large a module and a function may be, and what may not stand in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from lake_assets_tests.policy.package_source import Module, package_modules, parse

MODULE_LINES = 400
"""The hard limit. The aim is 100–200; past 300 it is usually two ideas."""
FUNCTION_LINES = 60
"""The hard limit, docstring not counted. The aim is 10; past 40 it is usually two ideas."""

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "constants", "misc", "shared"}

BROAD_HANDLERS = {
    # The error boundaries, and clean-ups that raise again.
    ("lake_assets/ingest/groups.py", "_add", "Exception"):
        "the boundary of one upload: it goes to failed/, the others go on",
    ("lake_assets/media/worker_processes.py", "_answered", "Exception"):
        "what an item raises in a worker is raised again in the process that asked",
    ("lake_assets/ingest/groups.py", "prepare_group", "BaseException"):
        "interrupted: the uploads are given back; raises again",
    ("lake_assets/intake/delivery.py", "stage_delivery", "BaseException"):
        "a delivery that did not get through leaves nothing in incoming/; raises again",
    ("lake_assets/replays.py", "_stage", "BaseException"): "as a delivery; raises again",
}  # fmt: skip

MODULES = package_modules()
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def length(function: Function) -> int:
    """Lines of a function from ``def`` on, without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    words = function.body[0]
    return lines - ((words.end_lineno or words.lineno) - words.lineno + 1)


def broad_handlers(module: Module) -> list[tuple[str, str, str]]:
    return [
        (module.path, place, kind)
        for place, node in _with_place(module.tree, "")
        for kind in _broad(node)
    ]


def _with_place(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node below ``node``, with the name of the function it stands in."""
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, Function) else place
        yield inner, child
        yield from _with_place(child, inner)


def _broad(node: ast.AST) -> list[str]:
    broad = ("Exception", "BaseException")
    if isinstance(node, ast.ExceptHandler):
        if node.type is None:
            return ["everything"]
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        caught = node.args
    else:
        return []
    return [item.id for item in caught if isinstance(item, ast.Name) and item.id in broad]


def prints(module: Module) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in ("print", "pprint")
    ]


def asserts(module: Module) -> list[int]:
    return [node.lineno for node in ast.walk(module.tree) if isinstance(node, ast.Assert)]


@each_module
def test_a_module_is_not_too_long(module):
    lines = module.text.count("\n")
    assert lines <= MODULE_LINES, f"{module.path} has {lines} lines: split it by its ideas"


@each_module
def test_functions_are_not_too_long(module):
    long = {f.name: length(f) for f in functions(module.tree) if length(f) > FUNCTION_LINES}
    assert long == {}


@each_module
def test_a_module_says_what_it_is(module):
    assert ast.get_docstring(module.tree), f"{module.path} has no docstring"


@each_module
def test_a_name_says_what_is_inside(module):
    assert EMPTY_NAMES.isdisjoint(module.name.split("."))


@each_module
def test_nothing_is_asserted_or_printed(module):
    assert (asserts(module), prints(module)) == ([], [])


def test_only_boundaries_catch_everything():
    found = [handler for module in MODULES for handler in broad_handlers(module)]
    assert sorted(found) == sorted(BROAD_HANDLERS)


# That these tests bite.


def test_the_length_of_a_function_leaves_out_its_docstring():
    text = 'def f(\n    a,\n):\n    """One.\n\n    Two.\n    """\n    return a\n'
    assert length(functions(parse("m", text).tree)[0]) == 4


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("def f():\n    try:\n        g()\n    except Exception:\n        h()", "Exception"),
        ("def f():\n    try:\n        g()\n    except (OSError, BaseException):\n        h()",
         "BaseException"),
        ("def f():\n    try:\n        g()\n    except:\n        h()", "everything"),
        ("def f():\n    with contextlib.suppress(Exception):\n        g()", "Exception"),
    ],
)  # fmt: skip
def test_a_broad_handler_is_found(text, kind):
    assert broad_handlers(parse("m", text)) == [("m", "f", kind)]


def test_a_narrow_handler_is_not():
    text = "try:\n    g()\nexcept (OSError, ValueError):\n    h()"
    assert broad_handlers(parse("m", text)) == []


def test_an_assert_and_a_print_are_found():
    module = parse("m", "assert 1\nprint(2)\nconsole.print(3)\n")
    assert (asserts(module), prints(module)) == ([1], [2])
