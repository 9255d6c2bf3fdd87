"""Arrow types as this package uses them: the plain ones, never the ``large_`` ones.

PyIceberg answers with ``large_string`` in some places and ``string`` in others, for one column.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_DOC = b"doc"


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


def _plain_field(field: Any) -> Any:
    metadata = {key: value for key, value in (field.metadata or {}).items() if key == _DOC}
    return pa.field(field.name, plain_type(field.type), field.nullable, metadata or None)
