"""What makes a row the same row: record ids.

With a unique key, the record id is a hash of the key's values, so that a row delivered twice has
one id. Without, it says where the row came from. Invariant: ids never depend on the order of
columns, on nulls, or on whether a whole number was written as 1 or 1.0, because all three change
between deliveries of the same data.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.variants import merged_rows

ID_HEX_DIGITS = 32
"""128 bits: among 10^12 rows two share an id with a probability of 10^-15 (birthday bound)."""


def keyed_record_ids(
    rows: Any, *, images: Sequence[str | None] | None, variant: str | None = None
) -> list[str]:
    """Return one id per row, made from all of ``rows``' columns and the row's image.

    Args:
        rows: ``pyarrow.Table`` of the columns that make a row unique, with their variants.
        images: SHA-256 of each row's image; None where images are no part of the key.
        variant: In what the key is unique; None: in the table.
    """
    shas = images if images is not None else [None] * rows.num_rows
    values = merged_rows(rows) if rows.num_columns else [{}] * len(shas)
    return [
        _digest(row | {"_image": sha, "_variant": variant})
        for row, sha in zip(values, shas, strict=True)
    ]


def positional_record_ids(upload_id: str, file_number: int, row_numbers: Any) -> Any:
    """Return ids of the form ``<upload id>-<file>-<row>``, both counted from 0.

    Args:
        row_numbers: ``pyarrow.Int64Array``.
    """
    prefix = pa.scalar(f"{upload_id}-{file_number}-")
    return pc.binary_join_element_wise(prefix, row_numbers.cast(pa.string()), "")


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(_canonical(values), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_HEX_DIGITS]


def _canonical(value: Any) -> Any:
    """Return ``value`` in JSON's types, such that equal data gives equal text."""
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float):
        return _canonical_float(value)
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, datetime | date | time | Decimal | UUID):
        # Tagged: a date and the string that looks like it are two values.
        return {type(value).__name__: str(value)}
    return value


def _canonical_float(value: float) -> Any:
    if math.isfinite(value):
        return int(value) if value.is_integer() else value
    return {"float": str(value)}
