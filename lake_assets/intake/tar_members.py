"""Reading of a tar, forwards only, and strictly.

Invariant: the archive ends at its end marker and nothing follows; anything else is damage.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from lake_assets.intake.archive_members import (
    Member,
    Meter,
    Refusal,
    Stream,
    damage_is_refused,
    decompressed,
    unreadable,
)
from lake_assets.storage.files import BLOCK_BYTES

# Types of tar header whose data tarfile reads into memory as a whole: long names and attributes.
_HEADERS_WITH_DATA = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
_MAX_HEADER_BYTES = 2**16


def tar_members(path: Path, meter: Meter) -> Iterator[Member]:
    """Yield the members of a tar, plain or compressed with gzip, zstd, bzip2 or xz.

    Raises:
        UnreadableSource: The archive is damaged, cut short, not a tar, or above a limit.
    """
    with path.open("rb") as file, decompressed(file) as stream:
        reader = _ForwardReader(stream, meter)
        with damage_is_refused(path):
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


class _ForwardReader:
    """What tarfile needs of a file, over a stream that only goes forwards and is metered."""

    def __init__(self, stream: Stream, meter: Meter) -> None:
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
    with damage_is_refused(path):
        return cast("tarfile.TarInfo | None", tar.next())


def _tar_blocks(tar: Any, member: tarfile.TarInfo, path: Path) -> Iterator[bytes]:
    with damage_is_refused(path):
        content = tar.extractfile(member)
    while content is not None:
        with damage_is_refused(path):
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
    with damage_is_refused(path):
        while block := reader.read(BLOCK_BYTES):
            if block.count(0) != len(block):
                raise unreadable(
                    path,
                    "has more behind its end marker, like two archives joined together. Deliver "
                    "each on its own",
                )
