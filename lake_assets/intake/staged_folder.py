"""The folder of an upload while a delivery is copied into it.

Invariant: every file noted here lies in the folder with the size and hash that are noted: what was
hashed is what was written, or a shard of the lake that has the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import UnreadableSource
from lake_assets.intake.flow import Flushing, worked_on
from lake_assets.intake.folder_walk import Entry, FoundFile, IgnoredEntry, refused_unreadable
from lake_assets.intake.formats import data_format_of, image_extension_of, looks_like_image_name
from lake_assets.intake.large_files import LARGE_BYTES, copy_large, refuse_hopeless
from lake_assets.intake.model import RefusedFile, Role, StagedFile
from lake_assets.storage.files import (
    CopiedFile,
    copy_hashed,
    read_whole,
    source_errors,
    storage_errors,
    write_new,
)
from lake_assets.storage.shards import ShardStore, sync_file_system

Progress = Callable[[int, int], None]
"""Called with the number of files and bytes staged so far, after each file."""

COPY_THREADS = max(2, min(4, os.cpu_count() or 1))
"""Reading, hashing and writing let go of Python's lock, so threads do."""
_AHEAD = 256
"""Files, per folder, that are copied before those before them are noted, at most."""
_HEAD_BYTES = 64
_BUFFER_BYTES = 2**25
"""Per thread; a page of it takes memory once it is used. A larger file is copied in blocks."""
_MODE = 0o444
"""Staged files are the lake's own, and images become shards, which nobody writes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnShards:
    """Images that a dataset stores as delivered: one that comes again need not be copied."""

    name: DatasetName
    store: ShardStore

    def link_to(
        self, target: Path | str, content: memoryview, *, sha256: str, extension: str
    ) -> bool:
        """Make an image that is there appear at ``target`` too; return False if that cannot be."""
        return self.store.link_to(self._location(sha256, extension), target, content)

    def mend(self, source: Path, *, sha256: str, extension: str) -> None:
        """Put a staged image in the place of its shard, if that has lost its content."""
        self.store.mend(self._location(sha256, extension), source)

    def _location(self, sha256: str, extension: str) -> str:
        return self.store.location(self.name, sha256, extension)


@dataclass(slots=True)
class StagedFolder:
    """An existing folder, empty at first, and what was put into it so far."""

    path: Path
    progress: Progress
    shards: OwnShards | None = None
    files: list[StagedFile] = field(default_factory=list)
    refused: list[RefusedFile] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    byte_count: int = 0
    _folders: set[str] = field(default_factory=set)
    _of_thread: threading.local = field(default_factory=threading.local)

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
        self._note(self._copied(str(source), name, role))

    def take(self, entries: Iterable[Entry]) -> None:
        """Copy the files among the entries of a folder, and note all of them in their order.

        Raises:
            StorageUnavailable: A file changed or vanished, or the disk is full.
        """
        with (
            closing(Flushing(self.path, since=self.byte_count)) as flushing,
            # Closed at once if progress raises: nothing is copied while the upload is discarded.
            closing(worked_on(entries, self._taken, threads=COPY_THREADS, ahead=_AHEAD)) as flow,
        ):
            for entry, staged in flow:
                self._arrive(entry, staged)
                flushing.reach(self.byte_count)

    def add(self, name: str, copied: CopiedFile, *, role: Role | None = None) -> None:
        """Note a file that was written below the folder."""
        self._note(self._staged(name, copied, role))

    def sync(self) -> None:
        """Return once every file and folder of the upload has reached the disk.

        With one call for the file system. Its other writers' data is waited for too, but two
        calls per file took three times as long as copying the file.
        """
        with storage_errors(self.path):
            sync_file_system(self.path)

    def _taken(self, entry: Entry) -> StagedFile | RefusedFile | None:
        """Return the copy of an entry, or its refusal; None for litter. Called in threads."""
        match entry:
            case FoundFile():
                try:
                    return self._copied(entry.path, entry.name, None)
                except UnreadableSource as error:
                    return refused_unreadable(entry.name, error.message)
            case RefusedFile():
                return entry
            case IgnoredEntry():
                return None

    def _arrive(self, entry: Entry, staged: StagedFile | RefusedFile | None) -> None:
        match staged:
            case StagedFile():
                self._note(staged)
            case RefusedFile():
                self.refused.append(staged)
            case None:
                self.ignored.append(entry.name)

    def _copied(self, source: str, name: str, role: Role | None) -> StagedFile:
        target = f"{self.path}/{name}"
        self._make_folder(name)
        content = read_whole(source, self._buffer())
        if content is None:
            return self._copied_in_blocks(Path(source), name, role)
        head = bytes(content[:_HEAD_BYTES])
        staged = StagedFile(
            name=name,
            byte_count=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            role=role or _role(head, name),
        )
        extension = image_extension_of(head) if staged.role == "image" else None
        if self.shards is None or extension is None:
            write_new(target, content, mode=_MODE)
        elif not self.shards.link_to(target, content, sha256=staged.sha256, extension=extension):
            write_new(target, content, mode=_MODE)
            self.shards.mend(Path(target), sha256=staged.sha256, extension=extension)
        return staged

    def _copied_in_blocks(self, source: Path, name: str, role: Role | None) -> StagedFile:
        with source_errors(source):
            is_large = source.stat().st_size >= LARGE_BYTES
        if is_large:
            refuse_hopeless(source)
        copy = copy_large if is_large else copy_hashed
        return self._staged(name, copy(source, self.path / name), role)

    def _staged(self, name: str, copied: CopiedFile, role: Role | None) -> StagedFile:
        return StagedFile(
            name=name,
            byte_count=copied.byte_count,
            sha256=copied.sha256,
            role=role or role_of(self.path / name),
        )

    def _note(self, file: StagedFile) -> None:
        self.files.append(file)
        self.byte_count += file.byte_count
        self.progress(len(self.files), self.byte_count)

    def _make_folder(self, name: str) -> None:
        folder, _, _ = name.rpartition("/")
        if folder not in self._folders:
            with storage_errors(self.path / folder):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            self._folders.add(folder)

    def _buffer(self) -> memoryview:
        try:
            buffer: memoryview = self._of_thread.buffer
        except AttributeError:
            buffer = self._of_thread.buffer = memoryview(bytearray(_BUFFER_BYTES))
        return buffer


def role_of(path: Path) -> Role:
    """Return what an existing file is for, by its content where that has a signature."""
    with source_errors(path), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return _role(head, path.name)


def _role(head: bytes, name: str) -> Role:
    if data_format_of(head, name) is not None:
        return "data"
    is_image = image_extension_of(head) is not None or looks_like_image_name(name)
    return "image" if is_image else "other"
