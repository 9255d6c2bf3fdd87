"""Columns of text as typed columns: which type fits a whole column, and which values do not fit.

Invariant: a type is inferred only if it loses nothing that the text says about the value.
``007`` stays a string, ``1.50`` becomes 1.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.intake.readers.values import DoesNotFit, fit_text

_YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DATE = rf"{_YEAR}-[0-9]{{2}}-[0-9]{{2}}"
_TIMESTAMP = rf"{_DATE}[T ][0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:\.[0-9]{{1,6}})?)?"
_OFFSET = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
# No leading zeros and no plus sign: such text is rather a code than a number.
_INT = r"(?:0|-?[1-9][0-9]*)"
_NUMBER = r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
# Text with 15 significant digits survives the way into a double and back (DBL_DIG).
_EXACT_DIGITS = 15
_SMALLEST_NORMAL = 2.2250738585072014e-308


@dataclass(frozen=True, slots=True)
class Parsed:
    """A typed column; ``misfits`` are the positions (null in it) whose text is not of the type."""

    values: pa.Array
    misfits: dict[int, DoesNotFit]


@dataclass(frozen=True, slots=True)
class _Candidate:
    kind: pa.DataType
    pattern: str
    is_exact: Callable[[pa.Array, pa.Array], bool]


class TypeGuess:
    """The best type for a column, narrowed by every value that it is shown."""

    def __init__(self) -> None:
        self._candidates: tuple[_Candidate, ...] = _CANDIDATES
        self._has_values = False

    def see(self, values: pa.StringArray) -> None:
        """Take some more of the column's values into account; nulls say nothing."""
        if self._has_values and not self._candidates:
            return
        present = values.drop_null()
        if len(present):
            self._has_values = True
            self._candidates = tuple(c for c in self._candidates if _fits(c, present))

    def kind(self) -> pa.DataType | None:
        """Return the type that holds all values seen, or None if all were null."""
        if not self._has_values:
            return None
        return self._candidates[0].kind if self._candidates else pa.string()


def parse_column(values: pa.StringArray, kind: pa.DataType, name: str) -> Parsed:
    """Return a column of text as a type: at once if it can be, else value by value.

    Args:
        values: Text; nulls stay nulls.
        kind: Type of the lake's (see ``normal_types``).
        name: The column, for its misfits.
    """
    if kind == pa.string():
        return Parsed(values, {})
    plain = next((c for c in _CANDIDATES if c.kind == kind), None)
    if plain is not None:
        cast = _cast(plain, values)
        if cast is not None:
            return Parsed(cast, {})
    return _parse_each(values, kind, name)


def _parse_each(values: pa.StringArray, kind: pa.DataType, name: str) -> Parsed:
    parsed: list[object] = []
    misfits: dict[int, DoesNotFit] = {}
    for i, text in enumerate(values.to_pylist()):
        try:
            parsed.append(None if text is None else fit_text(text, kind, name))
        except DoesNotFit as problem:
            parsed.append(None)
            misfits[i] = problem
    return Parsed(pa.array(parsed, kind), misfits)


def _fits(candidate: _Candidate, present: pa.StringArray) -> bool:
    cast = _cast(candidate, present)
    return cast is not None and candidate.is_exact(present, cast)


def _cast(candidate: _Candidate, values: pa.StringArray) -> pa.Array | None:
    if not _all(pc.match_substring_regex(values, f"^{candidate.pattern}$")):
        return None
    lower = pc.utf8_lower(values) if pa.types.is_boolean(candidate.kind) else values
    try:
        cast = lower.cast(candidate.kind)
    except pa.ArrowInvalid:
        return None
    infinite = pa.types.is_floating(candidate.kind) and not _all(pc.is_finite(cast))
    return None if infinite else cast


def _all(flags: pa.BooleanArray) -> bool:
    return bool(pc.all(flags, min_count=0).as_py())


def _always(texts: pa.Array, values: pa.Array) -> bool:
    return True


def _is_exact_double(texts: pa.Array, values: pa.Array) -> bool:
    digits = pc.replace_substring_regex(texts, r"^-?0*\.?0*|\.|[eE].*$", "")
    few = pc.less_equal(pc.utf8_length(digits), _EXACT_DIGITS)
    # What is smaller has lost digits, or has become zero.
    normal = pc.greater_equal(pc.abs(values), _SMALLEST_NORMAL)
    return _all(few) and _all(pc.or_(normal, pc.equal(digits, "")))


_CANDIDATES = (
    _Candidate(pa.bool_(), "(?i:true|false)", _always),
    _Candidate(pa.int64(), _INT, _always),
    _Candidate(pa.float64(), _NUMBER, _is_exact_double),
    _Candidate(pa.date32(), _DATE, _always),
    _Candidate(pa.timestamp("us"), _TIMESTAMP, _always),
    _Candidate(pa.timestamp("us", tz="UTC"), _TIMESTAMP + _OFFSET, _always),
)
