"""Reading of tar and zip archives, member by member, forwards only.

Invariant: whatever bytes an archive consists of, memory stays bounded and reading ends, either
after its last byte or with ``UnreadableSource``. Sizes are counted as they come out; headers are
not believed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast

import pyarrow as pa

from lake_assets.errors import UnreadableSource
from lake_assets.storage.files import BLOCK_BYTES, source_errors

# What the decompressors and the two parsers raise on damage. ValueError: numbers and names in
# headers; RecursionError: thousands of chained extension headers; NotImplementedError: features of
# zip that the standard library lacks.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, pa.ArrowException, EOFError,
    ValueError, IndexError, RecursionError, NotImplementedError,
)  # fmt: skip
# Types of tar header whose data tarfile reads into memory as a whole: long names and attributes.
_HEADERS_WITH_DATA = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
_MAX_HEADER_BYTES = 2**16
# Only these does zipfile decompress in bounded memory: with bzip2 or LZMA, 4 kB of input may
# become gigabytes in one call.
_ZIP_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ZIP_FLAG_ENCRYPTED = 0x1
_ZIP_FLAG_UTF8 = 0x800


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
            raise _unreadable(
                self.archive,
                f"unpacks to more than {self.max_bytes:,} bytes. If it should hold that much, "
                "raise max_unpacked_bytes in lake.toml",
            )

    def count_member(self) -> None:
        """Add one member; raise ``UnreadableSource`` above the limit."""
        self.member_count += 1
        if self.member_count > self.max_members:
            reason = f"has more than {self.max_members:,} members. Deliver it in parts"
            raise _unreadable(self.archive, reason)


def kind_by_content(path: Path) -> Literal["zip", "tar"] | None:
    """Return what kind of archive a file begins like (a compressed tar is a tar), or None."""
    with source_errors(path), path.open("rb") as file:
        if file.read(4) in (b"PK\x03\x04", b"PK\x05\x06"):
            return "zip"
        try:
            with _decompressed(file) as stream:
                return "tar" if stream.read(tarfile.BLOCKSIZE)[257:262] == b"ustar" else None
        except (*_DAMAGE, OSError):
            return None


def tar_members(path: Path, meter: Meter) -> Iterator[Member]:
    """Yield the members of a tar, plain or compressed with gzip, zstd, bzip2 or xz.

    Raises:
        UnreadableSource: The archive is damaged, cut short, not a tar, or above a limit.
    """
    with path.open("rb") as file, _decompressed(file) as stream:
        reader = _ForwardReader(stream, meter)
        with _damage_is_refused(path):
            # Any: typeshed knows neither how little of a file tarfile needs, nor `members`.
            tar: Any = tarfile.TarFile(fileobj=cast(Any, reader), tarinfo=_StrictTarInfo)
        while (member := _next_member(tar, path)) is not None:
            meter.count_member()
            if not member.isdir():
                yield Member(member.name, _tar_refusal(member), _tar_blocks(tar, member, path))
            # tarfile keeps every member and global attribute, which a bomb would fill memory with.
            tar.members.clear()
            tar.pax_headers.clear()
        _refuse_what_follows_the_end(reader, path)


def zip_members(path: Path, meter: Meter) -> Iterator[Member]:
    """Yield the members of a zip in the order of its directory.

    Raises:
        UnreadableSource: The archive is damaged, cut short, not a zip, or above a limit.
    """
    with _damage_is_refused(path):
        archive = zipfile.ZipFile(path)
    with archive:
        for info in archive.infolist():
            meter.count_member()
            name = _zip_name(info)
            if not name.endswith("/"):
                yield Member(name, _zip_refusal(info), _zip_blocks(archive, info, path, meter))


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _ForwardReader:
    """What tarfile needs of a file, over a stream that only goes forwards and is metered."""

    def __init__(self, stream: _Stream, meter: Meter) -> None:
        self._stream = stream
        self._meter = meter
        self._position = 0

    def read(self, size: int) -> bytes:
        if size < 0:  # a header that claims a negative size would read everything at once
            raise tarfile.ReadError("negative size")
        block = self._stream.read(size)
        self._position += len(block)
        self._meter.count_bytes(len(block))
        return block

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:  # tarfile would read the same members for ever
            raise tarfile.ReadError("a header points backwards")
        while self._position < position:
            if not self.read(min(BLOCK_BYTES, position - self._position)):
                raise tarfile.ReadError("unexpected end of data")


class _StrictTarInfo(tarfile.TarInfo):
    """A header that is damaged, missing or oversized is an error.

    Plain tarfile takes a damaged header for the end of the archive, and what follows is lost.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictTarInfo:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == buf.count(0) == tarfile.BLOCKSIZE:  # the proper end marker
                raise
            raise tarfile.ReadError(str(error)) from None
        if info.type in _HEADERS_WITH_DATA and info.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"an extension header of {info.size:,} bytes")
        return info


def _next_member(tar: Any, path: Path) -> tarfile.TarInfo | None:
    with _damage_is_refused(path):
        return cast("tarfile.TarInfo | None", tar.next())


def _tar_blocks(tar: Any, member: tarfile.TarInfo, path: Path) -> Iterator[bytes]:
    with _damage_is_refused(path):
        content = tar.extractfile(member)
    while content is not None:
        with _damage_is_refused(path):
            block = content.read(BLOCK_BYTES)
        if not block:
            return
        yield block


def _tar_refusal(member: tarfile.TarInfo) -> Refusal | None:
    kinds = {
        tarfile.SYMTYPE: "a symbolic link",
        tarfile.LNKTYPE: "a hard link",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
        tarfile.FIFOTYPE: "a fifo",
    }
    if member.issparse():
        return Refusal("member_is_a_regular_file", "a sparse file")
    if member.isreg():
        return None
    kind = kinds.get(member.type, f"of the unknown type {member.type!r}")
    return Refusal("member_is_a_regular_file", kind)


def _refuse_what_follows_the_end(reader: _ForwardReader, path: Path) -> None:
    # Reading on to the last byte also lets the decompressor compare its checksum.
    with _damage_is_refused(path):
        while block := reader.read(BLOCK_BYTES):
            if block.count(0) != len(block):
                raise _unreadable(
                    path,
                    "has more behind its end marker, like two archives joined together. Deliver "
                    "each on its own",
                )


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's whole name, which zipfile cuts off at a NUL.

    macOS writes UTF-8 without saying so, and then zipfile takes it for code page 437.
    """
    if info.flag_bits & _ZIP_FLAG_UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.orig_filename


def _zip_refusal(info: zipfile.ZipInfo) -> Refusal | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):  # 0: written by a system without Unix modes
        actual = "a symbolic link" if kind == stat.S_IFLNK else f"of the Unix type {kind:#o}"
        return Refusal("member_is_a_regular_file", actual)
    if info.flag_bits & _ZIP_FLAG_ENCRYPTED:
        return Refusal("member_is_not_encrypted", "encrypted")
    if info.compress_type not in _ZIP_METHODS:
        return Refusal("member_is_stored_or_deflated", f"zip method {info.compress_type}")
    return None


def _zip_blocks(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, meter: Meter
) -> Iterator[bytes]:
    with _damage_is_refused(path):
        content = archive.open(info)
    with content:
        while True:
            with _damage_is_refused(path):
                block = content.read(BLOCK_BYTES)
            if not block:
                return
            meter.count_bytes(len(block))
            yield block


def _decompressed(file: BinaryIO) -> AbstractContextManager[_Stream]:
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
        return cast("AbstractContextManager[_Stream]", pa.CompressedInputStream(file, "zstd"))
    return nullcontext(file)


@contextmanager
def _damage_is_refused(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except OSError as error:
        # gzip, bzip2 and zstd say OSError for damaged data too, but then without a number.
        if error.errno is not None:
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UnreadableSource:
    return _unreadable(path, f"is damaged or cut short ({error}). Deliver it again")


def _unreadable(path: Path, reason: str) -> UnreadableSource:
    return UnreadableSource(f"{path} {reason}.", path=str(path))
