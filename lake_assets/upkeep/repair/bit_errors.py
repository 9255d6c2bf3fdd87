"""Turn a flipped bit back: of all contents that differ in one bit, the one with the right hash.

There are only eight per byte, and no other content has that SHA-256: what is found is the truth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

LARGEST_BYTES = 16 * 2**10
"""Work grows with the square of the size; this takes 1 to 2 s where it fails."""


def without_flipped_bit(content: bytes, sha256: str) -> bytes | None:
    """Return what differs from ``content`` in one bit and has this SHA-256, or None."""
    if len(content) > LARGEST_BYTES:
        return None
    wanted = bytes.fromhex(sha256)
    before = hashlib.sha256()
    for place, byte in enumerate(content):
        rest = content[place + 1 :]
        for bit in range(8):
            changed = bytes([byte ^ 1 << bit])
            digest = before.copy()
            digest.update(changed + rest)
            if digest.digest() == wanted:
                return content[:place] + changed + rest
        before.update(content[place : place + 1])
    return None


def mended(content: bytes, is_whole: Callable[[bytes], bool]) -> bytes | None:
    """Return what differs from a small document in one bit and is whole, or None."""
    if len(content) > LARGEST_BYTES // 4:
        return None
    for place, byte in enumerate(content):
        for bit in range(8):
            changed = content[:place] + bytes([byte ^ 1 << bit]) + content[place + 1 :]
            if is_whole(changed):
                return changed
    return None
