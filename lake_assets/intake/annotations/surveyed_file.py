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

_CODEC = "zstd"
"""100,000 generated lines of text take 1.0 MB instead of 14.6, in 0.1 s; reading them takes 3 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Some consecutive annotations."""

    rows: pa.Table
    """The columns of their record type."""
    extras: list[dict[str, Any]]
    """What each record has beyond them."""
    numbers: pa.Int64Array
    rejected: tuple[RejectedRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeptBlock:
    """A block, compressed."""

    rows: pa.Buffer
    extras: bytes
    """Pickled; empty: no record has any."""
    extras_size: int
    numbers: pa.Int64Array
    rejected: tuple[RejectedRow, ...]

    @classmethod
    def of(cls, block: _Block) -> _KeptBlock:
        """Return a block as it is kept."""
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression=_CODEC)
        with pa.ipc.new_stream(sink, block.rows.schema, options=options) as stream:
            stream.write_table(block.rows)
        extras = pickle.dumps(block.extras) if any(block.extras) else b""
        return cls(
            rows=sink.getvalue(),
            extras=pa.compress(extras, codec=_CODEC, asbytes=True) if extras else extras,
            extras_size=len(extras),
            numbers=block.numbers,
            rejected=block.rejected,
        )

    @property
    def byte_count(self) -> int:
        """Return about how much memory it takes."""
        texts = sum(len(row.row_json) for row in self.rejected)
        count: int = self.rows.size + self.numbers.nbytes
        return count + len(self.extras) + texts

    def block(self) -> _Block:
        """Return the block as it was."""
        rows = pa.ipc.open_stream(self.rows).read_all()
        extras: list[dict[str, Any]] = [{}] * rows.num_rows
        if self.extras:
            size = self.extras_size
            data = pa.decompress(self.extras, decompressed_size=size, codec=_CODEC, asbytes=True)
            extras = pickle.loads(data)
        return _Block(rows=rows, extras=extras, numbers=self.numbers, rejected=self.rejected)


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
        self._kept: list[_KeptBlock] | None = []
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
                self._keep(_KeptBlock.of(self._block(read, extras)))
        return found

    def batches(self, places: Places) -> Iterator[Batch]:
        """Yield every annotation, or its rejection; to be called after ``survey``, and once.

        Raises:
            UnreadableSource: The file has changed since.
        """
        kept, self._kept = self._kept, None
        blocks = self._blocks() if kept is None else (one.block() for one in kept)
        for block in blocks:
            try:
                others = extras_table(places, block.extras)
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
            extras=extras,
            numbers=numbers_of(read.numbers),
            rejected=tuple(read.rejected),
        )

    def _keep(self, block: _KeptBlock) -> None:
        if self._kept is not None and self._kept_bytes.take(block.byte_count):
            self._kept.append(block)
        else:
            self._kept = None
