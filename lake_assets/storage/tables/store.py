"""The Iceberg table store. With its neighbours in this folder, the only importer of PyIceberg.

Invariants: a delivery's key is in a table's snapshot summaries exactly when its rows are in the
table; a commit adds all of its parts or none; a commit that is repeated changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pyiceberg.exceptions import (
    NoSuchNamespaceError,
    NoSuchTableError,
)
from pyiceberg.table import Table, Transaction
from pyiceberg.transforms import parse_transform
from sqlalchemy.exc import OperationalError

from lake_assets.errors import SchemaMismatch, UnknownTable
from lake_assets.storage.tables.arrow_types import plain_schema
from lake_assets.storage.tables.catalog import LakeCatalog
from lake_assets.storage.tables.commits import (
    add_parts,
    any_of,
    equal,
    grow,
    keys_in,
    overwrite,
    require_distinct_paths,
    retried,
    unseen,
)
from lake_assets.storage.tables.leases import Lease, Leases
from lake_assets.storage.tables.model import (
    Commit,
    Delivery,
    TableFacts,
    TableSpec,
    partition_field_name,
)
from lake_assets.storage.tables.parts import PartWriter
from lake_assets.storage.tables.trouble import table_errors

_PROPERTIES = {
    "format-version": "2",
    # A commit adds a manifest; from a hundred on they are merged, so planning a scan does not
    # become dearer for ever.
    "commit.manifest-merge.enabled": "true",
    # A commit writes the metadata anew. `lake repair` can go back to one of the last twenty.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


class IcebergTables:
    """Tables below one folder, named by a SQLite catalog.

    Args:
        warehouse: Folder of the tables; each lies in ``<namespace>/<table>``.
        catalog_file: SQLite file; made when missing.
        lease_timeout_s: See ``Leases``.
    """

    def __init__(
        self, warehouse: Path, catalog_file: Path, *, lease_timeout_s: float = 60.0
    ) -> None:
        self._warehouse = warehouse
        self._catalog_file = catalog_file
        self._lease_timeout_s = lease_timeout_s

    @cached_property
    def _catalog(self) -> LakeCatalog:
        try:
            return LakeCatalog(self._warehouse, self._catalog_file)
        except OperationalError:  # another process made the catalog's tables at the same time
            with table_errors():
                return LakeCatalog(self._warehouse, self._catalog_file)

    @cached_property
    def leases(self) -> Leases:
        """Who works on which dataset; kept next to the tables' pointers."""
        return Leases(lambda: self._catalog.engine, timeout_s=self._lease_timeout_s)

    def close(self) -> None:
        """Close the catalog's connections."""
        if "_catalog" in self.__dict__:
            self._catalog.close()
            del self.__dict__["_catalog"]

    # -- what is there

    def names(self) -> tuple[str, ...]:
        """Return all table names, sorted."""
        found = []
        with table_errors():
            for namespace in self._catalog.list_namespaces():
                found += [".".join(name) for name in self._catalog.list_tables(namespace)]
        return tuple(sorted(found))

    def exists(self, table: str) -> bool:
        """Return whether the catalog knows ``table``."""
        return self._find(table) is not None

    def schema(self, table: str) -> Any | None:
        """Return the table's present ``pyarrow.Schema``, or None if there is no such table."""
        found = self._find(table)
        return None if found is None else _arrow_schema(found)

    def partition_by(self, table: str) -> tuple[tuple[str, str], ...] | None:
        """Return the (transform, column) pairs of ``table``'s spec, or None if there is none."""
        found = self._find(table)
        if found is None:
            return None
        names = {field.field_id: field.name for field in found.schema().fields}
        return tuple((str(item.transform), names[item.source_id]) for item in found.spec().fields)

    def facts(self, table: str) -> TableFacts:
        """Return the state of ``table``.

        Raises:
            UnknownTable.
        """
        found = self._require(table)
        snapshot = found.current_snapshot()
        totals = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
        return TableFacts(
            name=table,
            location=found.location(),
            rows=int(totals.get("total-records", 0)),
            byte_count=int(totals.get("total-files-size", 0)),
            file_count=int(totals.get("total-data-files", 0)),
            snapshot_id=snapshot.snapshot_id if snapshot else None,
            committed_at=_instant(snapshot.timestamp_ms) if snapshot else None,
            columns=tuple(
                (field.name, str(field.field_type), field.doc or "")
                for field in found.schema().fields
            ),
        )

    def committed(self, table: str, keys: Sequence[str]) -> frozenset[str]:
        """Return those of ``keys`` whose deliveries ``table`` has already."""
        found = self._find(table)
        return frozenset() if found is None else keys_in(found) & frozenset(keys)

    def data_files(self, table: str, *, where: dict[str, str] | None = None) -> tuple[str, ...]:
        """Return the paths of the Parquet files that hold the table's rows now.

        Args:
            where: Column → value: leave out files that can't hold such rows.

        Raises:
            UnknownTable.
            SchemaMismatch: if the table has delete files, so that its files hold more than it.
        """
        scan = self._require(table).scan(row_filter=equal(where or {}))
        with table_errors():
            tasks = list(scan.plan_files())
        if any(task.delete_files for task in tasks):
            raise SchemaMismatch(f"{table} has delete files; read it with `read`", table=table)
        return tuple(task.file.file_path.removeprefix("file://") for task in tasks)

    def has_delete_files(self, table: str) -> bool:
        """Return whether some rows of the table's files are deleted."""
        snapshot = self._require(table).current_snapshot()
        totals = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
        return int(totals.get("total-delete-files", 0)) > 0

    def read(
        self,
        table: str,
        *,
        where: dict[str, str] | None = None,
        columns: tuple[str, ...] = ("*",),
        limit: int | None = None,
    ) -> Any:
        """Return rows of ``table`` as a ``pyarrow.Table``.

        Args:
            where: Column → value that the rows have; None: all rows.
            columns: Names of those to read.
            limit: At most so many rows, any of them.

        Raises:
            UnknownTable.
        """
        scan = self._require(table).scan(
            row_filter=equal(where or {}), selected_fields=columns, limit=limit
        )
        with table_errors():
            rows = scan.to_arrow()
        return rows.cast(plain_schema(rows.schema))

    # -- writing

    def part_writer(self, spec: TableSpec, *, stem: str) -> PartWriter:
        """Return a writer of parts for ``spec``'s table, which need not exist yet."""
        return PartWriter(self.data_folder(spec.name), stem=stem, partition_by=spec.partition_by)

    def data_folder(self, table: str) -> Path:
        """Return the folder of the table's Parquet files."""
        return self._location(table) / "data"

    def require_fit(self, spec: TableSpec) -> None:
        """Raise unless the table can take the columns of ``spec``. Nothing is changed.

        Raises:
            SchemaMismatch: now, rather than at a commit that others depend on.
        """
        require_distinct_paths(spec)
        table = self._find(spec.name)
        if table is not None:
            grow(table.transaction(), spec)  # a transaction that is never committed

    def append_once(
        self, spec: TableSpec, deliveries: Sequence[Delivery], *, lease: Lease | None = None
    ) -> Commit:
        """Add all deliveries that the table lacks, in one commit; make or grow the table first.

        A delivery whose keys the table has is skipped, so repeating a call changes nothing.

        Args:
            lease: Commit only while this is held.

        Raises:
            CommitConflict: when other writers won the race too often.
            LeaseLost: and nothing is changed.
            SchemaMismatch: when the parts cannot be columns of the table.
            UnknownOutcome: when it could not be found out whether the commit happened.
        """

        def attempt() -> Commit:
            table = self._find(spec.name)
            known = keys_in(table) if table else frozenset()
            wanted = unseen(deliveries, known)
            snapshot_id = self._append(table, spec, wanted) if wanted else None
            skipped = [item for item in deliveries if item not in wanted]
            return _commit(spec, wanted, snapshot_id, skipped=skipped)

        with self._catalog.fenced(lease):
            return retried(attempt, spec.name, looks_up=True)

    def replace(
        self,
        spec: TableSpec,
        deliveries: Sequence[Delivery],
        *,
        where: Sequence[dict[str, str]] | None = None,
        lease: Lease | None = None,
    ) -> Commit:
        """Put the deliveries in the place of the rows that ``where`` selects, in one commit.

        Args:
            where: Rows to go: any of these column → value sets; None: all rows.
            lease: Commit only while this is held.
        """

        def attempt() -> Commit:
            table = self._find(spec.name)
            if table is None:
                snapshot_id = self._append(None, spec, deliveries)
            else:
                overwrite(table, spec, deliveries, any_of(where))
                snapshot_id = _current_snapshot_id(table)
            return _commit(spec, deliveries, snapshot_id)

        with self._catalog.fenced(lease):
            return retried(attempt, spec.name)

    # -- inside

    def _location(self, table: str) -> Path:
        namespace, _, name = table.partition(".")
        return self._warehouse / namespace / name

    def _find(self, table: str) -> Table | None:
        try:
            with table_errors():
                return self._catalog.load_table(table)
        except (NoSuchTableError, NoSuchNamespaceError):
            return None

    def _require(self, table: str) -> Table:
        found = self._find(table)
        if found is None:
            known = ", ".join(self.names()) or "none yet"
            raise UnknownTable(f"no table {table} (known: {known})", table=table)
        return found

    def _append(
        self, table: Table | None, spec: TableSpec, deliveries: Sequence[Delivery]
    ) -> int | None:
        if table is None:
            if not _can_be_made(spec, deliveries):
                return None
            transaction = self._create(spec)
        else:
            transaction = table.transaction()
            grow(transaction, spec)
        add_parts(transaction, deliveries)
        return _current_snapshot_id(transaction.commit_transaction())

    def _create(self, spec: TableSpec) -> Transaction:
        self._catalog.create_namespace_if_not_exists(spec.name.partition(".")[0])
        transaction: Transaction = self._catalog.create_table_transaction(
            spec.name,
            spec.schema,
            location=str(self._location(spec.name)),
            properties={**_PROPERTIES, "comment": spec.description},
        )
        if spec.partition_by:
            with transaction.update_spec() as update:
                for transform, column in spec.partition_by:
                    name = partition_field_name(transform, column)
                    update.add_field(column, parse_transform(transform), name)
        return transaction


def _commit(
    spec: TableSpec,
    deliveries: Sequence[Delivery],
    snapshot_id: int | None,
    *,
    skipped: Sequence[Delivery] = (),
) -> Commit:
    return Commit(
        table=spec.name,
        keys=tuple(key for item in deliveries for key in item.keys),
        skipped=tuple(key for item in skipped for key in item.keys),
        rows=sum(part.rows for item in deliveries for part in item.parts),
        snapshot_id=snapshot_id,
    )


def _can_be_made(spec: TableSpec, deliveries: Sequence[Delivery]) -> bool:
    """Return False while there are no rows, nor the columns that the table is partitioned by."""
    names = set(spec.schema.names)
    is_whole = all(column in names for _, column in spec.partition_by)
    return is_whole or any(item.parts for item in deliveries)


def _current_snapshot_id(table: Table) -> int | None:
    snapshot = table.current_snapshot()
    return snapshot.snapshot_id if snapshot else None


def _instant(timestamp_ms: int) -> datetime:
    return datetime.fromtimestamp(timestamp_ms / 1000, tz=UTC)


def _arrow_schema(table: Table) -> Any:
    return plain_schema(table.schema().as_arrow())
