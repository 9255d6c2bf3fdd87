"""The demo's lake, copied and moved: both go on, and neither knows of the other."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lake_assets_tests.e2e.real_lake import contents, environment, failed_checks, lake, ok

WAIT = ("process", "start", "--wait")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake that `make demo` makes, smaller; its deliveries lie beside it."""
    root = tmp_path_factory.mktemp("demo")
    words = ["--home", str(root / "lake"), "--samples", str(root / "samples"), "--receipts", "40"]
    subprocess.run(
        [sys.executable, "-m", "lake_assets.samples.demo", *words], env=environment(), check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return root / "lake"


def test_a_copy_goes_on_and_the_original_knows_nothing_of_it(demo: Path, tmp_path: Path):
    before, rows = _files(demo), contents(demo).rows
    copy = tmp_path / "데모 호수 이"
    subprocess.run(["cp", "-a", str(demo), str(copy)], check=True)
    (tmp_path / "ticks.csv").write_text("at,symbol,price\n2026-01-01T00:00:00Z,new,1\n")
    upload = ("upload", "raw", str(tmp_path / "ticks.csv"), "--provider", "shop", "--dataset",
              "ticks")  # fmt: skip
    refused = lake(copy, *upload)
    assert (refused.code, "lake relocate" in refused.err) == (1, True)
    ok(copy, "relocate")
    assert contents(copy).rows == rows
    _require_whole(copy)
    ok(copy, *upload)
    ok(copy, *WAIT)
    ok(copy, "upload", "raw", str(demo.parent / "samples" / "receipts_tuesday"),
       "--provider", "shop", "--dataset", "receipts")  # fmt: skip
    ok(copy, *WAIT)
    _require_whole(copy)
    counted = "select count(*) as n from shop.ticks where symbol = 'new'"
    assert ok(copy, "sql", counted, "--json").json["rows"] == [[1]]
    assert ok(demo, "sql", counted, "--json").json["rows"] == [[0]]
    assert _files(demo) == before


def test_a_lake_that_was_moved_goes_on(demo: Path, tmp_path: Path):
    made, moved = tmp_path / "made", tmp_path / "이 moved 100%"
    shutil.copytree(demo, made, symlinks=True)
    ok(made, "relocate")
    made.rename(moved)
    rows = ok(moved, "relocate", "--json").json["tables"]
    assert len(rows) >= 8
    ok(moved, *WAIT)
    _require_whole(moved)
    assert contents(moved).rows == contents(demo).rows


def _require_whole(home: Path) -> None:
    report = ok(home, "verify", "--full", "--json").json
    found = [item for item in report["findings"] if item["severity"] != "notice"]
    assert found == []
    assert failed_checks(home) == []


def _files(home: Path) -> dict[str, str]:
    """Return what a lake has stored, with its hash."""
    kept = ("staging", "assets", "thumbnails", "tables", "catalog.db", "config")
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file() and path.relative_to(home).parts[0] in kept
    }
