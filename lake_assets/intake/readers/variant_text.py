"""JSON values as the text of a variant column.

Invariant: equal values have equal text, whichever way they were read: numbers with all their
digits and nothing else (``5.0`` is ``5``), keys sorted, those without a value left out.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MAX_EXACT_INT = 2**53
"""Largest integer up to which a double holds every integer."""

LONG_NUMBER = r"[0-9.]{16}|[eE][-+]?[0-9]{3}"
"""What any number matches that a double may not hold: DBL_DIG is 15, its exponents have three
digits."""

_MOST_DIGITS = 4_000
"""Python refuses to make an ``int`` of more than 4,300 digits of text."""
_quoted = json.JSONEncoder(ensure_ascii=False).encode
_has_long_number = re.compile(LONG_NUMBER).search
_types = pa.types


class Number(float):
    """A number as it was written, which is not what its double holds; it may be infinite."""

    __slots__ = ("text",)

    text: str


def has_long_number(text: str) -> bool:
    """Return whether JSON text may hold a number that ``float`` does not keep."""
    return _has_long_number(text) is not None


def parsed_float(text: str) -> float:
    """Return a JSON number with a fraction or an exponent, with its text where that is needed."""
    value = float(text)
    return value if _is_held(value, text) else _number(value, text)


def parsed_int(text: str) -> int | float:
    """Return a JSON integer; one of thousands of digits as an infinite ``Number``."""
    return int(text) if len(text) <= _MOST_DIGITS else _number(math.inf, text)


def _number(value: float, text: str) -> Number:
    number = Number(value)
    number.text = text
    return number


def _is_held(value: float, text: str) -> bool:
    if math.isinf(value):
        return False
    try:
        return Decimal(text) == Decimal(repr(value))
    except InvalidOperation:  # an exponent of many digits
        return False


def has_value(number: Number) -> bool:
    """Return whether any type of Python has the number: its exponent may have 18 digits."""
    try:
        Decimal(number.text)
    except InvalidOperation:
        return False
    return True


def json_text(value: Any) -> str:
    """Return a JSON value as canonical text."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        items = sorted((key, inner) for key, inner in value.items() if inner is not None)
        return "{" + ", ".join(f"{_quoted(k)}: {json_text(inner)}" for k, inner in items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(json_text, value)) + "]"
    return _float_text(value) if isinstance(value, float) else _quoted(value)


def _float_text(value: float) -> str:
    if isinstance(value, Number):
        return value.text
    if is_whole(value) and (value or math.copysign(1, value) > 0):
        return str(int(value))
    return repr(value)


def is_whole(value: float) -> bool:
    """Return whether a double is an integer that no other integer is rounded to."""
    return value.is_integer() and abs(value) <= MAX_EXACT_INT


def json_texts(column: pa.Array) -> pa.StringArray:
    """Return each value of a column, as pyarrow reads it from JSON, as ``json_text``.

    Exact for doubles only where no number is one that ``has_long_number`` finds.
    """
    if _types.is_integer(column.type):
        return column.cast(pa.string())
    if _types.is_boolean(column.type):
        return pc.if_else(column, "true", "false")
    values = column.to_pylist()
    return pa.array([None if v is None else json_text(v) for v in values], pa.string())
