"""Arrow types as this package uses them: the plain ones, never the ``large_`` ones.

PyIceberg answers with ``large_string`` in some places and ``string`` in others, for one column.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

_DOC = b"doc"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = pa.timestamp("us", tz="UTC")


def plain_schema(schema: Any) -> Any:
    """Return ``schema`` with plain types at every depth; of the metadata only comments stay."""
    return pa.schema([_plain_field(field) for field in schema])


def plain_type(kind: Any) -> Any:
    """Return ``kind`` with ``large_string`` as ``string`` and so on, at every depth."""
    types = pa.types
    if types.is_large_string(kind):
        return pa.string()
    if types.is_large_binary(kind):
        return pa.binary()
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.list_(_plain_field(kind.value_field))
    if types.is_struct(kind):
        return pa.struct([_plain_field(field) for field in kind])
    if types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    return kind


def python_rows(table: Any) -> list[dict[str, Any]]:
    """Return what ``table.to_pylist()`` does.

    PyArrow imports pandas, 0.15 s, to make a ``datetime``; nothing else in a catalog needs it.
    """
    columns = {name: _python_values(table[name]) for name in table.column_names}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _python_values(column: Any) -> list[Any]:
    if column.type != _INSTANT:
        values: list[Any] = column.to_pylist()
        return values
    since_us = (item for chunk in column.chunks for item in chunk.view(pa.int64()).to_pylist())
    return [None if us is None else _EPOCH + timedelta(microseconds=us) for us in since_us]


def _plain_field(field: Any) -> Any:
    metadata = {key: value for key, value in (field.metadata or {}).items() if key == _DOC}
    return pa.field(field.name, plain_type(field.type), field.nullable, metadata or None)
