"""Reading of a zip by its directory.

Invariant: only what is decompressed in bounded memory is decompressed at all.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from lake_assets.intake.archive_members import Member, Meter, Refusal, damage_is_refused
from lake_assets.storage.files import BLOCK_BYTES

# Only these does zipfile decompress in bounded memory: with bzip2 or LZMA, 4 kB of input may
# become gigabytes in one call.
_ZIP_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ZIP_FLAG_ENCRYPTED = 0x1
_ZIP_FLAG_UTF8 = 0x800


def zip_members(path: Path, meter: Meter) -> Iterator[Member]:
    """Yield the members of a zip in the order of its directory.

    Raises:
        UnreadableSource: The archive is damaged, cut short, not a zip, or above a limit.
    """
    with damage_is_refused(path):
        archive = zipfile.ZipFile(path)
    with archive:
        for info in archive.infolist():
            meter.count_member()
            name = _zip_name(info)
            if not name.endswith("/"):
                yield Member(name, _zip_refusal(info), _zip_blocks(archive, info, path, meter))


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
    with damage_is_refused(path):
        content = archive.open(info)
    with content:
        while True:
            with damage_is_refused(path):
                block = content.read(BLOCK_BYTES)
            if not block:
                return
            meter.count_bytes(len(block))
            yield block
