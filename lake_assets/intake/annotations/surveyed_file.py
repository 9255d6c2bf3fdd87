"""A file of annotations in two passes: first what its records have, then the records as batches.

Invariant: both passes yield the same records. What is kept of the first is bounded for the whole
upload; a file beyond that is read twice.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake_assets.contracts.record_types import RecordType
from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations.extras import ExtrasSurvey, extras_table
from lake_assets.intake.annotations.model import Annotations
from lake_assets.intake.annotations.reading import read_annotations
from lake_assets.intake.model import Batch, RejectedRow
from lake_assets.intake.readers.json_fit import Unforeseen
from lake_assets.intake.readers.json_table import Places
from lake_assets.intake.readers.source import KeptBytes, numbers_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Some consecutive annotations."""

    rows: pa.Table
    """The columns of their record type."""
    extras: bytes
    """What each record has beyond them: a pickled list, whose size is known. Empty: nothing."""
    numbers: pa.Int64Array
    rejected: tuple[RejectedRow, ...]

    @property
    def byte_count(self) -> int:
        """Return about how much memory it takes."""
        texts = sum(len(row.row_json) for row in self.rejected)
        count: int = self.rows.nbytes + self.numbers.nbytes
        return count + len(self.extras) + texts


class SurveyedFile:
    """A file of annotations between its survey and its batches.

    Args:
        path: An existing file.
        name: As staged.
        kind: What its records are.
        kept: How much may be kept from the first pass for the second.
    """

    def __init__(self, path: Path, name: str, kind: RecordType, kept: KeptBytes) -> None:
        self.name = name
        self._path = path
        self._kind = kind
        self._kept_bytes = kept
        self._kept: list[_Block] | None = []
        """None: the file is read again."""

    def survey(self) -> ExtrasSurvey:
        """Return what all records have beyond their record type.

        Raises:
            UnreadableSource, UnsupportedFormat: as ``read_annotations``.
        """
        found = ExtrasSurvey()
        for read in self._annotations():
            extras = self._extras(read)
            found.see(extras)
            if self._kept is not None:
                self._keep(self._block(read, extras))
        return found

    def batches(self, places: Places) -> Iterator[Batch]:
        """Yield every annotation, or its rejection; to be called after ``survey``, and once.

        Raises:
            UnreadableSource: The file has changed since.
        """
        kept, self._kept = self._kept, None
        for block in kept if kept is not None else self._blocks():
            try:
                others = extras_table(places, _unpickled(block))
            except Unforeseen as error:
                raise UnreadableSource(
                    f"{self.name} changed while it was read. Deliver it again.", file=self.name
                ) from error
            rows = block.rows
            for column in others.schema:
                rows = rows.append_column(column, others[column.name])
            yield Batch(
                file=self.name,
                rows=rows,
                row_numbers=block.numbers,
                images=None,
                rejected=block.rejected,
            )

    def _annotations(self) -> Iterator[Annotations]:
        return read_annotations(self._path, self.name, self._kind.name)

    def _blocks(self) -> Iterator[_Block]:
        for read in self._annotations():
            yield self._block(read, self._extras(read))

    def _extras(self, read: Annotations) -> list[dict[str, Any]]:
        known = frozenset(self._kind.columns)
        return [
            {name: value for name, value in record.items() if name not in known}
            for record in read.records
        ]

    def _block(self, read: Annotations, extras: list[dict[str, Any]]) -> _Block:
        records, schema = read.records, self._kind.schema()
        columns = {f.name: pa.array([r[f.name] for r in records], f.type) for f in schema}
        return _Block(
            rows=pa.table(columns),
            extras=pickle.dumps(extras) if any(extras) else b"",
            numbers=numbers_of(read.numbers),
            rejected=tuple(read.rejected),
        )

    def _keep(self, block: _Block) -> None:
        if self._kept is not None and self._kept_bytes.take(block.byte_count):
            self._kept.append(block)
        else:
            self._kept = None


def _unpickled(block: _Block) -> list[dict[str, Any]]:
    if not block.extras:
        return [{}] * block.rows.num_rows
    extras: list[dict[str, Any]] = pickle.loads(block.extras)
    return extras
