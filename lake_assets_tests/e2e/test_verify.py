"""`lake verify` on lakes that were killed, and killed itself; ingestion goes on beside it."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from lake_assets.lake import Lake
from lake_assets.samples import write_samples
from lake_assets_tests.e2e.real_lake import (
    comes_true,
    count_files,
    lake,
    ok,
    started,
)

SEED = 20_261_121
KILLED_AT = range(40 if os.environ.get("LAKE_TEST_FULL") else 1)
WAIT = ("process", "start", "--wait")
SEALS = {"catalog_seal"}
"""That a process died, or has not sealed the catalog yet, is told; it is no damage."""


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = write_samples(tmp_path_factory.mktemp("samples"), receipts=60)
    home = tmp_path_factory.mktemp("staged") / "lake"
    with Lake.init(home) as opened:
        for delivery in (samples.monday, samples.tuesday):
            opened.upload_raw_data(
                delivery.folder, provider="shop", dataset="receipts", create_provider=True
            )
    return home


@pytest.fixture
def home(staged: Path, tmp_path: Path) -> Path:
    return shutil.copytree(staged, tmp_path / "lake")


def found(home: Path) -> dict[str, set[str]]:
    """Return the kinds of what `lake verify --full` finds, by severity."""
    answer = lake(home, "verify", "--full", "--json")
    report = answer.json
    assert answer.code == (0 if report["is_good"] else 1), answer.err
    kinds: dict[str, set[str]] = {}
    for item in report["findings"]:
        kinds.setdefault(item["severity"], set()).add(item["kind"])
    return kinds


@pytest.mark.parametrize("number", KILLED_AT)
def test_a_kill_is_never_called_damage_and_leaves_no_trace_after_the_next_ingestion(
    number: int, home: Path, tmp_path: Path
):
    chance = random.Random(f"{SEED} {number}")
    folder, most = (("assets", 55), ("tables", 20))[number % 2]
    files = chance.randint(1, most)
    print(f"seed {SEED}, number {number}: killed at {files} files in {folder}/")  # noqa: T201
    with (tmp_path / "log").open("wb") as log, started(home, *WAIT, output=log) as process:
        comes_true(lambda: count_files(home / folder) >= files, process)
    assert "damage" not in found(home)
    ok(home, *WAIT)
    after = found(home)
    assert "damage" not in after
    assert after.get("warning", set()) <= SEALS | {"orphan", "draft"}
    ok(home, "repair", "--yes", "--older-than", "0s")
    assert found(home).get("warning", set()) <= {"draft"}


def test_verification_while_uploads_are_ingested_finds_no_damage(home: Path, tmp_path: Path):
    with (tmp_path / "log").open("wb") as log, started(home, *WAIT, output=log) as process:
        while process.poll() is None:
            assert "damage" not in found(home)
    assert process.returncode == 0, (tmp_path / "log").read_text()
    assert "damage" not in found(home)


def test_a_killed_verification_is_gone_on_with(home: Path, tmp_path: Path):
    ok(home, *WAIT)
    shard = sorted((home / "assets").rglob("*.jpg"))[0]
    shard.chmod(0o644)
    with shard.open("r+b") as file:
        file.seek(30)
        byte = file.read(1)
        file.seek(30)
        file.write(bytes([byte[0] ^ 1]))
    state = home / "verify"
    with (
        (tmp_path / "log").open("wb") as log,
        started(home, "verify", "--full", output=log) as process,
    ):
        comes_true(lambda: any(path.stat().st_size for path in state.glob("full-*")), process)
    answer = lake(home, "verify", "--resume", "--json")
    assert answer.code == 1
    kinds = {(item["kind"], item["path"]) for item in answer.json["findings"]}
    assert ("image", shard.relative_to(home).as_posix()) in kinds
    assert list(state.glob("full-*")) == []
