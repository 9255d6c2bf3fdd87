"""Which type each place of an upload has, and whether values there need a variant.

Invariant: what is decided depends on the values that were seen and on the table, not on the order
of the values nor on how they were parted into files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import pyarrow as pa

from lake_assets.contracts.rewrites import rewritten_type
from lake_assets.contracts.variants import is_variant, main_name, variant_name
from lake_assets.intake.readers.json_types import Shape, is_void_shape
from lake_assets.intake.readers.variant_text import MAX_EXACT_INT

_types = pa.types
_INT32 = range(-(2**31), 2**31)
_MAX_EXACT_FLOAT32 = 2**24
"""Largest integer up to which a float of 32 bits holds every integer."""
_SMALL_NUMBERS = (pa.int32(), pa.float32())
_LAST = 2**62


class Variant(IntEnum):
    """Whether some value of a place goes to its variant."""

    NO = 0
    MAYBE = 1
    YES = 2


@dataclass(slots=True)
class KeyOrder:
    """How the keys of one object follow each other, at every depth."""

    rank: int = _LAST
    keys: dict[str, KeyOrder] = field(default_factory=dict)
    """By name in lower case."""

    def see(self, value: Any) -> None:
        """Take the keys of a JSON value into account, behind those that are known."""
        if isinstance(value, dict):
            for name, inner in value.items():
                known = self.keys.setdefault(name.lower(), KeyOrder(len(self.keys)))
                known.see(inner)
        elif isinstance(value, list):
            for inner in value:
                self.see(inner)

    def of(self, name: str) -> KeyOrder:
        """Return the order below a key; nothing is known below one that is not."""
        return self.keys.get(name) or _UNKNOWN


_UNKNOWN = KeyOrder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A column or a field, or the items of a list (without a name and a variant)."""

    name: str
    """As the table spells it, else its smallest spelling in the upload."""
    spellings: tuple[str, ...]
    """All that the upload has."""
    kind: pa.DataType | None
    """Type of the main column, all variants inside included; None: there is the variant alone."""
    variant: Variant
    fields: Mapping[str, Place]
    """Of a struct, by name in lower case."""
    item: Place | None
    """Of a list."""
    is_plain: bool
    """Whether pyarrow makes a column of the kind of all values as Python has them."""

    @property
    def variant_name(self) -> str:
        """What the variant column is called."""
        return variant_name(self.name)

    def arrow_fields(self) -> Iterator[pa.Field]:
        """Yield the columns or fields that the place is made of."""
        if self.kind is not None:
            yield pa.field(self.name, self.kind)
        if self.variant:
            yield pa.field(self.variant_name, pa.string())


def has_possible_variant(places: Iterable[Place]) -> bool:
    """Return whether there may be a variant column, at any depth, without a value."""
    return any(
        place.variant is Variant.MAYBE
        or has_possible_variant(place.fields.values())
        or (place.item is not None and has_possible_variant([place.item]))
        for place in places
    )


def places_of(
    records: Shape, expected: pa.Schema | None, order: KeyOrder, *, is_certain: bool
) -> dict[str, Place]:
    """Return the columns of an upload by their names in lower case, in their order.

    Args:
        records: The shape of all its records.
        expected: The table's columns, variants too.
        order: That of the keys in some record.
        is_certain: Whether the shape is that of JSON values alone.
    """
    decided = _Decision(is_certain=is_certain).fields(records, list(expected or ()), order)
    return {name: place for name, place in decided.items() if name in records.fields}


@dataclass(frozen=True, slots=True)
class _Decision:
    is_certain: bool

    def fields(self, shape: Shape, expected: list[pa.Field], order: KeyOrder) -> dict[str, Place]:
        known = {f.name.lower(): f for f in expected if not is_variant(f.name)}
        spelled = {f.name.lower(): f.name for f in expected if not is_variant(f.name)}
        for name in (main_name(f.name) for f in expected if is_variant(f.name)):
            spelled.setdefault(name.lower(), name)
        new = [name for name in shape.fields if name not in known]
        new.sort(key=lambda name: (order.of(name).rank, name))
        places = {}
        for name in [*known, *new]:
            kind = known[name].type if name in known else None
            inner = shape.fields.get(name)
            spelling = spelled.get(name) or (inner.name if inner else name)
            place = self.place(inner or Shape(), spelling, kind, order.of(name))
            if place is not None:
                places[name] = place
        return places

    def place(
        self, shape: Shape, name: str, expected: pa.DataType | None, order: KeyOrder
    ) -> Place | None:
        """Return a place, or None if no value was seen there and the table has it not."""
        if expected is None and is_void_shape(shape):
            return None
        if expected is not None:
            found = self._expected(shape, expected, order)
        else:
            found = self._most_frequent(shape, order)
        variant = self._variant(shape, found)
        return Place(
            name=name,
            spellings=shape.spellings(),
            kind=found.kind,
            variant=variant,
            fields=found.fields,
            item=found.item,
            is_plain=variant is Variant.NO and _is_plain(shape, found),
        )

    def _expected(self, shape: Shape, kind: pa.DataType, order: KeyOrder) -> _Main:
        if _types.is_struct(kind):
            main = self._struct(shape, order, list(kind))
            return main if main.kind is not None else _Main(kind)
        if _types.is_list(kind):
            main = self._list(shape, order, kind.value_type)
            return main if main.kind is not None else _Main(kind)
        alone = _only_type(shape)
        if alone is not None and rewritten_type(kind, alone) is not None:
            return _Main(alone)  # the values as they are show what the table would have to become
        if kind == pa.int32():
            fits = shape.low in _INT32 and shape.high in _INT32
            return _Main(kind if fits else pa.int64())
        if kind == pa.float32():
            outside = max(-shape.low, shape.high) > _MAX_EXACT_FLOAT32
            return _Main(pa.float64() if shape.needs_double or outside else kind)
        return _Main(kind)

    def _most_frequent(self, shape: Shape, order: KeyOrder) -> _Main:
        for name in _by_votes(shape):
            if name == "struct":
                main = self._struct(shape, order, [])
            elif name == "list":
                main = self._list(shape, order, None)
            else:
                main = _Main(name if isinstance(name, pa.DataType) else _scalar(name, shape))
            if main.kind is not None:
                return main
        return _Main(None)

    def _struct(self, shape: Shape, order: KeyOrder, expected: list[pa.Field]) -> _Main:
        fields = self.fields(shape, expected, order)
        # Iceberg has no struct without fields, and what is possible only may turn out to be none.
        if not any(p.kind is not None or p.variant is Variant.YES for p in fields.values()):
            return _Main(None)
        kind = pa.struct([f for place in fields.values() for f in place.arrow_fields()])
        return _Main(kind, fields=fields)

    def _list(self, shape: Shape, order: KeyOrder, expected: pa.DataType | None) -> _Main:
        items = shape.item or Shape()
        item = self.place(items, "", expected, order)
        if item is None or item.kind is None:
            return _Main(None)
        if item.variant and _types.is_nested(item.kind):
            # A list goes to its variant as a whole, and what it holds does not come out inside.
            possible = _Decision(is_certain=False).place(items, "", expected, order)
            if possible is None or possible.kind is None:
                return _Main(None)
            item = replace(possible, variant=item.variant)
        return _Main(pa.list_(item.kind), item=item)

    def _variant(self, shape: Shape, main: _Main) -> Variant:
        found = _misfits(shape, main)
        return found if self.is_certain else min(found, Variant.MAYBE)


@dataclass(frozen=True, slots=True)
class _Main:
    kind: pa.DataType | None
    fields: Mapping[str, Place] = field(default_factory=dict)
    item: Place | None = None


def _only_type(shape: Shape) -> pa.DataType | None:
    """Return the type of all values of typed formats, where nothing else was seen."""
    if len(shape.typed) != 1 or shape.structs or shape.lists or shape.has_huge:
        return None
    is_mixed = shape.texts or shape.numbers or shape.bools
    return None if is_mixed else next(iter(shape.typed))


def _by_votes(shape: Shape) -> list[Any]:
    """Return the classes that have votes: those with most first, equal ones in a fixed order."""
    small = sum(shape.typed[kind] for kind in _SMALL_NUMBERS)
    votes: list[tuple[int, Any]] = [
        (shape.structs, "struct"),
        (shape.lists, "list"),
        (shape.texts, "text"),
        (shape.numbers + small, "number"),
        (shape.bools, "bool"),
    ]
    rest = sorted((kind for kind in shape.typed if kind not in _SMALL_NUMBERS), key=str)
    votes += [(shape.typed[kind], kind) for kind in rest]
    ranked = sorted(votes, key=lambda vote: -vote[0])
    return [name for count, name in ranked if count]


def _scalar(name: str, shape: Shape) -> pa.DataType:
    if name != "number":
        return pa.string() if name == "text" else pa.bool_()
    small = [kind for kind in _SMALL_NUMBERS if shape.typed[kind]]
    if not shape.numbers and len(small) == 1:
        return small[0]
    return pa.float64() if shape.has_float or shape.typed[pa.float32()] else pa.int64()


def _misfits(shape: Shape, main: _Main) -> Variant:
    """Return whether values of a shape go to the variant of a place with this main column."""
    kind = main.kind
    classes = {
        "struct": shape.structs or shape.has_void_struct,
        "list": shape.lists or shape.has_void_list,
        "text": shape.texts,
        "number": shape.numbers,
        "bool": shape.bools,
    }
    present = {name for name, count in classes.items() if count}
    if kind is None:
        return Variant.YES if present or shape.has_huge else Variant.NO
    certain, possible = _taken(kind)
    if present - certain - possible or (shape.has_huge and "number" not in possible):
        return Variant.YES
    found = Variant.MAYBE if present & possible or shape.has_huge else Variant.NO
    if main.item is not None and "list" in present:
        found = max(found, main.item.variant)
    return max(found, _number_misfits(shape, kind)) if "number" in certain & present else found


def _taken(kind: pa.DataType) -> tuple[set[str], set[str]]:
    """Return the classes whose values a type takes, up to their size, and those of which some."""
    for test, name in _CLASS_TESTS:
        if test(kind):
            return {name}, set()
    if _types.is_map(kind):
        return set(), {"struct"}
    return set(), {"number", "text"} if _types.is_decimal(kind) else {"text"}


_CLASS_TESTS = (
    (_types.is_struct, "struct"),
    (_types.is_list, "list"),
    (_types.is_string, "text"),
    (_types.is_integer, "number"),
    (_types.is_floating, "number"),
    (_types.is_boolean, "bool"),
)


def _number_misfits(shape: Shape, kind: pa.DataType) -> Variant:
    if _types.is_integer(kind):
        if shape.has_fraction:
            return Variant.YES
        # What a double shows as an integer need not have been written as one.
        return Variant.MAYBE if shape.has_float else Variant.NO
    is_beyond = max(-shape.low, shape.high) > MAX_EXACT_INT
    return Variant.YES if is_beyond else Variant.NO


def _is_plain(shape: Shape, main: _Main) -> bool:
    kind = main.kind
    if kind is None or (_types.is_integer(kind) and shape.has_float):
        return False
    if main.fields:
        return all(
            place.is_plain and place.spellings in ((), (place.name,))
            for place in main.fields.values()
        )
    if main.item is not None:
        return main.item.is_plain
    return not shape.texts or _types.is_string(kind)
