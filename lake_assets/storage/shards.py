"""The shard store: images and other blobs, each stored once per dataset, named by its SHA-256.

Invariants: a shard is either absent or whole; its name is the hash of the bytes first delivered
(a dataset may store re-encoded bytes, see ``media.reencode``); nothing writes to a shard again, it
is only ever replaced as a whole.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from uuid import uuid4

from lake_assets.contracts.names import DatasetName
from lake_assets.storage.files import link_or_copy, new_file


class ShardStore:
    """Blobs in a local folder: ``provider=P/dataset=D/ab/cd/<sha256>.<ext>``.

    Two levels of 256 folders keep each below a few hundred names up to ten million shards.

    Args:
        root: Folder of the store; made when needed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def location(self, name: DatasetName, sha256: str, extension: str) -> str:
        """Return a shard's place, relative to the store's folder."""
        return (
            f"provider={name.provider}/dataset={name.dataset}/"
            f"{sha256[:2]}/{sha256[2:4]}/{sha256}.{extension}"
        )

    def path(self, location: str) -> Path:
        """Return the absolute path of a shard's place."""
        return self._root / location

    def size(self, location: str) -> int | None:
        """Return how many bytes are stored at ``location``, or None if nothing is."""
        try:
            return self.path(location).stat().st_size
        except FileNotFoundError:
            return None

    def put(self, location: str, data: bytes) -> bool:
        """Store ``data``; return False if it was there already, which costs one stat.

        What is there with another size is replaced: the machine lost power before it reached the
        disk, or the dataset's way to store images has changed. It has reached the disk once
        ``sync_file_system`` was called.
        """
        path = self.path(location)
        if self.size(location) == len(data):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".draft-{uuid4().hex}")
        with new_file(draft) as writer:
            writer.write_all([data])
            draft.chmod(0o444)
            draft.replace(path)
        return True

    def put_file(self, location: str, source: Path) -> bool:
        """Store a staged file under a second name, or a copy; return False if it was there.

        What is there with another size is replaced, as by ``put``. ``source`` must be the lake's
        own: a person who edits a linked file would edit the shard.
        """
        path = self.path(location)
        if self.size(location) == source.stat().st_size:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".draft-{uuid4().hex}")
        link_or_copy(source, draft)
        draft.chmod(0o444)
        # Renaming a link onto another link of the same file does nothing and leaves both.
        draft.replace(path)
        draft.unlink(missing_ok=True)
        return True


def sync_file_system(folder: Path) -> None:
    """Return once everything written to the file system of ``folder`` has reached the disk.

    One call before a commit instead of two per image: with 65,536 shard folders nearly every
    image has a folder of its own to sync.
    """
    if not sys.platform.startswith("linux"):
        os.sync()
        return
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(descriptor)
