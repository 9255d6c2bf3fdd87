"""Sort a batch's rows: those with a usable image, those that fit, and what makes each one itself.

Plain functions over Arrow data; ``rows.py`` writes and counts what they return.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.drift import Misfit
from lake_assets.contracts.identity import keyed_record_ids, positional_record_ids
from lake_assets.contracts.names import Destination, VariantName
from lake_assets.contracts.tasks import TaskContract
from lake_assets.contracts.variants import main_name
from lake_assets.errors import SchemaMismatch
from lake_assets.ingest.images import SeenBatch, StoredFacts
from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers.row_json import arrow_row_json
from lake_assets.intake.uploads import Upload
from lake_assets.storage.system_tables import INSTANT, columns_of
from lake_assets.storage.tables import partition_field_name

Contract = DatasetContract | TaskContract

_MAX_PARTITION_BYTES = 1024
"""Parquet keeps no statistics of values over 4 KiB, and a partition's value is read from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of one file, with what is known of each besides its columns."""

    file: str
    table: Any
    """``pyarrow.Table`` of the delivery's own columns."""
    row_numbers: Any
    """``pyarrow.Int64Array``: number of each row in its file."""
    shas: Sequence[str | None]
    """SHA-256 of each row's image."""
    has_images: bool
    """Whether the upload has images at all."""

    def take(self, table: Any, kept: Any) -> Rows:
        """Return the rows at the positions ``kept``, ascending, with ``table`` as their columns."""
        if len(kept) == len(self.shas):
            return replace(self, table=table)
        return Rows(
            file=self.file,
            table=table,
            row_numbers=self.row_numbers.take(kept),
            shas=[self.shas[position] for position in kept.to_pylist()],
            has_images=self.has_images,
        )

    def with_table(self, table: Any) -> Rows:
        """Return the same rows with other columns."""
        return replace(self, table=table)


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedBatch:
    """A batch of rows, those apart that cannot go into their table."""

    file: str
    row_count: int
    """All rows, rejected ones among them."""
    rows: Rows
    rejected: tuple[RejectedRow, ...]
    images_in: int = 0
    """Rows that bring an image."""
    image_bytes_in: int = 0
    """Size of those images, each time one is used."""
    stored: Sequence[StoredFacts] = ()
    """Images that this batch is the first to have."""


def sorted_batch(seen: SeenBatch) -> SortedBatch:
    """Return a batch with the rows apart whose image cannot be used."""
    batch = seen.batch
    count = batch.rows.num_rows + len(batch.rejected)
    everything = Rows(
        file=batch.file,
        table=batch.rows,
        row_numbers=batch.row_numbers,
        shas=seen.shas,
        has_images=batch.images is not None,
    )
    if batch.images is None:
        return SortedBatch(
            file=batch.file, row_count=count, rows=everything, rejected=batch.rejected
        )
    bad = [n for n, sha in enumerate(seen.shas) if sha in seen.unusable]
    gone = set(bad)
    good = [n for n in range(len(seen.shas)) if n not in gone]
    kept = pa.array(good, pa.int64())
    return SortedBatch(
        file=batch.file,
        row_count=count,
        # Not `Table.take`, which forgets how many rows a table without columns has.
        rows=everything.take(batch.rows.filter(_mask(len(seen.shas), gone)), kept)
        if bad
        else everything,
        rejected=(*batch.rejected, *(_unusable_image(seen, n) for n in bad)),
        images_in=sum(seen.shas[n] is not None for n in good),
        image_bytes_in=sum(seen.byte_counts[n] for n in good),
        stored=seen.stored,
    )


def _mask(length: int, gone: set[int]) -> Any:
    return pa.array((position not in gone for position in range(length)), pa.bool_())


def _unusable_image(seen: SeenBatch, position: int) -> RejectedRow:
    sha = seen.shas[position]
    unusable = seen.unusable[sha or ""]
    images = seen.batch.images or ()
    ref = images[position]
    return RejectedRow(
        file=seen.batch.file,
        row=seen.batch.row_numbers[position].as_py(),
        rule=unusable.rule,
        path=ref.name if ref else "",
        expected=unusable.expected,
        actual=unusable.actual,
        row_json=arrow_row_json(seen.batch.rows, position),
    )


def misfit_row(rows: Rows, misfit: Misfit) -> RejectedRow:
    """Return the rejected row for a value that neither a column nor JSON can hold."""
    return rejected_row(
        rows, misfit.row, rule="value_fits_its_column", path=misfit.path,
        expected=misfit.expected, actual=misfit.actual,
    )  # fmt: skip


def rejected_row(
    rows: Rows, position: int, *, rule: str, path: str, expected: str, actual: str
) -> RejectedRow:
    """Return the rejection of the row at a position of ``rows``."""
    return RejectedRow(
        file=rows.file,
        row=rows.row_numbers[position].as_py(),
        rule=rule,
        path=path,
        expected=expected,
        actual=actual,
        row_json=arrow_row_json(rows.table, position),
    )


def check_unique_columns(table: Any, contract: Contract) -> None:
    """Raise unless ``table``, as delivered, has values for each column that makes a row unique.

    Rows without one of them would be the same row, however they differ.

    Raises:
        SchemaMismatch.
    """
    delivered = {main_name(name).lower() for name in table.column_names}
    missing = [name for name in contract.key if name.lower() not in delivered]
    if missing and table.num_rows:
        raise SchemaMismatch(
            f"the contract says unique_by: {', '.join(contract.key)}; the delivery lacks "
            f"{', '.join(missing)}, or has no value there. Add the column, or correct the contract",
            columns=missing,
        )


def unique_key(rows: Rows, contract: Contract) -> Any | None:
    """Return the columns that make a row unique, or None where two equal rows are two rows.

    With their variants: whether a value fits its column says nothing about which row it is.
    """
    if not contract.key:
        brings_images = rows.has_images and isinstance(contract, DatasetContract)
        return rows.table if brings_images else None
    wanted = {name.lower() for name in contract.key}
    names = rows.table.column_names
    return rows.table.select([name for name in names if main_name(name).lower() in wanted])


def split_keyless(rows: Rows, contract: Contract) -> tuple[Rows, tuple[RejectedRow, ...]]:
    """Return the rows that have a key, and the rejections of those that have none of it.

    All rows without a key would have one and the same, and be duplicates of the first.
    """
    key = unique_key(rows, contract) if contract.key else None
    if key is None or not rows.shas:
        return rows, ()
    everything = pa.array([True] * len(rows.shas))
    keyless = functools.reduce(pc.and_, (column.is_null() for column in key.columns), everything)
    bad = pc.indices_nonzero(keyless).to_pylist()
    if not bad:
        return rows, ()
    kept = pc.indices_nonzero(pc.invert(keyless)).cast(pa.int64())
    rejected = tuple(
        rejected_row(
            rows, position, rule="unique_key_is_present", path=", ".join(contract.key),
            expected="a value in at least one column of the key", actual="null",
        )
        for position in bad
    )  # fmt: skip
    return rows.take(rows.table.take(kept), kept), rejected


def record_ids(
    rows: Rows, contract: Contract, *, name: Destination, upload_id: str, number: int
) -> Any:
    """Return ``_record_id`` of each row, as ``pyarrow.StringArray``.

    Args:
        number: Of the rows' file in its upload.
    """
    key = unique_key(rows, contract)
    if key is None:
        return positional_record_ids(upload_id, number, rows.row_numbers)
    images = None if contract.key else rows.shas
    # Variants share a table, and the same key in two of them is two records.
    variant = str(name) if isinstance(name, VariantName) else None
    return pa.array(keyed_record_ids(key, images=images, variant=variant), pa.string())


def lake_rows(rows: Rows, ids: Any, contract: Contract, upload: Upload, *, now: datetime) -> Any:
    """Return the rows as they go into their table, the lake's columns first."""
    count = len(rows.shas)  # a table without columns does not know how many rows it has
    name = upload.name
    lake_columns = [
        ids,
        pa.repeat(pa.scalar(upload.id), count),
        pa.repeat(pa.scalar(now, INSTANT), count),
        pa.array(rows.shas, pa.string()) if rows.has_images else pa.nulls(count, pa.string()),
    ]
    if isinstance(name, VariantName):
        values = (name.provider, name.dataset, name.variant)
        lake_columns += [pa.repeat(pa.scalar(value), count) for value in values]
        lake_columns.append(_contents(rows, contract))
    schema = pa.schema([*columns_of(name), *rows.table.schema])
    return pa.table([*lake_columns, *rows.table.columns], schema=schema)


def _contents(rows: Rows, contract: Contract) -> Any:
    """Return a hash of what each record says; null where two equal records are two anyway."""
    if unique_key(rows, contract) is None:
        return pa.nulls(len(rows.shas), pa.string())
    return pa.array(keyed_record_ids(rows.table, images=rows.shas), pa.string())


def clashing_rows(
    rows: Rows, contract: Contract, positions: Sequence[int]
) -> tuple[RejectedRow, ...]:
    """Return the rejections of records that say otherwise than the one that has their key."""
    return tuple(
        RejectedRow(
            file=rows.file,
            row=rows.row_numbers[position].as_py(),
            rule="keys_are_unique",
            path=", ".join(contract.key),
            expected="one record for each key",
            actual=f"another record for {_key_text(rows, contract, position)}",
            row_json=arrow_row_json(rows.table, position),
        )
        for position in positions
    )


def _key_text(rows: Rows, contract: Contract, position: int) -> str:
    key = unique_key(rows, contract)
    return arrow_row_json(key, position) if key is not None else ""


def check_partition_columns(table: Any, partition_by: tuple[tuple[str, str], ...]) -> None:
    """Raise unless the rows of ``table`` can be parted as their dataset's table is.

    Raises:
        SchemaMismatch: a column is missing, or of a type that its transform does not take.
    """
    if not table.num_rows:
        return
    for transform, column in partition_by:
        if column not in table.column_names:
            raise SchemaMismatch(
                f"the dataset's table is partitioned by {column!r}, which the delivery lacks, or "
                "has no value in; add it, or correct partition_by before the first upload",
                column=column,
            )
        taken = partition_field_name(transform, column)
        if taken != column and taken in table.column_names:
            raise SchemaMismatch(
                f"{taken!r} is how the dataset's table names its partitions; rename that column",
                column=taken,
            )
        kind = table.schema.field(column).type
        if transform == "identity" and _is_too_long(table[column]):
            raise SchemaMismatch(
                f"the dataset's table is partitioned by {column}, of which a value has more than "
                f"{_MAX_PARTITION_BYTES} bytes; partition by a shorter column",
                column=column,
            )
        if not _can_part(kind, transform):
            raise SchemaMismatch(
                f"the dataset's table is partitioned by {transform}({column}), but {column} is "
                f"{kind} in the delivery; correct partition_by before the first upload",
                column=column,
            )


def _is_too_long(column: Any) -> bool:
    """Return whether Parquet would keep no statistics of a value, which name its partition."""
    if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        return False
    longest = pc.max(pc.binary_length(column)).as_py()
    return longest is not None and longest > _MAX_PARTITION_BYTES


def _can_part(kind: Any, transform: str) -> bool:
    """Return whether an Iceberg transform takes a type (https://iceberg.apache.org/spec)."""
    if transform == "identity":
        return not pa.types.is_nested(kind)
    is_date = pa.types.is_date(kind) and transform != "hour"
    return bool(is_date or pa.types.is_timestamp(kind))
