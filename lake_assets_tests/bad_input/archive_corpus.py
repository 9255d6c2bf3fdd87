"""Archives from hell: members that lead out, that are no files, that are bombs."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """A member, and the rule that it must be rejected by (None: it is taken; "": it is litter)."""

    name: str
    rule: str | None
    kind: bytes = tarfile.REGTYPE
    target: str = ""


INSIDE = "member_stays_inside_the_archive"
REGULAR = "member_is_a_regular_file"
USABLE = "member_name_is_usable"
UNIQUE = "member_name_is_unique"


def hostile_members(outside: Path) -> list[Hostile]:
    """Return members in the order in which they must stand in the archive.

    Args:
        outside: A folder beside the lake, which some of them try to write to.
    """
    secret = str(outside / "secret.png")
    return [
        Hostile(name="../evil.png", rule=INSIDE),
        Hostile(name="a/../../evil.png", rule=INSIDE),
        Hostile(name="a/../inside-after-all.png", rule=INSIDE),
        Hostile(name="../" * 40 + str(outside).lstrip("/") + "/evil.png", rule=INSIDE),
        Hostile(name=str(outside / "evil.png"), rule=INSIDE),
        Hostile(name="//evil.png", rule=INSIDE),
        Hostile(name="..\\evil.png", rule=INSIDE),
        Hostile(name="C:\\evil.png", rule=INSIDE),
        Hostile(name="\\\\host\\share\\evil.png", rule=INSIDE),
        Hostile(name="folder\\back.png", rule=USABLE),
        Hostile(name="line\nbreak.png", rule=USABLE),
        Hostile(name="bell\x07.png", rule=USABLE),
        Hostile(name="separator\u2028.png", rule=USABLE),
        Hostile(name="x" * 252 + ".png", rule=USABLE),
        Hostile(name="x" * 251 + ".png", rule=None),
        Hostile(name="/".join(["deep"] * 200) + ".png", rule=USABLE),
        Hostile(name="/".join(["long" * 20] * 20) + ".png", rule=USABLE),
        Hostile(name="CON", rule=None),
        Hostile(name="aux.png", rule=None),
        Hostile(name="dot..", rule=None),
        Hostile(name="space.png ", rule=None),
        Hostile(name=" space.png", rule=None),
        Hostile(name="a b/c'd\"e.png", rule=None),
        Hostile(name="-rf.png", rule=None),
        Hostile(name="$(touch evil).png", rule=None),
        Hostile(name="%2e%2e%2fevil.png", rule=None),
        Hostile(name="ünï\u4e2d.png", rule=None),
        Hostile(name="u\u0308n\u0131\u0308.png", rule=None),
        Hostile(name="u\u0308ni\u0308\u4e2d.png", rule=UNIQUE),
        Hostile(name="Case.png", rule=None),
        Hostile(name="case.PNG", rule=UNIQUE),
        Hostile(name="twice.png", rule=None),
        Hostile(name="./twice.png", rule=UNIQUE),
        Hostile(name="twice.png/below.png", rule=UNIQUE),
        Hostile(name=".hidden.png", rule=""),
        Hostile(name=".git/config", rule=""),
        Hostile(name="__MACOSX/._a.png", rule=""),
        Hostile(name="link-out.png", kind=tarfile.SYMTYPE, target=secret, rule=REGULAR),
        Hostile(name="way-out", kind=tarfile.SYMTYPE, target=str(outside), rule=REGULAR),
        Hostile(name="way-out/through.png", rule=None),
        Hostile(name="up", kind=tarfile.SYMTYPE, target="..", rule=REGULAR),
        Hostile(name="up/up.png", rule=None),
        Hostile(name="loop.png", kind=tarfile.SYMTYPE, target="loop.png", rule=REGULAR),
    ]


def hostile_specials(outside: Path) -> list[Hostile]:
    """Return what only a tar can hold."""
    secret = str(outside / "secret.png")
    return [
        Hostile(name="hard-out.png", kind=tarfile.LNKTYPE, target=secret, rule=REGULAR),
        Hostile(name="hard-in.png", kind=tarfile.LNKTYPE, target="twice.png", rule=REGULAR),
        Hostile(name="zero.png", kind=tarfile.CHRTYPE, rule=REGULAR),
        Hostile(name="disk.png", kind=tarfile.BLKTYPE, rule=REGULAR),
        Hostile(name="fifo.png", kind=tarfile.FIFOTYPE, rule=REGULAR),
        Hostile(name="strange.png", kind=b"Q", rule=REGULAR),
    ]


def tar_of(members: Sequence[Hostile], content: Callable[[int], bytes], mode: str = "w") -> bytes:
    """Return a tar of these members; the files among them hold ``content(number)``."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode, format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        for number, member in enumerate(members):
            info = tarfile.TarInfo(member.name)
            info.type, info.linkname = member.kind, member.target
            info.devmajor, info.devminor = 1, 5  # /dev/zero
            data = content(number) if member.kind == tarfile.REGTYPE else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def zip_of(members: Sequence[Hostile], content: Callable[[int], bytes]) -> bytes:
    """Return a zip of these members; a symbolic link is a file with its target in it."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, member in enumerate(members):
            info = zipfile.ZipInfo()
            info.filename = info.orig_filename = member.name
            info.create_system = 3  # Unix, so that the mode counts
            is_link = member.kind == tarfile.SYMTYPE
            info.external_attr = ((stat.S_IFLNK if is_link else stat.S_IFREG) | 0o644) << 16
            archive.writestr(info, member.target if is_link else content(number))
    return raw.getvalue()


def zip_bomb(name: str, byte_count: int) -> bytes:
    """Return a zip with one member of so many zeros."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as to:
        _write_zeros(to.write, byte_count)
    return raw.getvalue()


def nested_zip(levels: int, width: int) -> bytes:
    """Return a zip of zips of zips…, each of which holds the one inside ``width`` times."""
    inner = zip_bomb("zeros.csv", 2**20)
    for _ in range(levels):
        raw = io.BytesIO()
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(width):
                archive.writestr(f"{number}.zip", inner)
        inner = raw.getvalue()
    return inner


def overlapping_zip(names: Sequence[str], byte_count: int) -> bytes:
    """Return a zip whose directory has one and the same member under all these names.

    After David Fifield, "A better zip bomb" (WOOT 2019). The names must be of one length; the
    member itself has the first.
    """
    one = zip_bomb(names[0], byte_count)
    start, end = one.rindex(b"PK\x01\x02"), one.rindex(b"PK\x05\x06")
    entry, tail = one[start:end], bytearray(one[end:])
    directory = b"".join(entry.replace(names[0].encode(), name.encode()) for name in names)
    tail[8:12] = len(names).to_bytes(2, "little") * 2
    tail[12:16] = len(directory).to_bytes(4, "little")
    return one[:start] + directory + bytes(tail)


def gzip_of_zeros(byte_count: int, head: bytes = b"", fill: bytes = b"\0") -> bytes:
    """Return a gzip file of ``head`` and then one byte again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(head)]
    parts += [packer.compress(fill * 2**20) for _ in range(byte_count // 2**20)]
    return b"".join([*parts, packer.flush()])


def tar_bomb_of_members(count: int) -> bytes:
    """Return a compressed tar of so many empty files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as tar:
        for number in range(count):
            tar.addfile(tarfile.TarInfo(f"{number}.png"))
    return raw.getvalue()


def _write_zeros(write: Callable[[bytes], object], byte_count: int) -> None:
    for _ in range(byte_count // 2**20):
        write(bytes(2**20))
