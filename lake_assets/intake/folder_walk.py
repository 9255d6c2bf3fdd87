"""What lies in a folder that somebody delivers.

Invariant: every entry below the folder comes out once, in the same order each time, as a file to
take, a refusal or litter; no path that comes out to be read leads outside the folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lake_assets.intake.file_names import printable, unusable_because
from lake_assets.intake.formats import is_junk
from lake_assets.intake.model import RefusedFile
from lake_assets.storage.files import source_errors


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file."""

    name: str
    """POSIX path below the folder, as delivered."""
    path: str
    """Where to read it; for a symbolic link its target. No ``Path``, which takes as long to make
    as a file to open."""


@dataclass(frozen=True, slots=True)
class IgnoredEntry:
    """Litter: a hidden file, or a folder such as ``.git`` with all that is in it."""

    name: str
    """With ``/`` at its end for a folder."""


Entry = FoundFile | IgnoredEntry | RefusedFile


def walk(root: Path) -> Iterator[Entry]:
    """Yield what is below a folder, sorted by name within each folder.

    Symbolic links to files inside the folder are followed. Links to folders are refused: what is
    in those is found at its own place, and a link upwards would never end.

    Args:
        root: An existing folder; it may be given as a link itself.

    Raises:
        UnreadableSource: The folder itself may not be listed.
        StorageUnavailable: It vanished meanwhile.
    """
    real = Path(os.path.realpath(root))
    with source_errors(root):
        entries = _sorted_entries(real)
    yield from _entries(entries, "", real)


def _entries(entries: list[os.DirEntry[str]], prefix: str, root: Path) -> Iterator[Entry]:
    for entry in entries:
        name = prefix + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_junk(entry.name):
            yield IgnoredEntry(printable(name) + ("/" if is_folder else ""))
        # A folder is judged too, so that the walk goes no deeper than a usable name can.
        elif reason := unusable_because(name):
            yield RefusedFile(name=printable(name), rule="file_name_is_usable", actual=reason)
        elif is_folder:
            yield from _folder(entry, name, root)
        else:
            yield _file(entry, name, root)


def _folder(entry: os.DirEntry[str], name: str, root: Path) -> Iterator[Entry]:
    try:
        entries = _sorted_entries(Path(entry.path))
    except OSError as error:
        yield refused_unreadable(name, f"this folder cannot be listed: {error.strerror}")
    else:
        yield from _entries(entries, f"{name}/", root)


def _file(entry: os.DirEntry[str], name: str, root: Path) -> FoundFile | RefusedFile:
    try:
        # No link, nor was any folder above it: it lies inside. Listing the folder told its kind.
        if entry.is_file(follow_symlinks=False):
            return FoundFile(name, entry.path)
        if not entry.is_symlink():
            return _refused_irregular(name, _kind_of(entry.stat(follow_symlinks=False).st_mode))
        real = Path(os.path.realpath(entry.path, strict=True))
        mode = real.stat().st_mode
    except PermissionError:
        return refused_unreadable(name, "a link into a folder that may not be entered")
    except OSError as error:
        return _refused_irregular(name, f"a link that leads nowhere: {error.strerror}")
    # Before its kind: what lies outside is none of our business, not even what it is.
    if not real.is_relative_to(root):
        return RefusedFile(
            name=name, rule="file_stays_inside_its_folder", actual="a link out of the folder"
        )
    if not stat.S_ISREG(mode):
        return _refused_irregular(name, _kind_of(mode))
    return FoundFile(name, str(real))


def refused_unreadable(name: str, actual: str) -> RefusedFile:
    """Return the refusal of a file or folder that this user may not read."""
    return RefusedFile(name=name, rule="file_is_readable", actual=actual)


def _refused_irregular(name: str, actual: str) -> RefusedFile:
    return RefusedFile(name=name, rule="file_is_a_regular_file", actual=actual)


def _kind_of(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a link to a folder",
        stat.S_IFIFO: "a fifo",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "of an unknown type")


def _sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
