"""Sources and staged files that are closed, vanish or change while they are read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets_tests.e2e.real_lake import lake as run_lake
from lake_assets_tests.torture.disks import lift, small_disk
from lake_assets_tests.torture.scenarios import write_slips, write_ticks
from lake_assets_tests.torture.server import Server, Task
from lake_assets_tests.torture.strikes import FILLER

_TRY_LATER = 75
needs_root = pytest.mark.skipif(
    os.getuid() != 0, reason="NOT TESTED: rights of another user; needs root to become one"
)


# -- while it is read


@pytest.mark.parametrize("how", ["grow", "shrink", "change"])
def test_a_source_that_changes_while_it_is_read_is_not_staged(
    how: str, server: Server, tmp_path: Path
):
    home, source = _with_source(server, tmp_path)
    # So large that it is copied in blocks; a smaller one is read in one go, and then written.
    source.write_text("a,b\n" + "1,2\n" * (9 * 2**20))
    at = _point_of(server, home, source, "after open", "staging/incoming/ULID/files")
    ended = server.do(_delivery(home, source, at=at, strike="spoil", path=str(source), how=how))
    assert ended.struck
    assert ended.is_retryable, f"{ended.error}\n{ended.trace}"
    assert "changed while it was read" in str(ended.error)
    _assert_nothing_is_staged(home)
    server.do(_delivery(home, source)).require()


def test_a_source_that_vanishes_before_it_is_read_is_not_staged(server: Server, tmp_path: Path):
    home, source = _with_source(server, tmp_path)
    at = _point_of(server, home, source, "before open", "lease.json", before=".draft-")
    ended = server.do(
        _delivery(home, source, at=at, strike="spoil", path=str(source), how="vanish")
    )
    assert ended.is_known, f"{ended.error}\n{ended.trace}"
    _assert_nothing_is_staged(home)


def test_a_staged_file_that_vanished_fails_its_upload_and_says_which(tmp_path: Path):
    with Lake.init(tmp_path / "lake") as lake:
        source = write_ticks(tmp_path / "t.csv", seed=1, rows=5)
        upload = lake.upload_raw_data(source, provider="a", dataset="b", create_provider=True)
        (upload.files_folder / "t.csv").unlink()
    told = run_lake(tmp_path / "lake", "process", "start", "--wait")
    assert told.code == 1
    assert "t.csv" in told.out + told.err
    with Lake.open(tmp_path / "lake") as lake:
        error = lake.stores.staging.find(upload.id).error()
        assert lake.stores.staging.find(upload.id).state is State.FAILED
    assert error
    assert "deliver it again" in error["message"]
    assert error["traceback"] is None


# -- rights


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@needs_root
def test_a_closed_source_is_unreadable(server: Server, open_folder: Path):
    home, source = _with_source(server, open_folder)
    _give_away(home)
    source.chmod(0)
    ended = server.run("deliver_as", home=home, source=str(source), uid=65534)
    assert str(ended.error).startswith("UnreadableSource"), f"{ended.error}\n{ended.trace}"
    assert "chmod" in str(ended.error)


@needs_root
@pytest.mark.parametrize("closed", ["staging/incoming", "staging/pending", "config"])
def test_a_closed_folder_of_the_lake_is_unavailable(closed: str, server: Server, open_folder: Path):
    home, source = _with_source(server, open_folder)
    _give_away(home)
    os.chown(Path(home, closed), 0, 0)
    Path(home, closed).chmod(0o555)
    ended = server.run("deliver_as", home=home, source=str(source), uid=65534)
    assert ended.is_retryable, f"{ended.error}\n{ended.trace}"
    os.chown(Path(home, closed), 65534, 65534)
    Path(home, closed).chmod(0o755)
    server.run("deliver_as", home=home, source=str(source), uid=65534).require()


# -- as typed


def test_a_full_disk_is_told_in_one_line_with_the_code_to_try_again(tmp_path: Path):
    with small_disk(tmp_path / "disk") as disk:
        Lake.init(disk / "lake").close()
        source = write_slips(tmp_path / "slips", seed=1, count=2)
        words = ("upload", "raw", str(source), "--provider", "a", "--dataset", "b", "--create")
        with (disk / FILLER).open("wb", buffering=0) as filler:
            while _writes(filler.fileno()):
                pass
        told = run_lake(disk / "lake", *words)
        assert (told.code, told.err.count("\n")) == (_TRY_LATER, 1), told.err
        assert "No space left" in told.err
        lift(disk)
        assert run_lake(disk / "lake", *words).code == 0


def _writes(descriptor: int) -> bool:
    try:
        return os.write(descriptor, bytes(65536)) > 0
    except OSError:
        return False


def _with_source(server: Server, folder: Path) -> tuple[str, Path]:
    home = str(folder / "lake")
    server.run("open_for_many", home=home, folder=str(folder)).require()
    return home, write_ticks(folder / "ticks.csv", seed=1, rows=5)


def _delivery(home: str, source: Path, *, at: int | None = None, **strike: str) -> Task:
    name = strike.pop("strike", "cut")
    arguments = {"home": home, "source": str(source), "uid": None}
    return Task(
        name="deliver_as", arguments=arguments, watched=home, at=at, strike=name,
        struck_with=strike,
    )  # fmt: skip


def _point_of(
    server: Server, home: str, source: Path, word: str, name: str, *, before: str = ""
) -> int:
    labels = server.do(_delivery(home, source)).labels
    server.run("forget_uploads", home=home).require()
    return next(
        number
        for number, label in enumerate(labels)
        if label.startswith(word) and (name in label or (before and before in label))
    )


def _give_away(home: str) -> None:
    for path in (Path(home), *Path(home).rglob("*")):
        os.chown(path, 65534, 65534)


def _assert_nothing_is_staged(home: str) -> None:
    staging = Path(home, "staging")
    left = [path for state in ("incoming", "pending") for path in (staging / state).iterdir()]
    assert left == []
