"""What tar and zip have in common: their members, their limits and their damage.

Invariant of all readers of archives: whatever bytes an archive consists of, memory stays bounded
and reading ends, either after its last byte or with ``UnreadableSource``. Sizes are counted as
they come out; headers are not believed.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast

import pyarrow as pa

from lake_assets.errors import UnreadableSource
from lake_assets.storage.files import source_errors

# What the decompressors and the two parsers raise on damage. ValueError: numbers and names in
# headers; RecursionError: thousands of chained extension headers; NotImplementedError: features of
# zip that the standard library lacks.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, pa.ArrowException, EOFError,
    ValueError, IndexError, RecursionError, NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a member is not taken in: the sentence that it breaks, and what it is instead."""

    rule: str
    actual: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member that is not a folder."""

    name: str
    """As the archive has it; may be anything."""
    refusal: Refusal | None
    """What is wrong with it but for its name."""
    blocks: Iterator[bytes]
    """Its content, lazily; valid until the next member is asked for."""


@dataclass(slots=True, kw_only=True)
class Meter:
    """Counts what comes out of an archive and stops it at its limits."""

    archive: Path
    max_bytes: int
    max_members: int
    byte_count: int = 0
    member_count: int = 0

    def count_bytes(self, count: int) -> None:
        """Add bytes that were unpacked; raise ``UnreadableSource`` above the limit."""
        self.byte_count += count
        if self.byte_count > self.max_bytes:
            raise unreadable(
                self.archive,
                f"unpacks to more than {self.max_bytes:,} bytes. If it should hold that much, "
                "raise max_unpacked_bytes in lake.toml",
            )

    def count_member(self) -> None:
        """Add one member; raise ``UnreadableSource`` above the limit."""
        self.member_count += 1
        if self.member_count > self.max_members:
            reason = f"has more than {self.max_members:,} members. Deliver it in parts"
            raise unreadable(self.archive, reason)


def kind_by_content(path: Path) -> Literal["zip", "tar"] | None:
    """Return what kind of archive a file begins like (a compressed tar is a tar), or None."""
    with source_errors(path), path.open("rb") as file:
        if file.read(4) in (b"PK\x03\x04", b"PK\x05\x06"):
            return "zip"
        try:
            with decompressed(file) as stream:
                return "tar" if stream.read(tarfile.BLOCKSIZE)[257:262] == b"ustar" else None
        except (*_DAMAGE, OSError):
            return None


class Stream(Protocol):
    """Bytes that are read forwards."""

    def read(self, size: int, /) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end."""
        ...


def decompressed(file: BinaryIO) -> AbstractContextManager[Stream]:
    """Return a stream of what a file holds once decompressed, from its first byte on."""
    file.seek(0)
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(file)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return cast("AbstractContextManager[Stream]", pa.CompressedInputStream(file, "zstd"))
    return nullcontext(file)


@contextmanager
def damage_is_refused(path: Path) -> Iterator[None]:
    """Raise whatever a parser or decompressor says about damaged data as ``UnreadableSource``."""
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except OSError as error:
        # gzip, bzip2 and zstd say OSError for damaged data too, but then without a number; zipfile
        # seeks to where a damaged index says, be it before the file.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UnreadableSource:
    return unreadable(path, f"is damaged or cut short ({error}). Deliver it again")


def unreadable(path: Path, reason: str) -> UnreadableSource:
    """Return the error that an archive is refused with as a whole."""
    return UnreadableSource(f"{path} {reason}.", path=str(path))
