"""The words that intake is written in: what is staged, how to read it, and what reading yields.

Invariant: every row that a delivery holds comes out of reading exactly once, either in
``Batch.rows`` or in ``Batch.rejected``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

Role = Literal["data", "image", "other"]
"""What a staged file is for: rows, one image, or neither (kept, and rejected with a reason)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """One file of an upload, below the upload's ``files/`` folder."""

    name: str
    """POSIX path relative to ``files/``; as delivered, or below ``referenced/`` (see collect)."""
    byte_count: int
    sha256: str
    """64 lower-case hex digits of the content, computed while it was copied."""
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedFile:
    """A member of a delivery that was not taken in at all: it counts as one rejected row."""

    name: str
    rule: str
    """The sentence that it breaks, in snake_case, e.g. ``file_stays_inside_its_folder``."""
    actual: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read an upload; decided at upload time and kept in its manifest."""

    image_column: str | None = None
    """Column that holds or names each row's image; None: none was named nor found."""
    label_from_folders: bool = False
    """Whether sub-folder names become a ``label`` column (folders of images only)."""
    header: bool = True
    """Whether the first line of CSV/TSV files names the columns."""
    delimiter: str | None = None
    """CSV field separator, one character; None: found out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Which open rows of the quarantine are to be tried again."""

    rule: str | None = None
    """Only those that broke this rule; None: any."""
    upload_id: str | None = None
    """Only those that this upload brought; None: any."""
    since: datetime | None = None
    """Only those rejected then or later, aware; None: whenever."""
    ids: tuple[str, ...] = ()
    """Only these, by ``quarantine_id``; empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """Where the bytes of one row's image are. Exactly one of ``path`` and ``data`` is set."""

    name: str
    """As the delivery calls it; for people and for ``lake.images.source_name``."""
    path: Path | None = None
    sha256: str | None = None
    """SHA-256 from the manifest where ``path`` is set, else None."""
    byte_count: int = 0
    """Size from the manifest where ``path`` is set."""
    data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """A row, or a file that stands for a row, that cannot go into its table, and why."""

    file: str
    """Name of the staged file."""
    row: int | None
    """Number of the row in its file, from 0; None when the file as a whole is meant."""
    rule: str
    """The sentence that it breaks, in snake_case, e.g. ``line_is_valid_json``."""
    path: str = ""
    """Column or JSON path that breaks the rule; empty: the row as a whole."""
    expected: str
    actual: str
    row_json: str
    """The row as one JSON value (a JSON string of the raw text where it did not parse)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some consecutive rows of one file."""

    file: str
    rows: Any
    """``pyarrow.Table`` of the rows that were read, image bytes taken out."""
    row_numbers: Any
    """``pyarrow.Int64Array``, one per row in ``rows``: its number in ``file``, from 0."""
    images: tuple[ImageRef | None, ...] | None
    """One per row in ``rows``; None when the upload has no images at all."""
    rejected: tuple[RejectedRow, ...] = ()
