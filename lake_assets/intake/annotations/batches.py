"""The files of an upload of annotations as a stream of batches.

Invariant: rows and rejected rows together are every annotation of every file, once. A file that is
not of its format, an image, and whatever else holds no annotations is one rejected row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake_assets.contracts.record_types import record_type
from lake_assets.contracts.variants import variant_name
from lake_assets.errors import UnreadableSource, UnsupportedFormat
from lake_assets.intake.annotations import (
    AnnotationFormat,
    Annotations,
    annotation_format,
    read_annotations,
)
from lake_assets.intake.model import Batch, RejectedRow, StagedFile
from lake_assets.intake.readers import Unreadable
from lake_assets.intake.readers.image_files import rejected_batches, unreadable_file
from lake_assets.intake.readers.row_json import row_json
from lake_assets.intake.readers.source import numbers_of
from lake_assets.intake.readers.values import DoesNotFit, fit_json

_NAMED_BY_FILE = frozenset(
    {
        AnnotationFormat.SROIE_BOXES,
        AnnotationFormat.SROIE_KEYS,
        AnnotationFormat.FUNSD,
        AnnotationFormat.ALTO,
        AnnotationFormat.HOCR,
        AnnotationFormat.PADDLEOCR_RESULTS,
        AnnotationFormat.TESSERACT_TSV,
    }
)
"""Formats whose files may leave it to their own name which image they are about."""


def annotations_identity(root: Path, kind: str | None, file: StagedFile) -> str | None:
    """Return what two files with the same annotations have in common; None: it holds none.

    That is the SHA-256 of its content; of formats that do not say which image is meant, with the
    file's name, because the same content then says something else of another image.

    Args:
        root: The upload's ``files/`` folder.
        kind: Built-in record type; None: the file is a table.
    """
    if file.role == "image" or (kind is None and file.role != "data"):
        return None
    if kind is None or annotation_format(root / file.name, kind) not in _NAMED_BY_FILE:
        return file.sha256
    return hashlib.sha256(f"{file.name}\0{file.sha256}".encode()).hexdigest()


def annotation_batches(
    root: Path,
    files: Sequence[StagedFile],
    kind: str,
    *,
    expected: Any = None,
    batch_rows: int,
    unreadable: Unreadable,
) -> Iterator[Batch]:
    """Yield the annotations of all files, by name, then what is rejected as a whole file.

    Args:
        root: The upload's ``files/`` folder.
        files: Its files, in any order.
        kind: Built-in record type that the task has.
        expected: ``pyarrow.Schema`` of columns that have a type already; None: there are none.
        batch_rows: Most rejected files in a batch.
        unreadable: As for ``read_upload``: grows by files that turn out so before any of their
            annotations came out.

    Raises:
        UnreadableSource, UnsupportedFormat: as ``read_upload``.
    """
    ordered = sorted(files, key=lambda file: file.name)
    types = {field.name: field.type for field in expected or ()}
    for file in ordered:
        if file.role != "image" and file.name not in unreadable:
            for block in _blocks(root, file, kind, unreadable):
                yield _batch(file.name, block, kind, types)
    rejected = [_image_among_annotations(file) for file in ordered if file.role == "image"]
    rejected += [unreadable_file(name, error) for name, error in sorted(unreadable.items())]
    yield from rejected_batches(iter(rejected), batch_rows=batch_rows, has_images=False)


def _blocks(
    root: Path, file: StagedFile, kind: str, unreadable: Unreadable
) -> Iterator[Annotations]:
    blocks = read_annotations(root / file.name, file.name, kind)
    try:
        first = next(blocks, None)
    except (UnreadableSource, UnsupportedFormat) as error:
        unreadable[file.name] = error
        return
    if first is not None:
        yield first
    yield from blocks


def _image_among_annotations(file: StagedFile) -> RejectedRow:
    return RejectedRow(
        file=file.name,
        row=None,
        rule="file_holds_annotations",
        expected="annotations",
        actual="an image; deliver images with `lake upload raw`",
        row_json=row_json({"file_name": file.name}),
    )


def _batch(name: str, block: Annotations, kind: str, types: Mapping[str, Any]) -> Batch:
    return Batch(
        file=name,
        rows=_table(block.records, record_type(kind).schema(), types),
        row_numbers=numbers_of(block.numbers),
        images=None,
        rejected=tuple(block.rejected),
    )


def _table(records: Sequence[Mapping[str, Any]], schema: Any, types: Mapping[str, Any]) -> Any:
    """Return records as a ``pyarrow.Table``: the built-in columns, then what else they have."""
    others = dict.fromkeys(name for record in records for name in record)
    columns = {field.name: pa.array([r.get(field.name) for r in records], field.type)
               for field in schema}  # fmt: skip
    for name in others:
        if name not in columns:
            values = [record.get(name) for record in records]
            known = types.get(name)
            columns |= _own_column(name, values) if known is None else _typed(name, values, known)
    return pa.table(columns)


def _typed(name: str, values: Sequence[Any], kind: Any) -> dict[str, Any]:
    """Return a field that has a type already as a column, and what does not fit it as another."""
    fitted: list[Any] = [None] * len(values)
    others: list[str | None] = [None] * len(values)
    for n, value in enumerate(values):
        try:
            fitted[n] = None if value is None else fit_json(value, kind, name)
        except DoesNotFit:
            others[n] = row_json(value)
    columns = {name: pa.array(fitted, kind)}
    if any(text is not None for text in others):
        columns[variant_name(name)] = pa.array(others, pa.string())
    return columns


def _own_column(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return a field that the format does not know as a column; none if it holds nothing."""
    if all(value is None for value in values):
        return {}
    try:
        column = pa.array(values)
    except (pa.ArrowException, OverflowError):  # values of several kinds
        column = None
    if column is None or _is_void(column.type):
        texts = [None if value is None else row_json(value) for value in values]
        return {variant_name(name): pa.array(texts, pa.string())}
    return {name: column}


def _is_void(kind: Any) -> bool:
    """Return whether a type has a part that no table can have, as an empty list's."""
    if pa.types.is_null(kind):
        return True
    if pa.types.is_struct(kind) and not kind.num_fields:
        return True
    return any(_is_void(kind.field(i).type) for i in range(kind.num_fields))
