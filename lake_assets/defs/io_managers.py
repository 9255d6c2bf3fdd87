"""How outputs become tables and files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from ulid import ULID

from lake_assets.defs.policies import dagster_errors
from lake_assets.errors import SchemaMismatch
from lake_assets.ingest import TableChange, commit
from lake_assets.lake import Lake
from lake_assets.storage.files import fsync_file
from lake_assets.storage.tables import Delivery, TableSpec


class IcebergIOManager(dg.ConfigurableIOManager):
    """Keeps outputs in Iceberg tables.

    An output is either prepared changes (a sequence of ``TableChange``), which are committed once,
    or a ``pyarrow.Table``, which replaces the asset's table or, where the output is partitioned,
    the rows of its partitions. Such an asset names its table in its metadata: ``lake/table``, and
    ``lake/partition_columns`` for the columns that a partition key ``a/b`` spells out.
    """

    lake: dg.ResourceDependency[Lake]

    def handle_output(
        self, context: dg.OutputContext, obj: pa.Table | Sequence[TableChange]
    ) -> None:
        """Commit and say what was committed."""
        if isinstance(obj, pa.Table):
            obj = [self._replacement(context, obj)]
        # An empty DataFrame or None, too, is a mistake and not "nothing to commit".
        if not isinstance(obj, list | tuple) or not all(isinstance(i, TableChange) for i in obj):
            raise SchemaMismatch(
                "assets here return a pyarrow.Table or prepared changes", got=type(obj).__name__
            )
        with dagster_errors():
            commits = [commit(self.lake.stores, change) for change in obj]
        if not commits:
            return
        context.add_output_metadata(
            {
                "committed rows": sum(item.rows for item in commits),
                "skipped uploads": sum(len(item.skipped) for item in commits),
                "tables": ", ".join(sorted({item.table for item in commits})),
                "snapshots": ", ".join(str(item.snapshot_id) for item in commits),
            }
        )

    def load_input(self, context: dg.InputContext) -> pa.Table:
        """Return the rows of the input's table that belong to its partitions, or all of it."""
        metadata = context.upstream_output.definition_metadata if context.upstream_output else {}
        table = str(metadata.get("lake/table") or context.asset_key.path[-1])
        if not context.has_asset_partitions:
            return self.lake.stores.tables.read(table)
        columns = _partition_columns(metadata)
        parts = [
            self.lake.stores.tables.read(table, where=_where(columns, key))
            for key in sorted(context.asset_partition_keys)
        ]
        return pa.concat_tables(parts, promote_options="default")

    def _replacement(self, context: dg.OutputContext, rows: pa.Table) -> TableChange:
        metadata = context.definition_metadata
        table = str(metadata["lake/table"])
        spec = TableSpec(name=table, schema=rows.schema)
        key = str(ULID())
        with self.lake.stores.tables.part_writer(spec, stem=key) as parts:
            parts.write(rows)
            delivery = Delivery(keys=(key,), parts=parts.close())
        if not context.has_asset_partitions:
            return TableChange(spec=spec, deliveries=(delivery,), replaces=({},))
        columns = _partition_columns(metadata)
        where = tuple(_where(columns, partition) for partition in context.asset_partition_keys)
        return TableChange(spec=spec, deliveries=(delivery,), replaces=where)


class ParquetIOManager(dg.ConfigurableIOManager):
    """Keeps outputs that are files by nature as Parquet files, one folder per partition.

    ``<root>/<asset>/partition=<key>/part.parquet``, hive-partitioned; ``/`` in a key is escaped.
    """

    root: str = Field(description="Folder below which files are kept.")

    def handle_output(self, context: dg.OutputContext, obj: pa.Table) -> None:
        """Replace the partition's file in one step."""
        if not isinstance(obj, pa.Table):
            raise SchemaMismatch("assets here return a pyarrow.Table", got=type(obj).__name__)
        keys = context.asset_partition_keys if context.has_asset_partitions else [None]
        if len(keys) != 1:
            raise SchemaMismatch(
                "one table can't be several partitions' file; back fill one partition per run",
                partitions=len(keys),
            )
        path = self._path(context.asset_key, keys[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".draft-{ULID()}")
        pq.write_table(obj, draft, compression="zstd")
        fsync_file(draft)
        draft.replace(path)
        context.add_output_metadata(
            {"path": dg.MetadataValue.path(str(path)), "dagster/row_count": obj.num_rows}
        )

    def load_input(self, context: dg.InputContext) -> pa.Table:
        """Return the input's partitions one after the other, in the order of their keys."""
        keys = sorted(context.asset_partition_keys) if context.has_asset_partitions else [None]
        tables = [pq.ParquetFile(self._path(context.asset_key, key)).read() for key in keys]
        return pa.concat_tables(tables, promote_options="default")

    def _path(self, asset: dg.AssetKey, partition: str | None) -> Path:
        folder = Path(self.root, *asset.path)
        if partition is not None:
            folder /= f"partition={quote(partition, safe='')}"
        return folder / "part.parquet"


def _partition_columns(metadata: Mapping[str, object]) -> list[str]:
    return str(metadata["lake/partition_columns"]).split("/")


def _where(columns: list[str], key: str) -> dict[str, str]:
    return dict(zip(columns, key.split("/"), strict=True))
