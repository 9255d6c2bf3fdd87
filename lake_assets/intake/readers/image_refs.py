"""From chunks to batches: each row meets its image, and image bytes leave the rows.

Invariant: a row whose image is missing is rejected; a row without one is fine.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake_assets.intake.image_columns import (
    REFERENCED_FOLDER,
    ImageColumn,
    reference_candidates,
)
from lake_assets.intake.model import Batch, ImageRef, RejectedRow, StagedFile
from lake_assets.intake.readers.row_json import arrow_row_json, readable
from lake_assets.intake.readers.source import Chunk, in_order, keep_rows, numbers_of


@dataclass(frozen=True, slots=True)
class _Missing:
    """A path value that names no file of the delivery."""

    value: str


@dataclass(slots=True, kw_only=True)
class ImageFinder:
    """Finds the images of an upload's rows, and remembers which files the rows named."""

    root: Path
    files: Mapping[str, StagedFile]
    """Every staged file by its name."""
    has_images: bool
    """Whether any row of the upload can have an image; if not, batches carry none at all."""
    named: set[str] = field(default_factory=set)
    """Staged files that some row named."""

    def batch(self, file: str, chunk: Chunk, column: ImageColumn | None) -> Batch:
        """Return the chunk as a batch, with one image or None for each row."""
        # A column that holds nothing in this file has no type, and so is not in its rows.
        if column is None or column.name not in chunk.rows.column_names:
            images = (None,) * chunk.rows.num_rows if self.has_images else None
            return _batch(file, chunk.rows, chunk.numbers, images, chunk.rejected)
        self._remember_rejected(file, chunk, column)
        numbers = chunk.numbers.to_pylist()
        values = chunk.rows[column.name].to_pylist()
        found = [self._find(file, n, value) for n, value in zip(numbers, values, strict=True)]
        kept = [i for i, image in enumerate(found) if not isinstance(image, _Missing)]
        missing = [
            _missing_row(file, chunk.rows.slice(i, 1), numbers[i], column, image)
            for i, image in enumerate(found)
            if isinstance(image, _Missing)
        ]
        images = tuple(image for image in found if not isinstance(image, _Missing))
        rows = _without_bytes(chunk.rows if not missing else keep_rows(chunk.rows, kept), column)
        rejected = in_order([*chunk.rejected, *missing])
        return _batch(file, rows, numbers_of(numbers[i] for i in kept), images, rejected)

    def resolve(self, value: str, folder: str) -> str | None:
        """Return the staged file that a path value means, or None."""
        return next((n for n in reference_candidates(value, folder) if n in self.files), None)

    def _find(self, file: str, number: int, value: Any) -> ImageRef | _Missing | None:
        if isinstance(value, bytes):
            return ImageRef(name=f"{file}#{number}", data=value)
        if isinstance(value, dict):
            if value["bytes"] is not None:
                name = readable(value["path"] or f"{file}#{number}")
                return ImageRef(name=name, data=value["bytes"])
            value = value["path"]
        return None if value is None else self._named_file(file, value)

    def _named_file(self, file: str, value: str) -> ImageRef | _Missing:
        name = self.resolve(value, posixpath.dirname(file))
        if name is None:
            return _Missing(value)
        self.named.add(name)
        # Below referenced/ the staged name is ours; the delivery knows the file by its path.
        shown = value if name.startswith(f"{REFERENCED_FOLDER}/") else name
        staged = self.files[name]
        return ImageRef(
            name=shown,
            path=self.root / name,
            sha256=staged.sha256,
            byte_count=staged.byte_count,
        )

    def _remember_rejected(self, file: str, chunk: Chunk, column: ImageColumn) -> None:
        # A row rejected for another reason still lists its image.
        for rejected in chunk.rejected:
            row = json.loads(rejected.row_json)
            value = row.get(column.name) if isinstance(row, dict) else None
            if isinstance(value, str):
                name = self.resolve(value, posixpath.dirname(file))
                self.named.update([name] if name else [])


def _batch(
    file: str,
    rows: pa.Table,
    numbers: pa.Int64Array,
    images: tuple[ImageRef | None, ...] | None,
    rejected: tuple[RejectedRow, ...],
) -> Batch:
    return Batch(file=file, rows=rows, row_numbers=numbers, images=images, rejected=rejected)


def _without_bytes(rows: pa.Table, column: ImageColumn) -> pa.Table:
    if column.kind == "path":
        return rows
    position = rows.column_names.index(column.name)
    paths = _paths(rows[column.name]) if column.kind == "struct" else None
    if paths is None or paths.null_count == len(paths):
        return rows.select([name for name in rows.column_names if name != column.name])
    return rows.set_column(position, column.name, paths)


def _paths(structs: pa.ChunkedArray) -> pa.ChunkedArray:
    names = [field.name for field in structs.type]
    return pa.chunked_array(
        [chunk.flatten()[names.index("path")] for chunk in structs.chunks], pa.string()
    )


def _missing_row(
    file: str, row: pa.Table, number: int, column: ImageColumn, missing: _Missing
) -> RejectedRow:
    return RejectedRow(
        file=file,
        row=number,
        rule="image_is_present",
        path=column.name,
        expected="a file in the delivery",
        actual=readable(missing.value),
        row_json=arrow_row_json(row, 0),
    )
