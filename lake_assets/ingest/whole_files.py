"""Files of rows as a whole: those that came before are not read again, and their rows are counted.

Invariant: rows of a file that is in the dataset, or in the upload a second time, are duplicates;
a file of which no row could be used is looked at again when it comes again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lake_assets.ingest.model import DataFile
from lake_assets.intake.model import Batch, RejectedRow, StagedFile
from lake_assets.intake.readers import Unreadable
from lake_assets.intake.readers.image_files import unreadable_file

Identity = Callable[[StagedFile], str | None]
"""What two files with the same rows have in common; None: the file has no rows of its own."""


def by_content(file: StagedFile) -> str | None:
    """Return what identifies a file of rows of a raw delivery: its SHA-256."""
    return file.sha256 if file.role == "data" else None


@dataclass(slots=True)
class WholeFiles:
    """The files of one upload, while it is read."""

    files: tuple[StagedFile, ...]
    identity: Identity
    rows: dict[str, int] = field(default_factory=dict)
    """Rows read so far of each file of rows, rejected ones among them, by name."""
    _useful: set[str] = field(default_factory=set)
    """Files of which a row was accepted, or was there already."""
    _copies: list[StagedFile] = field(default_factory=list)
    """Files that are in the upload under another name too."""
    _ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for file in self.files:
            identity = self.identity(file)
            if identity is not None:
                self._ids[file.name] = identity
        self._numbers = {name: number for number, name in enumerate(sorted(self._ids))}

    _numbers: dict[str, int] = field(init=False)

    @property
    def name_images(self) -> bool:
        """Whether images lie next to files of rows: what these say depends on the images too."""
        return self.identity is by_content and any(file.role == "image" for file in self.files)

    def number(self, name: str) -> int:
        """Return which of the files of rows this is, by name, from 0; others are after them."""
        return self._numbers.get(name, len(self._numbers))

    def new(self, delivered: Callable[[], dict[str, int]]) -> tuple[Sequence[StagedFile], int]:
        """Return the files that are to be read, and how many rows the dataset has of the others.

        All, where images lie next to them: a file that names these may come again, the same byte
        for byte, because an image was mended.

        Args:
            delivered: Returns the rows of each file of rows that came before, by identity.
        """
        if self.name_images:
            return self.files, 0
        fresh, known, duplicate = [], delivered(), 0
        firsts: dict[str, str] = {}
        for file in sorted(self.files, key=lambda file: file.name):
            identity = self._ids.get(file.name)
            rows = None if identity is None else known.get(identity)
            if identity is None:
                fresh.append(file)
            elif rows is not None:
                duplicate += rows
            elif firsts.setdefault(identity, file.name) == file.name:
                fresh.append(file)
            else:
                self._copies.append(file)
        return fresh, duplicate

    def count(self, batch: Batch) -> None:
        """Take in that a batch was read."""
        if batch.file in self._ids:
            count = batch.rows.num_rows + len(batch.rejected)
            self.rows[batch.file] = self.rows.get(batch.file, 0) + count

    def mark_useful(self, name: str) -> None:
        """Take in that a row of a file is in the table."""
        self._useful.add(name)

    def unreadable_copies(self, unreadable: Unreadable) -> tuple[RejectedRow, ...]:
        """Return a rejected row for each copy of a file that cannot be read."""
        errors = {self._ids[n]: error for n, error in unreadable.items() if n in self._ids}
        return tuple(
            unreadable_file(file.name, errors[self._ids[file.name]])
            for file in self._copies
            if self._ids[file.name] in errors
        )

    def copied_rows(self, unreadable: Unreadable) -> int:
        """Return how many rows the copies have."""
        read = {self._ids[n]: rows for n, rows in self.rows.items() if n not in unreadable}
        return sum(read.get(self._ids[file.name], 0) for file in self._copies)

    def data_files(self, unreadable: Unreadable) -> tuple[DataFile, ...]:
        """Return the files of rows that were read, with their rows.

        Not those that could not be, or of which every row was rejected: if they come again, after
        a contract was corrected, they are looked at again.
        """
        return tuple(
            DataFile(name=name, sha256=self._ids[name], rows=rows)
            for name, rows in sorted(self.rows.items())
            if name in self._useful and name not in unreadable
        )
