"""The catalog, ``lake.partitions``: what the lake holds, one row per dataset and variant.

A row is made from the tables themselves, so it can always be made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from ulid import ULID

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import TASKS, DatasetName, Destination, VariantName
from lake_assets.contracts.registry import Registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.query.duckdb import LakeSql, connect, disk_errors
from lake_assets.storage.files import storage_errors
from lake_assets.storage.system_tables import (
    DATASET_KEY,
    DESTINATION_KEY,
    IMAGES,
    PARTITIONS,
    QUARANTINE,
    UPLOADS,
)
from lake_assets.storage.tables import Commit, Delivery, Part, TableFacts
from lake_assets.storage.tables.catalog_file import seal_catalog
from lake_assets.stores import Stores


def catalog_rows(stores: Stores, names: Sequence[Destination]) -> Any:
    """Return the rows of ``lake.partitions`` for these datasets, as a ``pyarrow.Table``."""
    registry, known = stores.registry(), frozenset(stores.tables.names())
    ask = _Ask(stores, names)
    images = ask(IMAGES.name, "count(*), coalesce(sum(stored_byte_count), 0)::BIGINT", DATASET_KEY)
    images |= ask.annotated()
    quarantined = ask(QUARANTINE.name, "count_if(state = 'open')", DESTINATION_KEY)
    uploads = ask(UPLOADS.name, "count(*), max(upload_id), max(finished_at)", DESTINATION_KEY)
    rows = []
    for name in names:
        facts = stores.tables.facts(name.table) if name.table in known else None
        row = _row(name, _contract(registry, name), facts)
        if isinstance(name, VariantName) and facts is not None:  # its table has other rows too
            row["rows"] = ask.rows_of(name)
            row["table_bytes"] = _own_bytes(stores, name)
        row["images"], row["image_bytes"] = images.get(str(name), (0, 0))
        (row["quarantined"],) = quarantined.get(str(name), (0,))
        row["uploads"], row["last_upload_id"], row["last_ingested_at"] = uploads.get(
            str(name), (0, None, None)
        )
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=PARTITIONS.schema)


def _contract(registry: Registry, name: Destination) -> DatasetContract | TaskContract:
    """Return what ``name`` promises; of a task that was deleted, nothing."""
    if isinstance(name, VariantName):
        return registry.tasks.get(name.task, TaskContract())
    return registry.contract(name)


def _own_bytes(stores: Stores, name: VariantName) -> int:
    """Return the size of the files with its rows; each has rows of one variant."""
    plan = stores.tables.plan(name.table)
    paths = plan.paths(name.table_rows) if plan is not None else ()
    return sum(Path(path).stat().st_size for path in paths)


def variants_of(
    stores: Stores, names: Iterable[DatasetName] | None = None
) -> tuple[VariantName, ...]:
    """Return the variants of tasks that these datasets (None: all) have, sorted."""
    if not stores.tables.exists(UPLOADS.name):
        return ()
    rows = LakeSql(stores.tables, scratch=stores.layout.scratch).rows(
        UPLOADS.name,
        "SELECT DISTINCT provider, dataset, task, variant FROM {table} WHERE task != 'raw'",
        (),
        prune={},
    )
    found = [VariantName(DatasetName(p, d), task, variant) for p, d, task, variant in rows]
    wanted = None if names is None else frozenset(names)
    return tuple(sorted((n for n in found if wanted is None or n.of in wanted), key=str))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """Rows of ``lake.partitions`` that were replaced."""

    rows: Any
    """As a ``pyarrow.Table``."""
    commit: Commit


def refresh_catalog(stores: Stores, names: Sequence[Destination]) -> Refreshed | None:
    """Replace the rows of these datasets in ``lake.partitions``; None: there are no datasets.

    Needs no lease: the rows are made anew whenever another process changed the table since it was
    read, so one that stood still cannot put old rows in the place of newer ones. A note that the
    rows are stale stays if it was put while they were made.
    """
    if not names:
        return None
    seen = {name: stores.stale.changed_at_ns(name) for name in names}
    draft = _Draft(stores, names)
    where = [_catalog_row(name) for name in names]
    done = stores.tables.replace(PARTITIONS, draft.make, where=where)
    seal_catalog(stores.layout.catalog_file)
    for name in names:
        stores.stale.remove_if_seen(name, seen[name])
    return Refreshed(rows=draft.rows, commit=done)


def _catalog_row(name: Destination) -> dict[str, str]:
    variant = name.variant if isinstance(name, VariantName) else ""
    return {**name.own_rows, "variant": variant}


class _Draft:
    """Rows of the catalog in a file, as of the last time that they were made."""

    def __init__(self, stores: Stores, names: Sequence[Destination]) -> None:
        self._stores = stores
        self._names = names
        self._parts: tuple[Part, ...] = ()
        self.rows: Any = None

    def make(self) -> tuple[Delivery, ...]:
        for part in self._parts:  # another writer was faster: no table has it
            Path(part.path).unlink(missing_ok=True)
        self._parts = ()
        self.rows = catalog_rows(self._stores, self._names)
        key = str(ULID())
        with storage_errors(self._stores.layout.tables):
            with self._stores.tables.part_writer(PARTITIONS, stem=key) as parts:
                parts.write(self.rows)
                self._parts = tuple(parts.close())
        return (Delivery(keys=(key,), parts=self._parts),)


def _row(
    name: Destination, contract: DatasetContract | TaskContract, facts: TableFacts | None
) -> dict[str, Any]:
    return {
        **_catalog_row(name),
        "table_name": name.table,
        "description": contract.description,
        "owner": contract.owner,
        "rows": facts.rows if facts else 0,
        "table_bytes": facts.byte_count if facts else 0,
        "columns": [f"{column}: {kind}" for column, kind, _ in facts.columns] if facts else [],
    }


class _Ask:
    """Asks the tables that datasets share about some of them, all in one query."""

    def __init__(self, stores: Stores, names: Sequence[Destination]) -> None:
        scratch = stores.layout.scratch
        self._tables = stores.tables
        self._sql = LakeSql(stores.tables, scratch=scratch, connection=connect(scratch=scratch))
        self._names = names
        self._keys = [str(name) for name in names]
        self._rows: dict[str, tuple[Any, ...]] = {}
        one = names[0] if len(names) == 1 else None
        self._prune = {"provider": one.provider, "dataset": one.dataset} if one else {}

    def __call__(self, table: str, what: str, key: str) -> dict[str, tuple[Any, ...]]:
        """Return ``what`` of each destination that has rows in ``table``, by its text.

        Args:
            key: SQL for that text.
        """
        if not self._tables.exists(table):
            return {}
        with disk_errors(self._tables.warehouse):
            found = self._sql.rows(
                table,
                f"""SELECT {key} AS key, {what} FROM {{table}}
                    WHERE key IN (SELECT unnest($1)) GROUP BY ALL""",
                (self._keys,),
                prune=self._prune,
            )
        return {key: tuple(rest) for key, *rest in found}

    def annotated(self) -> dict[str, tuple[int, int]]:
        """Return how many images the records of each variant are about; they store none."""
        for task in sorted({name.task for name in self._names if isinstance(name, VariantName)}):
            key = f"{DATASET_KEY} || '/{task}/' || variant"
            self._rows |= self(f"{TASKS}.{task}", "count(*), count(DISTINCT _image)", key)
        return {key: (images, 0) for key, (_, images) in self._rows.items()}

    def rows_of(self, name: VariantName) -> int:
        """Return how many records a variant has, once ``annotated`` has asked."""
        return int(self._rows.get(str(name), (0,))[0])
