"""Look at an upload's images, each distinct one once, while its rows are being read.

Workers read, hash, decode and store by themselves, so image bytes cross processes only where a
delivery holds them inside its rows. Batches come out in the order they went in; the engine reads
a little ahead, so the next batch is decoded while the last one is written.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import ImagePolicy
from lake_assets.errors import UnreadableMedia
from lake_assets.ingest.seen import SeenKeys
from lake_assets.intake.model import Batch, ImageRef
from lake_assets.media.engines import Engine, WorkerDied
from lake_assets.media.inspect import ImageFacts, MediaLimits, inspect_image
from lake_assets.media.reencode import StorePolicy, reencode
from lake_assets.storage.shards import ShardStore


@dataclass(frozen=True, slots=True, kw_only=True)
class LookPlan:
    """How to look at one dataset's images, and where to store them."""

    name: DatasetName
    policy: ImagePolicy
    pixel_limit: int
    assets: ShardStore
    thumbnails: ShardStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTask:
    """One image that the dataset does not have yet."""

    ref: ImageRef
    sha256: str
    plan: LookPlan


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


@dataclass(slots=True, kw_only=True)
class SeenBatch:
    """A batch whose images have been looked at."""

    batch: Batch
    shas: Sequence[str | None]
    """SHA-256 of each row's image."""
    byte_counts: Sequence[int]
    """Size of each row's image in bytes; 0 where there is none."""
    unusable: dict[str, Unusable]
    """Images that any batch so far found unusable, by SHA-256."""
    stored: list[StoredFacts] = field(default_factory=list)
    """Images that this batch is the first to have."""


def look_at_batches(
    batches: Iterable[Batch],
    engine: Engine,
    *,
    plan: LookPlan,
    known: SeenKeys,
    unusable: dict[str, Unusable],
    upload_id: str,
) -> Iterator[SeenBatch]:
    """Yield each batch once all images that are new with it have been looked at and stored.

    Args:
        known: SHA-256 of images that were looked at before; grows.
        unusable: Those of them that cannot be used; grows.
    """
    planned = (_planned(batch, unusable, plan, known, upload_id) for batch in batches)
    for first in planned:
        if first.tasks:
            yield from _through_engine(itertools.chain([first], planned), engine)
        else:  # nothing is new so far, so no worker needs to be started
            yield first.seen


def _through_engine(planned: Iterable[_Planned], engine: Engine) -> Iterator[SeenBatch]:
    waiting: deque[SeenBatch] = deque()
    asked: deque[ImageTask | None] = deque()

    def tasks() -> Iterator[ImageTask | None]:
        for item in planned:
            waiting.append(item.seen)
            # None comes back after the batch's last image: it is complete, even if it had none.
            for task in (*item.tasks, None):
                asked.append(task)
                yield task

    for result in engine.map(look_at_image, tasks()):
        task = asked.popleft()
        if task is None:
            yield waiting.popleft()
        elif isinstance(result, StoredFacts):
            waiting[0].stored.append(result)
        else:
            waiting[0].unusable[task.sha256] = _as_unusable(result)


def look_at_image(task: ImageTask | None) -> StoredFacts | Unusable | None:
    """Read, check, store and thumbnail one image; None marks the end of a batch.

    Runs in a worker process. An image that cannot be used is a value, not an error.
    """
    if task is None:
        return None
    data = task.ref.data if task.ref.data is not None else _read(task.ref.path)
    limits = MediaLimits(pixel_limit=task.plan.pixel_limit)
    try:
        facts = inspect_image(data, name=task.ref.name, limits=limits)
        return _store(task, data, facts)
    except UnreadableMedia as error:
        return Unusable(
            rule=str(error.context["rule"]),
            expected=str(error.context["expected"]),
            actual=str(error.context["actual"]),
        )


def image_row(stored: StoredFacts, name: DatasetName) -> dict[str, Any]:
    """Return the row of ``lake.images`` for an image, but for what is known of its upload."""
    own = {
        item.name: getattr(stored.facts, item.name)
        for item in fields(ImageFacts)
        if item.name not in ("extension", "thumbnail")
    }
    return {
        **own,
        "provider": name.provider,
        "dataset": name.dataset,
        "location": stored.location,
        "thumbnail": stored.thumbnail,
        "thumbnail_sha256": stored.thumbnail_sha256,
        "stored_sha256": stored.stored_sha256,
        "stored_byte_count": stored.stored_byte_count,
        "source_name": stored.source_name,
    }


@dataclass(frozen=True, slots=True)
class _Planned:
    seen: SeenBatch
    tasks: list[ImageTask]


def _planned(
    batch: Batch,
    unusable: dict[str, Unusable],
    plan: LookPlan,
    known: SeenKeys,
    upload_id: str,
) -> _Planned:
    refs = batch.images if batch.images is not None else (None,) * batch.rows.num_rows
    seen = SeenBatch(
        batch=batch,
        shas=[_sha256(ref) for ref in refs],
        byte_counts=[_byte_count(ref) for ref in refs],
        unusable=unusable,
    )
    if batch.images is None:
        return _Planned(seen, [])
    new = known.add_new(seen.shas, upload_id=upload_id)
    tasks = [
        ImageTask(ref=ref, sha256=sha, plan=plan)
        for ref, sha, is_new in zip(batch.images, seen.shas, new, strict=True)
        if is_new and ref is not None and sha is not None
    ]
    return _Planned(seen, tasks)


def _store(task: ImageTask, data: bytes, facts: ImageFacts) -> StoredFacts | Unusable:
    if facts.sha256 != task.sha256:
        return Unusable(
            rule="file_is_as_it_was_delivered",
            expected=f"SHA-256 {task.sha256}, as its manifest says",
            actual=f"SHA-256 {facts.sha256}",
        )
    plan = task.plan
    policy = StorePolicy.parse(plan.policy.store, plan.policy.longest_side_px)
    kept = reencode(data, facts, policy)
    location = plan.assets.location(plan.name, facts.sha256, kept.extension)
    if kept.sha256 == facts.sha256 and task.ref.path is not None:
        plan.assets.put_file(location, task.ref.path)
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
        source_name=task.ref.name,
    )


def _as_unusable(result: Unusable | WorkerDied | None) -> Unusable:
    if isinstance(result, Unusable):
        return result
    return Unusable(
        rule="image_is_readable",
        expected="an image whose decoding does not end the process",
        actual=result.reason if result else "no result",
    )


def _sha256(ref: ImageRef | None) -> str | None:
    if ref is None:
        return None
    if ref.data is not None:
        return hashlib.sha256(ref.data).hexdigest()
    return ref.sha256 or hashlib.sha256(_read(ref.path)).hexdigest()


def _byte_count(ref: ImageRef | None) -> int:
    if ref is None:
        return 0
    return len(ref.data) if ref.data is not None else _path(ref.path).stat().st_size


def _read(path: Path | None) -> bytes:
    return _path(path).read_bytes()


def _path(path: Path | None) -> Path:
    if path is None:
        raise ValueError("an image reference has neither a path nor data")
    return path
