"""The files of an upload of annotations as a stream of batches.

Invariant: rows and rejected rows together are every annotation of every file, once. A file that is
not of its format, an image, and whatever else holds no annotations is one rejected row. Neither the
order of records nor how they were parted into files changes a column or a value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lake_assets.contracts.record_types import record_type
from lake_assets.errors import UnreadableSource, UnsupportedFormat
from lake_assets.intake.annotations import AnnotationFormat, annotation_format
from lake_assets.intake.annotations.extras import ExtrasSurvey, table_columns
from lake_assets.intake.annotations.surveyed_file import SurveyedFile
from lake_assets.intake.model import Batch, RejectedRow, StagedFile
from lake_assets.intake.readers import Unreadable
from lake_assets.intake.readers.image_files import rejected_batches, unreadable_file
from lake_assets.intake.readers.row_json import row_json
from lake_assets.intake.readers.source import KeptBytes
from lake_assets.intake.readers.survey import require_width

KEPT_BYTES = 64 * 1024 * 1024
"""What is kept of the annotations of an upload from their survey; what is beyond is read twice."""

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
    if kind is None or _format(root, kind, file) not in _NAMED_BY_FILE:
        return file.sha256
    return hashlib.sha256(f"{file.name}\0{file.sha256}".encode()).hexdigest()


def _format(root: Path, kind: str, file: StagedFile) -> AnnotationFormat | None:
    """Return the format of a file; None: it has none, or cannot be read at all."""
    try:
        return annotation_format(root / file.name, kind)
    except UnreadableSource:  # told when it is read
        return None


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
        unreadable: As for ``read_upload``: grows by files that turn out so in the survey.

    Raises:
        UnreadableSource: as ``read_upload``.
    """
    ordered = sorted(files, key=lambda file: file.name)
    built_in, kept = record_type(kind), KeptBytes(KEPT_BYTES)
    opened = [
        SurveyedFile(root / file.name, file.name, built_in, kept)
        for file in ordered
        if file.role != "image" and file.name not in unreadable
    ]
    places = _surveyed(opened, unreadable).places(table_columns(expected, built_in.schema()))
    for surveyed in opened:
        if surveyed.name not in unreadable:
            yield from surveyed.batches(places)
    rejected = [_image_among_annotations(file) for file in ordered if file.role == "image"]
    rejected += [unreadable_file(name, error) for name, error in sorted(unreadable.items())]
    yield from rejected_batches(iter(rejected), batch_rows=batch_rows, has_images=False)


def _surveyed(files: Sequence[SurveyedFile], unreadable: Unreadable) -> ExtrasSurvey:
    """Return what all files together show; ``unreadable`` grows by those that cannot be read.

    Raises:
        UnreadableSource: They have too many fields together; the one with most is named.
    """
    total, widths = ExtrasSurvey(), {"": 0}
    for file in files:
        try:
            found = file.survey()
            require_width(found.shape, file.name)
        except (UnreadableSource, UnsupportedFormat) as error:
            unreadable[file.name] = error
            continue
        total.merge(found)
        widths[file.name] = len(found.shape.fields)
    require_width(total.shape, max(widths, key=lambda name: widths[name]))
    return total


def _image_among_annotations(file: StagedFile) -> RejectedRow:
    return RejectedRow(
        file=file.name,
        row=None,
        rule="file_holds_annotations",
        expected="annotations",
        actual="an image; deliver images with `lake upload raw`",
        row_json=row_json({"file_name": file.name}),
    )
