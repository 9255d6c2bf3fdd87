"""One value of a table as JSON, as CSV and as text.

Invariant: every value that DuckDB or this package hands out has a form in each; JSON is always
valid JSON (numbers that are not finite become null), and text never holds control characters, so
that data cannot steer a terminal.
"""

from __future__ import annotations

import base64
import json
import math
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from rich.filesize import decimal

_UNSAFE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, lone surrogates (no encoding has them), line separators."""
_TURNS_TEXT = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Bidirectional controls, which make text look like other text."""


def json_value(value: Any) -> Any:
    """Return ``value`` as what ``json.dumps`` takes.

    Decimals and UUIDs become strings, instants ISO 8601, durations seconds, bytes base64.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case timedelta():
            return value.total_seconds()
        case date() | time():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode("ascii")
        case Mapping():
            return {_key(key): json_value(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [json_value(item) for item in value]
    return str(value)


def csv_value(value: Any) -> str:
    """Return ``value`` as a CSV field; null is empty, nested values are JSON."""
    plain = json_value(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def text_value(value: Any, *, longest: int | None = None) -> str:
    """Return ``value`` for a person, on one line.

    Args:
        longest: Characters to keep; None: all.
    """
    text = visible(_text(value))
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def visible(text: str) -> str:
    r"""Return ``text`` with control characters written as ``\n``, ``\x1b``…"""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def instant(at: datetime | None) -> str:
    """Return an aware instant for people, to the second: ``2026-01-02 03:04:05Z``."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _text(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case float():
            return repr(value)  # also nan and inf, which JSON cannot say
        case bytes():
            return f"<{decimal(len(value))}>"
        case datetime():
            return value.isoformat(sep=" ")
        case timedelta():
            return str(value)
    return csv_value(value)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else csv_value(key)


def _escape(char: str) -> str:
    # What else Python calls unprintable, spaces of other scripts and joiners, is harmless.
    if char in _TURNS_TEXT or unicodedata.category(char) in _UNSAFE:
        return char.encode("unicode_escape").decode("ascii")
    return char
