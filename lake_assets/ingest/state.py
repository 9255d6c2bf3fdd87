"""What a dataset holds already: columns, record ids, images and data files.

One state serves all uploads of a dataset that are ingested together; each sees what those before
it brought. Invariant: an upload that fails leaves no trace in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.growth import grow_schema
from lake_assets.contracts.names import DatasetName, Destination
from lake_assets.contracts.rewrites import Wanted, with_types
from lake_assets.contracts.tasks import TaskContract
from lake_assets.ingest.images import Unusable
from lake_assets.ingest.model import DataFile
from lake_assets.ingest.seen import SeenKeys
from lake_assets.query.duckdb import LakeSql
from lake_assets.storage.system_tables import IMAGES, UPLOADS, columns_of
from lake_assets.stores import Stores


@dataclass(slots=True, kw_only=True)
class DatasetState:
    """Grows while uploads are prepared. Build it with ``open_state``."""

    name: Destination
    contract: DatasetContract | TaskContract
    own_columns: Any
    """``pyarrow.Schema`` of its own columns so far, those that are promised among them."""
    declared: Any
    """``pyarrow.Schema`` of the columns that the contract promises, spelled as the table does."""
    table_columns: Any | None
    """Those that its table has; None: there is no table yet, nor an upload that makes it."""
    table_schema: Any | None
    """Of its table with the lake's columns, as it was read; None: there was none."""
    partition_by: tuple[tuple[str, str], ...]
    images: SeenKeys
    """SHA-256 of its images; of a variant: none."""
    unusable: dict[str, Unusable] = field(default_factory=dict)
    """Images of the upload at hand that cannot be used, by SHA-256.

    Of that upload alone: its staged copy may be damaged, or the machine was too busy to decode it.
    """
    stores: Stores
    is_empty: bool
    """Whether to begin without rows (a rebuild)."""
    prepared_files: Callable[[], Iterable[str]] = tuple
    """Gives the paths of files with the rows of uploads that are prepared, and not committed."""
    grown: Wanted = field(default_factory=dict)
    """Places that take another type for the upload at hand; None: decided anew."""
    _ungrown: Any | None = field(default=None, repr=False)
    """``own_columns`` before that."""
    _records: SeenKeys | None = field(default=None, repr=False)
    _contents: SeenKeys | None = field(default=None, repr=False)
    _data_files: dict[str, int] | None = field(default=None, repr=False)
    _new_data_files: dict[str, int] = field(default_factory=dict, repr=False)
    """What was brought before they were read."""

    @property
    def expected(self) -> Any:
        """Columns as which files are read (``pyarrow.Schema``): what is promised by now as that,

        whatever type its column has from before.
        """
        return grow_schema(self.declared, self.own_columns)

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
            self._records = self._seen("_record_id")
        return self._records

    @property
    def contents(self) -> SeenKeys:
        """Hashes of what its records say, if they have a key; read only once one is asked for."""
        if self._contents is None:
            self._contents = self._seen("_content")
        return self._contents

    def _seen(self, column: str) -> SeenKeys:
        name, stores = self.name, self.stores
        files = () if self.is_empty else _files(stores, name.table, name.table_rows)
        return SeenKeys(
            files,
            column=column,
            where=_condition(name.table_rows),
            scratch=stores.layout.scratch,
            warehouse=stores.tables.warehouse,
        )

    def files(self) -> Iterator[str]:
        """Yield the paths of all files whose rows are, or are to be, in its table."""
        # A rebuild replaces those of a dataset; a task's table has other datasets' rows too.
        if not (self.is_empty and isinstance(self.name, DatasetName)):
            yield from reversed(_files(self.stores, self.name.table))
        yield from self.prepared_files()

    def grow(self, types: Wanted) -> None:
        """Have places take other types, for the upload at hand and those after it."""
        self.grown |= types
        self._ungrown = self.own_columns if self._ungrown is None else self._ungrown
        self.own_columns = with_types(self.own_columns, types)

    def remember(self, own_columns: Any, data_files: tuple[DataFile, ...]) -> None:
        """Take in what an upload that is prepared brought."""
        self.own_columns = own_columns
        # A column that was to be decided anew, and then had no value, is in the table all the same.
        self.table_columns = grow_schema(own_columns, self.table_columns or ())
        self.grown, self._ungrown = {}, None
        known = self._new_data_files if self._data_files is None else self._data_files
        known.update({file.sha256: file.rows for file in data_files})
        self.images.drop(self.unusable)
        self.unusable = {}

    def forget(self, upload_id: str) -> None:
        """Take back what an upload that failed brought."""
        if self._ungrown is not None:
            self.own_columns = self._ungrown
        self.grown, self._ungrown = {}, None
        self.forget_rows(upload_id)

    def forget_rows(self, upload_id: str) -> None:
        """Take back its rows, but not the types that the upload needs."""
        self.images.forget(upload_id)
        self.unusable = {}
        for seen in (self._records, self._contents):
            if seen is not None:
                seen.forget(upload_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for seen in (self.images, self._records, self._contents):
            if seen is not None:
                seen.close()


def open_state(
    stores: Stores,
    name: Destination,
    contract: DatasetContract | TaskContract,
    *,
    is_empty: bool,
) -> DatasetState:
    """Return what ``name`` holds.

    Args:
        is_empty: Begin as if it held no rows: a rebuild reads every upload again.
    """
    where = {"provider": name.provider, "dataset": name.dataset}
    table_spec = stores.tables.partition_by(name.table)
    schema = stores.tables.schema(name.table)
    table_columns = None if schema is None else _without_lakes(name, schema)
    declared = promised_columns(contract, table_columns)
    has_images = isinstance(name, DatasetName) and not is_empty
    image_files = _files(stores, IMAGES.name, where) if has_images else ()
    return DatasetState(
        name=name,
        contract=contract,
        own_columns=_own_columns(contract, table_columns, declared, is_empty=is_empty),
        declared=declared,
        table_columns=table_columns,
        table_schema=schema,
        partition_by=contract.partition_fields() if table_spec is None else table_spec,
        images=SeenKeys(
            image_files,
            column="sha256",
            where=_condition(where),
            scratch=stores.layout.scratch,
            warehouse=stores.tables.warehouse,
        ),
        stores=stores,
        is_empty=is_empty,
    )


def _own_columns(
    contract: DatasetContract | TaskContract,
    table: Any | None,
    declared: Any,
    *,
    is_empty: bool,
) -> Any:
    own = pa.schema([]) if table is None else table
    if not is_empty:
        return grow_schema(own, declared)
    # A rebuild has the types of the contract. Others are, in a task's table, those that other
    # variants' rows have; in a dataset's, all rows decide, as for a first upload.
    if isinstance(contract, TaskContract) or contract.drift != "evolve":
        return grow_schema(declared, own)
    parted = {column for _, column in contract.partition_fields()}
    return grow_schema(pa.schema([column for column in own if column.name in parted]), declared)


def promised_columns(contract: DatasetContract | TaskContract, table: Any | None) -> Any:
    """Return the columns that a contract promises (``pyarrow.Schema``), spelled as the table does.

    Args:
        table: ``pyarrow.Schema``; None: there is none yet.
    """
    spelled = {name.lower(): name for name in ([] if table is None else table.names)}
    promised = contract.promised_columns()
    if isinstance(contract, TaskContract):  # whose other rules name them as the contract does
        return promised
    return pa.schema([f.with_name(spelled.get(f.name.lower(), f.name)) for f in promised])


def _without_lakes(name: Destination, schema: Any) -> Any:
    lake_columns = columns_of(name).names
    return pa.schema([field for field in schema if field.name not in lake_columns])


def _condition(where: dict[str, str]) -> str:
    """Return the SQL condition that columns have these values, which are names."""
    return " AND ".join(f"{column} = '{value}'" for column, value in where.items()) or "true"


def _files(stores: Stores, table: str, where: dict[str, str] | None = None) -> tuple[str, ...]:
    if not stores.tables.exists(table):
        return ()
    return stores.tables.data_files(table, where=where)


def _delivered_files(stores: Stores, name: Destination) -> dict[str, int]:
    if not stores.tables.exists(UPLOADS.name):
        return {}
    # Through DuckDB: PyIceberg's own scan of fifty ledger files takes five times as long.
    found = LakeSql(stores.tables, scratch=stores.layout.scratch).rows(
        UPLOADS.name,
        f"""SELECT file.sha256, file.rows FROM (
                SELECT unnest(data_files) AS file FROM {{table}}
                WHERE {_condition(name.own_rows)})""",
        (),
        prune={"provider": name.provider, "dataset": name.dataset},
    )
    return dict(found)
