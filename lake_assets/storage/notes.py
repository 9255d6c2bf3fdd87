"""Notes about datasets: one small file each, which outlives the process that wrote it.

A note is put down before something begins and taken away when it is done; one that is found tells
of work that somebody left.
"""

from __future__ import annotations

from pathlib import Path

from lake_assets.contracts.names import DatasetName
from lake_assets.storage.files import write_atomically

_SUFFIX = ".note"


class Notes:
    """Notes of one kind, in one folder.

    Args:
        folder: Made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, name: DatasetName, text: str = "") -> None:
        """Write a note about ``name``, in the place of any that is there."""
        write_atomically(self._path(name), text.encode())

    def read(self, name: DatasetName) -> str | None:
        """Return the note about ``name``, or None."""
        try:
            return self._path(name).read_text()
        except FileNotFoundError:
            return None

    def remove(self, name: DatasetName) -> None:
        """Take the note about ``name`` away, if there is one."""
        self._path(name).unlink(missing_ok=True)

    def names(self) -> tuple[DatasetName, ...]:
        """Return the datasets that there are notes about, sorted."""
        found = (path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}"))
        return tuple(sorted(DatasetName.parse(text) for text in found))

    def _path(self, name: DatasetName) -> Path:
        return self._folder / f"{name.provider}.{name.dataset}{_SUFFIX}"
