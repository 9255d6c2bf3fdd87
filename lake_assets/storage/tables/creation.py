"""How a table begins: its folder, its properties and what it is partitioned by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lake_assets.storage.tables.commits import bounds_of
from lake_assets.storage.tables.locations import location_of
from lake_assets.storage.tables.model import TableSpec, partition_field_name

if TYPE_CHECKING:
    from pyiceberg.table import Transaction

    from lake_assets.storage.tables.catalog import LakeCatalog

_PROPERTIES = {
    "format-version": "2",
    # A commit adds a manifest, and planning a scan reads all of them (2 ms each). From sixteen on
    # they are merged.
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "16",
    # A commit writes the metadata anew. `lake repair` can go back to one of the last twenty.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


def creation_of(catalog: LakeCatalog, spec: TableSpec, folder: Path) -> Transaction:
    """Return the transaction that makes the table of ``spec`` in ``folder`` once it is committed.

    Its namespace is made now.
    """
    catalog.create_namespace_if_not_exists(spec.name.partition(".")[0])
    transaction: Transaction = catalog.create_table_transaction(
        spec.name,
        spec.schema,
        location=location_of(folder),
        properties={**_PROPERTIES, **bounds_of(spec), "comment": spec.description},
    )
    if spec.partition_by:
        from pyiceberg.transforms import parse_transform

        with transaction.update_spec() as update:
            for transform, column in spec.partition_by:
                name = partition_field_name(transform, column)
                update.add_field(column, parse_transform(transform), name)
    return transaction
