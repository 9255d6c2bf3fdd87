"""Records of JSON as a table in the types of their whole upload.

Invariant: each record is a row; what does not fit its column is in the variant beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa

from lake_assets.errors import UnreadableSource
from lake_assets.intake.readers.json_fit import Unforeseen, columns_of, without_unused
from lake_assets.intake.readers.json_records import Block
from lake_assets.intake.readers.places import Place, places_of
from lake_assets.intake.readers.source import (
    Chunk,
    DataFile,
    in_order,
    numbers_of,
    table_of,
)
from lake_assets.intake.readers.survey import Survey

Places = Mapping[str, Place]
"""The columns of an upload's JSON, by their names in lower case."""


def own_places(survey: Survey, expected: pa.Schema | None) -> dict[str, Place]:
    """Return the columns of records that are all there is."""
    return places_of(survey.shape, expected, survey.witness.order(), is_certain=True)


def table_of_records(places: Places, block: Block) -> pa.Table:
    """Return the records as rows; variants that may be needed may be without a value.

    Raises:
        Unforeseen: A record has a value that the survey did not see.
    """
    return table_of(columns_of(block.values, places), len(block.values))


def chunk_of(file: DataFile, places: Places, block: Block) -> Chunk:
    """Return the records of a block, and the rejections of what was none.

    Raises:
        UnreadableSource: The file has changed since it was surveyed.
    """
    with as_surveyed(file):
        rows = without_unused(table_of_records(places, block), places)
    return Chunk(rows=rows, numbers=numbers_of(block.numbers), rejected=in_order(block.rejected))


@contextmanager
def as_surveyed(file: DataFile) -> Iterator[None]:
    """Turn ``Unforeseen`` into the error that says which file it is."""
    try:
        yield
    except Unforeseen as error:
        raise UnreadableSource(
            f"{file.name} changed while it was read. Deliver it again.", file=file.name
        ) from error
