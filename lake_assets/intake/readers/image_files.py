"""Files that are rows themselves: images that no table describes, and files of no use.

Invariant: every staged file that is not read as a table comes out exactly once, here or as the
image of some row.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from lake_assets.errors import LakeError
from lake_assets.intake.model import Batch, ImageRef, ReadOptions, RejectedRow, StagedFile
from lake_assets.intake.readers.row_json import readable, row_json
from lake_assets.intake.readers.source import numbers_of, table_of

FOLDER = "."
"""``Batch.file`` of rows that are image files: the delivery's folder, which no file is called."""


def image_batches(
    root: Path, images: Sequence[StagedFile], options: ReadOptions, *, batch_rows: int
) -> Iterator[Batch]:
    """Yield one row per image file, in the order given; its number counts the images.

    Columns: ``file_name``, the staged name; with ``label_from_folders`` also ``label``, the
    sub-folders that the file lies in (null at the top).
    """
    for start in range(0, len(images), batch_rows):
        some = images[start : start + batch_rows]
        columns = {"file_name": pa.array([image.name for image in some], pa.string())}
        if options.label_from_folders:
            labels = [posixpath.dirname(image.name) or None for image in some]
            columns["label"] = pa.array(labels, pa.string())
        yield Batch(
            file=FOLDER,
            rows=table_of(columns, len(some)),
            row_numbers=numbers_of(range(start, start + len(some))),
            images=tuple(_ref(root, image) for image in some),
        )


def _ref(root: Path, image: StagedFile) -> ImageRef:
    return ImageRef(
        name=image.name,
        path=root / image.name,
        sha256=image.sha256,
        byte_count=image.byte_count,
    )


def rejected_batches(
    rejected: Iterator[RejectedRow], *, batch_rows: int, has_images: bool
) -> Iterator[Batch]:
    """Yield batches without rows that carry these rejections."""
    while some := tuple(islice(rejected, batch_rows)):
        yield Batch(
            file=FOLDER,
            rows=table_of({}, 0),
            row_numbers=numbers_of([]),
            images=() if has_images else None,
            rejected=some,
        )


def unlisted_image(file: StagedFile, unreadable: Collection[str] = ()) -> RejectedRow:
    """Return the rejection of an image that the delivery's tables of images do not name.

    Args:
        file: The image.
        unreadable: Names of tables that cannot be read, and so may have named it.
    """
    but = f", but {', '.join(sorted(unreadable)[:3])} cannot be read" if unreadable else ""
    return RejectedRow(
        file=file.name,
        row=None,
        rule="image_is_listed_in_metadata",
        expected="a row in the metadata that names this image",
        actual=f"no row names it{but}",
        row_json=row_json({"file_name": file.name}),
    )


def unreadable_file(name: str, error: LakeError) -> RejectedRow:
    """Return the rejection of a table as a whole, because it cannot be read to its end."""
    return RejectedRow(
        file=name,
        row=None,
        rule="file_is_readable",
        expected="a file that can be read from its first row to its last",
        actual=readable(error.message),
        row_json=row_json({"file_name": name}),
    )


def unusable_file(file: StagedFile) -> RejectedRow:
    """Return the rejection of a file that is neither an image nor a table."""
    return RejectedRow(
        file=file.name,
        row=None,
        rule="file_is_an_image_or_data",
        expected="an image, or a table as Parquet, CSV, TSV, JSON, JSON Lines or Arrow",
        actual="a file of another kind",
        row_json=row_json({"file_name": file.name}),
    )
