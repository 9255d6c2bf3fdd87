"""Files of a folder in the order of their paths, as verification compares them with tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lake_assets.storage.files import storage_errors

DRAFT_PREFIX = ".draft-"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file on disk."""

    name: str
    """Below the folder that was walked, with forward slashes."""
    place: str
    """Absolute path. A ``Path`` for each of a million files costs more than their hashes."""
    byte_count: int
    """-1: it is no regular file (a link, a pipe), whatever it should be."""
    changed_at: float
    """When it came to lie there, or was changed: seconds since 1970, of its inode (ctime)."""
    inode: tuple[int, int] | None
    """Device and number if it has several names."""

    @property
    def path(self) -> Path:
        """Its absolute path."""
        return Path(self.place)

    @property
    def is_draft(self) -> bool:
        """Whether it is the draft of a file that was to replace another."""
        return self.name.rpartition("/")[2].startswith(DRAFT_PREFIX)


def files_below(folder: Path) -> Iterator[FoundFile]:
    """Yield everything below ``folder`` that is no folder, sorted by ``name``; it may be absent.

    What vanishes meanwhile is left out. Symbolic links are not followed.

    Raises:
        StorageUnavailable: A folder cannot be read, and then nobody knows what lies in it.
    """
    yield from _walk(str(folder), "")


def _walk(folder: str, prefix: str) -> Iterator[FoundFile]:
    with storage_errors(folder):
        entries = _entries(folder)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        yield FoundFile(
            name=f"{prefix}{entry.name}",
            place=entry.path,
            byte_count=status.st_size if entry.is_file(follow_symlinks=False) else -1,
            changed_at=max(status.st_ctime, status.st_mtime),
            inode=(status.st_dev, status.st_ino) if status.st_nlink > 1 else None,
        )


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            # A folder's name sorts as what it begins: `a/b` comes after `a.b`.
            return sorted(
                found,
                key=lambda item: item.name + "/" * item.is_dir(follow_symlinks=False),
            )
    except (FileNotFoundError, NotADirectoryError):
        return []
