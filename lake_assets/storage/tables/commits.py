"""One commit to one table: what it adds, what it replaces, and what a lost race means.

Invariant: whatever a commit does to a table is one change of its metadata pointer: all or nothing.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NamespaceAlreadyExistsError,
    TableAlreadyExistsError,
    ValidationError,
    ValidationException,
)
from pyiceberg.types import IcebergType

from lake_assets.contracts.growth import clashes, type_words
from lake_assets.contracts.rewrites import rewritten_places
from lake_assets.contracts.schema_changes import ITEMS, Steps, dropped_places
from lake_assets.errors import (
    CommitConflict,
    FatalError,
    SchemaChanged,
    SchemaMismatch,
    StorageUnavailable,
    UnknownOutcome,
)
from lake_assets.storage.tables.arrow_types import plain_schema
from lake_assets.storage.tables.locations import local_path, location_of
from lake_assets.storage.tables.model import Commit, Delivery, TableSpec
from lake_assets.storage.tables.trouble import is_busy, table_errors

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.snapshots import Snapshot

KEYS_PROPERTY = "lake.upload-ids"
"""Snapshot summary property: the keys that the snapshot brought, separated by commas. It describes
history, for `lake repair` and catalogs that lack ``proofs``; it goes when its snapshot expires."""
_TRIES = 12


def add_parts(transaction: Transaction, deliveries: Sequence[Delivery]) -> None:
    """Add all parts of ``deliveries``, with their keys in the snapshot's summary."""
    keys = ",".join(keys_of(deliveries))
    paths = [location_of(part.path) for item in deliveries for part in item.parts]
    # A delivery without rows still leaves its key: it must not be taken for one that never came.
    # The check for duplicate files would read every manifest; the keys make it needless.
    transaction.add_files(
        paths, snapshot_properties={KEYS_PROPERTY: keys}, check_duplicate_files=False
    )


def overwrite(
    table: Table,
    spec: TableSpec,
    deliveries: Sequence[Delivery],
    where: BooleanExpression,
    *,
    gone: Sequence[str] = (),
    drops: bool = False,
) -> None:
    """Replace rows by the deliveries' parts, in one commit.

    Args:
        where: Selects the rows.
        gone: Instead of that: the paths of all files. Columns take the types of ``spec`` then.
        drops: Whether columns go, at any depth, that ``spec`` lacks.

    Raises:
        SchemaChanged: the table has other files than ``gone``.
    """
    tasks = table.scan(row_filter=where).plan_files()
    files = {local_path(task.file.file_path): task.file for task in tasks}
    if gone and files.keys() != set(gone):
        raise SchemaChanged(
            f"another writer changed {spec.name} while its files were written anew; the same step "
            "again writes them anew as they are now",
            table=spec.name,
        )
    with lost_race_of_columns(), table.transaction() as transaction:
        grow(transaction, spec, changes_types=bool(gone))
        if drops:
            _drop_columns(transaction, spec)
        if gone:
            with transaction.update_snapshot().overwrite() as snapshot:
                for file in files.values():
                    snapshot.delete_data_file(file)
        elif files:  # else PyIceberg warns
            transaction.delete(where)
        add_parts(transaction, deliveries)


def grow(transaction: Transaction, spec: TableSpec, *, changes_types: bool = False) -> None:
    """Add the columns, at any depth, that the table lacks; never drop or narrow one.

    Args:
        changes_types: Whether columns take the types of ``spec`` that Iceberg cannot widen to:
            all files of the table are replaced by such in the same commit.

    Raises:
        SchemaMismatch: it cannot have one of them beside those that it has.
    """
    properties = transaction.table_metadata.properties
    missing = {key: value for key, value in bounds_of(spec).items() if key not in properties}
    if missing:  # an earlier version of this package made it
        transaction.set_properties(missing)
    if changes_types:
        _change_types(transaction, spec)
    schema = transaction.table_metadata.schema()
    wrong = clashes(plain_schema(schema.as_arrow()), plain_schema(spec.schema))
    if wrong:
        raise SchemaMismatch(
            f"the delivered columns do not fit table {spec.name}: {'; '.join(wrong)}",
            table=spec.name,
        )
    try:
        with transaction.update_schema() as update:
            update.union_by_name(_without_required(spec.schema))
    except (ValueError, TypeError, ValidationError) as error:
        raise SchemaMismatch(
            f"the delivered columns do not fit table {spec.name}: {error}", table=spec.name
        ) from error


def _drop_columns(transaction: Transaction, spec: TableSpec) -> None:
    """Take away the columns that ``spec`` lacks; it has those by which the table is parted."""
    before = plain_schema(transaction.table_metadata.schema().as_arrow())
    with transaction.update_schema() as update:
        for steps in dropped_places(before, plain_schema(spec.schema)):
            update.delete_column(_iceberg_path(steps))


def _iceberg_path(steps: Steps) -> tuple[str, ...]:
    return tuple("element" if step == ITEMS else step for step in steps)


def _change_types(transaction: Transaction, spec: TableSpec) -> None:
    """Give columns the types of ``spec``, with the ids that they have.

    Files have no ids and are read by names: with new ones, older snapshots would lose these
    columns. Only one that held nothing, and takes values with parts, gets a new one.
    """
    before = plain_schema(transaction.table_metadata.schema().as_arrow())
    with transaction.update_schema(allow_incompatible_changes=True) as update:
        for steps, (old, new) in rewritten_places(before, plain_schema(spec.schema)).items():
            path = _iceberg_path(steps)
            if pa.types.is_nested(old) or pa.types.is_nested(new):
                update.delete_column(path)
            else:
                update.update_column(path, IcebergType.model_validate(type_words(new)))


def bounds_of(spec: TableSpec) -> dict[str, str]:
    """Return the table properties that keep the bounds of columns whole."""
    return {f"write.metadata.metrics.column.{name}": "full" for name in spec.exact_bounds}


@contextmanager
def schema_change(spec: TableSpec, *, has_changed: Callable[[], bool]) -> Iterator[None]:
    """Raise a mismatch in the block as what it is where another writer changed the table.

    Args:
        has_changed: Whether its columns were others, or took these, when rows were fitted to it.

    Raises:
        SchemaChanged.
    """
    try:
        yield
    except SchemaMismatch as error:
        if not has_changed():
            raise
        raise SchemaChanged(
            f"{error.message}. Another writer changed the table meanwhile; the same step again "
            "fits the rows to it as it is now",
            table=spec.name,
        ) from error


@contextmanager
def lost_race_of_columns() -> Iterator[None]:
    """Raise what PyIceberg's second try at a lost race says of stale columns as the lost race.

    It keeps the columns of the first try, which another writer's may stand for by now, and then
    fails with a ``ValueError`` before it has written anything.

    Raises:
        CommitFailedException.
    """
    try:
        yield
    except ValueError as error:
        if isinstance(error.__context__, CommitFailedException):
            raise error.__context__ from None
        raise


def require_distinct_paths(spec: TableSpec) -> None:
    """Raise if two columns of ``spec`` have one path, as ``a.b`` and the field ``b`` of ``a``.

    Iceberg names columns by such paths and takes no table with two of one name.

    Raises:
        SchemaMismatch.
    """
    counts = Counter(_paths(spec.schema, ""))
    twice = sorted(path for path, count in counts.items() if count > 1)
    if twice:
        raise SchemaMismatch(
            f"table {spec.name} would have two columns of the path {', '.join(twice)}; rename one",
            table=spec.name,
            paths=twice,
        )


def _paths(fields: Iterable[Any], prefix: str) -> Iterator[str]:
    for field in fields:
        path = f"{prefix}{field.name}"
        yield path
        kind = field.type
        while pa.types.is_list(kind):
            path, kind = f"{path}.element", kind.value_type
        if pa.types.is_struct(kind):
            yield from _paths(kind, f"{path}.")


def _without_required(schema: Any) -> Any:
    """Iceberg can't add a required column to rows that lack it; those it has stay as they are."""
    return pa.schema([field.with_nullable(True) for field in schema])


def unseen(deliveries: Sequence[Delivery], known: frozenset[str]) -> list[Delivery]:
    """Return the deliveries of which no key is known.

    Raises:
        FatalError: if only some keys of one are known; to add its parts or not would both be wrong.
    """
    for item in deliveries:
        some = known.intersection(item.keys)
        if some and len(some) < len(item.keys):
            missing = sorted(set(item.keys) - some)
            raise FatalError(
                f"{len(some)} of {len(item.keys)} uploads that were prepared together are in "
                f"their table and {len(missing)} are not: {', '.join(missing[:5])}. Run "
                "`lake verify`, and tell the maintainers",
                missing=missing,
            )
    return [item for item in deliveries if not known.issuperset(item.keys)]


def keys_of(deliveries: Sequence[Delivery]) -> tuple[str, ...]:
    """Return the keys of all ``deliveries``."""
    return tuple(key for item in deliveries for key in item.keys)


def keys_in_snapshots(snapshots: Iterable[Snapshot]) -> frozenset[str]:
    """Return the keys of all deliveries that ``snapshots`` brought."""
    found: set[str] = set()
    for snapshot in snapshots:
        if snapshot.summary:
            keys = snapshot.summary.additional_properties.get(KEYS_PROPERTY, "")
            found.update(key for key in keys.split(",") if key)
    return frozenset(found)


def equal(values: dict[str, str]) -> BooleanExpression:
    """Return the condition that each column has its value; without columns, true."""
    from pyiceberg.expressions import AlwaysTrue, And, EqualTo

    expression: BooleanExpression = AlwaysTrue()
    for column, value in values.items():
        # As PyIceberg documents it; its annotations name the fields of the model behind it.
        expression = And(expression, EqualTo(column, value))  # type: ignore[call-arg, arg-type]
    return expression


def any_of(where: Sequence[dict[str, str]] | None) -> BooleanExpression:
    """Return the condition that one of these sets of values holds; None: true."""
    from pyiceberg.expressions import AlwaysTrue, Or

    if where is None:
        return AlwaysTrue()
    expressions = [equal(values) for values in where]
    # All at once, so that PyIceberg balances the tree: a chain of thousands is too deep for Python.
    return Or(*expressions) if len(expressions) > 1 else expressions[0]


def retried(attempt: Callable[[], Commit], table: str, *, looks_up: bool = False) -> Commit:
    """Return what ``attempt`` did, begun anew whenever another writer was faster.

    Args:
        looks_up: Whether ``attempt`` first finds out what is committed: then an unknown outcome
            is looked up by repeating it.

    Raises:
        CommitConflict: after twelve lost races, which take about 15 s.
        StorageUnavailable: when the disk refuses.
        UnknownOutcome.
    """
    lost_race = _lost_race()
    for number in range(_TRIES):
        try:
            with table_errors():
                return attempt()
        except lost_race as error:
            last: Exception = error
        except StorageUnavailable as error:
            if not is_busy(error):
                raise
            last = error
        except CommitStateUnknownException as error:
            last = error
            if looks_up:
                continue
            raise UnknownOutcome(
                f"the commit to {table} may or may not have happened; running the same step again "
                "finds out and finishes it",
                table=table,
            ) from error
        time.sleep(random.uniform(0.5, 1.5) * min(0.05 * 2**number, 2.0))
    raise CommitConflict(
        f"{table}: other writers won the race {_TRIES} times; try again later", table=table
    ) from last


def _lost_race() -> tuple[type[Exception], ...]:
    """Return the errors that mean that another writer was faster."""
    from sqlalchemy.exc import IntegrityError

    return (
        CommitFailedException,
        ValidationException,  # another writer put rows where this one replaces some, or its keys
        TableAlreadyExistsError,
        NamespaceAlreadyExistsError,
        IntegrityError,  # another process made the same namespace between our look and our insert
    )


def commit_of(
    spec: TableSpec,
    deliveries: Sequence[Delivery],
    snapshot_id: int | None,
    *,
    skipped: Sequence[Delivery] = (),
) -> Commit:
    """Return what a commit of ``deliveries`` did."""
    return Commit(
        table=spec.name,
        keys=keys_of(deliveries),
        skipped=keys_of(skipped),
        rows=sum(part.rows for item in deliveries for part in item.parts),
        snapshot_id=snapshot_id,
    )


def can_be_made(spec: TableSpec, deliveries: Sequence[Delivery]) -> bool:
    """Return False while there are no rows, nor the columns that the table is partitioned by."""
    names = set(spec.schema.names)
    is_whole = all(column in names for _, column in spec.partition_by)
    return is_whole or any(item.parts for item in deliveries)
