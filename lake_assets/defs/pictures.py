"""What a materialisation shows of a dataset: numbers, columns, a row sample, a contact sheet."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from lake_assets.contracts.beside import added_up
from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.variants import is_variant, main_name, merged_rows
from lake_assets.ingest import Prepared
from lake_assets.media.contact_sheet import contact_sheet
from lake_assets.storage.system_tables import IMAGES
from lake_assets.storage.tables import Part
from lake_assets.stores import Stores

SAMPLE_ROWS = 10
SHEET_IMAGES = 48
SHEET_BYTES = 42_000
"""As base64 in a data URI it grows by a third, and stays under the 60 kB that the UI renders."""
_CELL_CHARACTERS = 60
_ID_CHARACTERS = 19


NOTHING_PENDING = "Nothing was pending: the dataset is up to date."


def idle_metadata(stores: Stores, table: str) -> dict[str, Any]:
    """Return what is shown of a dataset that a run over many found up to date."""
    return {"note": NOTHING_PENDING, "rows in": 0} | table_metadata(stores, table, None)


def counts_metadata(prepared: Prepared) -> dict[str, Any]:
    """Return the numbers of what was ingested."""
    total = prepared.total()
    seconds = total["seconds"]
    has_images = isinstance(prepared.name, DatasetName)  # annotations bring none
    images = {
        "images stored": int(total["images_stored"]),
        "image bytes saved": int(total["image_bytes_in"] - total["image_bytes_stored"]),
    }
    numbers: dict[str, Any] = {
        "rows in": int(total["rows_in"]),
        "rows accepted": int(total["accepted"]),
        "rows rejected": int(total["rejected"]),
        "rows duplicate": int(total["duplicate"]),
        "bytes in": int(total["bytes_in"]),
        **(images if has_images else {}),
        "seconds": round(seconds, 3),
        "rows per second": round(total["rows_in"] / seconds, 1) if seconds else 0.0,
    }
    if not prepared.all_uploads:
        numbers["note"] = NOTHING_PENDING
    if prepared.recovered:
        ids = ", ".join(item.upload.id for item in prepared.recovered)
        numbers["finished for a process that died"] = ids
    return numbers


def rejected_metadata(prepared: Prepared) -> dict[str, Any]:
    """Return how many rows each rule rejected, as a table."""
    rules = prepared.rejected_by_rule()
    if not rules:
        return {}
    rows = [f"| {rule} | {count} |" for rule, count in sorted(rules.items())]
    return {
        "rejected by rule": dg.MetadataValue.md("\n".join(["| rule | rows |", "|--|--:|", *rows]))
    }


def beside_metadata(prepared: Prepared) -> dict[str, Any]:
    """Return which values of these uploads their columns cannot hold, in words."""
    found = added_up(*(item.outcome.beside for item in prepared.all_uploads))
    return {"values beside their columns": "; ".join(map(str, found))} if found else {}


def schema_metadata(prepared: Prepared) -> dict[str, Any]:
    """Return what uploads changed in the table's schema, as a table."""
    rows = [
        f"| {_cell(change.path)} | {change.change} | {_cell(change.old_type)} "
        f"| {_cell(change.new_type)} | {change.rows_affected} | {item.upload.id} |"
        for item in prepared.all_uploads
        for change in item.outcome.schema_changes
    ]
    if not rows:
        return {}
    head = ["| path | change | old type | new type | rows | upload |", "|--|--|--|--|--:|--|"]
    return {"schema changes": dg.MetadataValue.md("\n".join([*head, *rows]))}


def table_metadata(stores: Stores, table: str, prepared_schema: pa.Schema | None) -> dict[str, Any]:
    """Return name, place and columns of a table, as it is or, if it is new, as it will be."""
    metadata: dict[str, Any] = {"dagster/table_name": table}
    # Types in Arrow's words, also of a table that is there: else the first run would call
    # `int64` what the second calls `long`, and the UI show a change of type.
    fields = {field.name: field for field in stores.tables.schema(table) or ()}
    for field in prepared_schema or ():
        fields.setdefault(field.name, field)
    columns = [
        dg.TableColumn(
            field.name,
            str(field.type),
            description=(field.metadata or {}).get(b"doc", b"").decode(),
        )
        for field in fields.values()
    ]
    metadata["dagster/uri"] = str(stores.tables.data_folder(table).parent)
    metadata["dagster/column_schema"] = dg.TableSchema(columns=columns)
    return metadata


def row_sample(stores: Stores, table: str, parts: Iterable[Part], where: dict[str, str]) -> Any:
    """Return some rows that are new, or else some that are in the table, as a Markdown table."""
    rows = _first_rows(parts)
    if rows is None and stores.tables.exists(table):
        rows = stores.tables.read(table, where=where, limit=SAMPLE_ROWS)
    if rows is None or not rows.num_rows:
        return "No rows."
    # What the delivery says first; the lake's own columns are long and alike.
    names = sorted(rows.column_names, key=lambda name: name.startswith("_"))
    return markdown_table(rows.select(names))


def _first_rows(parts: Iterable[Part]) -> pa.Table | None:
    for part in parts:
        if part.rows:
            with pq.ParquetFile(part.path) as file:
                batch = next(file.iter_batches(batch_size=SAMPLE_ROWS))
            return pa.Table.from_batches([batch])
    return None


def markdown_table(rows: pa.Table) -> str:
    """Return rows as a Markdown table, variants in their places; long values are cut."""
    names = [name for name in rows.column_names if not is_variant(name)]
    names += [main_name(name) for name in rows.column_names if main_name(name) not in names]
    head = "| " + " | ".join(_cell(name) for name in names) + " |"
    rule = "|" + "--|" * len(names)
    body = [
        "| " + " | ".join(_cell(row[name], name) for name in names) + " |"
        for row in merged_rows(rows)
    ]
    return "\n".join([head, rule, *body])


def _cell(value: object, column: str = "") -> str:
    text = "" if value is None else " ".join(str(value).split())
    longest = _ID_CHARACTERS if column.startswith("_") or "sha256" in column else _CELL_CHARACTERS
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return text.replace("\\", "\\\\").replace("|", "\\|")


def contact_sheet_metadata(
    stores: Stores, name: DatasetName, parts: Iterable[Part]
) -> Mapping[str, Any]:
    """Return a contact sheet of the newest images, as a Markdown image."""
    paths = [stores.thumbnails.path(place) for place in _thumbnails(stores, name, parts)]
    sheet = contact_sheet(paths, limit_bytes=SHEET_BYTES)
    if sheet is None:
        return {}
    uri = base64.b64encode(sheet).decode()
    return {"contact sheet": dg.MetadataValue.md(f"![{name}](data:image/jpeg;base64,{uri})")}


def _thumbnails(stores: Stores, name: DatasetName, parts: Iterable[Part]) -> list[str]:
    new = itertools.islice(_new_thumbnails(parts), SHEET_IMAGES)
    found = list(new)
    if found or not stores.tables.exists(IMAGES.name):
        return found
    where = {"provider": name.provider, "dataset": name.dataset}
    rows = stores.tables.read(IMAGES.name, where=where, columns=("thumbnail",), limit=SHEET_IMAGES)
    return [str(place) for place in rows["thumbnail"].to_pylist()]


def _new_thumbnails(parts: Iterable[Part]) -> Iterable[str]:
    for part in parts:
        with pq.ParquetFile(part.path) as file:
            for batch in file.iter_batches(batch_size=SHEET_IMAGES, columns=["thumbnail"]):
                yield from batch["thumbnail"].to_pylist()
