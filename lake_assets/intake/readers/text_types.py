"""Columns of text as typed columns: which type fits a whole column, and which values do not fit.

Invariant: a type is inferred only if it loses nothing that the text says about the value.
``007`` stays a string, ``1.50`` becomes 1.5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.intake.readers import csv_proofs as proofs
from lake_assets.intake.readers.values import DoesNotFit, fit_text
from lake_assets.intake.readers.variant_text import (
    MAX_EXACT_INT,
    json_text,
    parsed_float,
    parsed_int,
)

_types = pa.types

_YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DATE = rf"{_YEAR}-[0-9]{{2}}-[0-9]{{2}}"
_TIMESTAMP = rf"{_DATE}[T ][0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:\.[0-9]{{1,6}})?)?"
_OFFSET = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
# No leading zeros and no plus sign: such text is rather a code than a number.
_INT = r"(?:0|-?[1-9][0-9]*)"
_NUMBER = r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
# Text with 15 significant digits survives the way into a double and back (DBL_DIG).
_EXACT_DIGITS = 15
_FIRST_VALUES = 16
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
    is_proven: Callable[[pa.StringArray, pa.Array], bool]
    """Whether texts and what pyarrow made of them show, for less, that the pattern matches."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What some values of a column can be, and what they are as the best of it."""

    candidates: tuple[_Candidate, ...]
    count: int
    """How many values there are."""
    values: pa.Array
    """As the first candidate; as text if there is none."""


class TypeGuess:
    """The best type for a column, narrowed by every value that it is shown."""

    def __init__(self) -> None:
        self._candidates: tuple[_Candidate, ...] = _CANDIDATES
        self.count = 0
        """How many values were seen."""

    def fit(self, texts: pa.StringArray) -> Fit:
        """Return what these values can be, as far as it is still open; nulls say nothing.

        Changes nothing, so that blocks can be looked at in any order, and at once.
        """
        if texts.null_count == len(texts):
            return Fit(self._candidates, count=0, values=texts)
        fits = list(_fitting(self._candidates, texts))
        values = fits[0][1] if fits else texts
        count = len(texts) - texts.null_count
        return Fit(tuple(candidate for candidate, _ in fits), count=count, values=values)

    def narrow(self, fit: Fit) -> None:
        """Take into account what some more of the column's values can be."""
        self._narrow(fit.count, fit.candidates)

    def merge(self, other: TypeGuess) -> None:
        """Take into account what another guess was shown."""
        self._narrow(other.count, other._candidates)

    def kind(self) -> pa.DataType | None:
        """Return the type that holds all values seen, or None if all were null."""
        if not self.count:
            return None
        return self._candidates[0].kind if self._candidates else pa.string()

    def _narrow(self, count: int, candidates: tuple[_Candidate, ...]) -> None:
        self.count += count
        self._candidates = tuple(c for c in self._candidates if c in candidates)


def kind_of_texts(texts: pa.StringArray) -> pa.DataType | None:
    """Return the best type for some texts, or None if all are null."""
    guess = TypeGuess()
    guess.narrow(guess.fit(texts))
    return guess.kind()


def as_kind(values: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Return a column that was typed by some of its values as the type that holds all of them.

    None: its text is needed again.
    """
    if values.type == kind:
        return values
    if values.null_count == len(values):
        return pa.nulls(len(values), kind)
    # A double is a candidate only where it holds all the integers exactly. The others are read as
    # the larger type, to find out whether the smaller one holds them all.
    return values.cast(kind) if (values.type, kind) in _CASTS else None


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
        if cast is not None and not (kind == pa.float64() and _has_large(cast)):
            return Parsed(cast, {})
    if pa.types.is_decimal(kind):
        try:  # exact or not at all, and a hundred times as fast
            return Parsed(values.cast(kind), {})
        except pa.ArrowInvalid:
            pass
    return _parse_each(values, kind, name)


def _has_large(values: pa.DoubleArray) -> bool:
    """Return whether a number may have been written as an integer that no double holds."""
    return bool(pc.any(pc.greater_equal(pc.abs(values), MAX_EXACT_INT), min_count=0).as_py())


def variants_of(texts: pa.StringArray, parsed: Parsed) -> pa.StringArray:
    """Return the texts that are not of the type as JSON, null at the other places.

    Beside numbers, what is written as JSON has numbers is one.
    """
    kind = parsed.values.type
    has_numbers = _types.is_integer(kind) or _types.is_floating(kind) or _types.is_decimal(kind)
    text_of = _number_or_string if has_numbers else json_text
    found = {i: text_of(texts[i].as_py()) for i in parsed.misfits}
    return pa.array([found.get(i) for i in range(len(texts))], pa.string())


def _number_or_string(text: str) -> str:
    if not _JSON_NUMBER.fullmatch(text):
        return json_text(text)
    return json_text(parsed_int(text) if text.lstrip("-").isdigit() else parsed_float(text))


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


def _fitting(
    candidates: tuple[_Candidate, ...], texts: pa.StringArray
) -> Iterator[tuple[_Candidate, pa.Array]]:
    """Yield the types that hold these values exactly, with the values as such."""
    integers = None
    for candidate in candidates:
        if integers is not None and candidate.kind == pa.float64():
            # By their size, and without their text once more: half the time for integers.
            if _are_exact_doubles(integers):
                yield candidate, integers
            continue
        cast = _cast(candidate, texts)
        if cast is not None and candidate.is_exact(texts, cast):
            integers = cast if candidate.kind == pa.int64() else integers
            yield candidate, cast


def _cast(candidate: _Candidate, values: pa.StringArray) -> pa.Array | None:
    # Where nothing fits, pyarrow words an error for every value: 14 ms for 30,000 of them. And a
    # regular expression of its own takes longer to prepare than ten rows take to look at.
    first = values[:_FIRST_VALUES].drop_null().to_pylist()
    if not all(re.fullmatch(candidate.pattern, text) for text in first):
        return None
    try:
        cast = values.cast(candidate.kind)
    except pa.ArrowInvalid:
        return None
    infinite = pa.types.is_floating(candidate.kind) and not _all(pc.is_finite(cast))
    if infinite or not (candidate.is_proven(values, cast) or _matches(candidate, values)):
        return None
    return cast


def _matches(candidate: _Candidate, values: pa.StringArray) -> bool:
    return _all(pc.match_substring_regex(values, f"^{candidate.pattern}$"))


def _all(flags: pa.BooleanArray) -> bool:
    return bool(pc.all(flags, min_count=0).as_py())


def _always(texts: pa.Array, values: pa.Array) -> bool:
    return True


def _are_exact_doubles(integers: pa.Int64Array) -> bool:
    span = pc.min_max(integers)
    most = 10**_EXACT_DIGITS
    return bool(-most < span["min"].as_py() and span["max"].as_py() < most)


def _is_exact_double(texts: pa.Array, values: pa.Array) -> bool:
    # Digits are only counted where there may be too many, and where there may be none but zeros:
    # 30 ms for a million prices, 480 ms for all of them.
    long = texts.filter(pc.greater(pc.binary_length(texts), _EXACT_DIGITS))
    # What is smaller has lost digits, or has become zero.
    tiny = texts.filter(pc.less(pc.abs(values), _SMALLEST_NORMAL))
    few = pc.less_equal(pc.utf8_length(_digits(long)), _EXACT_DIGITS)
    return _all(few) and _all(pc.equal(_digits(tiny), ""))


def _digits(texts: pa.Array) -> pa.Array:
    """Return the significant digits of numbers, trailing zeros included."""
    return pc.replace_substring_regex(texts, r"^-?0*\.?0*|\.|[eE].*$", "")


_CASTS = {
    (pa.int64(), pa.float64()),
    (pa.int64(), pa.int32()),
    (pa.float64(), pa.float32()),
}
_CANDIDATES = (
    _Candidate(pa.bool_(), "(?i:true|false)", _always, proofs.are_words),
    _Candidate(pa.int64(), _INT, _always, proofs.are_plain_integers),
    _Candidate(pa.float64(), _NUMBER, _is_exact_double, proofs.are_plain_numbers),
    _Candidate(pa.date32(), _DATE, _always, proofs.are_dates),
    _Candidate(pa.timestamp("us"), _TIMESTAMP, _always, proofs.are_times),
    _Candidate(pa.timestamp("us", tz="UTC"), _TIMESTAMP + _OFFSET, _always, proofs.are_times),
)
