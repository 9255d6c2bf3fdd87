"""What a dataset holds already: columns, record ids, images and data files.

One state serves all uploads of a dataset that are ingested together; each sees what those before
it brought. Invariant: an upload that fails leaves no trace in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import DatasetContract
from lake_assets.ingest.images import Unusable
from lake_assets.ingest.model import DataFile
from lake_assets.ingest.seen import SeenKeys
from lake_assets.query.duckdb import LakeSql
from lake_assets.storage.system_tables import IMAGES, RAW_COLUMNS, UPLOADS
from lake_assets.stores import Stores


@dataclass(slots=True, kw_only=True)
class DatasetState:
    """Grows while uploads are prepared. Build it with ``open_state``."""

    name: DatasetName
    contract: DatasetContract
    own_columns: Any
    """``pyarrow.Schema`` of the dataset's own columns so far."""
    partition_by: tuple[tuple[str, str], ...]
    images: SeenKeys
    """SHA-256 of its images."""
    unusable: dict[str, Unusable] = field(default_factory=dict)
    """Images of the upload at hand that cannot be used, by SHA-256.

    Of that upload alone: its staged copy may be damaged, or the machine was too busy to decode it.
    """
    stores: Stores
    is_empty: bool
    """Whether to begin without rows (a rebuild)."""
    _records: SeenKeys | None = field(default=None, repr=False)
    _data_files: dict[str, int] | None = field(default=None, repr=False)
    _new_data_files: dict[str, int] = field(default_factory=dict, repr=False)
    """What was brought before they were read."""

    @property
    def data_files(self) -> dict[str, int]:
        """Rows of each data file that was delivered, by SHA-256.

        Read only once they are asked for: a folder of images asks for none, and the ledger has a
        file for each of many uploads.
        """
        if self._data_files is None:
            before = {} if self.is_empty else _delivered_files(self.stores, self.name)
            self._data_files = before | self._new_data_files
        return self._data_files

    @property
    def records(self) -> SeenKeys:
        """Record ids in its table; read only once a row rule needs them."""
        if self._records is None:
            files = () if self.is_empty else _files(self.stores, self.name.table)
            self._records = SeenKeys(
                files,
                column="_record_id",
                scratch=self.stores.layout.scratch,
                warehouse=self.stores.tables.warehouse,
            )
        return self._records

    def remember(self, own_columns: Any, data_files: tuple[DataFile, ...]) -> None:
        """Take in what an upload that is prepared brought."""
        self.own_columns = own_columns
        known = self._new_data_files if self._data_files is None else self._data_files
        known.update({file.sha256: file.rows for file in data_files})
        self.images.drop(self.unusable)
        self.unusable = {}

    def forget(self, upload_id: str) -> None:
        """Take back what an upload that failed brought."""
        self.images.forget(upload_id)
        self.unusable = {}
        if self._records is not None:
            self._records.forget(upload_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.images.close()
        if self._records is not None:
            self._records.close()


def open_state(
    stores: Stores, name: DatasetName, contract: DatasetContract, *, is_empty: bool
) -> DatasetState:
    """Return what ``name`` holds.

    Args:
        is_empty: Begin as if it held no rows: a rebuild reads every upload again.
    """
    where = {"provider": name.provider, "dataset": name.dataset}
    table_spec = stores.tables.partition_by(name.table)
    image_files = () if is_empty else _files(stores, IMAGES.name, where)
    return DatasetState(
        name=name,
        contract=contract,
        # A rebuild too: the table keeps its columns, and a type cannot be made narrower or another.
        own_columns=_own_columns(stores.tables.schema(name.table)),
        partition_by=contract.partition_fields() if table_spec is None else table_spec,
        images=SeenKeys(
            image_files,
            column="sha256",
            where=f"provider = '{name.provider}' AND dataset = '{name.dataset}'",
            scratch=stores.layout.scratch,
            warehouse=stores.tables.warehouse,
        ),
        stores=stores,
        is_empty=is_empty,
    )


def _own_columns(schema: Any | None) -> Any:
    if schema is None:
        return pa.schema([])
    return pa.schema([field for field in schema if field.name not in RAW_COLUMNS.names])


def _files(stores: Stores, table: str, where: dict[str, str] | None = None) -> tuple[str, ...]:
    if not stores.tables.exists(table):
        return ()
    return stores.tables.data_files(table, where=where)


def _delivered_files(stores: Stores, name: DatasetName) -> dict[str, int]:
    if not stores.tables.exists(UPLOADS.name):
        return {}
    # Through DuckDB: PyIceberg's own scan of fifty ledger files takes five times as long.
    found = LakeSql(stores.tables, scratch=stores.layout.scratch).rows(
        UPLOADS.name,
        """SELECT file.sha256, file.rows FROM (
                SELECT unnest(data_files) AS file FROM {table}
                WHERE provider = $1 AND dataset = $2)""",
        (name.provider, name.dataset),
        prune={"provider": name.provider, "dataset": name.dataset},
    )
    return dict(found)
