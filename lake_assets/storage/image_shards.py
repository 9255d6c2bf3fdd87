"""One image, looked at and stored: what a worker process does.

Imports no more than it needs, as every worker imports it. Invariants: what is stored under a
hash has been read and has that hash; a disk that fails is never taken for an image that is bad.
"""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import StorageUnavailable, UnreadableMedia
from lake_assets.media.inspect import ImageFacts, MediaLimits, inspect_image
from lake_assets.media.reencode import StorePolicy, reencode
from lake_assets.storage.shards import ShardStore


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePlan:
    """How to look at one dataset's images, and where to store them."""

    name: DatasetName
    policy: StorePolicy
    pixel_limit: int
    assets: ShardStore
    thumbnails: ShardStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTask:
    """One image that the dataset does not have yet. Exactly one of ``path`` and ``data`` is set."""

    name: str
    """As the delivery calls it."""
    sha256: str
    """As the manifest says, or of ``data``."""
    path: Path | None = None
    """A staged file."""
    data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFacts:
    """An image that was looked at and stored."""

    facts: ImageFacts
    """Without the thumbnail's bytes, which lie in the store."""
    location: str
    thumbnail: str
    thumbnail_sha256: str
    stored_sha256: str
    stored_byte_count: int
    source_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """An image that cannot be used, and why."""

    rule: str
    expected: str
    actual: str


def look_at_image(plan: StorePlan, task: ImageTask | None) -> StoredFacts | Unusable | None:
    """Read, check, store and thumbnail one image; None marks the end of a batch.

    An image that cannot be used is a value, not an error.

    Raises:
        StorageUnavailable: the disk is full, away or out of file handles.
        FileNotFoundError: the staged file is gone.
    """
    if task is None:
        return None
    limits = MediaLimits(pixel_limit=plan.pixel_limit)
    try:
        data = task.data if task.data is not None else _read(task)
        facts = inspect_image(data, name=task.name, limits=limits)
        return _store(plan, task, data, facts)
    except UnreadableMedia as error:
        return Unusable(
            rule=str(error.context["rule"]),
            expected=str(error.context["expected"]),
            actual=str(error.context["actual"]),
        )
    except MemoryError:
        return Unusable(
            rule="image_fits_in_memory",
            expected="an image that a worker can hold in its share of the memory",
            actual="more than that",
        )


def _read(task: ImageTask) -> bytes:
    if task.path is None:
        raise ValueError("an image has neither a path nor data")
    try:
        return task.path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError(str(error)) from error
        raise StorageUnavailable(
            f"Cannot read {task.path}: {error.strerror or error}. Try again once that is mended.",
            path=str(task.path),
        ) from error


def _store(
    plan: StorePlan, task: ImageTask, data: bytes, facts: ImageFacts
) -> StoredFacts | Unusable:
    if facts.sha256 != task.sha256:
        return Unusable(
            rule="file_is_as_it_was_delivered",
            expected=f"SHA-256 {task.sha256}, as its manifest says",
            actual=f"SHA-256 {facts.sha256}",
        )
    kept = reencode(data, facts, plan.policy)
    location = plan.assets.location(plan.name, facts.sha256, kept.extension)
    if kept.sha256 == facts.sha256 and task.path is not None:
        plan.assets.put_file(location, task.path)
    else:
        plan.assets.put(location, kept.data)
    thumbnail = plan.thumbnails.location(plan.name, facts.sha256, "jpg")
    plan.thumbnails.put(thumbnail, facts.thumbnail)
    return StoredFacts(
        facts=replace(facts, thumbnail=b""),
        location=location,
        thumbnail=thumbnail,
        thumbnail_sha256=hashlib.sha256(facts.thumbnail).hexdigest(),
        stored_sha256=kept.sha256,
        stored_byte_count=len(kept.data),
        source_name=task.name,
    )
