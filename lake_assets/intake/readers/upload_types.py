"""The data files of an upload, surveyed before the first row is read.

Invariant: the type of a column is decided once, from all files that can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from lake_assets.contracts.drift import fit_rows
from lake_assets.contracts.variants import is_variant
from lake_assets.errors import UnreadableSource, UnsupportedFormat
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.readers.columnar import columnar_shape, read_columnar
from lake_assets.intake.readers.csv_guesses import ColumnGuesses
from lake_assets.intake.readers.delimited import DelimitedFile
from lake_assets.intake.readers.json_lines import JsonFile
from lake_assets.intake.readers.json_table import Places
from lake_assets.intake.readers.json_types import Shape
from lake_assets.intake.readers.places import places_of
from lake_assets.intake.readers.source import Chunk, DataFile, KeptBytes, table_of
from lake_assets.intake.readers.survey import Survey, require_width

COLUMNAR = frozenset({DataFormat.PARQUET, DataFormat.ARROW})
DELIMITED = frozenset({DataFormat.CSV, DataFormat.TSV})

Unreadable = dict[str, UnreadableSource | UnsupportedFormat]
"""Data files of an upload that cannot be read, by name, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTypes:
    """What all files of an upload together decide."""

    places: Places
    """The columns of its JSON files."""
    kinds: Mapping[str, pa.DataType]
    """Types of all columns that have any, by their names in lower case."""
    new_kinds: Mapping[str, pa.DataType]
    """Those of columns that the table has not, without variants inside."""


class OpenFile:
    """A data file between its survey and its rows."""

    def __init__(self, file: DataFile, kept: KeptBytes) -> None:
        self.file = file
        self._json = JsonFile(file, kept) if is_json(file) else None
        self._delimited = DelimitedFile(file, kept) if file.format in DELIMITED else None

    def survey(self, findings: Findings) -> None:
        """Look through the file, and add what is found.

        Raises:
            UnreadableSource, UnsupportedFormat: It cannot be read; nothing was added.
        """
        if self._json is not None:
            survey = self._json.survey()
            findings.records.merge(survey)
            findings.widths[self.file.name] = len(survey.shape.fields)
        elif self._delimited is not None:
            findings.guesses.merge(self._delimited.survey())
        elif not findings.is_alone:
            findings.columnar.merge(columnar_shape(self.file))

    def chunks(self, types: UploadTypes) -> Iterator[Chunk]:
        """Yield every row, or its rejection; once, after the survey.

        Raises:
            UnreadableSource, UnsupportedFormat: It cannot be read to its end.
        """
        if self._json is not None:
            return self._json.chunks(types.places)
        if self._delimited is not None:
            return self._delimited.chunks(types.kinds)
        return (_as_decided(chunk, types.new_kinds) for chunk in read_columnar(self.file))


@dataclass(slots=True, kw_only=True)
class Findings:
    """What the files of an upload show."""

    is_alone: bool
    """Whether there is but one file; a columnar one then brings its own types."""
    records: Survey = field(default_factory=Survey)
    guesses: ColumnGuesses = field(default_factory=ColumnGuesses)
    columnar: Shape = field(default_factory=Shape)
    widths: dict[str, int] = field(default_factory=dict)

    def types(self, expected: pa.Schema | None) -> UploadTypes:
        """Return what is decided.

        Raises:
            UnreadableSource: JSON files have too many columns together; the widest one is named.
        """
        if self.widths:
            require_width(self.records.shape, max(self.widths, key=lambda name: self.widths[name]))
        others = self.guesses.shape()
        others.merge(self.columnar)
        total = Shape()
        total.merge(self.records.shape)
        total.merge(others)
        is_certain = not others.fields
        places = places_of(total, expected, self.records.witness.order(), is_certain=is_certain)
        kinds = {name: place.kind for name, place in places.items() if place.kind is not None}
        new = kinds.keys() - {field.name.lower() for field in expected or ()}
        return UploadTypes(
            places={name: p for name, p in places.items() if name in self.records.shape.fields},
            kinds=kinds,
            new_kinds={name: _without_variants(kinds[name]) for name in new},
        )


def _as_decided(chunk: Chunk, kinds: Mapping[str, pa.DataType]) -> Chunk:
    """Return a chunk of a typed format with new columns in the types that the upload decided."""
    rows = chunk.rows
    fields = [
        pa.field(field.name, kinds[field.name.lower()])
        for field in rows.schema
        if not kinds.get(field.name.lower(), field.type).equals(field.type)
    ]
    if not fields:
        return chunk
    fitted = fit_rows(rows.select([field.name for field in fields]), pa.schema(fields))
    if fitted.misfits:  # whoever has the table rejects these rows
        return chunk
    columns = {name: rows[name] for name in rows.column_names}
    columns |= {name: fitted.rows[name] for name in fitted.rows.column_names}
    return replace(chunk, rows=table_of(columns, rows.num_rows))


def _without_variants(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        fields = [f.with_type(_without_variants(f.type)) for f in kind if not is_variant(f.name)]
        return pa.struct(fields) if fields else kind
    if pa.types.is_list(kind):
        return pa.list_(_without_variants(kind.value_type))
    return kind


def is_json(file: DataFile) -> bool:
    """Return whether a file holds JSON values."""
    return file.format not in COLUMNAR and file.format not in DELIMITED


def surveyed(
    files: Sequence[OpenFile], expected: pa.Schema | None, unreadable: Unreadable | None
) -> UploadTypes:
    """Return the types of an upload's columns.

    Args:
        files: Its data files.
        expected: The table's columns.
        unreadable: Grows by the files that cannot be read; None: the first one raises.
    """
    findings = Findings(is_alone=len(files) == 1)
    for file in files:
        try:
            file.survey(findings)
        except (UnreadableSource, UnsupportedFormat) as error:
            if unreadable is None:
                raise
            unreadable[file.file.name] = error
    return findings.types(expected)
