"""One value at a time: does it fit the type of its column, and as what?

Used where whole columns cannot be converted at once: types that a table already has, and columns
whose values differ in kind. Invariant: a value is taken only if the type holds it exactly
(``double`` and ``float`` round as they do everywhere).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import pyarrow as pa

from lake_assets.intake.readers.variant_text import MAX_EXACT_INT, Number, is_whole

_INT = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_DIGITS = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|nan)", re.I)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?")
_TIMESTAMP = re.compile(
    rf"{_DATE.pattern}(?:[T ]{_TIME.pattern}(?:Z|[+-][0-9]{{2}}(?::?[0-9]{{2}})?)?)?"
)

_types = pa.types


class DoesNotFit(ValueError):
    """A value that its column's type cannot hold. Never leaves the readers."""

    def __init__(self, path: str, kind: pa.DataType, value: Any) -> None:
        super().__init__(path, kind, value)
        self.path = path
        self.kind = kind
        self.value = value


def fit_text(text: str, kind: pa.DataType, path: str) -> Any:
    """Return what a text file's field means as a value of a type.

    Raises:
        DoesNotFit: It means none.
    """
    if _types.is_string(kind):
        return text
    try:
        value = _parse(text.strip(), kind)
    except (ValueError, InvalidOperation, RecursionError):
        raise DoesNotFit(path, kind, text) from None
    return value if _types.is_nested(kind) else _held(value, kind, path, text)


def fit_json(value: Any, kind: pa.DataType, path: str) -> Any:
    """Return a JSON value as a value of a type, checked at every depth; None stays None.

    Raises:
        DoesNotFit: It, or something in it, is not of the type.
    """
    if value is None:
        return None
    for matches, fit in _JSON_FITS:
        if matches(kind):
            return fit(value, kind, path)
    if isinstance(value, str):
        return fit_text(value, kind, path)
    raise DoesNotFit(path, kind, value)


def _parse(text: str, kind: pa.DataType) -> Any:
    for matches, parse in _PARSERS:
        if matches(kind):
            return parse(text)
    if _types.is_timestamp(kind):
        return _timestamp(text, aware=kind.tz is not None)
    if _types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        return UUID(text).bytes
    if _types.is_nested(kind):
        return fit_json(json.loads(text), kind, "")
    raise ValueError


def _held(value: Any, kind: pa.DataType, path: str, shown: Any) -> Any:
    try:
        pa.scalar(value, kind)
    except (pa.ArrowException, OverflowError):
        raise DoesNotFit(path, kind, shown) from None
    return value


def _int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ValueError
    return int(text.partition(".")[0])


def _float(text: str) -> float:
    value = float(text) if _FLOAT.fullmatch(text) else None
    if value is None or (math.isinf(value) and "inf" not in text.lower()):
        raise ValueError
    if abs(value) >= MAX_EXACT_INT and _DIGITS.fullmatch(text) and int(text) != value:
        raise ValueError
    return value


def _decimal(text: str) -> Decimal:
    if not _FLOAT.fullmatch(text):  # Python also takes 1_000
        raise ValueError
    return Decimal(text)


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


def _date(text: str) -> date:
    if not _DATE.fullmatch(text):
        raise ValueError
    return date.fromisoformat(text)


def _time(text: str) -> time:
    if not _TIME.fullmatch(text):
        raise ValueError
    return time.fromisoformat(text)


def _timestamp(text: str, *, aware: bool) -> datetime:
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError
    value = datetime.fromisoformat(text)
    # An instant without an offset could mean any of 24 hours; guessing UTC would be silent.
    if (value.tzinfo is not None) != aware:
        raise ValueError
    return value


def _json_int(value: Any, kind: pa.DataType, path: str) -> Any:
    # A number that its double does not hold only looks like an integer.
    if type(value) is int or (type(value) is float and is_whole(value)):
        return _held(int(value), kind, path, value)
    raise DoesNotFit(path, kind, value)


def _json_float(value: Any, kind: pa.DataType, path: str) -> Any:
    if type(value) is int and abs(value) <= MAX_EXACT_INT:
        return float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise DoesNotFit(path, kind, value)


def _json_decimal(value: Any, kind: pa.DataType, path: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DoesNotFit(path, kind, value)
    text = value.text if isinstance(value, Number) else str(value)
    return fit_text(text, kind, path)


def _json_bool(value: Any, kind: pa.DataType, path: str) -> Any:
    if isinstance(value, bool):
        return value
    raise DoesNotFit(path, kind, value)


def _json_string(value: Any, kind: pa.DataType, path: str) -> Any:
    if isinstance(value, str):
        return value
    raise DoesNotFit(path, kind, value)


def _json_struct(value: Any, kind: pa.StructType, path: str) -> Any:
    if not isinstance(value, dict):
        raise DoesNotFit(path, kind, value)
    kinds = {field.name: field.type for field in kind}
    fitted = {}
    for name, item in value.items():
        inner = f"{path}.{name}" if path else name
        if name in kinds:
            fitted[name] = fit_json(item, kinds[name], inner)
        elif item is not None:
            raise DoesNotFit(inner, kind, item)
    return fitted


def _json_list(value: Any, kind: pa.DataType, path: str) -> Any:
    if not isinstance(value, list):
        raise DoesNotFit(path, kind, value)
    return [fit_json(item, kind.value_type, f"{path}[{i}]") for i, item in enumerate(value)]


def _json_map(value: Any, kind: pa.MapType, path: str) -> Any:
    if not isinstance(value, dict):
        raise DoesNotFit(path, kind, value)
    return [
        (
            fit_text(key, kind.key_type, f"{path}.{key}"),
            fit_json(item, kind.item_type, f"{path}.{key}"),
        )
        for key, item in value.items()
    ]


_Test = Callable[[pa.DataType], bool]
_PARSERS: tuple[tuple[_Test, Callable[[str], Any]], ...] = (
    (_types.is_integer, _int),
    (_types.is_floating, _float),
    (_types.is_boolean, _bool),
    (_types.is_date, _date),
    (_types.is_time, _time),
    (_types.is_decimal, _decimal),
)
_JSON_FITS: tuple[tuple[_Test, Callable[[Any, Any, str], Any]], ...] = (
    (_types.is_string, _json_string),
    (_types.is_integer, _json_int),
    (_types.is_floating, _json_float),
    (_types.is_boolean, _json_bool),
    (_types.is_decimal, _json_decimal),
    (_types.is_struct, _json_struct),
    (_types.is_map, _json_map),
    (_types.is_list, _json_list),
)
