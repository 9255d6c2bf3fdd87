"""The data files of an upload, surveyed before the first row is read.

Invariant: the type of a column is decided once, from all files that can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from lake_assets.contracts.calendar import rows_without_words
from lake_assets.contracts.drift import fit_columns
from lake_assets.contracts.variants import is_variant, main_name, variant_name
from lake_assets.errors import UnreadableSource, UnsupportedFormat
from lake_assets.intake.formats import DataFormat
from lake_assets.intake.readers.columnar import columnar_shape, read_columnar
from lake_assets.intake.readers.csv_guesses import ColumnGuesses
from lake_assets.intake.readers.delimited import DelimitedFile
from lake_assets.intake.readers.json_lines import JsonFile
from lake_assets.intake.readers.json_table import Places
from lake_assets.intake.readers.json_types import Shape
from lake_assets.intake.readers.places import places_of
from lake_assets.intake.readers.source import Chunk, DataFile, KeptBytes
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
    names: Mapping[str, str]
    """How these columns are spelled."""

    def spelled(self, chunk: Chunk) -> Chunk:
        """Return a chunk of a delimited file with its columns spelled as in the whole upload."""
        given = chunk.rows.column_names
        names = [self._spelled(name) for name in given]
        return chunk if names == given else replace(chunk, rows=chunk.rows.rename_columns(names))

    def _spelled(self, name: str) -> str:
        if is_variant(name):
            return variant_name(self._spelled(main_name(name)))
        return self.names.get(name.lower(), name)

    def fitted(self, chunk: Chunk, *, without: str | None) -> Chunk:
        """Return a chunk of a columnar file as the upload has its columns.

        Args:
            without: The column with the images, which goes into no table; None: there is none.
        """
        image = (without or "").lower()
        own = [column for column in chunk.rows.schema if column.name.lower() != image]
        known = pa.schema([kind for column in own for kind in self._known(column)])
        rows = chunk.rows.select([column.name for column in own])
        # What no column and no JSON can say: whoever finds rows a place rejects it.
        if rows.schema.equals(known) or any(map(rows_without_words, rows.columns)):
            return chunk
        rows = fit_columns(rows, known)
        for column in chunk.rows.schema:
            if column.name.lower() == image:
                rows = rows.append_column(column, chunk.rows[column.name])
        return replace(chunk, rows=rows)

    def _known(self, column: pa.Field) -> Iterator[pa.Field]:
        name = column.name.lower()
        if name in self.kinds:
            yield pa.field(self.names[name], _without_variants(self.kinds[name]))
        elif is_variant(name):
            yield column


def _without_variants(kind: pa.DataType) -> pa.DataType:
    """Return a type with main fields only: which variants columns need shows when they are fitted.

    That of a place in JSON has all that are possible.
    """
    if pa.types.is_struct(kind):
        mains = [field for field in kind if not is_variant(field.name)]
        return pa.struct([field.with_type(_without_variants(field.type)) for field in mains])
    return pa.list_(_without_variants(kind.value_type)) if pa.types.is_list(kind) else kind


class OpenFile:
    """A data file between its survey and its rows."""

    def __init__(self, file: DataFile, kept: KeptBytes, *, image_column: str | None) -> None:
        self.file = file
        self._image_column = image_column
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
        else:
            findings.columnar.merge(columnar_shape(self.file))

    def chunks(self, types: UploadTypes) -> Iterator[Chunk]:
        """Yield every row, or its rejection; once, after the survey.

        Raises:
            UnreadableSource, UnsupportedFormat: It cannot be read to its end.
        """
        if self._json is not None:
            return self._json.chunks(types.places)
        if self._delimited is not None:
            return map(types.spelled, self._delimited.chunks(types.kinds))
        chunks = read_columnar(self.file)
        return (types.fitted(chunk, without=self._image_column) for chunk in chunks)


@dataclass(slots=True, kw_only=True)
class Findings:
    """What the files of an upload show."""

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
        decided = {name: place.kind for name, place in places.items() if place.kind is not None}
        # A column without a value in the upload has the type of the table.
        table = {f.name.lower(): f for f in expected or () if not is_variant(f.name)}
        return UploadTypes(
            places={name: p for name, p in places.items() if name in self.records.shape.fields},
            kinds={name: field.type for name, field in table.items()} | decided,
            names={name: field.name for name, field in table.items()}
            | {name: place.name for name, place in places.items()},
        )


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
    findings = Findings()
    for file in files:
        try:
            file.survey(findings)
        except (UnreadableSource, UnsupportedFormat) as error:
            if unreadable is None:
                raise
            unreadable[file.file.name] = error
    return findings.types(expected)
