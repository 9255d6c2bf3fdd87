"""What a worker makes of an image: facts and two shards, a reason, or an error of the disk."""

import hashlib
import io
import os
import resource
import subprocess
import sys
from functools import partial

import pytest
from PIL import Image

from lake_assets.contracts.datasets import ImagePolicy
from lake_assets.contracts.names import DatasetName
from lake_assets.errors import StorageUnavailable
from lake_assets.ingest.images import LookPlan, look_at_batches
from lake_assets.ingest.seen import SeenKeys
from lake_assets.intake.model import ReadOptions, StagedFile
from lake_assets.intake.readers.image_files import image_batches
from lake_assets.media.engines import Engine
from lake_assets.media.store_policy import StorePolicy
from lake_assets.media.worker_processes import WorkerLimits
from lake_assets.storage.image_shards import (
    ImageTask,
    StoredFacts,
    StorePlan,
    Unusable,
    look_at_image,
)
from lake_assets.storage.shards import ShardStore

NAME = DatasetName("icdar", "sroie")
PIXEL_LIMIT = 300_000_000


def jpeg(shade=90, size_px=(40, 30)):
    raw = io.BytesIO()
    Image.new("L", size_px, shade).save(raw, "JPEG")
    return raw.getvalue()


def palette_png(side_px):
    """A palette with transparency takes 17 bytes of memory a pixel, and 30 s a gigapixel."""
    raw = io.BytesIO()
    picture = Image.new("P", (side_px, side_px))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(raw, "PNG", compress_level=1, transparency=0)
    return raw.getvalue()


def plan_in(folder):
    return StorePlan(
        name=NAME,
        policy=StorePolicy.parse("original"),
        pixel_limit=PIXEL_LIMIT,
        assets=ShardStore(folder / "assets"),
        thumbnails=ShardStore(folder / "thumbnails"),
    )


@pytest.fixture
def plan(tmp_path):
    return plan_in(tmp_path)


def staged(folder, data, name="a.jpg", delivered=None):
    path = folder / name
    path.write_bytes(data)
    return ImageTask(name=name, sha256=hashlib.sha256(delivered or data).hexdigest(), path=path)


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_image_is_stored_with_its_thumbnail(plan, tmp_path):
    task = staged(tmp_path, jpeg())
    stored = look_at_image(plan, task)
    assert isinstance(stored, StoredFacts)
    assert plan.assets.path(stored.location).samefile(task.path)
    assert plan.thumbnails.size(stored.thumbnail)
    assert stored.facts.thumbnail == b""
    assert stored.stored_sha256 == task.sha256


def test_the_end_of_a_batch_passes(plan):
    assert look_at_image(plan, None) is None


def test_bytes_other_than_delivered_are_not_stored(plan, tmp_path):
    found = look_at_image(plan, staged(tmp_path, jpeg(1), delivered=jpeg(2)))
    assert isinstance(found, Unusable)
    assert found.rule == "file_is_as_it_was_delivered"
    assert len(files_below(tmp_path)) == 1


def test_a_staged_file_that_is_gone_is_an_error(plan, tmp_path):
    task = staged(tmp_path, jpeg())
    task.path.unlink()
    with pytest.raises(FileNotFoundError):
        look_at_image(plan, task)


# The memory of a worker.


@pytest.fixture(scope="module")
def small():
    """A worker with 1 GiB."""
    with Engine(1, WorkerLimits(memory_bytes=2**30)) as engine:
        yield engine


linux_only = pytest.mark.skipif(sys.platform == "darwin", reason="macOS ignores RLIMIT_AS")


@linux_only
def test_a_file_larger_than_the_memory_is_a_rejected_image(plan, tmp_path, small):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.write(jpeg())
        file.truncate(5 * 2**30)
    huge = ImageTask(name="huge.jpg", sha256="0" * 64, path=path)
    good = staged(tmp_path, jpeg())
    found = list(small.map(partial(look_at_image, plan), [huge, good]))
    assert found[0].rule == "image_fits_in_memory"
    assert isinstance(found[1], StoredFacts)


@linux_only
def test_pixels_beyond_the_memory_are_a_rejected_image(plan, tmp_path, small):
    bomb, good = staged(tmp_path, palette_png(16_000), "bomb.png"), staged(tmp_path, jpeg())
    found = list(small.map(partial(look_at_image, plan), [bomb, good]))
    assert found[0].rule == "image_fits_in_memory"
    assert isinstance(found[1], StoredFacts)


# The disk says no: never the image's fault.


def limited(kind: int, most: int, plan: StorePlan, task: ImageTask) -> object:
    """Look at an image under a limit of the system, in a worker of its own."""
    resource.setrlimit(kind, (most, most))
    return look_at_image(plan, task)


@pytest.mark.parametrize(
    ("kind", "most"),
    [(resource.RLIMIT_FSIZE, 100), (resource.RLIMIT_NOFILE, 0)],
    ids=["file size", "open files"],
)
def test_a_limit_of_the_system_is_not_the_images_fault(plan, tmp_path, kind, most):
    # Bytes out of rows, so that the shard is written, not linked.
    data = jpeg(size_px=(400, 300))
    task = ImageTask(name="a#1", sha256=hashlib.sha256(data).hexdigest(), data=data)
    with Engine(1) as engine, pytest.raises(StorageUnavailable):
        list(engine.map(partial(limited, kind, most, plan), [task]))
    assert files_below(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: a full disk needs the right to mount a tmpfs (run as root)")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_not_the_images_fault(tiny_disk, tmp_path):
    plan, task = plan_in(tiny_disk), staged(tmp_path, jpeg())
    (tiny_disk / "full").write_bytes(bytes(os.statvfs(tiny_disk).f_bavail * 4096))
    with pytest.raises(StorageUnavailable, match="No space left"):
        look_at_image(plan, task)
    assert [path.name for path in files_below(tiny_disk)] == ["full"]
    (tiny_disk / "full").unlink()
    assert isinstance(look_at_image(plan, task), StoredFacts)


def test_a_read_only_disk_is_not_the_images_fault(tiny_disk, tmp_path):
    plan, task = plan_in(tiny_disk), staged(tmp_path, jpeg())
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(StorageUnavailable, match="Read-only"):
        look_at_image(plan, task)


def test_a_file_where_a_folder_should_be_is_not_the_images_fault(plan, tmp_path):
    (tmp_path / "thumbnails").write_bytes(b"")
    with pytest.raises(StorageUnavailable):
        look_at_image(plan, staged(tmp_path, jpeg()))


# From batches to batches.


def seen_batches(engine, folder, images):
    files = []
    for name, data in images.items():
        staged(folder, data, name)
        files.append(
            StagedFile(
                name=name,
                byte_count=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                role="image",
            )
        )
    plan = LookPlan(
        name=NAME,
        policy=ImagePolicy(),
        pixel_limit=PIXEL_LIMIT,
        assets=ShardStore(folder / "assets"),
        thumbnails=ShardStore(folder / "thumbnails"),
    )
    known = SeenKeys((), column="sha256", scratch=folder, warehouse=folder)
    batches = image_batches(folder, files, ReadOptions(), batch_rows=2)
    return list(
        look_at_batches(batches, engine, plan=plan, known=known, unusable={}, upload_id="u")
    )


def test_each_batch_has_the_images_that_came_first_with_it(tmp_path):
    images = {"a": jpeg(1), "b": jpeg(2), "c": jpeg(1), "d": jpeg(2), "e": jpeg(3), "f": b"GIF89a"}
    with Engine(2) as engine:
        seen = seen_batches(engine, tmp_path, images)
    assert [[item.source_name for item in batch.stored] for batch in seen] == [
        ["a", "b"], [], ["e"],
    ]  # fmt: skip
    assert [batch.byte_counts for batch in seen] == [
        [len(images[name]) for name in names] for names in ("ab", "cd", "ef")
    ]
    assert set(seen[-1].unusable) == {hashlib.sha256(b"GIF89a").hexdigest()}


def test_an_image_that_takes_too_long_is_rejected_and_the_others_are_stored(tmp_path):
    slow = palette_png(8_000)  # 2 s
    with Engine(2, WorkerLimits(item_timeout_s=0.4)) as engine:
        (first, second) = seen_batches(
            engine, tmp_path, {"a": jpeg(1), "slow": slow, "b": jpeg(2), "c": jpeg(3)}
        )
    (unusable,) = first.unusable.values()
    assert unusable.rule == "image_is_read_in_time"
    assert "0.4 s" in unusable.actual
    assert [item.source_name for item in (*first.stored, *second.stored)] == ["a", "b", "c"]
