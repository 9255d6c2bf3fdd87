"""Which image of its dataset an annotation refers to.

Held by DuckDB, which spills to disk, so that memory does not grow with the dataset. Invariant: a
reference means one image or none; where it could mean several, it says so and is never guessed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from lake_assets.contracts.names import DatasetName
from lake_assets.query.duckdb import LakeSql, batches_of, connect, disk_errors
from lake_assets.storage.system_tables import IMAGES
from lake_assets.stores import Stores

By = Literal["name", "sha256", "record_id"]
_NAME_COLUMN = "file_name"
_SHOWN = 3
_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """An image that is meant, after EXIF orientation."""

    sha256: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoImage:
    """Why a reference means no image."""

    actual: str


class ImageNames:
    """The images of one dataset, by what annotations may call them. Close it.

    A name is first taken as it stands, then without its folders, then without its suffix too: both
    that of the annotation and that of the image, as ``000.csv`` annotates ``scans/000.jpg``.

    Args:
        by: What annotations hold: a name (or SHA-256), a SHA-256 alone, or a ``_record_id``.
    """

    def __init__(self, stores: Stores, name: DatasetName, *, by: By) -> None:
        self._warehouse = stores.tables.warehouse
        self._name = name
        self._by = by
        self._connection = connect(scratch=stores.layout.scratch, memory_limit="512MB")
        with disk_errors(self._warehouse):
            self._connection.execute(
                "CREATE TABLE images (sha256 VARCHAR, width_px INTEGER, height_px INTEGER);"
                "CREATE TABLE known (key VARCHAR, place TINYINT, sha256 VARCHAR)"
            )
        self._load(stores)

    def resolve(self, references: Iterable[str]) -> dict[str, ImageRow | NoImage]:
        """Return what each reference means.

        Raises:
            StorageUnavailable: when there is no room to spill to.
        """
        asked = sorted({*references})
        forms = [(text, form, n) for text in asked for n, form in enumerate(self._forms(text))]
        if not forms:
            return {}
        columns = [pa.array(column) for column in zip(*forms, strict=True)]
        with disk_errors(self._warehouse):
            self._connection.register("asked", pa.table(columns, names=["asked", "key", "form"]))
            rows = self._connection.execute(_RESOLVE).fetchall()
            self._connection.unregister("asked")
        found = {text: self._meaning(count, images) for text, count, images in rows}
        return {text: found.get(text) or NoImage(actual=self._unknown(text)) for text in asked}

    def close(self) -> None:
        """Free the memory and the spill files."""
        self._connection.close()

    def _forms(self, text: str) -> Sequence[str]:
        if self._by != "name":
            return (text,)
        base = posixpath.basename(text.replace("\\", "/"))
        return tuple(dict.fromkeys((text, base, posixpath.splitext(base)[0])))

    def _meaning(self, count: int, images: list[dict[str, object]]) -> ImageRow | NoImage:
        if count == 1:
            return ImageRow(**images[0])  # type: ignore[arg-type]
        shown = ", ".join(str(image["sha256"])[:12] for image in images[:_SHOWN])
        return NoImage(actual=f"{count} images of {self._name} have this name: {shown}")

    def _unknown(self, text: str) -> str:
        if not text:
            return "no image"
        what = {"name": "called", "sha256": "with the SHA-256", "record_id": "in the record"}
        return f"no image of {self._name} {what[self._by]} {text!r:.200}"

    def _load(self, stores: Stores) -> None:
        table, tables = self._name.table, stores.tables
        if not tables.exists(IMAGES.name) or not tables.exists(table):
            return
        where = {"provider": self._name.provider, "dataset": self._name.dataset}
        sql = LakeSql(tables, scratch=stores.layout.scratch)
        images = sql.query(
            f"SELECT sha256, width_px, height_px, source_name FROM {IMAGES.name} "
            "WHERE provider = $provider AND dataset = $dataset",
            where,
            prune=where,
        )
        self._take(
            images,
            "INSERT INTO images SELECT sha256, width_px, height_px FROM found",
            "INSERT INTO known SELECT sha256, 0, sha256 FROM found",
            *([_NAMES.format(name="source_name")] if self._by == "name" else []),
        )
        column = "_record_id" if self._by == "record_id" else _NAME_COLUMN
        if self._by != "sha256" and column in (tables.schema(table) or pa.schema([])).names:
            self._load_rows(sql, column)

    def _load_rows(self, sql: LakeSql, column: str) -> None:
        """Load what rows of the dataset say of their images.

        ``lake.images`` has of an image only the name in the first delivery that had it.
        """
        rows = sql.query(
            f'SELECT "{column}"::VARCHAR AS name, _image AS sha256 FROM {self._name.table} '
            f'WHERE _image IS NOT NULL AND "{column}" IS NOT NULL'
        )
        by_id = "INSERT INTO known SELECT name, 0, sha256 FROM found"
        self._take(rows, _NAMES.format(name="name") if column == _NAME_COLUMN else by_id)

    def _take(self, relation: Any, *statements: str) -> None:
        """Carry out statements for some rows of a relation after the other, called ``found``."""
        for batch in batches_of(relation, _ROWS_AT_ONCE, warehouse=self._warehouse):
            with disk_errors(self._warehouse):
                self._connection.register("found", pa.Table.from_batches([batch]))
                for statement in statements:
                    self._connection.execute(statement)
                self._connection.unregister("found")


_NAMES = r"""
INSERT INTO known
SELECT DISTINCT key, place, sha256 FROM (
    SELECT unnest([
        {{key: {name}, place: 0::TINYINT, sha256: sha256}},
        {{key: parse_filename({name}, false, 'both_slash'), place: 1::TINYINT, sha256: sha256}},
        {{key: regexp_replace(parse_filename({name}, false, 'both_slash'), '(.)\.[^.]*$', '\1'),
          place: 2::TINYINT, sha256: sha256}}
    ], recursive := true)
    FROM found WHERE {name} IS NOT NULL
)
"""
"""Distinct in a query around it: DuckDB 1.5 takes DISTINCT beside an unnested struct for distinct
by its first field alone, and would lose the second image of a name."""
_RESOLVE = """
WITH met AS (
    SELECT asked, form, place, known.sha256 FROM asked JOIN known USING (key)
), best AS (
    SELECT asked, min((form, place)) AS best FROM met GROUP BY asked
), meant AS (
    SELECT DISTINCT met.asked, met.sha256 FROM met JOIN best USING (asked)
    WHERE (met.form, met.place) = best.best
)
SELECT asked, count(*), list({sha256: images.sha256, width_px: width_px, height_px: height_px}
                             ORDER BY images.sha256)
FROM meant JOIN images USING (sha256) GROUP BY asked
"""
