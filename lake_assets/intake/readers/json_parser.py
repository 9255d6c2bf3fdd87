"""JSON text as values, strictly, and the first rule that a record breaks.

Invariant: a value that breaks no rule loses nothing: RFC 8259 has no NaN, a key that comes twice
loses a value, and keys that differ only in case are one column.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lake_assets.contracts.names import OWN_COLUMNS
from lake_assets.contracts.variants import VARIANT_SUFFIX, is_variant
from lake_assets.intake.readers.text import is_valid
from lake_assets.intake.readers.variant_text import (
    Number,
    has_long_number,
    has_value,
    parsed_float,
    parsed_int,
)

MAX_DEPTH = 40
"""Deepest nesting of a record. Parquet's readers end at 100 levels (see ``MAX_PARQUET_DEPTH``), and
a list takes two."""

OF_NAMES = frozenset(
    {
        "keys_are_not_empty",
        "keys_are_not_the_lakes_own",
        "keys_differ_by_more_than_case",
        "keys_do_not_end_in_variant",
    }
)
"""Rules that valid objects break, of which no value is lost when they are read again."""
_MOST_KNOWN = 256
"""Lists of keys that are known to be good, and the keys of one."""
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that a piece of JSON text breaks."""

    rule: str
    expected: str
    actual: str
    path: str = ""
    """The key that breaks it."""


@dataclass(slots=True)
class Parsed:
    """A piece of JSON text: what it means, or the first rule that it breaks."""

    text: str
    value: Any = None
    broken: Broken | None = None


class Parser:
    """Decodes JSON strictly: RFC 8259 has no NaN, and a key that comes twice loses a value."""

    def __init__(self) -> None:
        self._broken: Broken | None = None
        self._good: set[tuple[str, ...]] = set()
        # The hooks note what is wrong instead of raising, so that the end of the value is known.
        self._quick = json.JSONDecoder(
            parse_constant=self._constant, object_pairs_hook=self._object
        )
        # Ten times as slow for numbers, of which it keeps all digits.
        self._exact = json.JSONDecoder(
            parse_constant=self._constant,
            object_pairs_hook=self._object,
            parse_float=self._float,
            parse_int=parsed_int,
        )

    def decode(self, text: str, start: int) -> tuple[Parsed, int]:
        """Return the value that begins at ``start``, and where it ends.

        Raises:
            ValueError: No valid value begins there.
            RecursionError: It is nested more deeply than Python can follow.
        """
        self._broken = None
        try:
            value, end = self._quick.raw_decode(text, start)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of thousands of digits
            value, end = self._exact.raw_decode(text, start)
        own = text[start:end]
        if has_long_number(own):
            value, _ = self._exact.raw_decode(own, 0)
        return Parsed(own, value, self._broken), end

    def _constant(self, name: str) -> None:
        self._broken = Broken("line_is_valid_json", "valid JSON", f"{name} is not valid JSON")

    def _float(self, text: str) -> float:
        value = parsed_float(text)
        if isinstance(value, Number) and not has_value(value):
            expected = "exponents of at most 18 digits"
            self._broken = Broken("numbers_have_a_value", expected, text[:_SHOWN])
        return value

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            # Counted once: an object of 30 000 keys took 45 s when each was counted by itself.
            counts = Counter(key for key, _ in pairs)
            twice = sorted(key for key, count in counts.items() if count > 1)
            self._broken = Broken("keys_are_unique", "each key once", f"twice: {', '.join(twice)}")
            return value
        keys = tuple(value)
        if keys not in self._good:
            broken = _broken_keys(keys)
            if broken is not None:
                self._broken = broken
            elif len(self._good) < _MOST_KNOWN and len(keys) <= _MOST_KNOWN:
                self._good.add(keys)
        return value


def _broken_keys(keys: Sequence[str]) -> Broken | None:
    """Return the rule that the names of an object's keys break, if they do."""
    if "" in keys:
        return Broken("keys_are_not_empty", "keys with a name", "an empty key")
    variants = [key for key in keys if is_variant(key)]
    if variants:
        expected = f"keys that do not end in {VARIANT_SUFFIX}, which the lake adds itself"
        return Broken("keys_do_not_end_in_variant", expected, ", ".join(variants), variants[0])
    counts = Counter(key.lower() for key in keys)
    if len(counts) < len(keys):
        alike = [key for key in keys if counts[key.lower()] > 1]
        expected = "keys that differ by more than upper and lower case"
        return Broken("keys_differ_by_more_than_case", expected, ", ".join(alike), alike[1])
    return None


def broken_record(piece: Parsed) -> Broken | None:
    """Return the rule that a parsed value breaks as a record, if it does."""
    if not piece.text.isascii() and not is_valid(piece.text):
        return Broken("line_is_valid_utf8", "UTF-8 text", "other bytes")
    if not isinstance(piece.value, dict):
        return Broken("record_is_an_object", "a JSON object", type(piece.value).__name__)
    own = [key for key in piece.value if key[:1] == "_" and key.lower() in OWN_COLUMNS]
    if own:
        expected = "keys other than those that the lake adds itself"
        return Broken("keys_are_not_the_lakes_own", expected, ", ".join(own), own[0])
    # Only text with an escape in it can mean a lone surrogate.
    if "\\u" in piece.text and not is_valid(json.dumps(piece.value, ensure_ascii=False)):
        return Broken("strings_are_valid_unicode", "Unicode text", "half of a surrogate pair")
    if (
        piece.text.count("{") + piece.text.count("[") > MAX_DEPTH
        and _depth(piece.value) > MAX_DEPTH
    ):
        return _too_deep()
    return None


def _too_deep() -> Broken:
    return Broken("record_is_not_nested_too_deeply", f"at most {MAX_DEPTH} levels", "more levels")


def _depth(value: Any) -> int:
    # Level by level, not by recursion: depth is what is in question here.
    level, depth = [value], 0
    while level:
        inner = [item for item in level if isinstance(item, dict | list)]
        level = [v for item in inner for v in (item.values() if isinstance(item, dict) else item)]
        depth += bool(inner)
    return depth


def parsed_line(parser: Parser, line: str) -> Parsed:
    """Return what a line without space around it means."""
    try:
        parsed, end = parser.decode(line, 0)
    except RecursionError:
        return Parsed(line, broken=_too_deep())
    except ValueError as error:
        return Parsed(line, broken=Broken("line_is_valid_json", "valid JSON", str(error)))
    if end < len(line):
        actual = f"more text after the value, from character {end}"
        return Parsed(line, broken=Broken("line_is_valid_json", "one JSON value", actual))
    return parsed
