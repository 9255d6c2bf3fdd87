"""``kill -9`` at any moment; the next command makes the lake what it would have been."""

from __future__ import annotations

import functools
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lake_assets.lake import Lake
from lake_assets.samples import write_samples
from lake_assets_tests.e2e.real_lake import (
    Contents,
    comes_true,
    contents,
    count_files,
    failed_checks,
    leftovers,
    ok,
    started,
)

SEED = 20_250_113
KILLED_AT = range(40 if os.environ.get("LAKE_TEST_FULL") else 2)
CATALOG = "lake.partitions"
WAIT = ("process", "start", "--wait")


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake in which two overlapping deliveries are pending. Copy it; nothing is ingested yet."""
    # 150 images, some twice, some broken; in Tuesday's delivery some of Monday's.
    samples = write_samples(tmp_path_factory.mktemp("samples"), receipts=110)
    home = tmp_path_factory.mktemp("staged") / "lake"
    with Lake.init(home) as lake:
        for delivery in (samples.monday, samples.tuesday):
            lake.upload_raw_data(
                delivery.folder,
                provider="shop",
                dataset="receipts",
                tags=["crash"],
                create_provider=True,
            )
    return home


@pytest.fixture
def home(staged: Path, tmp_path: Path) -> Path:
    return shutil.copytree(staged, tmp_path / "lake")


@pytest.fixture(scope="module")
def quiet(staged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake as it is when nothing goes wrong."""
    home = shutil.copytree(staged, tmp_path_factory.mktemp("quiet") / "lake")
    ok(home, *WAIT)
    return home


@pytest.fixture(scope="module")
def expected(quiet: Path) -> Contents:
    return contents(quiet)


def test_without_a_crash_nothing_is_left_over(quiet: Path, expected: Contents):
    assert leftovers(quiet) == []
    assert expected.uploads == {"done": 2}
    assert sum(expected.rows["shop.receipts"].values()) == 126


def _is_claimed(home: Path) -> bool:
    return any((home / "staging" / "processing").iterdir())


def _has_stored_images(home: Path) -> bool:
    return count_files(home / "assets") >= 20


def _has_a_journal(home: Path) -> bool:
    return any((home / "staging" / "processing").glob("*/prepared.json"))


def _has_committed_images(home: Path) -> bool:
    return any((home / "tables" / "lake" / "images" / "metadata").glob("*.json"))


def _has_a_ledger(home: Path) -> bool:
    return any((home / "tables" / "lake" / "uploads" / "metadata").glob("*.json"))


def _is_done(home: Path) -> bool:
    return len(list((home / "staging" / "done").iterdir())) == 2


@pytest.mark.parametrize(
    "moment",
    [_is_claimed, _has_stored_images, _has_a_journal, _has_committed_images, _has_a_ledger],
    ids=["claimed", "images stored", "journal", "images committed", "ledger"],
)
def test_killed_at_a_chosen_moment(
    moment: Callable[[Path], bool], home: Path, expected: Contents, tmp_path: Path
):
    with (tmp_path / "killed.log").open("wb") as log, started(home, *WAIT, output=log) as process:
        assert comes_true(lambda: moment(home), process), (tmp_path / "killed.log").read_text()
    assert process.returncode == -9
    _assert_heals(home, expected)


@pytest.mark.parametrize("number", KILLED_AT)
def test_killed_at_any_moment(
    number: int, home: Path, quiet: Path, expected: Contents, tmp_path: Path
):
    """Even numbers: while images are stored; odd ones: while tables are written."""
    chance = random.Random(f"{SEED} {number}")
    folder = "assets" if number % 2 == 0 else "tables"
    files = chance.randint(1, count_files(quiet / folder) - 1)
    print(f"seed {SEED}, number {number}: killed at {files} files in {folder}/")  # noqa: T201
    with (tmp_path / "killed.log").open("wb") as log, started(home, *WAIT, output=log) as process:
        comes_true(lambda: count_files(home / folder) >= files, process)
    _assert_heals(home, expected)


def test_killed_three_times(home: Path, expected: Contents, tmp_path: Path):
    """Each attempt gets further: what the last one left is no hindrance."""
    for moment in (_is_claimed, _has_stored_images, _has_a_journal):
        with (tmp_path / "log").open("wb") as log, started(home, *WAIT, output=log) as process:
            assert comes_true(functools.partial(moment, home), process)
    _assert_heals(home, expected)


def test_killed_before_the_catalog_was_written(home: Path, expected: Contents, tmp_path: Path):
    with (tmp_path / "log").open("wb") as log, started(home, *WAIT, output=log) as process:
        assert comes_true(lambda: _is_done(home), process)
    ok(home, *WAIT)
    assert contents(home).rows.get(CATALOG) == expected.rows[CATALOG]


def _assert_heals(home: Path, expected: Contents) -> None:
    """Assert that the next command makes the lake what it is when nothing goes wrong."""
    ok(home, *WAIT)
    healed = contents(home)
    assert healed.rows == expected.rows
    assert healed.blobs == expected.blobs
    assert healed.uploads == expected.uploads
    assert leftovers(home) == []
    assert failed_checks(home) == []
