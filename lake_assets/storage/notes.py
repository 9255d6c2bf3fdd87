"""Notes about datasets and variants: one empty file each, which outlives the process that made it.

A note is put down before something begins and taken away when it is done; one that is found tells
of work that somebody left. It says nothing but its name, so it needs no draft that a process which
dies would leave behind.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from lake_assets.contracts.names import Destination, in_order, parse_destination
from lake_assets.storage.files import fsync_folder, storage_errors

_SUFFIX = ".note"


class Notes:
    """Notes of one kind, in one folder.

    Args:
        folder: Made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, name: Destination) -> None:
        """Make a note about ``name``, or give the one that is there a new time; it is on the disk.

        Raises:
            StorageUnavailable.
        """
        now = time.time_ns()
        with storage_errors(self._path(name)):
            self._path(name).touch()
            # The disk's own clock ticks every few milliseconds: two notes would look like one.
            os.utime(self._path(name), ns=(now, now))
        fsync_folder(self._folder)

    def has(self, name: Destination) -> bool:
        """Return whether there is a note about ``name``."""
        return self._path(name).exists()

    def changed_at_ns(self, name: Destination) -> int | None:
        """Return when the note about ``name`` was last put, in ns; None: there is none."""
        try:
            return self._path(name).stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def remove(self, name: Destination) -> None:
        """Take the note about ``name`` away, if there is one.

        Raises:
            StorageUnavailable.
        """
        with storage_errors(self._path(name)):
            self._path(name).unlink(missing_ok=True)

    def remove_if_seen(self, name: Destination, changed_at_ns: int | None) -> None:
        """Take the note away unless it was put again since it was seen; None: it was not there.

        Raises:
            StorageUnavailable.
        """
        if changed_at_ns is not None and self.changed_at_ns(name) == changed_at_ns:
            self.remove(name)

    def names(self) -> tuple[Destination, ...]:
        """Return what there are notes about, in order.

        Raises:
            StorageUnavailable.
        """
        with storage_errors(self._folder):
            found = [path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}")]
        return in_order(parse_destination(text.replace(".", "/")) for text in found)

    def _path(self, name: Destination) -> Path:
        return self._folder / f"{str(name).replace('/', '.')}{_SUFFIX}"
