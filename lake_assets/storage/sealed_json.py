"""JSON documents that carry their own SHA-256: any changed byte is found, also in white space.

A sealed document is written in one form only (two spaces, keys as given, ``seal`` as the last
one). Reading it makes that form again and compares the bytes. Documents of earlier versions have no
seal; they read as before and are called unsealed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

SEAL_KEY = "seal"


class SealState(StrEnum):
    """What the seal of a document says."""

    WHOLE = "whole"
    """It is as it was written."""
    UNSEALED = "unsealed"
    """It has no seal: an earlier version wrote it, or a person took the seal off."""
    BROKEN = "broken"
    """It is not as it was written, or is no JSON object."""


def sealed_json(plain: Mapping[str, Any]) -> str:
    """Return ``plain`` as a sealed document. It must not have a key ``seal``."""
    digest = hashlib.sha256(_text(plain).encode()).hexdigest()
    return _text({**plain, SEAL_KEY: digest})


def seal_state(content: bytes) -> SealState:
    """Return whether a document is as it was written."""
    try:
        plain = json.loads(content)
    except ValueError:
        return SealState.BROKEN
    if not isinstance(plain, dict):
        return SealState.BROKEN
    if SEAL_KEY not in plain:
        return SealState.BROKEN if any(map(_was_seal_key, plain)) else SealState.UNSEALED
    kept = {key: value for key, value in plain.items() if key != SEAL_KEY}
    is_whole = sealed_json(kept).encode() == content
    return SealState.WHOLE if is_whole else SealState.BROKEN


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return the object in a file, without its seal, whatever that says.

    None: there is no file, or whoever wrote it was cut off.
    """
    try:
        plain = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if not isinstance(plain, dict):
        return None
    plain.pop(SEAL_KEY, None)
    return plain


def _was_seal_key(key: str) -> bool:
    """Return whether a key is that of the seal but for one character, which a flipped bit made."""
    return len(key) == len(SEAL_KEY) and sum(map(str.__ne__, key, SEAL_KEY)) == 1


def _text(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
