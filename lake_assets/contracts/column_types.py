"""How contracts declare columns: their names, and their types as Iceberg calls them.

Tasks (``fields:``) and datasets (``columns:``) write a declaration alike, ``rating: string`` or
``rating: {type: string}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, model_serializer

from lake_assets.contracts.contract_model import ContractModel
from lake_assets.contracts.variants import VARIANT_SUFFIX, is_variant

if TYPE_CHECKING:
    import pyarrow as pa
    from pydantic import SerializerFunctionWrapHandler

# pyarrow is imported where types are asked for: most commands load the registry and need none.
_TYPES = {
    "string": "string",
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "boolean": "bool",
    "date": "date32",
    "timestamp": "",
    "timestamptz": "",
    "binary": "binary",
}
"""Iceberg's names of types (https://iceberg.apache.org/spec/#primitive-types), and Arrow's where
it has a short one."""
_LIST = re.compile(r"list<(.+)>")
_DECIMAL = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)")
_MAX_DIGITS = 38


def field_type(text: str) -> pa.DataType:
    """Return the type that a contract calls ``text``: ``long``, ``decimal(9,2)``, ``list<string>``.

    Raises:
        ValueError: there is none of that name; the message lists those that there are.
    """
    import pyarrow as pa

    _type_name(text)
    inner, decimal = _LIST.fullmatch(text), _DECIMAL.fullmatch(text)
    if inner:
        return pa.list_(field_type(inner[1]))
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    if text.startswith("timestamp"):
        return pa.timestamp("us", tz="UTC" if text == "timestamptz" else None)
    return pa.type_for_alias(_TYPES[text])


def _type_name(text: str) -> str:
    inner, decimal = _LIST.fullmatch(text), _DECIMAL.fullmatch(text)
    if inner:
        return f"list<{_type_name(inner[1])}>"
    if decimal and int(decimal[2]) <= int(decimal[1]) and 0 < int(decimal[1]) <= _MAX_DIGITS:
        return text
    if text not in _TYPES:
        raise ValueError(
            f"{text!r} is no type; there are {', '.join(_TYPES)}, decimal(P,S) and list<…> of these"
        )
    return text


def delivered_name(text: str) -> str:
    """Return ``text`` if a delivery can have a column of this name.

    Raises:
        ValueError: It has no name, or one that the lake gives.
    """
    if not text.strip():
        raise ValueError("a field has no name; name it, or leave it out")
    if is_variant(text):
        raise ValueError(
            f"{text!r} ends in {VARIANT_SUFFIX}, which the lake adds itself; rename it"
        )
    return text


class ColumnRule(ContractModel):
    """What one column holds."""

    type: Annotated[str, AfterValidator(_type_name)]

    @model_serializer(mode="wrap")
    def _shortest(self, serialize: SerializerFunctionWrapHandler) -> Any:
        """Write a rule that is only a type as that type, as people do."""
        return self.type if self.model_fields_set == {"type"} else serialize(self)


def with_rules_spelled_out(plain: Any, key: str) -> Any:
    """Return a contract as YAML has it, in which a rule below ``key`` may be just its type."""
    if not isinstance(plain, Mapping) or not isinstance(plain.get(key), Mapping):
        return plain
    rules = {
        name: {"type": rule} if isinstance(rule, str) else rule for name, rule in plain[key].items()
    }
    return {**plain, key: rules}


def require_one_spelling(names: Iterable[str]) -> None:
    """Raise if two names differ in nothing but upper and lower case.

    Raises:
        ValueError: SQL engines take them for one.
    """
    spelled: dict[str, str] = {}
    for name in names:
        before = spelled.setdefault(name.lower(), name)
        if before != name:
            raise ValueError(f"{before} and {name} are one column; spell them alike")


def schema_of(rules: Mapping[str, ColumnRule]) -> pa.Schema:
    """Return declared columns as Arrow has them."""
    import pyarrow as pa

    return pa.schema([(name, field_type(rule.type)) for name, rule in rules.items()])
