"""A staged upload as a stream of batches.

Invariant: rows and rejected rows together are every record of every data file, once, and every
image or other file that no record stands for, once. A data file that cannot be read is one rejected
row, as long as none of its rows came out before.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from lake_assets.errors import UnreadableSource, UnsupportedFormat
from lake_assets.intake.formats import METADATA_NAMES, data_format
from lake_assets.intake.image_columns import (
    REFERENCED_FOLDER,
    ImageColumn,
    find_image_column,
    fitting_column,
)
from lake_assets.intake.model import Batch, ReadOptions, StagedFile
from lake_assets.intake.readers.columnar import count_columnar, head_columnar
from lake_assets.intake.readers.delimited import head_delimited
from lake_assets.intake.readers.image_files import (
    image_batches,
    rejected_batches,
    unlisted_image,
    unreadable_file,
    unusable_file,
)
from lake_assets.intake.readers.image_refs import ImageFinder
from lake_assets.intake.readers.json_lines import head_json
from lake_assets.intake.readers.normal_types import normal_type
from lake_assets.intake.readers.source import Chunk, DataFile, KeptBytes, Limits
from lake_assets.intake.readers.upload_types import (
    COLUMNAR,
    DELIMITED,
    OpenFile,
    Unreadable,
    UploadTypes,
    surveyed,
)

BATCH_ROWS = 8192
BATCH_BYTES = 64 * 1024 * 1024
KEPT_BYTES = 192 * 1024 * 1024
"""What is kept of an upload's text files from their survey; what is beyond is read twice."""
_HEAD_ROWS = 1000


def read_upload(
    root: Path,
    files: Sequence[StagedFile],
    options: ReadOptions,
    *,
    expected: pa.Schema | None = None,
    batch_rows: int = BATCH_ROWS,
    batch_bytes: int = BATCH_BYTES,
    with_images: bool = True,
    unreadable: Unreadable | None = None,
) -> Iterator[Batch]:
    """Yield every row of every data file, then one row per image file that no data row named.

    Data files come by name, then images by name, then what is rejected as a whole file. A batch
    has at most ``batch_rows`` rows, and at most ``batch_bytes`` unless one row alone has more.

    Args:
        root: The upload's ``files/`` folder.
        files: Its files, in any order.
        options: How to read them.
        expected: The dataset's present table (own columns only); None if there is none yet. Text
            formats are read as its types; others bring their own.
        batch_rows: Most rows of a batch.
        batch_bytes: Most bytes of a batch before its images are taken out.
        with_images: Whether a column may hold or name images.
        unreadable: Files that an earlier attempt could not read to their end: each is one rejected
            row here. Grows by those that turn out so before any of their rows came out. None: the
            first one raises.

    Raises:
        UnreadableSource, UnsupportedFormat: A file is damaged, or has columns that no table can
            have; ``context["file"]`` names it. With ``unreadable``, only if rows of it came out
            already: those must not be kept, because the mended file will bring them again.
        InvalidRequest: The delimiter is not one character.
    """
    by_name = {file.name: file for file in sorted(files, key=lambda file: file.name)}
    limits = Limits(rows=batch_rows, byte_count=batch_bytes)
    data = [
        _data_file(root, file.name, options, expected=expected, limits=limits)
        for file in by_name.values()
        if file.role == "data"
    ]
    finder = ImageFinder(root=root, files=by_name, has_images=False)
    columns = {
        file.name: _image_column(file, finder, unreadable) if with_images else None for file in data
    }
    found = any(columns.values()) or options.image_column is not None
    finder.has_images = found or any(file.role == "image" for file in files)
    kept = KeptBytes(KEPT_BYTES)
    opened = [
        OpenFile(
            _with_text_paths(file, columns[file.name]),
            kept,
            image_column=_image_name(columns[file.name], options),
        )
        for file in data
        if unreadable is None or file.name not in unreadable
    ]
    types = surveyed(opened, None if expected is None else _normal_schema(expected), unreadable)
    for reader in opened:
        name = reader.file.name
        for chunk in _chunks(reader, types, unreadable):
            # The named column may hold nothing in the first rows, and so have no type there.
            if columns[name] is None and options.image_column is not None:
                columns[name] = fitting_column(chunk.rows, options.image_column)
            yield finder.batch(name, chunk, _as_spelled(columns[name], chunk.rows))
    yield from _rest(finder, list(columns.values()), options, batch_rows, unreadable or {})


def count_rows(root: Path, files: Sequence[StagedFile], options: ReadOptions) -> int | None:
    """Return how many records the upload holds, rejected ones included, or None if unknown.

    Only footers are read: an upload with CSV or JSON is not counted, nor one with tables and
    images side by side, where only reading tells which image belongs to a row.
    """
    data = [file for file in files if file.role == "data"]
    images = [file for file in files if file.role == "image" and not _is_referenced(file.name)]
    if data and images:
        return None
    counts = [_count(_data_file(root, file.name, options)) for file in data]
    known = [count for count in counts if count is not None]
    others = sum(file.role == "other" for file in files)
    return sum(known) + len(images) + others if len(known) == len(counts) else None


def read_head(path: Path, options: ReadOptions, rows: int = _HEAD_ROWS) -> pa.Table:
    """Return the first rows of a data file, for a look at its columns; rejected ones are left out.

    CSV columns are all strings here. At most 64 MiB are returned, and less if a row is rejected.

    Raises:
        UnreadableSource: The file is damaged, or has columns that no table can have.
        UnsupportedFormat: The file or a column is of a kind that the lake does not have.
    """
    limits = Limits(rows=rows, byte_count=BATCH_BYTES)
    return _head(_data_file(path.parent, path.name, options, limits=limits))


def _data_file(
    root: Path,
    name: str,
    options: ReadOptions,
    *,
    expected: pa.Schema | None = None,
    limits: Limits | None = None,
) -> DataFile:
    kind = data_format(root / name)
    if kind is None:
        raise UnsupportedFormat(
            f"{name} is not a table that the lake can read. Deliver Parquet, CSV, TSV, JSON, JSON "
            "Lines or Arrow.",
            file=name,
        )
    return DataFile(
        name=name,
        path=root / name,
        format=kind,
        options=options,
        expected=None if expected is None else _normal_schema(expected),
        limits=limits or Limits(rows=_HEAD_ROWS, byte_count=BATCH_BYTES),
    )


def _normal_schema(schema: pa.Schema) -> pa.Schema:
    # PyIceberg may give large_string for string; readers know one name for each type.
    kinds = [(f.name, normal_type(f.type, column=f.name, file="the table")) for f in schema]
    return pa.schema([(name, kind) for name, kind in kinds if kind is not None])


def _head(file: DataFile) -> pa.Table:
    if file.format in COLUMNAR:
        return head_columnar(file)
    return head_delimited(file) if file.format in DELIMITED else head_json(file)


def _count(file: DataFile) -> int | None:
    return count_columnar(file) if file.format in COLUMNAR else None


def _chunks(file: OpenFile, types: UploadTypes, unreadable: Unreadable | None) -> Iterator[Chunk]:
    """Yield the chunks of a file; one that cannot be read up to its first chunk has none."""
    if unreadable is not None and file.file.name in unreadable:
        return
    chunks = file.chunks(types)
    try:
        first = next(chunks, None)
    except (UnreadableSource, UnsupportedFormat) as error:
        if unreadable is None:
            raise
        unreadable[file.file.name] = error
        return
    if first is not None:
        yield first
    yield from chunks


def _image_name(column: ImageColumn | None, options: ReadOptions) -> str | None:
    return options.image_column if column is None else column.name


def _as_spelled(column: ImageColumn | None, rows: pa.Table) -> ImageColumn | None:
    """Return the column with its name as the rows have it, which is the table's."""
    if column is None or column.name in rows.column_names:
        return column
    alike = [name for name in rows.column_names if name.lower() == column.name.lower()]
    return ImageColumn(alike[0], column.kind) if alike else column


def _image_column(
    file: DataFile, finder: ImageFinder, unreadable: Unreadable | None
) -> ImageColumn | None:
    """Return the column with the images of a file: the one that was named, else what is found."""
    limits = replace(file.limits, rows=min(file.limits.rows, _HEAD_ROWS))
    try:
        head = _head(replace(file, limits=limits))
    except (UnreadableSource, UnsupportedFormat) as error:
        if unreadable is None:
            raise
        unreadable.setdefault(file.name, error)
        return _column_of_unreadable(file)
    if file.options.image_column is not None:
        return fitting_column(head, file.options.image_column)
    folder = posixpath.dirname(file.name)
    return find_image_column(
        head, named=None, exists=lambda value: finder.resolve(value, folder) is not None
    )


def _column_of_unreadable(file: DataFile) -> ImageColumn | None:
    """Return the column of paths that a file most likely has of which nothing can be read.

    The images that it lists must not go in without their rows: its mended redelivery would bring
    them again, as other rows.
    """
    named = file.options.image_column
    if named is None and posixpath.basename(file.name) not in METADATA_NAMES:
        return None
    return ImageColumn(named or "file_name", "path")


def _with_text_paths(file: DataFile, column: ImageColumn | None) -> DataFile:
    """Return the file with its column of paths expected as text: ``0001`` names a file."""
    if column is None or column.kind != "path" or file.format not in DELIMITED:
        return file
    others = [field for field in file.expected or () if field.name != column.name]
    return replace(file, expected=pa.schema([*others, pa.field(column.name, pa.string())]))


def _rest(
    finder: ImageFinder,
    columns: list[ImageColumn | None],
    options: ReadOptions,
    batch_rows: int,
    unreadable: Unreadable,
) -> Iterator[Batch]:
    """Yield the images that no row named, and the rejections of whole files."""
    files = finder.files.values()
    images = [file for file in files if file.role == "image" and not _is_referenced(file.name)]
    left = [file for file in images if file.name not in finder.named]
    is_listed = any(column is not None and column.kind == "path" for column in columns)
    if not is_listed:
        yield from image_batches(finder.root, left, options, batch_rows=batch_rows)
    rejected = [unlisted_image(file, unreadable) for file in left] if is_listed else []
    rejected += [unreadable_file(name, error) for name, error in sorted(unreadable.items())]
    # A file that a row took for its image has come out with that row.
    others = [file for file in files if file.role == "other" and file.name not in finder.named]
    rejected += [unusable_file(file) for file in others]
    yield from rejected_batches(iter(rejected), batch_rows=batch_rows, has_images=finder.has_images)


def _is_referenced(name: str) -> bool:
    return name.startswith(f"{REFERENCED_FOLDER}/")
