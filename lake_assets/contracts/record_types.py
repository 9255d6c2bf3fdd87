"""The built-in types of annotations: what one row of each means, and its columns.

Invariant: one table row is one annotation (a word or line, a field, a question, a region). Columns
that a delivery has beyond these are its own and kept as they are.

Arrow is imported only when a schema is asked for: the registry, which every command reads, needs
names alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordType:
    """One kind of annotation."""

    name: str
    description: str
    """Begins with its grain: "One row per …"."""
    docs: tuple[tuple[str, str], ...]
    """(column, what it holds), in the order of the schema."""
    required: tuple[str, ...]
    """Columns that are neither null nor empty (no text, no items) in any row."""
    unique_by: tuple[str, ...] = ()
    """Columns that make a record unique, unless a task says otherwise; empty: no rule."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns, in the order of the schema."""
        return tuple(name for name, _ in self.docs)

    def schema(self) -> Any:
        """Return a ``pyarrow.Schema``; each field has its meaning as metadata ``doc``."""
        return _schema(self)


_COMMON = (
    ("image", "Image as the delivery names it: file name, SHA-256 or record key."),
    ("reading_order", "Place among those of its level in its image, from 0; null: unknown."),
    ("annotation_id", "The format's own id of the annotation, or null."),
)
_POLYGON = ("polygon", "Outline in pixels, origin top left, clockwise from the top left vertex.")
_BOX = ("box", "Smallest upright box around the annotation, in pixels, origin top left.")
_CONFIDENCE = ("confidence", "How sure its maker is, 0 to 1; null: not said.")

_TYPES = (
    RecordType(
        name="ocr",
        description="One row per piece of text in an image: a word, a line or a block.",
        docs=(
            *_COMMON,
            ("text", "The text."),
            ("level", "What the text is: word, line or block; null: not said."),
            _POLYGON,
            _BOX,
            _CONFIDENCE,
        ),
        required=("image", "text"),
    ),
    RecordType(
        name="kie",
        description="One row per field of a document: its name and its value.",
        docs=(
            *_COMMON,
            ("field", "Name of the key or class."),
            ("value", "Text of the field; null: the field has none."),
            _POLYGON,
            _BOX,
            ("links", "annotation_id of the fields that belong to this one, as delivered."),
        ),
        # Not unique by field: a form has many fields of the class "question".
        required=("image", "field"),
    ),
    RecordType(
        name="vqa",
        description="One row per question about an image, with all its answers.",
        docs=(
            *_COMMON,
            ("question", "The question."),
            ("answers", "Accepted answers, at least one."),
        ),
        required=("image", "question", "answers"),
        unique_by=("image", "question"),
    ),
    RecordType(
        name="layout",
        description="One row per region of an image: its class and where it lies.",
        docs=(
            *_COMMON,
            ("label", "Class of the region."),
            _POLYGON,
            _BOX,
            _CONFIDENCE,
        ),
        required=("image", "label"),
    ),
)
RECORD_TYPES = {kind.name: kind for kind in _TYPES}
"""By name."""


def record_type(name: str) -> RecordType:
    """Return the built-in record type of this name.

    Raises:
        ValueError: There is none; the message lists those that there are. A ``ValueError``, because
            pydantic makes a problem of the registry's file of those alone.
    """
    kind = RECORD_TYPES.get(name)
    if kind is None:
        known = ", ".join(sorted(RECORD_TYPES))
        raise ValueError(f"unknown record type {name!r} (known: {known})")
    return kind


@cache
def _schema(kind: RecordType) -> Any:
    import pyarrow as pa

    from lake_assets.contracts.shape_columns import BOX_TYPE, POLYGON_TYPE

    types = {
        "reading_order": pa.int32(),
        "polygon": POLYGON_TYPE,
        "box": BOX_TYPE,
        "confidence": pa.float64(),
        "links": pa.list_(pa.string()),
        "answers": pa.list_(pa.string()),
    }
    return pa.schema(
        [
            pa.field(name, types.get(name, pa.string()), metadata={"doc": doc})
            for name, doc in kind.docs
        ]
    )
