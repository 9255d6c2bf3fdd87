"""Names of files that every storage of the lake can keep.

Invariant: a usable name is valid UTF-8 on one line, and fits ext4, XFS, APFS and S3. Names that
Windows alone reserves (``CON``, ``a:b``, a dot at the end) are kept: what is stored for good is
named by its hash, and no image is worth less for what it was called.
"""

from __future__ import annotations

import unicodedata

MAX_COMPONENT_BYTES = 255
"""Longest file or folder name on ext4, XFS, APFS and NTFS."""
MAX_NAME_BYTES = 1024
"""Longest relative path: an S3 key has no more."""
MAX_DEPTH = 128
"""Most parts of a path: walking and removing a tree recurse, and Python allows 1 000 calls."""


def unusable_because(name: str) -> str | None:
    """Return what keeps a relative path from being stored everywhere, or None if nothing does.

    The answer is a predicate: "is not valid UTF-8".

    Args:
        name: POSIX path; undecodable bytes are lone surrogates, as ``os.listdir`` gives them.
    """
    # Nearly all names: no character is looked at by itself.
    if len(name) <= MAX_COMPONENT_BYTES and name.isascii() and name.isprintable():
        return _too_deep(name)
    if any("\ud800" <= char <= "\udfff" for char in name):
        return "is not valid UTF-8"
    # Line and paragraph separators too: lists of files are one name per line.
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
        return "holds a control character or a line break"
    if any(len(part.encode()) > MAX_COMPONENT_BYTES for part in name.split("/")):
        return f"has a part longer than {MAX_COMPONENT_BYTES} bytes"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return _too_deep(name)


def _too_deep(name: str) -> str | None:
    return f"has more than {MAX_DEPTH} parts" if name.count("/") >= MAX_DEPTH else None


def printable(name: str) -> str:
    """Return a name as valid UTF-8, with ``\\udcff`` for each byte that was not."""
    return name.encode("utf-8", "backslashreplace").decode()
