"""Folders as file systems allow them: names, links, and entries that are no files."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

USABLE = "file_name_is_usable"
REGULAR = "file_is_a_regular_file"
INSIDE = "file_stays_inside_its_folder"

NAMES: dict[bytes, str | None] = {
    b"line\nbreak.png": USABLE,
    b"return\r.png": USABLE,
    b"bell\x07.png": USABLE,
    b"escape\x1b[31m.png": USABLE,
    b"delete\x7f.png": USABLE,
    "next\u0085line.png".encode(): USABLE,
    "separator\u2028.png".encode(): USABLE,
    b"\xff\xfe.png": USABLE,
    b"latin-\xe9.png": USABLE,
    b"half-\xed\xa0\x80.png": USABLE,
    b"x" * 251 + b".png": None,
    "é".encode() * 125 + b".png": None,
    b"CON": None,
    b"con.png": None,
    b"aux.png": None,
    b"NUL .png": None,
    b"COM1.png": None,
    b"dot.png.": None,
    b"dots.png..": None,
    b"space.png ": None,
    b" space.png": None,
    b"tab-less   spaces.png": None,
    b"less<more>.png": None,
    b"colon:pipe|.png": None,
    b"question?.png": None,
    b"star*.png": None,
    b"quote\".png": None,
    b"back\\slash.png": None,
    b"-rf.png": None,
    b"--help.png": None,
    b"$(touch evil).png": None,
    b"`touch evil`.png": None,
    b"%2e%2e%2fevil.png": None,
    b"'; drop table x; --.png": None,
    b"{braces}.png": None,
    b"hash#1.png": None,
    b"~tilde.png": None,
    b"Case.png": None,
    b"case.png": None,
    b"CASE.PNG": None,
    "composed-é.png".encode(): None,
    "composed-e\u0301.png".encode(): None,
    "\u202egnp.exe.png".encode(): None,
    "zero\u200bwidth.png".encode(): None,
    "\ufeffbom.png".encode(): None,
    "𝕏🎉.png".encode(): None,
    b"no-suffix": None,
    b"two.suffixes.tar.gz.png": None,
}  # fmt: skip
"""Names, and the rule that each must be rejected by, or None. Their content is an image."""

LITTER = (b".hidden.png", b"..dots.png", b"Thumbs.db", b"desktop.ini", b".DS_Store", b"._a.png")


def put(folder: Path, name: bytes, data: bytes) -> None:
    """Write a file whose name may be any bytes."""
    path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118
    with open(path, "xb") as file:  # noqa: PTH123
        file.write(data)


def link_everywhere(folder: Path, outside: Path) -> dict[str, str | None]:
    """Put links of all kinds into a folder that has ``good.png``; return the rule each breaks."""
    (folder / "inside").mkdir()
    links: dict[str, tuple[Path | str, str | None]] = {
        "absolute-out.png": (outside / "secret.png", INSIDE),
        "relative-out.png": (os.path.relpath(outside / "secret.png", folder), INSIDE),
        "folder-out": (outside, INSIDE),
        "root": ("/", INSIDE),
        "passwords.csv": ("/etc/passwd", INSIDE),
        "zeros.png": ("/dev/zero", INSIDE),
        "random.csv": ("/dev/urandom", INSIDE),
        "myself.csv": ("/proc/self/environ", INSIDE),
        "dangling.png": ("nowhere.png", REGULAR),
        "dangling-out.png": (outside / "nowhere.png", REGULAR),
        "loop.png": ("loop.png", REGULAR),
        "ping.png": ("pong.png", REGULAR),
        "pong.png": ("ping.png", REGULAR),
        "up": (".", REGULAR),
        "inside/up": ("..", REGULAR),
        "chain-out.png": ("relative-out.png", INSIDE),
        "long.png": ("x" * 4000, REGULAR),
        "file-as-folder.png": ("good.png/x.png", REGULAR),
        "inside/copy.png": ("../good.png", None),
    }
    for name, (target, _) in links.items():
        (folder / name).symlink_to(target)
    return {name: rule for name, (_, rule) in links.items()}


def specials(folder: Path) -> dict[str, str]:
    """Put entries that are no files into a folder; return the rule that each breaks."""
    os.mkfifo(folder / "fifo.png")
    (folder / "fifo-link.png").symlink_to("fifo.png")
    with socket.socket(socket.AF_UNIX) as server:
        before = os.open(".", os.O_RDONLY)
        try:  # a socket's path may have 108 bytes only
            os.chdir(folder)
            server.bind("socket.csv")
        finally:
            os.fchdir(before)
            os.close(before)
    made = ["fifo.png", "fifo-link.png", "socket.csv"]
    try:
        os.mknod(folder / "zero.png", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.mknod(folder / "disk.csv", stat.S_IFBLK | 0o666, os.makedev(250, 99))
    except PermissionError:  # only root may
        return dict.fromkeys(made, REGULAR)
    return dict.fromkeys([*made, "zero.png", "disk.csv"], REGULAR)
