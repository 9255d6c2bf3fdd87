"""The shard store: each blob once, whole or not at all."""

import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from lake_assets.contracts.names import DatasetName
from lake_assets.storage.shards import ShardStore, sync_file_system

NAME = DatasetName("icdar", "sroie")


@pytest.fixture
def shards(tmp_path):
    return ShardStore(tmp_path / "assets")


def place(shards, data, extension="png", name=NAME):
    return shards.location(name, hashlib.sha256(data).hexdigest(), extension)


def files_in(shards):
    return sorted(path.name for path in shards.path("").rglob("*") if path.is_file())


def staged(tmp_path, data, name="a.png"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_a_place_tells_provider_dataset_and_hash(shards):
    sha = "abcd" + "0" * 60
    assert shards.location(NAME, sha, "png") == (
        f"provider=icdar/dataset=sroie/ab/cd/{sha}.png"
    )  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 100_000], ids=["empty", "short", "long"])
def test_what_is_put_can_be_read(shards, data):
    location = place(shards, data)
    assert shards.size(location) is None
    assert shards.put(location, data)
    assert shards.path(location).read_bytes() == data
    assert shards.size(location) == len(data)


def test_the_same_bytes_twice_leave_the_shard_alone(shards):
    location = place(shards, b"x")
    shards.put(location, b"x")
    before = shards.path(location).stat()
    assert not shards.put(location, b"x")
    assert shards.path(location).stat() == before
    assert len(files_in(shards)) == 1


WHOLE = bytes(range(256)) * 1200
"""More than two of the blocks that are compared."""
ROTTEN = {
    "empty": b"",
    "a part": WHOLE[:-2],
    "zeros": bytes(len(WHOLE)),
    "first byte": b"!" + WHOLE[1:],
    "last byte": WHOLE[:-1] + b"!",
}
of_its_size = pytest.mark.parametrize("rotten", list(ROTTEN.values())[2:], ids=list(ROTTEN)[2:])


@pytest.mark.parametrize("way", ["put", "put_file"])
@pytest.mark.parametrize("rotten", ROTTEN.values(), ids=ROTTEN.keys())
def test_a_shard_that_lost_its_content_is_replaced(shards, tmp_path, way, rotten):
    location, source = place(shards, WHOLE), staged(tmp_path, WHOLE)
    shards.put(location, rotten)
    held = shards.path(location).open("rb")
    assert shards.put(location, WHOLE) if way == "put" else shards.put_file(location, source)
    assert shards.path(location).read_bytes() == WHOLE
    assert shards.path(location).stat().st_mode & 0o222 == 0
    assert len(files_in(shards)) == 1
    with held:
        assert held.read() == rotten, "it was written to, not replaced"


@of_its_size
def test_a_shard_is_linked_only_if_it_has_the_content(shards, tmp_path, rotten):
    location, target = place(shards, WHOLE), tmp_path / "linked.png"
    assert not shards.link_to(location, target, memoryview(WHOLE))
    shards.put(location, rotten)
    assert not shards.link_to(location, target, memoryview(WHOLE))
    assert not target.exists()
    shards.put(location, WHOLE)
    assert shards.link_to(location, target, memoryview(WHOLE))
    assert target.samefile(shards.path(location))


@of_its_size
def test_a_staged_copy_mends_a_shard_of_its_size(shards, tmp_path, rotten):
    location, source = place(shards, WHOLE), staged(tmp_path, WHOLE)
    shards.put(location, rotten)
    assert shards.mend(location, source)
    assert shards.path(location).read_bytes() == WHOLE
    assert not shards.mend(location, source)
    assert files_in(shards) == [shards.path(location).name]


def test_a_staged_copy_mends_neither_nothing_nor_a_shard_of_another_size(shards, tmp_path):
    location, source = place(shards, WHOLE), staged(tmp_path, WHOLE)
    assert not shards.mend(location, source)
    assert files_in(shards) == []
    shards.put(location, b"stored under another policy")
    assert not shards.mend(location, source)
    assert shards.path(location).read_bytes() == b"stored under another policy"


def test_a_shard_that_the_disk_cannot_read_is_replaced(shards, tmp_path, monkeypatch):
    location, target = place(shards, b"image"), tmp_path / "linked.png"
    shards.put(location, b"image")
    before = shards.path(location).stat().st_ino

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", fail)
        patch.setattr(os, "readv", fail)
        assert not shards.link_to(location, target, memoryview(b"image"))
        assert shards.mend(location, staged(tmp_path, b"image"))
    assert shards.path(location).read_bytes() == b"image"
    assert shards.path(location).stat().st_ino != before


def test_one_dataset_does_not_see_the_shards_of_another(shards):
    shards.put(place(shards, b"x"), b"x")
    other = place(shards, b"x", name=DatasetName("icdar", "funsd"))
    assert shards.size(other) is None
    assert shards.put(other, b"x")


@pytest.mark.parametrize("name", ["é.png", "a b.png", "'.png", "x" * 251 + ".png", "*.png"])
def test_a_staged_file_of_any_name_becomes_a_shard(shards, tmp_path, name):
    source = staged(tmp_path, b"image", name)
    location = place(shards, b"image")
    assert shards.put_file(location, source)
    assert not shards.put_file(location, source)
    assert shards.path(location).read_bytes() == source.read_bytes() == b"image"
    assert len(files_in(shards)) == 1


def test_a_staged_file_for_a_shard_that_is_there_changes_nothing(shards, tmp_path):
    location = place(shards, b"image")
    shards.put(location, b"image")
    inode = shards.path(location).stat().st_ino
    assert not shards.put_file(location, staged(tmp_path, b"image"))
    assert shards.path(location).stat().st_ino == inode


def test_removing_a_staged_file_keeps_its_shard(shards, tmp_path):
    source, location = staged(tmp_path, b"image"), place(shards, b"image")
    shards.put_file(location, source)
    source.unlink()
    assert shards.path(location).read_bytes() == b"image"


def test_a_shard_is_not_writable(shards):
    location = place(shards, b"x")
    shards.put(location, b"x")
    assert shards.path(location).stat().st_mode & 0o222 == 0


@pytest.mark.parametrize("way", ["put", "put_file"])
def test_threads_that_store_the_same_shard_at_once_leave_one(shards, tmp_path, way):
    data, barrier = b"y" * 200_000, Barrier(8)
    location, source = place(shards, data), staged(tmp_path, data)

    def store(_):
        barrier.wait()
        return shards.put(location, data) if way == "put" else shards.put_file(location, source)

    with ThreadPoolExecutor(8) as pool:
        assert any(pool.map(store, range(8)))
    assert shards.path(location).read_bytes() == data
    assert len(files_in(shards)) == 1


def test_the_file_system_of_a_folder_can_be_synced(tmp_path):
    sync_file_system(tmp_path)
    with pytest.raises(OSError):
        sync_file_system(tmp_path / "none")
