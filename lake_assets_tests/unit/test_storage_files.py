import errno
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.errors import AlreadyExists, StorageUnavailable, UnreadableSource
from lake_assets.storage import files
from lake_assets.storage.files import (
    BLOCK_BYTES,
    CopiedFile,
    copy_hashed,
    fsync_file,
    fsync_folder,
    link_or_copy,
    move_atomically,
    new_file,
    remove_tree,
    write_atomically,
)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def target(tmp_path):
    return tmp_path / "target"


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 5])
def test_a_copy_has_the_content_and_its_hash(tmp_path, target, size):
    content = os.urandom(size)
    (tmp_path / "source").write_bytes(content)
    copied = copy_hashed(tmp_path / "source", target)
    assert target.read_bytes() == content
    assert copied == CopiedFile(byte_count=size, sha256=hashlib.sha256(content).hexdigest())


def test_a_copy_never_overwrites(source, target):
    target.write_bytes(b"precious")
    with pytest.raises(AlreadyExists):
        copy_hashed(source, target)
    assert target.read_bytes() == b"precious"


def append(source):
    with source.open("ab") as file:
        file.write(b" and more")


def rewrite(source):
    source.write_bytes(b"CONTENT")
    os.utime(source, ns=(1, 1))


@pytest.mark.parametrize("change", [append, rewrite])
def test_a_file_that_changes_while_it_is_read_is_not_copied(source, target, monkeypatch, change):
    read = files._blocks_of

    def read_and_change(path, file):
        yield from read(path, file)
        change(source)

    monkeypatch.setattr(files, "_blocks_of", read_and_change)
    with pytest.raises(StorageUnavailable, match="changed while it was read"):
        copy_hashed(source, target)
    assert not target.exists()


def test_a_file_that_is_gone_may_come_back(tmp_path, target):
    with pytest.raises(StorageUnavailable, match="No such file"):
        copy_hashed(tmp_path / "gone", target)
    assert not target.exists()


def test_a_fifo_is_refused_at_once(tmp_path, target):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UnreadableSource, match="not a regular file"):
        copy_hashed(tmp_path / "fifo", target)
    assert not target.exists()


def fail_with(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_full_disk_leaves_no_half_file(source, target, monkeypatch):
    monkeypatch.setattr(files.os, "write", fail_with(errno.ENOSPC))
    with pytest.raises(StorageUnavailable, match="No space left"):
        copy_hashed(source, target)
    assert not target.exists()


def test_a_file_that_may_not_be_read_says_what_to_do(source, target, monkeypatch):
    # Root may read everything, so that the mode alone proves nothing.
    monkeypatch.setattr(files, "_without_waiting", fail_with(errno.EACCES))
    with pytest.raises(UnreadableSource, match=r"chmod u\+r"):
        copy_hashed(source, target)


def test_a_new_file_is_gone_when_its_body_fails(target):
    with pytest.raises(KeyError), new_file(target) as writer:
        writer.write_all([b"half"])
        raise KeyError
    assert not target.exists()


def test_a_link_shares_the_file(source, target):
    assert link_or_copy(source, target) is True
    assert target.samefile(source)


def test_where_links_are_impossible_a_copy_is_made(source, target, monkeypatch):
    monkeypatch.setattr(files.os, "link", fail_with(errno.EXDEV))
    assert link_or_copy(source, target) is False
    assert target.read_bytes() == b"content"
    assert not target.samefile(source)


def test_a_link_never_overwrites(source, target):
    target.write_bytes(b"precious")
    with pytest.raises(AlreadyExists):
        link_or_copy(source, target)
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["plain", "é", "x" * 255])
def test_writing_atomically_replaces_the_whole_file(tmp_path, name):
    write_atomically(tmp_path / name, b"long old content")
    write_atomically(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failed_atomic_write_keeps_the_old_content_and_no_draft(tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", b"old")
    monkeypatch.setattr(files.os, "write", fail_with(errno.ENOSPC))
    with pytest.raises(StorageUnavailable):
        write_atomically(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_moved_folder_is_at_its_target_only(tmp_path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    assert move_atomically(tmp_path / "a", tmp_path / "b") is True
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_of_many_movers_exactly_one_wins(tmp_path):
    for attempt in range(20):
        start = threading.Barrier(8)
        (tmp_path / f"a{attempt}").mkdir()
        paths = tmp_path / f"a{attempt}", tmp_path / f"b{attempt}"

        def move(_, start=start, paths=paths):
            start.wait()
            return move_atomically(*paths)

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(move, range(8))) == [False] * 7 + [True]


@pytest.mark.parametrize("content", [(), ("file",)], ids=["empty", "full"])
def test_a_move_never_replaces_a_folder(tmp_path, content):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for name in content:
        (tmp_path / "b" / name).touch()
    with pytest.raises(AlreadyExists):
        move_atomically(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").is_dir()


def test_a_move_to_nowhere_is_an_error_and_not_a_lost_race(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageUnavailable):
        move_atomically(tmp_path / "a", tmp_path / "missing" / "b")


def test_removing_a_tree_does_not_follow_links(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "file"]


def test_syncing_what_is_there_succeeds_and_what_is_not_fails(tmp_path, source):
    fsync_file(source)
    fsync_folder(tmp_path)
    with pytest.raises(StorageUnavailable):
        fsync_file(tmp_path / "gone")
    with pytest.raises(StorageUnavailable):
        fsync_folder(source)


@given(blocks=st.lists(st.binary(max_size=100)))
def test_what_is_written_in_blocks_is_hashed_as_a_whole(tmp_path_factory, blocks):
    path = tmp_path_factory.mktemp("written") / "file"
    with new_file(path) as writer:
        written = writer.write_all(blocks)
    whole = b"".join(blocks)
    assert path.read_bytes() == whole
    assert written == CopiedFile(byte_count=len(whole), sha256=hashlib.sha256(whole).hexdigest())
