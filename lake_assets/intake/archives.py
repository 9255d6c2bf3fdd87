"""Unpacking of archives from strangers.

Invariant: nothing is written but new regular files below the given folder. Every member that is a
file comes back as unpacked, refused or litter; an archive that is damaged anywhere, or unpacks to
more than its limit, is refused as a whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lake_assets.intake.archive_members import Member, Meter, Refusal, kind_by_content
from lake_assets.intake.file_names import printable, unusable_because
from lake_assets.intake.formats import is_junk
from lake_assets.intake.model import RefusedFile
from lake_assets.intake.tar_members import tar_members
from lake_assets.intake.zip_members import zip_members
from lake_assets.storage.files import CopiedFile, new_file, source_errors, storage_errors

ARCHIVE_SUFFIXES = (
    ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip",
)  # fmt: skip

_LEAST_LIMIT_BYTES = 2**30
# JSON and CSV compress up to 50-fold, images hardly; a bomb a thousandfold and more.
_USUAL_RATIO = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """What an archive may grow to. Checked on what really comes out, never on headers."""

    max_bytes: int | None = None
    """Bytes unpacked; None: 200 times the archive's size, but at least 1 GiB."""
    max_members: int = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """The members that were not written; folders are not among them."""

    refused: tuple[RefusedFile, ...]
    ignored: tuple[str, ...]
    """Names of litter: hidden files, ``__MACOSX``, ``Thumbs.db``."""


def is_archive(path: Path) -> bool:
    """Return whether a file is an archive to unpack.

    An archive's name is believed, so that a damaged one is an error and not something else. A name
    without suffix is settled by content. Any other name is no archive even if its content is one,
    as in ``.docx``, ``.npz`` and ``.jar``.
    """
    if path.name.lower().endswith(ARCHIVE_SUFFIXES):
        return True
    return path.suffix == "" and kind_by_content(path) is not None


def extract(
    path: Path,
    into: Path,
    limits: ArchiveLimits,
    *,
    report: Callable[[str, CopiedFile], None],
) -> Extracted:
    """Unpack an archive, report what was written, and return what was not, both in its order.

    Of members whose names are equal, or differ only in case or in Unicode normal form, the first
    is written and the others are refused. Links are neither followed nor made.

    Args:
        path: A zip, or a tar, plain or compressed with gzip, zstd, bzip2 or xz.
        into: An existing empty folder. If this raises, it may hold a part of the archive.
        limits: What the archive may grow to.
        report: Called with the name (POSIX path below ``into``), size and hash of each file, as
            soon as it is written.

    Raises:
        UnreadableSource: The archive is damaged, cut short, not an archive, or above a limit.
        StorageUnavailable: The disk is full.
    """
    unpacking = _Unpacking(into, report)
    with source_errors(path):
        is_zip = (kind_by_content(path) or path.suffix.lower().lstrip(".")) == "zip"
        members = (zip_members if is_zip else tar_members)(path, _meter(path, limits))
        for member in members:
            unpacking.take(member)
    return Extracted(refused=tuple(unpacking.refused), ignored=tuple(unpacking.ignored))


@dataclass(slots=True)
class _Unpacking:
    """Decides about each member and writes those that are taken."""

    into: Path
    report: Callable[[str, CopiedFile], None]
    refused: list[RefusedFile] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    _file_keys: set[str] = field(default_factory=set)
    _folder_keys: set[str] = field(default_factory=set)

    def take(self, member: Member) -> None:
        name = _plain_name(member.name)
        outside = _leads_outside(member.name)
        if outside is None and is_junk(name):
            self.ignored.append(printable(name))
            return
        refusal = outside or _unusable(name) or member.refusal or self._taken(name)
        if refusal is None:
            self._write(name, member.blocks)
        else:
            self.refused.append(
                RefusedFile(name=printable(member.name), rule=refusal.rule, actual=refusal.actual)
            )

    def _taken(self, name: str) -> Refusal | None:
        """Return a refusal if some file systems would mix this name up with one before it.

        Otherwise the name is taken from now on.
        """
        key = _key(name)
        folders = {key[: slash.start()] for slash in re.finditer("/", key)}
        if key in self._file_keys:
            return Refusal("member_name_is_unique", "an earlier member has this name")
        if key in self._folder_keys or not self._file_keys.isdisjoint(folders):
            return Refusal("member_name_is_unique", "the name of a file is that of a folder too")
        self._file_keys.add(key)
        self._folder_keys |= folders
        return None

    def _write(self, name: str, blocks: Iterator[bytes]) -> None:
        target = self.into / name
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        with new_file(target) as writer:
            written = writer.write_all(blocks)
        self.report(name, written)


def _meter(path: Path, limits: ArchiveLimits) -> Meter:
    usual = max(_USUAL_RATIO * path.stat().st_size, _LEAST_LIMIT_BYTES)
    max_bytes = usual if limits.max_bytes is None else limits.max_bytes
    return Meter(archive=path, max_bytes=max_bytes, max_members=limits.max_members)


def _plain_name(name: str) -> str:
    """Return a name without the ``./`` and doubled slashes that tar puts in."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _key(name: str) -> str:
    """Return a key that is equal for names which macOS or Windows would take for one file."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _leads_outside(name: str) -> Refusal | None:
    slashed = name.replace("\\", "/")
    has_drive = slashed[1:2] == ":"
    if slashed.startswith("/") or ".." in slashed.split("/") or has_drive:
        return Refusal("member_stays_inside_the_archive", repr(name))
    return None


def _unusable(name: str) -> Refusal | None:
    reason = unusable_because(name) if name else "is empty"
    if reason is None and "\\" in name:
        reason = "holds a backslash, which would be a folder on Windows"
    return None if reason is None else Refusal("member_name_is_usable", reason)
