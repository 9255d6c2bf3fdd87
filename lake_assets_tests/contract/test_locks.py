"""Locks between processes: one holder at a time, and none that outlives its process."""

import subprocess
import sys
import threading

import pytest

from lake_assets.errors import DatasetBusy
from lake_assets.storage.locks import exclusive_lock

HOLDER = """
import sys
from pathlib import Path
from lake_assets.storage.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), timeout_s=60, what="it"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / "locks" / "a.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process, path
    process.kill()
    process.communicate()


def test_a_lock_that_another_process_holds_is_busy(holder):
    _, path = holder
    with pytest.raises(DatasetBusy, match="working on acme/d"):
        with exclusive_lock(path, timeout_s=0, what="acme/d"):
            pytest.fail("two holders")


def test_a_lock_is_free_when_its_holder_is_killed(holder):
    process, path = holder
    process.kill()
    process.wait()
    with exclusive_lock(path, timeout_s=0, what="it"):
        pass


def test_who_waits_is_told_once_and_gets_the_lock(holder):
    process, path = holder
    told = []

    def on_wait():
        told.append(True)
        process.stdin.write("\n")
        process.stdin.flush()

    with exclusive_lock(path, timeout_s=60, what="it", on_wait=on_wait):
        assert told == [True]


def test_a_free_lock_makes_nobody_wait(tmp_path):
    with exclusive_lock(tmp_path / "a", timeout_s=0, what="it", on_wait=pytest.fail):
        pass


def test_an_error_frees_the_lock(tmp_path):
    with pytest.raises(RuntimeError), exclusive_lock(tmp_path / "a", timeout_s=0, what="it"):
        raise RuntimeError
    with exclusive_lock(tmp_path / "a", timeout_s=0, what="it"):
        pass


def test_the_lock_file_stays(tmp_path):
    with exclusive_lock(tmp_path / "a", timeout_s=0, what="it"):
        pass
    assert (tmp_path / "a").exists()


def test_threads_of_one_process_exclude_each_other_too(tmp_path):
    count, seen = 0, []

    def work():
        nonlocal count
        with exclusive_lock(tmp_path / "a", timeout_s=60, what="it"):
            count += 1
            seen.append(count)
            count -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 4
