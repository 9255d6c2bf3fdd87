"""What was written, in numbers and names: the answers that a lake should come to by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """Two picture files of one delivery that show the same photo."""

    name: str
    """The later one, as in its row's ``file_name``."""
    original: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFacts:
    """What a folder of receipts holds. File names are those of the rows' ``file_name``."""

    folder: Path
    rows: int
    """Lines of ``metadata.jsonl``, good and bad: the lake's *rows in*."""
    image_files: int
    """Files named ``.jpg``, whatever they hold. Each has exactly one row."""
    distinct_images: int
    """Different contents (SHA-256) among the files that decode."""
    exact_copies: tuple[Twin, ...]
    """Same bytes; their rows differ from the original's in ``file_name`` only."""
    resized_copies: tuple[Twin, ...]
    """Same photo, smaller: near-duplicates. Rows as for exact copies."""
    truncated: tuple[str, ...]
    """JPEGs that begin well and break off: they must be rejected."""
    not_an_image: tuple[str, ...]
    """Text files named ``.jpg``: they must be rejected."""
    bad_lines: tuple[int, ...]
    """Numbers, from 0, of lines that are not valid JSON; their pictures are not there."""
    repeated_rows: int
    """Rows that equal one of an earlier delivery in every column and in the picture."""

    @property
    def rejected(self) -> int:
        """Rows that no lake can accept."""
        return len(self.truncated) + len(self.not_an_image) + len(self.bad_lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class TickFacts:
    """What ``ticks.csv`` holds."""

    path: Path
    rows: int
    """Lines below the header, good and bad: the lake's *rows in*."""
    ragged_rows: tuple[int, ...]
    """Numbers, from 0 below the header, of rows with a field too many: to be rejected."""
    repeated_rows: int
    """Rows equal to the one before. Two equal ticks are two ticks: to be accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What a folder of keys holds: one JSON file for each good receipt of Monday, named like it."""

    folder: Path
    files: int
    fields: int
    """Keys in all files: records of the lake's record type ``kie``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxFacts:
    """What a folder of text with boxes holds: a file for each good receipt of Monday."""

    folder: Path
    files: int
    lines: int
    """Lines in all files: records of the lake's record type ``ocr``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFacts:
    """Everything that :func:`lake_assets.samples.write_samples` wrote."""

    folder: Path
    monday: DeliveryFacts
    tuesday: DeliveryFacts
    ticks: TickFacts
    keys: KeyFacts
    boxes: BoxFacts

    @property
    def distinct_images(self) -> int:
        """Images in the store once both deliveries are in: repeated rows bring no new ones."""
        return self.monday.distinct_images + self.tuesday.distinct_images - self.repeated_images

    @property
    def repeated_images(self) -> int:
        """Images that both deliveries bring; each repeated row has its own."""
        return self.tuesday.repeated_rows
