"""The Iceberg table store. With its neighbours in this folder, the only importer of PyIceberg.

PyIceberg is imported where a table is written or planned: importing it takes longer than most
commands, and a table that has not changed is read by the plan that was kept of it.

Invariants: a delivery's key is proved (``proofs``) exactly when its rows are in the table; a commit
adds all of its parts or none; a commit that is repeated changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

from lake_assets.errors import SchemaMismatch, UnknownTable
from lake_assets.imports import uncollected
from lake_assets.storage.tables.arrow_types import plain_schema
from lake_assets.storage.tables.commits import (
    add_parts,
    any_of,
    can_be_made,
    commit_of,
    equal,
    grow,
    keys_of,
    lost_race_of_columns,
    overwrite,
    require_distinct_paths,
    retried,
    schema_change,
    unseen,
)
from lake_assets.storage.tables.creation import creation_of
from lake_assets.storage.tables.locations import location_of
from lake_assets.storage.tables.model import (
    Commit,
    Delivery,
    Lease,
    TableFacts,
    TableSpec,
)
from lake_assets.storage.tables.plans import Plans, TablePlan, facts_of, has_delete_files, plan_of
from lake_assets.storage.tables.trouble import table_errors

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from lake_assets.storage.tables.catalog import LakeCatalog
    from lake_assets.storage.tables.leases import Leases
    from lake_assets.storage.tables.parts import PartWriter


class IcebergTables:
    """Tables below one folder, named by a SQLite catalog.

    Args:
        warehouse: Folder of the tables; each lies in ``<namespace>/<table>``.
        catalog_file: SQLite file; made when missing.
        plans: Folder in which plans of tables are kept; None: they are made in each process.
        lease_timeout_s: See ``Leases``.
    """

    def __init__(
        self,
        warehouse: Path,
        catalog_file: Path,
        plans: Path | None = None,
        *,
        lease_timeout_s: float = 60.0,
    ) -> None:
        self._warehouse = warehouse
        self._catalog_file = catalog_file
        self._lease_timeout_s = lease_timeout_s
        self._plans = Plans(catalog_file, plans, warehouse)

    @cached_property
    def _catalog(self) -> LakeCatalog:
        with uncollected():
            from sqlalchemy.exc import OperationalError

            from lake_assets.storage.tables.catalog import LakeCatalog
        try:
            return LakeCatalog(self._warehouse, self._catalog_file)
        except OperationalError:  # another process made the catalog's tables at the same time
            with table_errors():
                return LakeCatalog(self._warehouse, self._catalog_file)

    @cached_property
    def leases(self) -> Leases:
        """Who works on which dataset; kept next to the tables' pointers."""
        with uncollected():
            from lake_assets.storage.tables.leases import Leases

        return Leases(lambda: self._catalog.engine, timeout_s=self._lease_timeout_s)

    @property
    def warehouse(self) -> Path:
        """Folder of the tables."""
        return self._warehouse

    def left_leases(self) -> tuple[str, ...]:
        """Return the names whose holder is gone and did not give the lease back."""
        return self.leases.left() if self._plans.unreleased() else ()

    def close(self) -> None:
        """Close the catalog's connections."""
        if "_catalog" in self.__dict__:
            self._catalog.close()
            del self.__dict__["_catalog"]

    # -- what is there

    def names(self) -> tuple[str, ...]:
        """Return all table names, sorted."""
        return self._plans.names()

    def exists(self, table: str) -> bool:
        """Return whether the catalog knows ``table``."""
        return self._plans.pointer(table) is not None

    def plan(self, table: str) -> TablePlan | None:
        """Return which files hold the rows of ``table`` now; None: it has delete files.

        Raises:
            UnknownTable.
            DamagedTable: when a file that tells it is gone.
        """
        plan = self._plans.find(table)
        if plan is None:
            found = self._require(table)
            if has_delete_files(found):
                return None
            plan = plan_of(table, found, self._plans.before(table))
            self._plans.keep(plan)
        return plan

    def schema(self, table: str) -> Any | None:
        """Return the table's present ``pyarrow.Schema``, or None if there is no such table."""
        plan = self._plans.find(table)
        if plan is not None:
            return plan.schema
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
        plan = self._plans.find(table)
        return plan.facts if plan else facts_of(table, self._require(table))

    def committed(self, table: str, keys: Sequence[str]) -> frozenset[str]:
        """Return those of ``keys`` whose deliveries ``table`` has already."""
        if self._plans.pointer(table) is None:
            return frozenset()
        with table_errors():
            return self._catalog.proved(table, keys)

    def data_files(self, table: str, *, where: dict[str, str] | None = None) -> tuple[str, ...]:
        """Return the paths of the Parquet files that hold the table's rows now.

        Args:
            where: Column → value: leave out files that can't hold such rows.

        Raises:
            UnknownTable.
            SchemaMismatch: if the table has delete files, so that its files hold more than it.
        """
        plan = self.plan(table)
        if plan is None:
            raise SchemaMismatch(f"{table} has delete files; read it with `read`", table=table)
        return plan.paths(where)

    def has_delete_files(self, table: str) -> bool:
        """Return whether some rows of the table's files are deleted."""
        return self._plans.find(table) is None and has_delete_files(self._require(table))

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
        from lake_assets.storage.tables.planned_rows import read_planned

        plan = self.plan(table)
        rows = plan and read_planned(plan, where=where or {}, columns=columns, limit=limit)
        if rows is not None:
            return rows
        scan = self._require(table).scan(
            row_filter=equal(where or {}), selected_fields=columns, limit=limit
        )
        with table_errors():
            rows = scan.to_arrow()
        return rows.cast(plain_schema(rows.schema))

    # -- writing

    def part_writer(self, spec: TableSpec, *, stem: str) -> PartWriter:
        """Return a writer of parts for ``spec``'s table, which need not exist yet."""
        from lake_assets.storage.tables.parts import PartWriter

        return PartWriter(self.data_folder(spec.name), stem=stem, partition_by=spec.partition_by)

    def data_folder(self, table: str) -> Path:
        """Return the folder of the table's Parquet files."""
        return self._location(table) / "data"

    def require_fit(self, spec: TableSpec, *, fitted_to: Any | None) -> None:
        """Raise unless the table can take the columns of ``spec``. Nothing is changed.

        Args:
            fitted_to: ``schema`` of the table when rows were fitted to it.

        Raises:
            SchemaChanged: another writer added other columns since then.
            SchemaMismatch: now, rather than at a commit that others depend on.
        """
        require_distinct_paths(spec)
        table = self._find(spec.name)
        if table is not None:
            with schema_change(spec, has_changed=lambda: self.schema(spec.name) != fitted_to):
                grow(table.transaction(), spec)  # a transaction that is never committed

    def append_once(
        self,
        spec: TableSpec,
        deliveries: Sequence[Delivery],
        *,
        lease: Lease | None = None,
        was_asked: bool = False,
    ) -> Commit:
        """Add all deliveries that the table lacks, in one commit; make or grow the table first.

        A delivery whose keys the table has is skipped, so repeating a call changes nothing.

        Args:
            lease: Commit only while this is held.
            was_asked: Whether the table took these columns when it was asked (``require_fit``),
                before the parts were written.

        Raises:
            CommitConflict: when other writers won the race too often.
            LeaseLost: and nothing is changed.
            SchemaChanged: when they cannot any more, because another writer added other columns.
            SchemaMismatch: when the parts cannot be columns of the table.
            UnknownOutcome: when it could not be found out whether the commit happened.
        """

        def attempt() -> Commit:
            table = self._find(spec.name)
            known = self.committed(spec.name, keys_of(deliveries)) if table else frozenset()
            wanted = unseen(deliveries, known)
            with self._catalog.proving(keys_of(wanted)):
                snapshot_id = self._append(table, spec, wanted) if wanted else None
            skipped = [item for item in deliveries if item not in wanted]
            return commit_of(spec, wanted, snapshot_id, skipped=skipped)

        with self._catalog.fenced(lease), schema_change(spec, has_changed=lambda: was_asked):
            return retried(attempt, spec.name, looks_up=True)

    def replace(
        self,
        spec: TableSpec,
        deliveries: Sequence[Delivery] | Callable[[], Sequence[Delivery]],
        *,
        where: Sequence[dict[str, str]] | None = None,
        gone: Sequence[str] = (),
        drops: bool = False,
        forgets: Sequence[str] = (),
        lease: Lease | None = None,
    ) -> Commit:
        """Put the deliveries in the place of the rows that ``where`` selects, in one commit.

        Args:
            deliveries: Or what makes them: called after the table is read, and again whenever
                another writer was faster, so that they are never older than what they replace.
            where: Rows to go: any of these column → value sets; None: all rows.
            gone: Instead of that: the paths of all files of the table. Columns take the types of
                ``spec`` then.
            drops: Whether columns go that ``spec`` lacks; only where all rows are replaced.
            forgets: Keys of deliveries none of whose rows stays: they may come again.
            lease: Commit only while this is held.

        Raises:
            SchemaChanged: the table has other files than ``gone``.
        """

        def attempt() -> Commit:
            table = self._find(spec.name)
            new = deliveries() if callable(deliveries) else deliveries
            with self._catalog.proving(keys_of(new), is_again=True, forgets=forgets):
                if table is None:
                    return commit_of(spec, new, self._append(None, spec, new))
                with self._catalog.only_onto(table, is_whole=bool(gone)):
                    overwrite(table, spec, new, any_of(where), gone=gone, drops=drops)
            return commit_of(spec, new, _current_snapshot_id(table))

        with self._catalog.fenced(lease):
            return retried(attempt, spec.name)

    def register(self, tables: Mapping[str, Path]) -> None:
        """Put tables into the catalog that it does not have, each with its metadata file."""
        for name, metadata in tables.items():
            self._catalog.create_namespace_if_not_exists(name.partition(".")[0])
            self._catalog.register_table(name, location_of(metadata))

    # -- inside

    def _location(self, table: str) -> Path:
        namespace, _, name = table.partition(".")
        return self._warehouse / namespace / name

    def _find(self, table: str) -> Table | None:
        if self._plans.pointer(table) is None:  # 0.1 ms, where PyIceberg takes 5 to say so
            return None
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
        if table is None and not can_be_made(spec, deliveries):
            return None
        onto = self._catalog.only_onto(table) if table else nullcontext()
        folder = self._location(spec.name)
        transaction = table.transaction() if table else creation_of(self._catalog, spec, folder)
        if table:
            grow(transaction, spec)
        add_parts(transaction, deliveries)
        with lost_race_of_columns(), onto:
            return _current_snapshot_id(transaction.commit_transaction())


def _current_snapshot_id(table: Table) -> int | None:
    snapshot = table.current_snapshot()
    return snapshot.snapshot_id if snapshot else None


def _arrow_schema(table: Table) -> Any:
    return plain_schema(table.schema().as_arrow())
