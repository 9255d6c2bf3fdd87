"""Plans: which Parquet files hold a table's rows, kept so that a reader need not ask PyIceberg.

A commit never changes a table's metadata file, it makes a new one. So what was planned for a
metadata file holds for ever, and is kept in a small file of its own. Importing PyIceberg takes
0.7 s, reading a plan under a millisecond.

Invariant: a plan answers only for the metadata file that the catalog names at that moment, and
only if it is whole; anything else is no plan, and the table is planned anew.
"""

from __future__ import annotations

import base64
import json
import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pyarrow as pa

from lake_assets.contracts.growth import type_words
from lake_assets.errors import StorageUnavailable
from lake_assets.storage.tables.arrow_types import plain_schema
from lake_assets.storage.tables.locations import local_path, require_own
from lake_assets.storage.tables.model import TableFacts

PRUNING_COLUMNS = ("provider", "dataset", "task", "variant")
"""Columns by which datasets share a table. A plan keeps their least and greatest value of each
file, as it keeps the values by which a table is partitioned."""
_VERSION = 2
_BUSY_S = 30.0
_REMEMBERED = 256
"""Plans kept in memory; one of a thousand files takes half a megabyte."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One Parquet file of a table."""

    path: str
    rows: int
    bounds: Mapping[str, tuple[str, str] | None]
    """Column → least and greatest value, where they are known; None: the column is null."""

    def may_hold(self, where: Mapping[str, str]) -> bool:
        """Return False if no row of this file has these values."""
        # Iceberg compares text by its UTF-8 bytes, which is the order of Python's strings.
        known = [(self.bounds[name], value) for name, value in where.items() if name in self.bounds]
        return all(bounds and bounds[0] <= value <= bounds[1] for bounds, value in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """What a reader has to know of one state of a table that has no delete files."""

    metadata_location: str
    """The metadata file that it was made from."""
    facts: TableFacts
    schema: Any
    """``pyarrow.Schema``."""
    files: tuple[PlannedFile, ...]

    def paths(self, where: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Return the files that may hold rows with the values of ``where``."""
        return tuple(file.path for file in self.files if file.may_hold(where or {}))


def facts_of(name: str, table: Any) -> TableFacts:
    """Return the state of a PyIceberg ``Table``."""
    snapshot = table.current_snapshot()
    totals = _totals(table)
    fields = table.schema().fields
    return TableFacts(
        name=name,
        location=table.location(),
        rows=int(totals.get("total-records", 0)),
        byte_count=int(totals.get("total-files-size", 0)),
        file_count=int(totals.get("total-data-files", 0)),
        snapshot_id=snapshot.snapshot_id if snapshot else None,
        committed_at=_instant(snapshot.timestamp_ms) if snapshot else None,
        columns=tuple(
            (field.name, type_words(kind.type), field.doc or "")
            for field, kind in zip(fields, plain_schema(table.schema().as_arrow()), strict=True)
        ),
    )


def has_delete_files(table: Any) -> bool:
    """Return whether some rows of a PyIceberg ``Table``'s files are deleted."""
    return int(_totals(table).get("total-delete-files", 0)) > 0


def plan_of(name: str, table: Any, before: TablePlan | None = None) -> TablePlan:
    """Return the plan of a PyIceberg ``Table`` that has no delete files.

    Reads all of its manifests; given a plan of an earlier state, only those that came since, where
    rows were only appended. Each upload brings a manifest, so the others take ever longer.
    """
    facts = facts_of(name, table)
    if before and _folder(before.metadata_location) != _folder(table.metadata_location):
        before = None  # it names files as they lay before the lake was moved
    added = _added_since(table, before) if before else None
    if before and added is not None:
        files = (*before.files, *(_planned(table, file) for file in added))
        # The table counts its files and rows itself: a plan that differs would be wrong.
        if (len(files), sum(file.rows for file in files)) == (facts.file_count, facts.rows):
            return _whole_plan(table, facts, files)
    tasks = table.scan().plan_files()
    return _whole_plan(table, facts, tuple(_planned(table, task.file) for task in tasks))


def _folder(location: str) -> str:
    return location.rpartition("/")[0]


def _whole_plan(table: Any, facts: TableFacts, files: tuple[PlannedFile, ...]) -> TablePlan:
    return TablePlan(
        metadata_location=table.metadata_location,
        facts=facts,
        schema=plain_schema(table.schema().as_arrow()),
        files=files,
    )


def _added_since(table: Any, before: TablePlan) -> list[Any] | None:
    """Return the data files that were appended since; None: something else happened too."""
    snapshot, since = table.current_snapshot(), set()
    while snapshot is not None and snapshot.snapshot_id != before.facts.snapshot_id:
        if snapshot.summary is None or snapshot.summary.operation.value != "append":
            return None
        since.add(snapshot.snapshot_id)
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else table.metadata.snapshot_by_id(parent)
    if snapshot is None:
        return None
    return [
        entry.data_file
        for manifest in table.current_snapshot().manifests(table.io)
        if manifest.added_snapshot_id in since
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        if entry.snapshot_id in since
    ]


def _planned(table: Any, file: Any) -> PlannedFile:
    return PlannedFile(
        path=local_path(file.file_path),
        rows=file.record_count,
        bounds=_bounds(table, file),
    )


def _bounds(table: Any, file: Any) -> dict[str, tuple[str, str] | None]:
    found: dict[str, tuple[str, str] | None] = {}
    least, greatest = file.lower_bounds or {}, file.upper_bounds or {}
    texts = {f.field_id: f.name for f in table.schema().fields if str(f.field_type) == "string"}
    for number, name in texts.items():
        if name in PRUNING_COLUMNS and number in least and number in greatest:
            found[name] = (least[number].decode(), greatest[number].decode())
    # More exact than bounds, which are cut to 16 characters.
    for field, value in zip(table.specs()[file.spec_id].fields, file.partition, strict=True):
        if str(field.transform) == "identity" and field.source_id in texts:
            found[texts[field.source_id]] = None if value is None else (value, value)
    return found


def _totals(table: Any) -> Mapping[str, str]:
    snapshot = table.current_snapshot()
    return snapshot.summary.additional_properties if snapshot and snapshot.summary else {}


def _instant(timestamp_ms: int) -> datetime:
    return datetime.fromtimestamp(timestamp_ms / 1000, tz=UTC)


class Plans:
    """The catalog's pointers, and the plans for what they point to.

    Args:
        catalog_file: SQLite file of PyIceberg's ``SqlCatalog``; need not exist yet.
        folder: Where plans are kept for other processes; None: in this process only.
        warehouse: Folder of the tables.
    """

    def __init__(self, catalog_file: Path, folder: Path | None, warehouse: Path) -> None:
        self._catalog_file = catalog_file
        self._warehouse = warehouse
        self._folder = folder
        self._remembered: dict[str, TablePlan] = {}
        self._guard = threading.Lock()

    def names(self) -> tuple[str, ...]:
        """Return the names of all tables, sorted."""
        rows = self._rows("SELECT table_namespace, table_name FROM iceberg_tables")
        return tuple(sorted(f"{namespace}.{name}" for namespace, name in rows))

    def pointer(self, table: str) -> str | None:
        """Return where the table's present metadata file lies; None: there is no such table.

        Raises:
            LakeMoved: It is said to lie in another lake: this one is a copy, or was moved.
        """
        namespace, _, name = table.rpartition(".")
        rows = self._rows(
            "SELECT metadata_location FROM iceberg_tables "
            "WHERE table_namespace = ? AND table_name = ?",
            (namespace, name),
        )
        if not rows:
            return None
        require_own(rows[0][0], self._warehouse)
        return str(rows[0][0])

    def find(self, table: str) -> TablePlan | None:
        """Return the plan of the table's present state, if one was kept."""
        pointer = self.pointer(table)
        if pointer is None:
            return None
        plan = self._remembered.get(table)
        if plan is not None and plan.metadata_location == pointer:
            return plan
        plan = self._load(self._path(table, pointer))
        if plan is None or plan.metadata_location != pointer:
            return None
        self._remember(plan)
        return plan

    def before(self, table: str) -> TablePlan | None:
        """Return a plan of some earlier state of the table, if one was kept."""
        remembered = self._remembered.get(table)
        if remembered is not None or self._folder is None:
            return remembered
        loaded = (self._load(path) for path in (self._folder / table).glob("*.plan"))
        return next((plan for plan in loaded if plan and plan.facts.name == table), None)

    def keep(self, plan: TablePlan) -> None:
        """Keep a plan, in the place of those of the table's earlier states."""
        table = plan.facts.name
        self._remember(plan)
        path = self._path(table, plan.metadata_location)
        if path is None:
            return
        draft = path.with_name(f".draft-{uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not forced to the disk: a plan that a crash tears has a wrong checksum.
            draft.write_bytes(_sealed(_plain(plan)))
            draft.replace(path)
            for other in path.parent.iterdir():
                if other != path:
                    other.unlink(missing_ok=True)
        except OSError as error:  # a full or read-only disk keeps nobody from reading the table
            _log.debug("the plan of %s is not kept: %s", table, error)

    def _remember(self, plan: TablePlan) -> None:
        with self._guard:  # several threads may look at tables
            self._remembered.pop(plan.facts.name, None)
            while len(self._remembered) >= _REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[plan.facts.name] = plan

    def _load(self, path: Path | None) -> TablePlan | None:
        try:
            plain = _unsealed(path.read_bytes()) if path else None
        except OSError:
            return None
        return None if plain is None else _parsed(plain)

    def _path(self, table: str, metadata_location: str) -> Path | None:
        # The file's name has a UUID in it, so it names one state of one table.
        name = f"{metadata_location.rpartition('/')[2]}.plan"
        return None if self._folder is None else self._folder / table / name

    def unreleased(self) -> bool:
        """Return whether somebody holds a lease, or died with one. Costs one query."""
        return bool(self._rows("SELECT 1 FROM lake_leases WHERE holder != '' LIMIT 1"))

    def _rows(self, sql: str, values: tuple[str, ...] = ()) -> list[Any]:
        try:
            with _reading(self._catalog_file) as connection:
                return connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if not self._catalog_file.exists() or "no such table" in str(error):
                return []  # no table was ever made
            raise StorageUnavailable(
                f"the catalog {self._catalog_file} cannot be read: {error}; try again later",
                path=str(self._catalog_file),
            ) from error


def require_here(catalog_file: Path, warehouse: Path) -> None:
    """Raise unless all tables' metadata lie in this lake, as far as the catalog can be read.

    Costs one query. What else is wrong with the catalog is for those to say who need it.

    Raises:
        LakeMoved.
    """
    try:
        with _reading(catalog_file) as connection:
            rows = connection.execute("SELECT metadata_location FROM iceberg_tables").fetchall()
    except sqlite3.DatabaseError:
        return
    for (location,) in rows:
        require_own(str(location), warehouse)


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    # "rw" never makes the file, and reads one that may not be written to.
    uri = f"file:{quote(str(file))}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S)
    try:
        yield connection
    finally:
        connection.close()


def _plain(plan: TablePlan) -> dict[str, Any]:
    facts = asdict(plan.facts)
    committed_at = plan.facts.committed_at
    return {
        "version": _VERSION,
        "metadata_location": plan.metadata_location,
        "facts": facts | {"committed_at": committed_at.isoformat() if committed_at else None},
        "schema": base64.b64encode(plan.schema.serialize().to_pybytes()).decode(),
        "files": [[file.path, file.rows, file.bounds] for file in plan.files],
    }


def _parsed(plain: dict[str, Any]) -> TablePlan:
    facts, committed_at = plain["facts"], plain["facts"]["committed_at"]
    return TablePlan(
        metadata_location=plain["metadata_location"],
        facts=TableFacts(
            **facts
            | {
                "committed_at": datetime.fromisoformat(committed_at) if committed_at else None,
                "columns": tuple((name, kind, doc) for name, kind, doc in facts["columns"]),
            }
        ),
        schema=pa.ipc.read_schema(pa.py_buffer(base64.b64decode(plain["schema"]))),
        files=tuple(
            PlannedFile(
                path=path,
                rows=rows,
                bounds={name: tuple(ends) if ends else None for name, ends in bounds.items()},
            )
            for path, rows, bounds in plain["files"]
        ),
    )


def _sealed(plain: dict[str, Any]) -> bytes:
    """Return a plan as a file: the SHA-256 of the rest, and then the plan as JSON."""
    body = json.dumps(plain, separators=(",", ":")).encode()
    return sha256(body).hexdigest().encode() + b"\n" + body


def _unsealed(content: bytes) -> dict[str, Any] | None:
    """Return the plan that ``_sealed`` wrote; None: it is damaged, or of another version."""
    seal, _, body = content.partition(b"\n")
    if seal != sha256(body).hexdigest().encode():
        return None
    plain: dict[str, Any] = json.loads(body)
    return plain if plain["version"] == _VERSION else None
