"""What the values at one place of all records of an upload are.

Invariant: what is known of values depends neither on their order nor on how they were parted:
``merge`` is commutative and associative, and an empty ``Shape`` changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from lake_assets.intake.readers.variant_text import Number, is_whole

_INT64 = range(-(2**63), 2**63)


class Shape:
    """What the values at one place look like; grows with each one seen.

    A value votes for its class if it holds anything and some type can hold it.
    """

    __slots__ = (
        "_names", "_spelled", "bools", "fields", "has_float", "has_fraction", "has_huge",
        "has_void_list", "has_void_struct", "high", "item", "lists", "low", "needs_double",
        "numbers", "structs", "texts", "typed",
    )  # fmt: skip

    def __init__(self) -> None:
        self._names: set[str] = set()
        self.structs = self.lists = self.texts = self.numbers = self.bools = 0
        """How many values vote for each class."""
        self.typed: Counter[pa.DataType] = Counter()
        """How many values of typed formats have a type that JSON does not, or a small number's."""
        self.fields: dict[str, Shape] = {}
        """By name in lower case: engines take ``a`` and ``A`` for the same."""
        self.item: Shape | None = None
        self.has_void_struct = self.has_void_list = False
        """Whether there is one that holds nothing: ``{}``, ``[]``, ``[null]``, …"""
        self.has_float = False
        """Whether a number is written with a fraction or an exponent."""
        self.has_fraction = False
        """Whether a number is no integer, or larger than doubles have all integers."""
        self.has_huge = False
        """Whether a number fits no type."""
        self.needs_double = False
        """Whether a number is not exact as a float of 32 bits."""
        self.low, self.high = 0, 0
        """The integers lie in here, those written as doubles too."""
        self._spelled: dict[str, Shape] = {}

    def see(self, value: Any) -> bool:
        """Take one more value into account; null says nothing.

        Returns:
            Whether the value holds anything at any depth.
        """
        kind = type(value)
        if kind is str:
            self.texts += 1
        elif kind is int:
            self._see_int(value)
        elif kind is bool:
            self.bools += 1
        elif kind is dict:
            return self._see_struct(value)
        elif kind is list:
            return self._see_list(value)
        elif value is None:
            return False
        else:
            self._see_float(value)
        return True

    def count_type(self, kind: pa.DataType, count: int) -> None:
        """Take values of a column into account of which only the type is known."""
        if kind == pa.string():
            self.texts += count
        elif kind == pa.bool_():
            self.bools += count
        elif kind in (pa.int64(), pa.float64()):
            self.numbers += count
            self.see_range(_INT64[0], _INT64[-1])
            self.has_float |= kind == pa.float64()
            self.needs_double |= kind == pa.float64()
        elif pa.types.is_struct(kind):
            self.structs += count
            for inner in kind:
                self.field(inner.name).count_type(inner.type, count)
        elif pa.types.is_list(kind):
            self.lists += count
            self.items().count_type(kind.value_type, count)
        else:
            self.typed[kind] += count

    def merge(self, other: Shape) -> None:
        """Take into account all that another one has seen."""
        self.structs += other.structs
        self.lists += other.lists
        self.texts += other.texts
        self.numbers += other.numbers
        self.bools += other.bools
        self.typed += other.typed
        self.has_void_struct |= other.has_void_struct
        self.has_void_list |= other.has_void_list
        self._merge_numbers(other)
        for inner in other.fields.values():
            for name in inner.spellings():
                mine = self.field(name)
            mine.merge(inner)
        if other.item is not None:
            self.items().merge(other.item)

    def field(self, name: str) -> Shape:
        """Return the shape of a field, made if it is new; its spelling counts."""
        shape = self._spelled.get(name)
        if shape is None:
            shape = self.fields.setdefault(name.lower(), Shape())
            shape._names.add(name)
            self._spelled[name] = shape
        return shape

    def spellings(self) -> tuple[str, ...]:
        """Return all spellings of the place's name."""
        return tuple(sorted(self._names))

    @property
    def name(self) -> str:
        """The smallest spelling of the place's name."""
        return min(self._names, default="")

    def items(self) -> Shape:
        """Return the shape of the items of lists, made if there was none."""
        if self.item is None:
            self.item = Shape()
        return self.item

    def see_range(self, low: int, high: int) -> None:
        """Take into account that there are integers of 64 bits in this range."""
        self.low, self.high = min(self.low, low), max(self.high, high)

    def _see_int(self, value: int) -> None:
        if value in _INT64:
            self.numbers += 1
            self.see_range(value, value)
        else:
            self.has_huge = True

    def _see_float(self, value: float) -> None:
        if not math.isfinite(value):  # such as 1e999
            self.has_huge = True
            return
        self.numbers += 1
        self.has_float = True
        if is_whole(value):
            self.see_range(int(value), int(value))
        else:
            self.has_fraction = True
        self.has_fraction |= isinstance(value, Number)
        with np.errstate(over="ignore"):
            self.needs_double = self.needs_double or float(np.float32(value)) != value

    def _see_struct(self, value: dict[str, Any]) -> bool:
        holds = False
        spelled = self._spelled
        for name, inner in value.items():
            if inner is not None:
                holds |= (spelled.get(name) or self.field(name)).see(inner)
        self.structs += holds
        self.has_void_struct |= not holds
        return holds

    def _see_list(self, value: list[Any]) -> bool:
        holds = False
        item = self.items()
        for inner in value:
            holds |= item.see(inner)
        self.lists += holds
        self.has_void_list |= not holds
        return holds

    def _merge_numbers(self, other: Shape) -> None:
        self.has_float |= other.has_float
        self.has_fraction |= other.has_fraction
        self.has_huge |= other.has_huge
        self.needs_double |= other.needs_double
        self.see_range(other.low, other.high)


def is_void_shape(shape: Shape) -> bool:
    """Return whether no value was seen, not even one that holds nothing."""
    is_empty = not (shape.structs or shape.lists or shape.texts or shape.numbers or shape.bools)
    return is_empty and not (
        shape.typed or shape.has_void_struct or shape.has_void_list or shape.has_huge
    )
