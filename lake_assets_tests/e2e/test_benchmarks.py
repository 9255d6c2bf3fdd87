"""The benchmarks run, and say what they measured; their figures are nobody's business here."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from benchmarks.model import Goal, Line
from benchmarks.report import table
from benchmarks.samples import _with_comment
from lake_assets_tests.policy.package_source import REPOSITORY

ALL = (
    "images", "rows", "commits", "startup", "memory", "growth", "partitions", "contracts",
    "queries", "rewrites",
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    command = [sys.executable, "-m", "benchmarks", "--small",
               "--results", str(folder / "results"), "--folder", str(folder)]  # fmt: skip
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    (written,) = (folder / "results").iterdir()
    left = sorted(path.name for path in folder.iterdir())
    return done.stdout, json.loads(written.read_text(encoding="utf-8")), left


def test_a_tiny_run_measures_what_it_was_asked_for(tiny_run):
    _, document, _ = tiny_run
    assert list(document["measures"]) == list(ALL)
    assert document["scale"] == "small"
    assert all(measure["lines"] for measure in document["measures"].values())


def test_every_line_stands_beside_a_floor_or_peer(tiny_run):
    _, document, _ = tiny_run
    lines = [line for measure in document["measures"].values() for line in measure["lines"]]
    assert [line for line in lines if not (line["value"] > 0 and line["peer_value"] > 0)] == []


def test_the_table_has_every_line(tiny_run):
    printed, document, _ = tiny_run
    names = [line["measure"] for measure in document["measures"].values()
             for line in measure["lines"]]  # fmt: skip
    assert [name for name in names if name not in printed] == []


def test_a_run_leaves_nothing_but_its_results(tiny_run):
    assert tiny_run[2] == ["results"]


@pytest.mark.parametrize(
    ("goal", "is_met"),
    [
        (None, None),
        (Goal(of="value", most=3), True),
        (Goal(of="value", most=2.9), False),
        (Goal(of="ratio", least=1.5), True),
        (Goal(of="ratio", least=1.6), False),
    ],
    ids=str,
)
def test_a_goal_is_of_the_value_or_of_the_ratio(goal, is_met):
    line = Line(measure="m", value=3, unit="s", peer="p", peer_value=2, goal=goal)
    assert line.is_met is is_met


def test_the_table_says_when_a_goal_is_missed():
    goal = Goal(of="ratio", least=0.85)
    line = Line(measure="m", value=1, unit="s", peer="p", peer_value=2, goal=goal)
    assert table([line]).splitlines()[1].split() == ("m 1 s p 2 s 0.50 ratio ≥ 0.85 MISSED".split())


def test_a_comment_makes_an_image_another_file_and_the_same_picture():
    plain = b"\xff\xd8\xff\xd9"
    assert _with_comment(plain, "ab") == b"\xff\xd8\xff\xfe\x00\x04ab\xff\xd9"


def test_the_process_that_starts_the_others_stays_small():
    """Its memory would be in theirs."""
    heavy = {"pyarrow", "duckdb", "dagster", "numpy", "pandas", "pyiceberg", "lake_assets"}
    found = {
        (path.name, name.split(".")[0])
        for path in (REPOSITORY / "benchmarks").glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for name in _imported(node)
    }
    assert {(path, name) for path, name in found if name in heavy} == set()


def _imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []
