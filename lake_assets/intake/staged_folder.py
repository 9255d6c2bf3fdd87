"""The folder of an upload while a delivery is copied into it.

Invariant: every file noted here lies in the folder with the size and hash that are noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from lake_assets.intake.formats import data_format, image_extension_of, looks_like_image_name
from lake_assets.intake.large_files import LARGE_BYTES, refuse_hopeless
from lake_assets.intake.model import RefusedFile, Role, StagedFile
from lake_assets.storage.files import (
    CopiedFile,
    copy_hashed,
    fsync_file,
    fsync_folder,
    source_errors,
    storage_errors,
)

Progress = Callable[[int, int], None]
"""Called with the number of files and bytes staged so far, after each file."""

# Waiting for the disk in parallel: file systems commit many files at once.
_SYNC_THREADS = 16
_SYNC_SLICE = 4096
_HEAD_BYTES = 64


@dataclass(slots=True)
class StagedFolder:
    """An existing folder, empty at first, and what was put into it so far."""

    path: Path
    progress: Progress
    files: list[StagedFile] = field(default_factory=list)
    refused: list[RefusedFile] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    byte_count: int = 0

    def copy(self, source: Path, name: str, *, role: Role | None = None) -> None:
        """Copy a file to ``name`` below the folder.

        Args:
            source: A regular file.
            name: A usable POSIX path that nothing was copied to before.
            role: None: found out from the file.

        Raises:
            UnreadableSource: The source may not be read, or is not worth it (``large_files``);
                nothing was noted.
            StorageUnavailable: It changed or vanished, or the disk is full.
        """
        target = self.path / name
        with source_errors(source):
            is_large = source.stat().st_size >= LARGE_BYTES
        if is_large:
            refuse_hopeless(source)
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        self.add(name, copy_hashed(source, target), role=role)

    def add(self, name: str, copied: CopiedFile, *, role: Role | None = None) -> None:
        """Note a file that was written below the folder."""
        staged = StagedFile(
            name=name,
            byte_count=copied.byte_count,
            sha256=copied.sha256,
            role=role or role_of(self.path / name),
        )
        self.files.append(staged)
        self.byte_count += copied.byte_count
        self.progress(len(self.files), self.byte_count)

    def sync(self) -> None:
        """Return once every file, and then every folder, has reached the disk."""
        parents = (parent for file in self.files for parent in PurePosixPath(file.name).parents)
        folders = dict.fromkeys(parents)
        with ThreadPoolExecutor(_SYNC_THREADS) as pool:
            _for_all(pool, fsync_file, (self.path / file.name for file in self.files))
            _for_all(pool, fsync_folder, (self.path / name for name in folders))


def _for_all(
    pool: ThreadPoolExecutor, action: Callable[[Path], None], paths: Iterator[Path]
) -> None:
    """Return once the action was done on every path; raise its first error."""
    # In slices, because a pool queues all that it is given, and 10 million paths fill the memory.
    while some := list(islice(paths, _SYNC_SLICE)):
        for _ in pool.map(action, some):
            pass


def role_of(path: Path) -> Role:
    """Return what an existing file is for, by its content where that has a signature."""
    with source_errors(path):
        if data_format(path) is not None:
            return "data"
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    is_image = image_extension_of(head) is not None or looks_like_image_name(path.name)
    return "image" if is_image else "other"
