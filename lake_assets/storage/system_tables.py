"""The lake's own tables: their columns, as Arrow schemas with a comment on each column.

Times are UTC with microseconds. Nothing here is written by hand elsewhere: code that makes rows
for these tables takes the schema from here.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName, Destination
from lake_assets.contracts.tasks import TaskContract
from lake_assets.storage.tables import TableSpec

INSTANT = pa.timestamp("us", tz="UTC")
DATASET_KEY = "provider || '/' || dataset"
"""SQL for the name of the dataset that a row of the lake's own tables is about."""
DESTINATION_KEY = (
    f"{DATASET_KEY} || CASE WHEN task = 'raw' THEN '' ELSE '/' || task || '/' || variant END"
)
"""SQL for the name of the dataset or variant that a row of the ledger or quarantine is about."""


_NAMES = ("provider", "dataset", "task", "variant")


def _column(name: str, kind: Any, comment: str) -> Any:
    return pa.field(name, kind, metadata={"doc": comment})


RAW_COLUMNS = pa.schema(
    [
        _column("_record_id", pa.string(), "Hash of the unique key, or upload-file-row."),
        _column("_upload_id", pa.string(), "Upload that brought the row."),
        _column("_ingested_at", INSTANT, "When the upload was ingested."),
        _column("_image", pa.string(), "SHA-256 of the row's image in lake.images, or null."),
    ]
)
"""The columns that every dataset's table begins with."""

IMAGES = TableSpec(
    name="lake.images",
    description="One row per distinct image of a dataset.",
    partition_by=(("identity", "provider"), ("identity", "dataset")),
    schema=pa.schema(
        [
            _column("provider", pa.string(), "Who delivered it."),
            _column("dataset", pa.string(), "Dataset that it belongs to."),
            _column("sha256", pa.string(), "SHA-256 of the delivered bytes; the image's name."),
            _column("location", pa.string(), "Stored file, relative to the lake's assets folder."),
            _column("thumbnail", pa.string(), "JPEG of at most 256 px, below thumbnails."),
            _column("byte_count", pa.int64(), "Size of the delivered bytes."),
            _column("mime_type", pa.string(), "Type of the delivered bytes, by content."),
            _column("width_px", pa.int32(), "Width after EXIF orientation."),
            _column("height_px", pa.int32(), "Height after EXIF orientation."),
            _column("orientation", pa.int32(), "EXIF orientation, 1 to 8."),
            _column("phash", pa.int64(), "64-bit pHash, the same bits as a signed number."),
            _column("sharpness", pa.float64(), "Variance of the Laplacian, at reduced scale."),
            _column("brightness", pa.float64(), "Mean luma, 0 to 1."),
            _column("stored_sha256", pa.string(), "SHA-256 of the stored bytes."),
            _column("stored_byte_count", pa.int64(), "Size of the stored bytes."),
            _column("source_name", pa.string(), "Name in the first delivery that had it."),
            _column("tag", pa.string(), "Tag of the first upload that had it."),
            _column("_upload_id", pa.string(), "First upload that had it."),
            _column("upload_time", INSTANT, "When that upload was made."),
            _column("thumbnail_sha256", pa.string(), "SHA-256 of the thumbnail's bytes."),
        ]
    ),
)

QUARANTINE = TableSpec(
    name="lake.quarantine",
    description="One row per rejected row or file, with the reason.",
    partition_by=(("identity", "provider"), ("identity", "dataset")),
    exact_bounds=_NAMES,
    schema=pa.schema(
        [
            _column("quarantine_id", pa.string(), "Names this row."),
            _column("provider", pa.string(), "Who delivered it."),
            _column("dataset", pa.string(), "Dataset that it was meant for."),
            _column("task", pa.string(), "Task that it was meant for, or raw."),
            _column("variant", pa.string(), "Variant of the task; of raw: the kind of delivery."),
            _column("_upload_id", pa.string(), "Upload that brought it."),
            _column("file", pa.string(), "File in the upload."),
            _column("row", pa.int64(), "Row in the file, from 0; null: the file as a whole."),
            _column("rule", pa.string(), "The sentence that is not true of it."),
            _column("path", pa.string(), "Column that is meant, if one is."),
            _column("expected", pa.string(), "What the rule asks for."),
            _column("actual", pa.string(), "What was found."),
            _column("row_json", pa.string(), "The row as JSON, or its text as a JSON string."),
            _column("state", pa.string(), "open; or replayed: the row is in its table by now."),
            _column("rejected_at", INSTANT, "When it was rejected first."),
            _column("replayed_by", pa.string(), "Upload that took it out of here, or null."),
            _column("replayed_at", INSTANT, "When it was tried again last."),
            _column("rejected_by", pa.string(), "Upload that counts it: its own, or a replay."),
        ]
    ),
)

UNDONE = "undone"
"""Kind of an upload in the ledger that was taken out of the tables again."""
_DATA_FILE = pa.struct([("name", pa.string()), ("sha256", pa.string()), ("rows", pa.int64())])
_BESIDE = pa.struct(
    [("path", pa.string()), ("type", pa.string()), ("values", pa.int64()), ("example", pa.string())]
)

UPLOADS = TableSpec(
    name="lake.uploads",
    description="One row per finished upload. rows_in = accepted + rejected + duplicate.",
    exact_bounds=_NAMES,
    schema=pa.schema(
        [
            _column("upload_id", pa.string(), "The upload's id, which is the job id."),
            _column("provider", pa.string(), "Who delivered it."),
            _column("dataset", pa.string(), "Dataset that it belongs to."),
            _column("task", pa.string(), "Task that it annotates, or raw."),
            _column("variant", pa.string(), "Variant of the task; of raw: the kind of delivery."),
            _column("description", pa.string(), "What its uploader said of it."),
            _column("tags", pa.list_(pa.string()), "Tags."),
            _column("meta", pa.map_(pa.string(), pa.string()), "What was said of annotations."),
            _column("kind", pa.string(), "delivery; replay of rows in the quarantine; or undone."),
            _column("source", pa.string(), "What was delivered: a path, a DataFrame…"),
            _column("created_by", pa.string(), "user@host of the uploader."),
            _column("created_at", INSTANT, "When it was uploaded."),
            _column("finished_at", INSTANT, "When it was ingested."),
            _column("rows_in", pa.int64(), "Rows that it holds."),
            _column("accepted", pa.int64(), "Rows that are in the table."),
            _column("rejected", pa.int64(), "Rows that are in the quarantine."),
            _column("duplicate", pa.int64(), "Rows that were in the table already."),
            _column("images_in", pa.int64(), "Rows with an image that could be read."),
            _column("images_stored", pa.int64(), "Images that were new to the dataset."),
            _column("bytes_in", pa.int64(), "Size of its files."),
            _column("image_bytes_in", pa.int64(), "Size of its images, each time one is used."),
            _column("image_bytes_stored", pa.int64(), "Size of the images that were stored."),
            _column("seconds", pa.float64(), "Time that ingesting it took."),
            _column("run_id", pa.string(), "Dagster run, or empty."),
            _column(
                "data_files",
                pa.list_(_DATA_FILE),
                "Its files of rows; one that comes again is a duplicate as a whole.",
            ),
            _column(
                "beside",
                pa.list_(_BESIDE),
                "Values that their columns cannot hold, by column; they are in its variant.",
            ),
        ]
    ),
)

SCHEMA_CHANGES = TableSpec(
    name="lake.schema_changes",
    description="One row per change that an upload made to a table's schema.",
    exact_bounds=_NAMES,
    schema=pa.schema(
        [
            _column("table_name", pa.string(), "Table that changed."),
            _column("provider", pa.string(), "Who delivered the upload."),
            _column("dataset", pa.string(), "Dataset that it belongs to."),
            _column("task", pa.string(), "Kind of annotation, or raw."),
            _column("variant", pa.string(), "Version of the annotation, or empty."),
            _column("path", pa.string(), "Place that changed, as items[].price."),
            _column("change", pa.string(), "added, widened, rewritten, variant or dropped."),
            _column("old_type", pa.string(), "Its type before; null: it is new."),
            _column("new_type", pa.string(), "Its type since; null: it is gone."),
            _column("upload_id", pa.string(), "Upload that needed it."),
            _column("rows_affected", pa.int64(), "Rows of that upload with a value there."),
            _column("changed_at", INSTANT, "When that upload was finished."),
        ]
    ),
)

PARTITIONS = TableSpec(
    name="lake.partitions",
    description="One row per provider, dataset, task and variant that exists: the catalog.",
    exact_bounds=_NAMES,
    schema=pa.schema(
        [
            _column("provider", pa.string(), "Who delivers it."),
            _column("dataset", pa.string(), "What."),
            _column("task", pa.string(), "Kind of annotation, or raw."),
            _column("variant", pa.string(), "Version of the annotation, or empty."),
            _column("table_name", pa.string(), "Name to use in SQL."),
            _column("description", pa.string(), "From the registry."),
            _column("owner", pa.string(), "From the registry."),
            _column("rows", pa.int64(), "Rows in its table."),
            _column("table_bytes", pa.int64(), "Size of its table's files."),
            _column("images", pa.int64(), "Distinct images."),
            _column("image_bytes", pa.int64(), "Size of the stored images."),
            _column("quarantined", pa.int64(), "Rows in the quarantine that were not replayed."),
            _column("uploads", pa.int64(), "Finished uploads."),
            _column("columns", pa.list_(pa.string()), "Columns, as name: type."),
            _column("last_upload_id", pa.string(), "Latest finished upload."),
            _column("last_ingested_at", INSTANT, "When that was."),
        ]
    ),
)

_OWN = {
    spec.name: spec.schema for spec in (IMAGES, QUARANTINE, UPLOADS, SCHEMA_CHANGES, PARTITIONS)
}


def with_new_columns(table: str, schema: Any) -> Any:
    """Return a table's ``pyarrow.Schema`` with those columns that it gets with its next commit.

    An earlier version of this package may have made it, and queries name them now.
    """
    own = _OWN.get(table)
    if own is None:
        return schema
    return pa.schema([*schema, *(field for field in own if field.name not in schema.names)])


TASK_COLUMNS = pa.schema(
    [
        *RAW_COLUMNS,
        _column("provider", pa.string(), "Who delivers the dataset."),
        _column("dataset", pa.string(), "Dataset that it annotates."),
        _column("variant", pa.string(), "Version of the annotation."),
        _column("_content", pa.string(), "Hash of what it says; null where no key names it."),
    ]
)
"""The columns that every task's table begins with."""


def columns_of(name: Destination) -> Any:
    """Return the columns that the lake itself fills in, as a ``pyarrow.Schema``."""
    return RAW_COLUMNS if isinstance(name, DatasetName) else TASK_COLUMNS


def table_spec(
    name: Destination, contract: DatasetContract | TaskContract, own_columns: Any
) -> TableSpec:
    """Return the table of a dataset or task, with its own columns after the lake's.

    Args:
        own_columns: ``pyarrow.Schema``.
    """
    return TableSpec(
        name=name.table,
        description=contract.description,
        partition_by=contract.partition_fields(),
        schema=pa.schema([*columns_of(name), *own_columns]),
    )
