"""The commits that bring a group of uploads into the tables: what to change, and doing it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from lake_assets.contracts.growth import grow_schema
from lake_assets.contracts.names import DatasetName, Destination
from lake_assets.ingest.model import COMMIT_ORDER, Asset, Group, TableChange
from lake_assets.ingest.state import promised_columns
from lake_assets.intake.uploads import State
from lake_assets.storage.system_tables import IMAGES, QUARANTINE, columns_of, table_spec
from lake_assets.storage.tables import Commit, Lease, TableSpec
from lake_assets.storage.tables.parts import schema_of_part
from lake_assets.stores import Stores


def changes_of(
    stores: Stores, name: Destination, group: Group | None, *, lease: Lease, rebuild: bool
) -> dict[Asset, TableChange]:
    """Return the commits that bring ``group`` into the tables, in ``COMMIT_ORDER``.

    A table that nothing comes into is not committed to, once it is there: an upload of duplicates
    alone costs one commit, to the ledger. One that is not there is made: people ask it for rows.

    Args:
        rebuild: Whether they replace all that the tables have of the dataset.
    """
    return {
        asset: TableChange(
            spec=spec_of(stores, asset, name, group, rebuild=rebuild),
            deliveries=(group.delivery(asset),) if group else (),
            replaces=_replaced(asset, name, group, rebuild=rebuild),
            once=not rebuild,
            lease=lease,
            gone=group.gone if group and asset == "raw" else (),
            drops=rebuild and asset == "raw" and drops_columns(name),
            forgets=forgotten(stores, name) if rebuild else (),
            was_asked=asset == "raw",
        )
        for asset in COMMIT_ORDER
        if (asset != "images" or isinstance(name, DatasetName))
        and (
            rebuild
            or (
                group is not None and (group.parts[asset] or _is_new(stores, table_of(asset, name)))
            )
        )
    }


def drops_columns(name: Destination) -> bool:
    """Return whether a rebuild takes columns away that none of its rows has: not from a table that
    others share.
    """
    return isinstance(name, DatasetName)


def forgotten(stores: Stores, name: Destination) -> tuple[str, ...]:
    """Return the keys that a rebuild has no rows of: those of uploads that were taken out."""
    return tuple(upload.id for upload in stores.staging.uploads(State.REMOVED, name=name))


def spec_of(
    stores: Stores, asset: Asset, name: Destination, group: Group | None, *, rebuild: bool
) -> TableSpec:
    """Return the table of a dataset's ``asset`` as ``group`` needs it."""
    if asset == "images":
        return IMAGES
    if asset == "quarantine":
        return QUARANTINE
    contract = stores.registry().promise(name)
    own = pa.schema([])
    for part in group.parts["raw"] if group else ():
        own = grow_schema(own, schema_of_part(part))
    # Last: the contract may say another type since the table was made, to which parts fit.
    before = own if len(own) else _schema_without_rows(stores, name, rebuild=rebuild)
    own = grow_schema(before, promised_columns(contract, before))
    lake_columns = columns_of(name).names
    own = pa.schema([field for field in own if field.name not in lake_columns])
    return table_spec(name, contract, own)


def _schema_without_rows(stores: Stores, name: Destination, *, rebuild: bool) -> Any:
    """Return what a table has where nothing is brought to it."""
    schema = stores.tables.schema(name.table) or pa.schema([])
    if not rebuild or not drops_columns(name):
        return schema
    parted = {column for _, column in stores.tables.partition_by(name.table) or ()}
    return pa.schema([field for field in schema if field.name in parted])


def _replaced(
    asset: Asset, name: Destination, group: Group | None, *, rebuild: bool
) -> tuple[dict[str, str], ...] | None:
    if asset == "raw" and group is not None and group.gone:
        return ({},)
    if not rebuild and not (asset == "quarantine" and group is not None and group.is_replay):
        return None
    images = {"provider": name.provider, "dataset": name.dataset}
    return ({"images": images, "raw": name.table_rows, "quarantine": name.own_rows}[asset],)


def _is_new(stores: Stores, table: str) -> bool:
    return not stores.tables.exists(table)


def table_of(asset: Asset, name: Destination) -> str:
    """Return the name of the table in which a dataset's ``asset`` lies."""
    return {"images": IMAGES.name, "quarantine": QUARANTINE.name, "raw": name.table}[asset]


def commit(stores: Stores, change: TableChange) -> Commit:
    """Make one prepared change, exactly once.

    Raises:
        LeaseLost: another process took the dataset over; nothing is changed.
        SchemaChanged: other columns came into a table that datasets share; nothing is changed.
    """
    if change.replaces is None:
        return stores.tables.append_once(
            change.spec, change.deliveries, lease=change.lease, was_asked=change.was_asked
        )
    keys = tuple(key for item in change.deliveries for key in item.keys)
    if change.once and stores.tables.committed(change.spec.name, keys):
        return Commit(table=change.spec.name, keys=(), skipped=keys, rows=0, snapshot_id=None)
    where = None if {} in change.replaces else change.replaces
    return stores.tables.replace(
        change.spec,
        change.deliveries,
        where=where,
        gone=change.gone,
        drops=change.drops,
        forgets=change.forgets,
        lease=change.lease,
    )
