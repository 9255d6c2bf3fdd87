"""Look at an upload's images, each distinct one once, while its rows are being read.

Workers read, hash, decode and store by themselves, so image bytes cross processes only where a
delivery holds them inside its rows. Batches come out in the order they went in; the engine reads
a little ahead, so the next batch is decoded while the last one is written.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lake_assets.contracts.datasets import ImagePolicy
from lake_assets.contracts.names import DatasetName
from lake_assets.ingest.seen import SeenKeys
from lake_assets.intake.model import Batch, ImageRef
from lake_assets.media.engines import Engine, WorkerDied
from lake_assets.media.inspect import ImageFacts
from lake_assets.media.store_policy import StorePolicy
from lake_assets.storage.image_shards import (
    ImageTask,
    StoredFacts,
    StorePlan,
    Unusable,
    look_at_image,
)
from lake_assets.storage.shards import ShardStore

__all__ = ["LookPlan", "SeenBatch", "StoredFacts", "Unusable", "image_row", "look_at_batches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookPlan:
    """How to look at one dataset's images, and where to store them."""

    name: DatasetName
    policy: ImagePolicy
    pixel_limit: int
    assets: ShardStore
    thumbnails: ShardStore

    def for_workers(self) -> StorePlan:
        """Return the same without what takes long to import."""
        return StorePlan(
            name=self.name,
            policy=StorePolicy.parse(self.policy.store, self.policy.longest_side_px),
            pixel_limit=self.pixel_limit,
            assets=self.assets,
            thumbnails=self.thumbnails,
        )


@dataclass(slots=True, kw_only=True)
class SeenBatch:
    """A batch whose images have been looked at."""

    batch: Batch
    shas: Sequence[str | None]
    """SHA-256 of each row's image."""
    byte_counts: Sequence[int]
    """Size of each row's image in bytes; 0 where there is none."""
    unusable: dict[str, Unusable]
    """Images that any batch of the upload so far found unusable, by SHA-256."""
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
    planned = (_planned(batch, unusable, known, upload_id) for batch in batches)
    for first in planned:
        if first.tasks:
            yield from _through_engine(itertools.chain([first], planned), plan, engine)
        else:  # nothing is new so far, so no worker needs to be started
            yield first.seen


def _through_engine(
    planned: Iterable[_Planned], plan: LookPlan, engine: Engine
) -> Iterator[SeenBatch]:
    waiting: deque[SeenBatch] = deque()
    asked: deque[ImageTask | None] = deque()

    def tasks() -> Iterator[ImageTask | None]:
        for item in planned:
            waiting.append(item.seen)
            # None comes back after the batch's last image: it is complete, even if it had none.
            for task in (*item.tasks, None):
                asked.append(task)
                yield task

    # The plan goes to each worker once, not with each image.
    for result in engine.map(functools.partial(look_at_image, plan.for_workers()), tasks()):
        task = asked.popleft()
        if task is None:
            yield waiting.popleft()
        elif isinstance(result, StoredFacts):
            waiting[0].stored.append(result)
        else:
            waiting[0].unusable[task.sha256] = _as_unusable(result)


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
    known: SeenKeys,
    upload_id: str,
) -> _Planned:
    if batch.images is None:
        count = batch.rows.num_rows
        none = SeenBatch(
            batch=batch, shas=(None,) * count, byte_counts=(0,) * count, unusable=unusable
        )
        return _Planned(none, [])
    seen = SeenBatch(
        batch=batch,
        shas=[_sha256(ref) for ref in batch.images],
        byte_counts=[_byte_count(ref) for ref in batch.images],
        unusable=unusable,
    )
    new = known.add_new(seen.shas, upload_id=upload_id)
    tasks = [
        ImageTask(name=ref.name, sha256=sha, path=ref.path, data=ref.data)
        for ref, sha, is_new in zip(batch.images, seen.shas, new, strict=True)
        if is_new and ref is not None and sha is not None
    ]
    return _Planned(seen, tasks)


def _as_unusable(result: Unusable | WorkerDied | None) -> Unusable:
    if isinstance(result, Unusable):
        return result
    if result is not None and result.is_timeout:
        return Unusable(
            rule="image_is_read_in_time",
            expected="an image that is decoded within image_timeout_s, at the second try at last",
            actual=result.reason,
        )
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
    if ref.sha256 is None:
        raise ValueError(f"{ref.name}: an image in a file needs the hash from its manifest")
    return ref.sha256


def _byte_count(ref: ImageRef | None) -> int:
    if ref is None:
        return 0
    return len(ref.data) if ref.data is not None else ref.byte_count
