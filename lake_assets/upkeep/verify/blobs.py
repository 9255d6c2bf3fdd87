"""Verify the shard store and the thumbnails against ``lake.images``.

Both sides come sorted by place, so memory does not grow with the number of images: DuckDB sorts
the rows (and spills), the walk sorts folder by folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from lake_assets.errors import LakeError
from lake_assets.query.duckdb import LakeSql, batches_of
from lake_assets.storage.damage import is_passing
from lake_assets.storage.seals import read_seals
from lake_assets.storage.system_tables import IMAGES
from lake_assets.upkeep.verify.folders import FoundFile, files_below
from lake_assets.upkeep.verify.model import Kind, Look, Seen, Tally, Target

_PLACE = re.compile(
    r"provider=([a-z0-9_]+)/dataset=([a-z0-9_]+)/([0-9a-f]{2})/([0-9a-f]{2})/\3\4[0-9a-f]{60}\.\w+"
)
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blob:
    """What ``lake.images`` says of one file."""

    location: str
    dataset: str
    byte_count: int | None
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Store:
    """One of the two stores."""

    kind: Kind
    root: Path
    columns: str
    """SQL for location, size and hash."""


def look_at_images(look: Look) -> Iterator[Seen]:
    """Verify that every image of ``lake.images`` is stored, and find what is stored beside."""
    yield from _look_at(
        look,
        _Store(
            kind=Kind.SHARD,
            root=look.stores.layout.assets,
            columns="location, stored_byte_count, stored_sha256",
        ),
    )


def look_at_thumbnails(look: Look) -> Iterator[Seen]:
    """Verify that every image of ``lake.images`` has its thumbnail."""
    yield from _look_at(
        look,
        _Store(
            kind=Kind.THUMBNAIL,
            root=look.stores.layout.thumbnails,
            columns="thumbnail, NULL::BIGINT, coalesce(thumbnail_sha256, '')",
        ),
    )


def _look_at(look: Look, store: _Store) -> Iterator[Seen]:
    if IMAGES.name in look.broken_tables or (not look.pointers and _has_tables(look)):
        return  # what cannot be read is told of already, and says nothing of the files
    try:
        yield from _compare(look, store)
    except (LakeError, OSError, ValueError) as error:
        if is_passing(error):
            yield look.unreadable(store.root, error)
            return
        yield look.damage(
            Kind.TABLE_FILE, look.stores.layout.tables / "lake" / "images",
            f"{IMAGES.name} cannot be read: {error}", IMAGES.name,
        )  # fmt: skip


def _has_tables(look: Look) -> bool:
    return any(look.stores.layout.tables.glob("*/*/metadata"))


def _compare(look: Look, store: _Store) -> Iterator[Seen]:
    # A thumbnail that `lake repair` made again may differ from the one that its row tells of.
    remade = read_seals(store.root).seals
    files = files_below(store.root)
    file = next(files, None)
    for location, group in groupby(_blobs(look, store), key=lambda blob: blob.location):
        blobs = list(group)
        while file is not None and file.name < location:
            yield from _stray(look, store, file)
            file = next(files, None)
        if len(blobs) > 1:
            yield look.damage(
                Kind.IMAGE_ROW, store.root / location, f"{IMAGES.name} has it {len(blobs)} times",
                blobs[0].dataset,
            )  # fmt: skip
        if file is not None and file.name == location:
            sealed = remade.get(location)
            yield from _check(look, store, file, blobs[0], sealed.sha256 if sealed else "")
            file = next(files, None)
        else:
            yield look.damage(store.kind, store.root / location, "it is missing", blobs[0].dataset)
    while file is not None:
        yield from _stray(look, store, file)
        file = next(files, None)


def _check(
    look: Look, store: _Store, file: FoundFile, blob: _Blob, remade_sha256: str
) -> Iterator[Seen]:
    yield Tally(files=1)
    if blob.byte_count is not None and blob.byte_count != file.byte_count:
        yield look.damage(
            store.kind, file.path,
            f"it has {file.byte_count} bytes, should have {blob.byte_count}", blob.dataset,
        )  # fmt: skip
        return
    wanted = remade_sha256 or blob.sha256
    message = f"its SHA-256 is not {wanted}" if wanted else "it is no image that can be decoded"
    yield Target(
        key=blob.location, place=file.place, name=look.below(file.place),
        byte_count=file.byte_count, sha256=wanted, inode=file.inode,
        kind=store.kind, about=blob.dataset, message=message,
    )  # fmt: skip


def _stray(look: Look, store: _Store, file: FoundFile) -> Iterator[Seen]:
    if file.name == "seals.log":
        for number in read_seals(store.root).damaged_lines:
            message = f"line {number} is not as it was written"
            yield look.damage(Kind.SEAL_LOG, file.path, message)
        return
    place = _PLACE.fullmatch(file.name)
    about = f"{place[1]}/{place[2]}" if place else ""
    if file.is_draft:
        kind, message = Kind.DRAFT, "a file that was not finished"
    elif place:
        kind, message = Kind.ORPHAN, f"no row of {IMAGES.name} names it"
    else:
        kind, message = Kind.STRANGE, "not the name of an image"
    yield from look.stray(kind, file.path, file.changed_at, message, about)


def _blobs(look: Look, store: _Store) -> Iterator[_Blob]:
    if IMAGES.name not in look.pointers:
        return
    sql = LakeSql(look.stores.tables, scratch=look.stores.layout.scratch)
    columns = store.columns
    schema = look.stores.tables.schema(IMAGES.name)
    if schema is not None and "thumbnail_sha256" not in schema.names:
        columns = columns.replace("thumbnail_sha256", "NULL")  # a table of an earlier version
    rows: Any = sql.query(
        f"SELECT {columns}, provider || '/' || dataset FROM {IMAGES.name} ORDER BY 1"
    )
    warehouse = look.stores.tables.warehouse
    for batch in batches_of(rows, _ROWS_AT_ONCE, warehouse=warehouse):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            location, byte_count, sha256, dataset = row
            yield _Blob(location=location, byte_count=byte_count, sha256=sha256, dataset=dataset)
