"""Checks of one dataset: sentences that are true when they pass.

Each reads its own dataset only. A blocking one that fails means that the data is wrong, and
holds back what is made from it; the others warn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lake_assets.contracts.names import DatasetName
from lake_assets.query.duckdb import LakeSql
from lake_assets.storage.system_tables import IMAGES, QUARANTINE, RAW_COLUMNS, UPLOADS
from lake_assets.stores import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found."""

    passed: bool
    summary: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A rule about a dataset."""

    name: str
    asset: str
    """The asset that it is about: ``raw`` or ``images``."""
    blocking: bool
    rule: Callable[[Stores, DatasetName], CheckResult]

    @property
    def description(self) -> str:
        """What is true when it passes."""
        return (self.rule.__doc__ or "").strip().splitlines()[0]


def rows_are_accounted_for(stores: Stores, name: DatasetName) -> CheckResult:
    """For every upload, rows in = accepted + rejected + duplicate, and rejected ones are kept."""
    broken = _rows(
        stores,
        name,
        UPLOADS.name,
        f"""SELECT upload_id FROM {UPLOADS.name} WHERE provider = ? AND dataset = ?
            AND rows_in != accepted + rejected + duplicate""",
    )
    lost = _uploads_that_differ(stores, name, "rejected", QUARANTINE.name)
    wrong = sorted({upload_id for (upload_id, *_) in (*broken, *lost)})
    total = _total(stores, name, "rows_in")
    return CheckResult(
        passed=not wrong,
        summary=_summary(f"{total} rows in, all accounted for", "uploads do not add up", wrong),
        numbers={"rows_in": total, "wrong_uploads": len(wrong)},
    )


def accepted_rows_are_in_the_table(stores: Stores, name: DatasetName) -> CheckResult:
    """Every upload has as many rows in the dataset's table as its ledger says were accepted."""
    wrong = sorted(
        upload_id for upload_id, *_ in _uploads_that_differ(stores, name, "accepted", name.table)
    )
    total = _total(stores, name, "accepted")
    return CheckResult(
        passed=not wrong,
        summary=_summary(f"{total} accepted rows in {name.table}", "uploads differ", wrong),
        numbers={"accepted": total, "wrong_uploads": len(wrong)},
    )


def schema_matches_table(stores: Stores, name: DatasetName) -> CheckResult:
    """The table has the lake's columns and those that its contract names; its files can be read."""
    schema = stores.tables.schema(name.table)
    if schema is None:
        return CheckResult(passed=True, summary=f"{name.table} does not exist yet")
    contract = stores.registry().contract(name)
    promised = {*RAW_COLUMNS.names, *contract.unique_by}
    promised |= {column for column in (contract.time_column, contract.image_column) if column}
    # Columns with image bytes are taken out of rows; what is left of them is `_image`.
    missing = sorted(promised - {*schema.names, contract.image_column or ""})
    _rows(stores, name, name.table, f"SELECT * FROM {name.table} LIMIT 0", parameters=())
    return CheckResult(
        passed=not missing,
        summary=_summary(f"{len(schema)} columns as promised", "columns are missing", missing),
        numbers={"columns": len(schema), "missing_columns": len(missing)},
    )


def every_image_is_stored(stores: Stores, name: DatasetName) -> CheckResult:
    """Each image of the dataset has its stored file, of the right size, and its thumbnail."""
    images = _rows(
        stores,
        name,
        IMAGES.name,
        f"""SELECT sha256, location, thumbnail, stored_byte_count FROM {IMAGES.name}
            WHERE provider = ? AND dataset = ?""",
    )
    absent = [
        sha
        for sha, location, thumbnail, byte_count in images
        if stores.assets.size(location) != byte_count or stores.thumbnails.size(thumbnail) is None
    ]
    unknown = images_without_facts(stores, name)
    wrong = sorted({*absent, *unknown})
    return CheckResult(
        passed=not wrong,
        summary=_summary(f"{len(images)} images stored", "images are not", wrong),
        numbers={"images": len(images), "missing": len(absent), "unknown": len(unknown)},
    )


def rejected_share_is_small(stores: Stores, name: DatasetName) -> CheckResult:
    """No more than `rejected_share_limit` of the rows that came in were rejected."""
    total, rejected = _total(stores, name, "rows_in"), _total(stores, name, "rejected")
    share = rejected / total if total else 0.0
    limit = stores.settings.rejected_share_limit
    return CheckResult(
        passed=share <= limit,
        summary=f"{rejected} of {total} rows rejected ({share:.1%}, limit {limit:.1%})",
        numbers={"rejected_share": round(share, 6), "limit": limit},
    )


CHECKS = (
    Check(name="rows_are_accounted_for", asset="raw", blocking=True, rule=rows_are_accounted_for),
    Check(
        name="accepted_rows_are_in_the_table",
        asset="raw",
        blocking=True,
        rule=accepted_rows_are_in_the_table,
    ),
    Check(name="schema_matches_table", asset="raw", blocking=True, rule=schema_matches_table),
    Check(name="every_image_is_stored", asset="images", blocking=True, rule=every_image_is_stored),
    Check(
        name="rejected_share_is_small", asset="quarantine", blocking=False,
        rule=rejected_share_is_small,
    ),
)  # fmt: skip


def _rows(
    stores: Stores,
    name: DatasetName,
    table: str,
    sql: str,
    parameters: tuple[str, ...] | None = None,
) -> list[tuple[Any, ...]]:
    """Return the rows of a query about one dataset; none where ``table`` does not exist yet."""
    if not stores.tables.exists(table):
        return []
    engine = LakeSql(stores.tables, scratch=stores.layout.scratch)
    values = (name.provider, name.dataset) if parameters is None else parameters
    prune = {"provider": name.provider, "dataset": name.dataset}
    found: list[tuple[Any, ...]] = engine.query(sql, values, prune=prune).fetchall()
    return found


def _uploads_that_differ(
    stores: Stores, name: DatasetName, count: str, table: str
) -> list[tuple[Any, ...]]:
    """Return the uploads whose rows in ``table`` are not as many as their ledger's ``count``."""
    if not stores.tables.exists(table):  # right only if nothing should be in it
        return _rows(
            stores,
            name,
            UPLOADS.name,
            f"""SELECT upload_id, {count}, 0 FROM {UPLOADS.name}
                WHERE provider = ? AND dataset = ? AND {count} != 0""",
        )
    own = "" if table == name.table else "WHERE provider = ? AND dataset = ?"
    values = (name.provider, name.dataset) * (2 if own else 1)
    return _rows(
        stores,
        name,
        UPLOADS.name,
        f"""
        WITH told AS (
            SELECT upload_id, {count} AS told FROM {UPLOADS.name}
            WHERE provider = ? AND dataset = ?
        ), found AS (
            SELECT _upload_id AS upload_id, count(*) AS found FROM {table} {own} GROUP BY ALL
        )
        SELECT upload_id, coalesce(told, 0), coalesce(found, 0)
        FROM told FULL JOIN found USING (upload_id)
        WHERE coalesce(told, 0) != coalesce(found, 0)
        """,
        parameters=values,
    )


def images_without_facts(stores: Stores, name: DatasetName) -> list[str]:
    """Return the images, by SHA-256, that a dataset's rows name and ``lake.images`` lacks."""
    if not stores.tables.exists(IMAGES.name):
        return []
    rows = _rows(
        stores,
        name,
        name.table,
        f"""SELECT DISTINCT _image FROM {name.table} WHERE _image IS NOT NULL AND _image NOT IN
            (SELECT sha256 FROM {IMAGES.name} WHERE provider = ? AND dataset = ?)""",
    )
    return [sha for (sha,) in rows]


def _total(stores: Stores, name: DatasetName, count: str) -> int:
    rows = _rows(
        stores,
        name,
        UPLOADS.name,
        f"""SELECT coalesce(sum({count}), 0)::BIGINT FROM {UPLOADS.name}
            WHERE provider = ? AND dataset = ?""",
    )
    return sum(int(total) for (total,) in rows)


def _summary(good: str, bad: str, wrong: list[str]) -> str:
    if not wrong:
        return good
    shown = ", ".join(wrong[:5]) + (", …" if len(wrong) > 5 else "")
    return f"{len(wrong)} {bad}: {shown}"
