"""The shard store: images and other blobs, each stored once per dataset, named by its SHA-256.

Invariants: a shard is either absent or whole; its name is the hash of the bytes first delivered
(a dataset may store re-encoded bytes, see ``media.reencode``); nothing writes to a shard again, it
is only ever replaced as a whole. Whatever the disk refuses is ``StorageUnavailable``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from lake_assets.contracts.names import DatasetName
from lake_assets.storage.comparison import holds, holds_file
from lake_assets.storage.files import link_or_copy, new_file, storage_errors

T = TypeVar("T")

_MODE = 0o444
_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS})


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

    def locations(self, name: DatasetName) -> Iterator[str]:
        """Yield the locations of all shards of a dataset, but for those being written."""
        folder = self._root / f"provider={name.provider}" / f"dataset={name.dataset}"
        for path in folder.glob("*/*/[!.]*"):
            yield path.relative_to(self._root).as_posix()

    def remove(self, location: str) -> None:
        """Remove a shard, if it is there; other names of its file stay."""
        with storage_errors(self.path(location)):
            self.path(location).unlink(missing_ok=True)

    def put(self, location: str, data: bytes) -> bool:
        """Store ``data``; return False if it was there already.

        Other bytes that are there are replaced: the machine lost power before they reached the
        disk (which can leave a file of the right size, full of zeros), the disk has lost some, or
        the dataset's way to store images has changed. It has reached the disk once
        ``sync_file_system`` was called.

        Raises:
            StorageUnavailable: the disk is full, read-only or away, or there are too many files.
        """
        path = self.path(location)
        with storage_errors(path):
            if _has_size(path, len(data)) and holds(path, data):
                return False
            if _linked_nameless(path, data):
                return True
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = _draft(path)
            with new_file(draft) as writer:
                writer.write_all([data])
                draft.chmod(_MODE)
                draft.replace(path)
        return True

    def put_file(self, location: str, source: Path) -> bool:
        """Store a staged file under a second name, or a copy; return False if it was there.

        Other bytes that are there are replaced, as by ``put``. ``source`` must be the lake's own:
        a person who edits a linked file would edit the shard.

        Raises:
            StorageUnavailable: as ``put``.
        """
        path = self.path(location)
        with storage_errors(path):
            status = source.stat()
            if stat.S_IMODE(status.st_mode) != _MODE:  # out of an archive, or staged with a umask
                source.chmod(_MODE)
            try:
                _in_its_folder(path, lambda: os.link(source, path))
            except OSError:  # it is there, or the file system cannot link
                pass
            else:
                return True
            if _has_size(path, status.st_size) and holds_file(path, source):
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = _draft(path)
            link_or_copy(source, draft)
            draft.chmod(_MODE)
            # Renaming a link onto another link of the same file does nothing and leaves both.
            draft.replace(path)
            draft.unlink(missing_ok=True)
        return True

    def link_to(self, location: str, target: Path | str, content: memoryview) -> bool:
        """Give a shard with that content a second name; return False if none has, or it cannot be.

        It is read: its size and name alone would let one bad shard spoil every redelivery of the
        image. Of 0.4 MB that takes 0.02 ms of CPU, where hashing them takes 0.2 ms.

        Raises:
            AlreadyExists: There is a target.
        """
        path = f"{self._root}/{location}"
        with storage_errors(target):
            try:
                if not holds(path, content):
                    return False
                os.link(path, target)
            except FileExistsError:
                raise
            except OSError:  # too many links, another's file, another file system
                return False
        return True

    def find(self, name: DatasetName, sha256: str) -> str | None:
        """Return the place of the shard that was delivered with this hash; None: there is none."""
        folder = self.path(self.location(name, sha256, "")).parent
        found = next(folder.glob(f"{sha256}.*"), None)
        return None if found is None else found.relative_to(self._root).as_posix()

    def link_over(self, location: str, target: Path) -> bool:
        """Let a file that holds what a shard does be that shard's second name.

        Both are read. Returns False where they differ, or cannot be linked; ``target`` then stays.

        Raises:
            StorageUnavailable: as ``put``.
        """
        path, draft = self.path(location), target.with_name(f".draft-{Path(location).stem}")
        with storage_errors(target):
            if not holds_file(path, target):
                return False
            draft.unlink(missing_ok=True)  # of a process that was killed right here
            try:
                os.link(path, draft)
            except OSError:  # another file system, or too many links
                return False
            draft.replace(target)
        return True

    def mend(self, location: str, source: Path) -> bool:
        """Put a staged file in the place of a shard that has its size and other bytes.

        Returns whether there was one. One of another size may be the image as it was stored under
        an earlier policy, and stays.

        Raises:
            StorageUnavailable: as ``put``.
        """
        with storage_errors(source):
            there = self.size(location)
            has_size = there is not None and there == source.stat().st_size
        return has_size and self.put_file(location, source)


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


def _linked_nameless(path: Path, data: bytes) -> bool:
    """Write ``data`` to a file without a name, then give it one: no draft is ever left behind.

    Returns False where there is something at ``path``, or the system has no such files.
    """
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        descriptor = _in_its_folder(
            path, lambda: os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, _MODE)
        )
    except OSError as error:
        if error.errno in _NO_NAMELESS:  # NFS, overlays of old kernels
            return False
        raise
    try:
        os.fchmod(descriptor, _MODE)  # whatever the umask
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        # Any src_dir_fd makes Python follow the link in /proc, as open(2) says under O_TMPFILE.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
    except (FileExistsError, FileNotFoundError):  # FileNotFoundError: no /proc
        return False
    finally:
        os.close(descriptor)
    return True


def _in_its_folder(path: Path, action: Callable[[], T]) -> T:
    """Return what ``action`` returns; make the folder of ``path`` only once that was missing."""
    with suppress(FileNotFoundError):
        return action()
    with suppress(FileNotFoundError, FileExistsError):
        path.parent.mkdir()
        return action()
    path.parent.mkdir(parents=True, exist_ok=True)
    return action()


def _has_size(path: Path, byte_count: int) -> bool:
    try:
        return path.stat().st_size == byte_count
    except FileNotFoundError:
        return False


def _draft(path: Path) -> Path:
    return path.with_name(f".draft-{uuid4().hex}")
