"""The words that reading annotations is written in.

Invariant: each piece of a file is one record or one rejected row, and has one number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, cast

from lake_assets.contracts.record_types import RecordType
from lake_assets.intake.formats import DataFormat, compression_of
from lake_assets.intake.model import ReadOptions, RejectedRow
from lake_assets.intake.readers.row_json import readable, row_json, text_json
from lake_assets.intake.readers.source import DataFile, Limits
from lake_assets.storage.system_tables import TASK_COLUMNS

BLOCK_RECORDS = 5_000
"""Most records and rejected rows of a block."""
BLOCK_BYTES = 64 * 1024 * 1024
"""About what a block takes in memory at most, unless one record alone takes more."""
_POINT_BYTES = 256
"""What a point takes as a dict of two floats."""
_BLOCK_BYTES = 16 * 1024 * 1024
_VALUE_BYTES = 64
"""About what a number or an empty list takes."""
_LAKES_OWN = frozenset(name.lower() for name in TASK_COLUMNS.names)


class AnnotationFormat(StrEnum):
    """A form of annotations that there is a reader for."""

    SROIE_BOXES = "sroie_boxes"
    SROIE_KEYS = "sroie_keys"
    FUNSD = "funsd"
    XFUND = "xfund"
    COCO = "coco"
    COCO_RESULTS = "coco_results"
    PAGE_XML = "page_xml"
    ALTO = "alto"
    HOCR = "hocr"
    PADDLEOCR_LABELS = "paddleocr_labels"
    PADDLEOCR_RESULTS = "paddleocr_results"
    TESSERACT_TSV = "tesseract_tsv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """Some consecutive annotations of one file."""

    records: list[dict[str, Any]]
    """Plain values by column: all columns of the record type, then the format's own, if any."""
    numbers: list[int]
    """One per record: its number among the file's records and rejected rows, from 0."""
    rejected: list[RejectedRow]
    """With their numbers in the same count as ``row``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationFile:
    """One file of annotations and what to make of it."""

    path: Path
    name: str
    """As staged; for messages, rejected rows, and images that the content does not name."""
    kind: RecordType
    format: AnnotationFormat

    @property
    def stem(self) -> str:
        """Return its name without folders and suffix: what it calls its image, if nothing else."""
        path = PurePosixPath(self.name.replace("\\", "/"))
        return PurePosixPath(path.stem).stem if compression_of(path.name) else path.stem

    def record(
        self, values: dict[str, Any], own: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return a record that has every column of its type; null unless among ``values``.

        Args:
            values: What the format says, by column.
            own: What the delivery says under keys that the format does not know. A key that is a
                column already is kept as ``delivered_<column>``.

        Raises:
            Flaw: A key of ``own`` can be no column.
        """
        record = {**dict.fromkeys(self.kind.columns), **values}
        if own:
            _add_own(record, own)
        return record

    def as_text(self, form: DataFormat | None = None) -> DataFile:
        """Return the file as the readers of text know it.

        Args:
            form: Its format among theirs; None: they only have to name it in messages.
        """
        limits = Limits(rows=BLOCK_RECORDS, byte_count=_BLOCK_BYTES)
        return DataFile(
            name=self.name,
            path=self.path,
            format=form or cast(DataFormat, self.format),
            options=ReadOptions(),
            limits=limits,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An annotation that cannot be a record, and why."""

    rule: str
    path: str
    expected: str
    actual: str
    row_json: str
    """The raw piece as one JSON value."""


Piece = dict[str, Any] | Refused
"""What a format's reader yields: a record with every column of its type, or why there is none."""


class Flaw(Exception):
    """A value in an annotation breaks a rule. Never leaves the readers."""

    def __init__(self, rule: str, *, path: str = "", expected: str, actual: object) -> None:
        super().__init__(rule)
        self.rule = rule
        self.path = path
        self.expected = expected
        self.actual = actual

    def refusing(self, raw: Any) -> Refused:
        """Return the rejection of the piece ``raw`` for this: text, or any JSON value."""
        return Refused(
            rule=self.rule,
            path=readable(self.path),
            expected=self.expected,
            actual=shown(self.actual),
            row_json=text_json(raw) if isinstance(raw, str) else row_json(raw),
        )


def _add_own(record: dict[str, Any], own: Mapping[str, Any]) -> None:
    taken = {name.lower() for name in record}
    for key, value in own.items():
        name = f"delivered_{key.lower()}" if key.lower() in taken else key
        if name.lower() in taken:
            raise Flaw(
                "keys_differ_by_more_than_case",
                path=key,
                expected=f"no {name} beside it",
                actual=key,
            )
        if key.lower() in _LAKES_OWN:
            raise Flaw(
                "keys_are_not_the_lakes_own",
                path=key,
                expected="keys other than those that the lake adds itself",
                actual=key,
            )
        taken.add(name.lower())
        record[name] = value


def shown(value: object) -> str:
    """Return text as it is and other values as JSON, cut to 200 characters."""
    return (readable(value) if isinstance(value, str) else row_json(value))[:200]


def blocks_of(pieces: Iterable[Piece], name: str) -> Iterator[Annotations]:
    """Yield the pieces of the file ``name`` in their order, in blocks; none if there are none."""
    block, byte_count = Annotations(records=[], numbers=[], rejected=[]), 0
    for number, piece in enumerate(pieces):
        if isinstance(piece, Refused):
            block.rejected.append(_rejected(piece, name, number))
        else:
            block.records.append(piece)
            block.numbers.append(number)
        byte_count += _byte_count(piece)
        if len(block.records) + len(block.rejected) >= BLOCK_RECORDS or byte_count >= BLOCK_BYTES:
            yield block
            block, byte_count = Annotations(records=[], numbers=[], rejected=[]), 0
    if block.records or block.rejected:
        yield block


def _byte_count(piece: Piece) -> int:
    if isinstance(piece, Refused):
        return len(piece.row_json)
    points = piece.get("polygon") or ()
    others = sum(_weight(value) for name, value in piece.items() if name != "polygon")
    return len(points) * _POINT_BYTES + others


def _weight(value: Any) -> int:
    """Return about how many bytes a JSON value takes in memory."""
    if type(value) is str:
        return len(value)
    if type(value) is dict:
        return _VALUE_BYTES + sum(map(_weight, value)) + sum(map(_weight, value.values()))
    return _VALUE_BYTES + sum(map(_weight, value)) if type(value) is list else _VALUE_BYTES


def _rejected(piece: Refused, name: str, number: int) -> RejectedRow:
    return RejectedRow(
        file=name,
        row=number,
        rule=piece.rule,
        path=piece.path,
        expected=piece.expected,
        actual=piece.actual,
        row_json=piece.row_json,
    )
