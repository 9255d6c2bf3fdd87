"""Which Arrow types the values of JSON records have, over a whole file.

Invariant: the type of a column does not depend on where the batches of a file are cut.
"""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from lake_assets.intake.readers.text_types import Parsed, parse_column
from lake_assets.intake.readers.values import DoesNotFit, fit_json, is_void

_SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


class Shape:
    """What the values at one place of all records look like; grows with each one seen."""

    __slots__ = ("decided", "fields", "has_infinity", "item", "kinds")

    def __init__(self) -> None:
        self.decided: type | None = None
        """Kind of the first value that holds anything; int becomes float with the first float."""
        self.kinds: set[type] = set()
        self.fields: dict[str, Shape] = {}
        self.item: Shape | None = None
        self.has_infinity = False

    def see(self, value: Any) -> None:
        """Take one more value into account; null says nothing."""
        if value is None:
            return
        kind = type(value)
        self.kinds.add(kind)
        if kind is dict:
            for name, inner in value.items():
                self._field(name).see(inner)
        elif kind is list:
            self.item = self.item or Shape()
            for inner in value:
                self.item.see(inner)
        elif kind is float and not math.isfinite(value):  # such as 1e999
            self.has_infinity = True
        self._decide(kind, value)

    def merge(self, later: Shape) -> None:
        """Take into account all that ``later`` has seen, which came after what this one has.

        Associative: shapes of the blocks of a file merge to that of the whole file.
        """
        self.kinds |= later.kinds
        self.has_infinity |= later.has_infinity
        for name, inner in later.fields.items():
            self._field(name).merge(inner)
        if later.item is not None:
            self.item = self._item()
            self.item.merge(later.item)
        self.decided = self.decided or later.decided
        if self.decided is int and float in self.kinds:
            self.decided = float

    def settles(self, whole: Shape, before: Shape) -> bool:
        """Return whether the order and kinds of all that ``whole`` has are decided.

        Args:
            whole: The shape of these values and of later ones.
            before: That of values before these; what it has is decided by it.
        """
        if whole.decided is not None and self.decided is None and before.decided is None:
            return False
        for name, inner in whole.fields.items():
            mine, earlier = self.fields.get(name), before.fields.get(name)
            if mine is None and earlier is None:
                return False
            if not (mine or _NOTHING).settles(inner, earlier or _NOTHING):
                return False
        return whole.item is None or self._item().settles(whole.item, before._item())

    def kind(self, expected: pa.DataType | None = None) -> pa.DataType | None:
        """Return the type that most of the values fit, or None if they hold nothing.

        Args:
            expected: The type that the table has here. It stays, and gains fields that are new.
        """
        if expected is not None and not pa.types.is_nested(expected):
            return expected
        if self.decided is dict and (expected is None or pa.types.is_struct(expected)):
            return self._struct(expected)
        if self.decided is list and (expected is None or pa.types.is_list(expected)):
            inner = self._item().kind(expected.value_type if expected is not None else None)
            return None if inner is None else pa.list_(inner)
        return _SCALARS.get(self.decided or type(None)) if expected is None else expected

    def is_uniform(self, kind: pa.DataType) -> bool:
        """Return whether all values are plainly of the type, so that Arrow may convert them."""
        if not self.kinds <= _plain_kinds(kind) or self.has_infinity:
            return False
        if pa.types.is_struct(kind):
            fields = {field.name: field.type for field in kind}
            return all(
                inner.is_uniform(fields[name]) if name in fields else inner.decided is None
                for name, inner in self.fields.items()
            )
        return not pa.types.is_list(kind) or self._item().is_uniform(kind.value_type)

    def _decide(self, kind: type, value: Any) -> None:
        if self.decided is None and not is_void(value):
            self.decided = kind
        elif kind is float and self.decided is int:
            self.decided = float

    def _field(self, name: str) -> Shape:
        shape = self.fields.get(name)
        if shape is None:
            shape = self.fields[name] = Shape()
        return shape

    def _item(self) -> Shape:
        return self.item or Shape()

    def _struct(self, expected: pa.DataType | None) -> pa.DataType | None:
        known = {field.name: field.type for field in expected} if expected is not None else {}
        names = dict.fromkeys([*known, *self.fields])
        kinds = {
            name: self.fields[name].kind(known.get(name)) if name in self.fields else known[name]
            for name in names
        }
        fields = [pa.field(name, kind) for name, kind in kinds.items() if kind is not None]
        return pa.struct(fields) if fields else None


_NOTHING = Shape()


def json_column(values: list[Any], kind: pa.DataType, shape: Shape, name: str) -> Parsed:
    """Return the values of a column as its type: at once if they are plain, else one by one."""
    if shape.is_uniform(kind):
        try:
            return Parsed(pa.array(values, kind), {})
        except (pa.ArrowInvalid, OverflowError):  # an integer that is too large
            return _each(values, kind, name)
    if shape.kinds <= {str} and not pa.types.is_nested(kind):
        return parse_column(pa.array(values, pa.string()), kind, name)
    return _each(values, kind, name)


def _each(values: list[Any], kind: pa.DataType, name: str) -> Parsed:
    fitted: list[Any] = []
    misfits: dict[int, DoesNotFit] = {}
    for i, value in enumerate(values):
        try:
            fitted.append(fit_json(value, kind, name))
        except DoesNotFit as problem:
            fitted.append(None)
            misfits[i] = problem
    return Parsed(pa.array(fitted, kind), misfits)


def _plain_kinds(kind: pa.DataType) -> set[type]:
    """Return the Python types that Arrow turns into a type without guessing."""
    if pa.types.is_floating(kind):
        return {float, int}
    if pa.types.is_struct(kind):
        return {dict}
    if pa.types.is_list(kind):
        return {list}
    if pa.types.is_integer(kind):
        return {int}
    return {python for python, arrow in _SCALARS.items() if arrow == kind}
