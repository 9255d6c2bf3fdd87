"""Staging: an upload is in one state, moves by one rename, and is seen only when it is whole."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import InvalidManifest, InvalidRequest, StorageUnavailable, UnknownUpload
from lake_assets.intake.manifest import Manifest
from lake_assets.intake.model import StagedFile
from lake_assets.intake.staging import Staging
from lake_assets.intake.uploads import State
from lake_assets.storage.processes import is_dead, signature

NAME, OTHER = DatasetName("icdar", "sroie"), DatasetName("icdar", "funsd")
FILE = StagedFile(name="a.csv", byte_count=2, sha256="0" * 64, role="data")
UNKNOWN_ID = "01J00000000000000000000000"


@pytest.fixture
def staging(tmp_path):
    return Staging(tmp_path / "staging")


def opened(staging):
    upload_id, folder = staging.open_incoming()
    (folder / FILE.name).write_bytes(b"a\n")
    return upload_id


def manifest_of(upload_id, name=NAME):
    return Manifest(
        upload_id=upload_id,
        name=name,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        created_by="me@here",
        source="a.csv",
        file_count=1,
        byte_count=2,
    )


def publish(staging, name=NAME):
    return staging.publish(manifest_of(opened(staging), name), (FILE,))


def states(staging):
    return [upload.state for upload in staging.uploads()]


def test_a_published_upload_is_pending_and_complete(staging):
    upload = publish(staging)
    assert upload.state is State.PENDING
    assert upload.files() == (FILE,)
    assert (upload.files_folder / "a.csv").read_bytes() == b"a\n"
    assert upload.token is None
    assert staging.find(upload.id) == upload


def test_half_a_delivery_is_seen_by_nobody(staging):
    upload_id = opened(staging)
    assert states(staging) == []
    with pytest.raises(UnknownUpload):
        staging.find(upload_id)


def test_a_delivery_that_is_given_up_leaves_nothing(staging, tmp_path):
    staging.discard_incoming(opened(staging))
    assert list((tmp_path / "staging" / "incoming").iterdir()) == []


def test_the_way_of_a_good_upload(staging):
    claimed = staging.claim(publish(staging), token=7)
    assert (claimed.state, claimed.token) == (State.PROCESSING, 7)
    assert staging.find(claimed.id) == claimed
    staging.finish([claimed])
    done = staging.find(claimed.id)
    assert (done.state, done.token, states(staging)) == (State.DONE, None, [State.DONE])


def test_whoever_lost_an_upload_to_another_can_do_nothing_with_it(staging):
    lost = staging.claim(publish(staging), token=7)
    taken = staging.claim(lost, token=8)
    assert staging.release(lost) is None
    staging.finish([lost])
    with pytest.raises(StorageUnavailable):
        staging.fail(lost, {"message": "x"})
    assert staging.find(lost.id) == taken
    assert taken.token == 8


def test_the_way_of_a_bad_upload(staging):
    failed = staging.fail(staging.claim(publish(staging), token=7), {"message": "é"})
    assert (failed.state, failed.error()) == (State.FAILED, {"message": "é"})
    again = staging.retry(failed.id)
    assert (again.state, again.error()) == (State.PENDING, None)


def test_a_claimed_upload_can_be_given_back(staging):
    upload = publish(staging)
    assert staging.release(staging.claim(upload, token=7)).folder == upload.folder


@pytest.mark.parametrize("from_failed", [False, True], ids=["pending", "failed"])
def test_an_upload_can_be_cancelled_and_retried(staging, from_failed):
    upload = publish(staging)
    if from_failed:
        staging.fail(staging.claim(upload, token=7), {"message": "x"})
    assert staging.cancel(upload.id).state is State.CANCELLED
    assert staging.retry(upload.id).state is State.PENDING


def move_to(staging, upload, state):
    if state is State.CANCELLED:
        staging.cancel(upload.id)
    elif state is not State.PENDING:
        claimed = staging.claim(upload, token=7)
        if state is State.DONE:
            staging.finish([claimed])
        elif state is State.FAILED:
            staging.fail(claimed, {"message": "x"})


@pytest.mark.parametrize(
    ("act", "state"),
    [
        ("retry", State.PENDING),
        ("retry", State.PROCESSING),
        ("retry", State.DONE),
        ("cancel", State.PROCESSING),
        ("cancel", State.DONE),
        ("cancel", State.CANCELLED),
    ],
)
def test_a_move_that_makes_no_sense_says_where_the_upload_is(staging, act, state):
    upload = publish(staging)
    move_to(staging, upload, state)
    with pytest.raises(InvalidRequest, match=f"is {state}, not"):
        getattr(staging, act)(upload.id)
    assert states(staging) == [state]


def test_one_of_many_threads_gets_an_upload(staging):
    upload, barrier = publish(staging), Barrier(8)

    def claim(_):
        barrier.wait()
        return staging.claim(upload, token=7)

    with ThreadPoolExecutor(8) as pool:
        won = [claimed for claimed in pool.map(claim, range(8)) if claimed]
    assert len(won) == 1
    assert states(staging) == [State.PROCESSING]


def test_claiming_and_cancelling_at_once_leaves_one_winner(staging):
    for _ in range(10):
        upload, barrier = publish(staging), Barrier(2)

        def claim(upload=upload, barrier=barrier):
            barrier.wait()
            return staging.claim(upload, token=7)

        def cancel(upload=upload, barrier=barrier):
            barrier.wait()
            try:
                return staging.cancel(upload.id)
            except InvalidRequest:
                return None

        with ThreadPoolExecutor(2) as pool:
            claimed, cancelled = pool.submit(claim), pool.submit(cancel)
        assert (claimed.result() is None) != (cancelled.result() is None)


CLAIMER = """
import sys
from pathlib import Path
from lake_assets.intake.staging import Staging
from lake_assets.intake.uploads import State
staging = Staging(Path(sys.argv[1]))
upload = next(staging.uploads(State.PENDING))
print("ready", flush=True)
sys.stdin.readline()
print("won" if staging.claim(upload, token=7) else "lost", flush=True)
sys.stdin.readline()
"""


def test_one_of_two_processes_gets_an_upload(staging, tmp_path):
    publish(staging)
    command = [sys.executable, "-c", CLAIMER, str(tmp_path / "staging")]
    claimers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for claimer in claimers:
        assert claimer.stdout.readline() == "ready\n"
    for claimer in claimers:
        claimer.stdin.write("\n")
        claimer.stdin.flush()
    assert sorted(claimer.stdout.readline() for claimer in claimers) == ["lost\n", "won\n"]
    for claimer in claimers:
        claimer.kill()
        claimer.communicate()


def lease_of_the_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return {**signature(), "pid": child.pid, "process_started": "1"}


def test_sweeping_removes_what_dead_uploaders_left_only(staging, tmp_path):
    alive, dead, elsewhere, unsigned = (opened(staging) for _ in range(4))
    incoming = tmp_path / "staging" / "incoming"
    lease = lease_of_the_dead()
    (incoming / dead / "lease.json").write_text(json.dumps(lease))
    (incoming / elsewhere / "lease.json").write_text(json.dumps(lease | {"host": "other"}))
    (incoming / unsigned / "lease.json").unlink()
    assert staging.sweep_incoming() == (dead,)
    assert {path.name for path in incoming.iterdir()} == {alive, elsewhere, unsigned}
    assert staging.sweep_incoming() == ()


@pytest.mark.parametrize("content", [b"", b'{"host": "a', b"\0\0\0\0", b"\xff", b"[1]", b"{}"])
def test_an_upload_whose_lease_was_cut_off_is_swept_once_it_is_old(staging, tmp_path, content):
    young, old, dead = (opened(staging) for _ in range(3))
    incoming = tmp_path / "staging" / "incoming"
    for upload_id in (young, old):
        (incoming / upload_id / "lease.json").write_bytes(content)
    (incoming / dead / "lease.json").write_text(json.dumps(lease_of_the_dead()))
    os.utime(incoming / old, (0, 0))
    assert staging.sweep_incoming() == (old, dead)
    assert [path.name for path in incoming.iterdir()] == [young]


def test_an_upload_that_cannot_be_swept_leaves_the_others_alone(staging, tmp_path, caplog):
    incoming = tmp_path / "staging" / "incoming"
    stray = incoming / "0-not-a-folder"  # comes first, and is no folder to remove
    stray.write_bytes(b"")
    os.utime(stray, (0, 0))
    dead = opened(staging)
    (incoming / dead / "lease.json").write_text(json.dumps(lease_of_the_dead()))
    assert staging.sweep_incoming() == (dead,)
    assert stray.name in caplog.text


def test_a_staging_folder_that_cannot_be_listed_is_told_as_such(staging, tmp_path):
    incoming = tmp_path / "staging" / "incoming"
    incoming.rmdir()
    incoming.write_bytes(b"")
    with pytest.raises(StorageUnavailable, match="incoming"):
        staging.sweep_incoming()


def test_a_staging_folder_that_cannot_be_made_is_told_as_such(tmp_path):
    (tmp_path / "staging").write_bytes(b"")
    with pytest.raises(StorageUnavailable, match="staging"):
        Staging(tmp_path / "staging")


def test_an_error_report_that_was_cut_off_is_none(staging):
    failed = staging.fail(staging.claim(publish(staging), token=7), {"message": "x"})
    (failed.folder / "error.json").write_bytes(b"")
    assert staging.find(failed.id).error() is None


def test_a_pid_that_is_used_again_is_another_process():
    mine = signature()
    assert not is_dead(mine)
    assert is_dead(mine | {"process_started": "1"})


def test_uploads_come_by_state_and_name_oldest_first(staging):
    first, other, second = publish(staging), publish(staging, OTHER), publish(staging)
    staging.claim(second, token=7)
    assert [upload.id for upload in staging.uploads(State.PENDING)] == [first.id, other.id]
    assert [upload.id for upload in staging.uploads(name=NAME)] == [first.id, second.id]
    assert list(staging.uploads(State.DONE)) == []


@pytest.mark.parametrize(
    "upload_id",
    ["", ".", "..", "../pending", "a/b", "é", "é" * 26, "0" * 25, "0" * 27, "8" + "Z" * 25,
     "U" * 26, " " * 26, "\0" * 26, "*" * 26, UNKNOWN_ID],
    ids=ascii,
)  # fmt: skip
def test_an_id_that_is_none_is_unknown(staging, upload_id):
    publish(staging)
    for look in (staging.find, staging.retry, staging.cancel):
        with pytest.raises(UnknownUpload):
            look(upload_id)


def test_an_id_may_be_typed_in_lower_case(staging):
    upload = publish(staging)
    assert staging.find(upload.id.lower()) == upload


def test_a_damaged_manifest_is_named(staging):
    upload = publish(staging)
    (upload.folder / "manifest.json").write_text("{")
    with pytest.raises(InvalidManifest, match=upload.id):
        staging.find(upload.id)


def test_litter_in_staging_is_no_upload(staging, tmp_path):
    upload = publish(staging)
    (tmp_path / "staging" / "pending" / ".DS_Store").write_bytes(b"")
    (tmp_path / "staging" / "pending" / "empty").mkdir()
    assert list(staging.uploads()) == [upload]


def test_opening_staging_again_changes_nothing(staging, tmp_path):
    upload = publish(staging)
    assert list(Staging(tmp_path / "staging").uploads()) == [upload]


def test_signatures_tell_processes_apart():
    assert signature()["pid"] == os.getpid()
