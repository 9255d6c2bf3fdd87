"""Images that the rows of a delivery name: in which column, and which of them lie elsewhere.

Invariant: every distinct value is looked at once, in bounded memory but for the values themselves.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lake_assets.errors import InvalidRequest, UnreadableSource, UnsupportedFormat
from lake_assets.intake.formats import (
    METADATA_NAMES,
    DataFormat,
    data_format,
    image_extension_of,
    looks_like_image_name,
)
from lake_assets.intake.image_columns import ImageColumn, find_image_column, resolve_reference
from lake_assets.intake.model import ReadOptions, StagedFile
from lake_assets.intake.readers import read_head, read_upload
from lake_assets.intake.readers.columnar import read_columnar
from lake_assets.intake.readers.source import DataFile, Limits, reading
from lake_assets.intake.readers.validity import validated

_BATCH_ROWS = 16_384
_BATCH_BYTES = 64 * 2**20
# Rows may hold whole images as well as their names.
_STRUCT_BATCH_ROWS = 64
_HEAD_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """Where the files are that the rows of a delivery may name."""

    files_folder: Path
    """The delivery as staged."""
    source_folder: Path | None
    """Folder that relative names start from in the world outside; None: nothing outside counts."""
    holds_its_images: bool
    """Whether the delivery was a folder, so that names inside it mean staged files or nothing."""

    def find_outside(self, value: str, data_file: str) -> Path | None:
        """Return the file outside the staged delivery that a row means, or None.

        Args:
            value: The path as the row has it.
            data_file: Staged name of the row's file.
        """
        if self.source_folder is None or "\0" in value:
            return None
        folder = posixpath.dirname(data_file)
        if self.holds_its_images:
            path = self.source_folder / folder / value if _leaves(value, folder) else None
        elif inside := resolve_reference(value, root=self.source_folder, folder=""):
            path = self.source_folder / inside
        else:
            path = self.source_folder / value
        return path if path is not None and _may_be_image(path) else None

    def exists(self, value: str, data_file: str) -> bool:
        """Return whether a path value names any file, staged or outside."""
        folder = posixpath.dirname(data_file)
        return (
            resolve_reference(value, root=self.files_folder, folder=folder) is not None
            or self.find_outside(value, data_file) is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A value that a row names its image by, and the file outside the delivery that it means."""

    value: str
    path: Path


def with_image_column(
    options: ReadOptions, files: Sequence[StagedFile], around: Neighbourhood
) -> ReadOptions:
    """Return the options with the column that holds or names the images, if there is one.

    Args:
        options: As the user gave them; a column that is named must be in one data file at least.
        files: All staged files.
        around: Where named files may be.

    Raises:
        InvalidRequest: No data file has the named column, or it cannot hold images.
        UnreadableSource: The delivery is one data file, and it is damaged.
        UnsupportedFormat: The delivery is one data file with a type that tables cannot have.
    """
    problem: InvalidRequest | None = None
    for file, head in _heads(files, options, around):
        try:
            column = _image_column(file, head, options.image_column, around)
        except InvalidRequest as error:
            problem = problem or error
        else:
            if column is not None:
                return replace(options, image_column=column.name)
    if problem is not None:
        raise problem
    return options


def references(
    options: ReadOptions, files: Sequence[StagedFile], around: Neighbourhood
) -> Iterator[Reference]:
    """Yield each distinct value of the image column that means a file outside the delivery.

    Args:
        options: With ``image_column``; without one there are no references.
        files: All staged files.
        around: Where named files may be.
    """
    name = options.image_column
    if name is None or around.source_folder is None:
        return
    found: dict[str, Path] = {}
    for file, head in _heads(files, options, around):
        if name in head.column_names:
            column = _image_column(file, head, name, around)
            values = _values(file, column, options, around)
            for value in _distinct(_up_to_damage(values, is_alone=len(files) == 1)):
                path = around.find_outside(value, file.name)
                if path is not None and _is_new(value, path, found):
                    yield Reference(value=value, path=path)


def _up_to_damage(values: Iterator[str], *, is_alone: bool) -> Iterator[str]:
    """Yield the values of a file; what is damaged among other files is left to ingestion."""
    try:
        yield from values
    except (UnreadableSource, UnsupportedFormat):
        if is_alone:
            raise


def _is_new(value: str, path: Path, found: dict[str, Path]) -> bool:
    """Return whether a value was not found before; refuse one that now means another file."""
    before = found.setdefault(value, path)
    if before is path:
        return True
    if before.resolve() != path.resolve():
        # A staged copy is named by the value alone, so one row would get the other's image.
        raise InvalidRequest(
            f"The image {value!r} is {before} for one data file and {path} for another. Deliver "
            "their folders one at a time.",
            value=value,
        )
    return False


def _distinct(values: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for value in values:
        if value not in seen:
            seen.add(value)
            yield value


def _heads(
    files: Sequence[StagedFile], options: ReadOptions, around: Neighbourhood
) -> Iterator[tuple[StagedFile, Any]]:
    """Yield the data files that can be read with their first rows, metadata files first."""
    data = [file for file in files if file.role == "data"]
    for file in sorted(data, key=lambda file: posixpath.basename(file.name) not in METADATA_NAMES):
        try:
            yield file, read_head(around.files_folder / file.name, options)
        except (UnreadableSource, UnsupportedFormat):
            # Alone, it is all there is, and its owner is still here to hear it. Among others it
            # is left to ingestion, which rejects it with its reason and takes the rest.
            if len(files) == 1:
                raise


def _image_column(
    file: StagedFile, head: pa.Table, named: str | None, around: Neighbourhood
) -> ImageColumn | None:
    return find_image_column(
        head, named=named, exists=lambda value: around.exists(value, file.name)
    )


def _values(
    file: StagedFile, column: ImageColumn | None, options: ReadOptions, around: Neighbourhood
) -> Iterator[str]:
    """Yield every path in the image column of a file, repetitions included."""
    if column is None or column.kind == "bytes":
        return
    for values in _column(file, column, options, around):
        for scalar in values:
            value = scalar.as_py()
            if isinstance(value, dict):
                # Where the image is there itself, its path only says what it was called once.
                value = value["path"] if value["bytes"] is None else None
            if isinstance(value, str) and value:
                yield value


def _column(
    file: StagedFile, column: ImageColumn, options: ReadOptions, around: Neighbourhood
) -> Iterator[Any]:
    path = around.files_folder / file.name
    rows = _BATCH_ROWS if column.kind == "path" else _STRUCT_BATCH_ROWS
    kind = data_format(path)
    if kind not in (DataFormat.PARQUET, DataFormat.ARROW):
        yield from _text_column(file, column.name, options, around.files_folder)
        return
    limits = Limits(rows=rows, byte_count=_BATCH_BYTES)
    data = DataFile(name=file.name, path=path, format=kind, options=options, limits=limits)
    if kind is DataFormat.PARQUET:
        yield from _parquet_column(data, column.name)
    else:
        yield from (chunk.rows[column.name] for chunk in read_columnar(data))


def _text_column(file: StagedFile, name: str, options: ReadOptions, folder: Path) -> Iterator[Any]:
    batches = read_upload(
        folder,
        (file,),
        # Without an image column the reader leaves every column in place.
        replace(options, image_column=None),
        # 0001 may be a name, and must not become the number 1.
        expected=pa.schema([pa.field(name, pa.string())]),
        batch_rows=_BATCH_ROWS,
        batch_bytes=_BATCH_BYTES,
    )
    for batch in batches:
        if name in batch.rows.column_names:
            yield batch.rows[name]


def _parquet_column(file: DataFile, name: str) -> Iterator[Any]:
    """Yield one column in pieces, without decoding the others."""
    with reading(file), pq.ParquetFile(file.path, pre_buffer=False) as parquet:
        batches = parquet.iter_batches(batch_size=file.limits.rows, columns=[name])
        yield from (batch.column(0) for batch in validated(batches))


def _may_be_image(path: Path) -> bool:
    """Return whether there is a file that is called or begins like an image.

    A table from a stranger may name any file of this machine; of ``/etc/passwd`` or
    ``/proc/self/environ`` no copy is made.
    """
    # os.path, because Path.is_file raises for names that are too long or hold NUL.
    if not os.path.isfile(path):  # noqa: PTH113
        return False
    if looks_like_image_name(path.name):
        return True
    with suppress(OSError), path.open("rb") as file:
        return image_extension_of(file.read(_HEAD_BYTES)) is not None
    return False


def _leaves(value: str, folder: str) -> bool:
    """Return whether a path is absolute, or leads out of the delivery from one of its folders."""
    joined = posixpath.normpath(posixpath.join(folder, value))
    return joined.startswith("/") or joined.split("/")[0] == ".."
