"""Checks of datasets: sentences that are true when they pass.

Each looks at the datasets that it is asked about and at no other. A blocking one that fails means
that the data is wrong, and holds back what is made from it; the others warn. What datasets share,
the ledger and the tables of images and rejected rows, is read once for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from lake_assets.contracts.growth import type_words
from lake_assets.contracts.names import (
    DatasetName,
    Destination,
    VariantName,
    parse_destination,
)
from lake_assets.contracts.registry import Registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.contracts.variants import main_name
from lake_assets.errors import DamagedTable
from lake_assets.storage.system_tables import (
    DATASET_KEY,
    IMAGES,
    QUARANTINE,
    SCHEMA_CHANGES,
    UNDONE,
    UPLOADS,
    columns_of,
)
from lake_assets.stores import Stores
from lake_assets.upkeep.beside_check import no_value_stands_beside_its_column
from lake_assets.upkeep.check_model import Check, CheckResult, Results, Rule
from lake_assets.upkeep.look import Look, rows_of, summary


def rows_are_accounted_for(stores: Stores, names: Sequence[Destination]) -> Results:
    """For every upload, rows in = accepted + rejected + duplicate, and rejected ones are kept."""
    look = Look(stores, names)
    wrong = look.by_name(
        UPLOADS.name,
        f"""SELECT {look.key}, upload_id FROM {UPLOADS.name}
            WHERE {look.ours} AND rows_in != accepted + rejected + duplicate""",
    )
    for name, lost in _rejected_that_differ(look).items():
        wrong[name] += lost
    totals = look.totals("rows_in")
    return {
        name: CheckResult(
            passed=not wrong[name],
            summary=summary(
                f"{totals[name]} rows in, all accounted for", "uploads do not add up", wrong[name]
            ),
            numbers={"rows_in": totals[name], "wrong_uploads": len({*wrong[name]})},
        )
        for name in names
    }


def accepted_rows_are_in_the_table(stores: Stores, names: Sequence[Destination]) -> Results:
    """Every upload has as many rows in its table as its ledger says were accepted."""
    look = Look(stores, names)
    told: dict[Destination, dict[str, int]] = defaultdict(dict)
    for key, upload_id, accepted in look.rows(
        UPLOADS.name,
        f"SELECT {look.key}, upload_id, accepted FROM {UPLOADS.name} "
        f"WHERE {look.ours} AND accepted != 0",
    ):
        told[parse_destination(key)][upload_id] = accepted
    results: Results = {}
    for name in names:
        found = dict(look.of_table(name, "SELECT _upload_id, count(*) FROM {table} GROUP BY ALL"))
        ids = {*told[name], *found}
        wrong = [key for key in ids if told[name].get(key, 0) != found.get(key, 0)]
        total = sum(told[name].values())
        results[name] = CheckResult(
            passed=not wrong,
            summary=summary(f"{total} accepted rows in {name.table}", "uploads differ", wrong),
            numbers={"accepted": total, "wrong_uploads": len(wrong)},
        )
    return results


def schema_matches_table(stores: Stores, names: Sequence[Destination]) -> Results:
    """The table has the columns that its contract names, of the types that it declares.

    And those that the lake adds; and its files can be read.
    """
    look = Look(stores, names)
    registry = stores.registry()
    results: Results = {}
    for name in names:
        schema = stores.tables.schema(name.table)
        if schema is None:
            results[name] = CheckResult(passed=True, summary=f"{name.table} does not exist yet")
            continue
        known = {main_name(column).lower() for column in schema.names}
        promised = _promised_columns(registry, name)
        missing = sorted(column for column in promised if column.lower() not in known)
        wrong = list(_other_types(registry, name, schema))
        look.rows(name.table, f"SELECT * FROM {name.table} LIMIT 0", parameters=())
        found = summary(f"{len(schema)} columns as promised", "columns are missing", missing)
        results[name] = CheckResult(
            passed=not missing and not wrong,
            summary="; ".join([*([found] if missing or not wrong else []), *wrong]),
            numbers={"columns": len(schema), "missing_columns": len(missing),
                     "other_types": len(wrong)},
        )  # fmt: skip
    return results


def _other_types(registry: Registry, name: Destination, schema: Any) -> Iterator[str]:
    """Yield, in words, which columns have another type than the dataset's contract declares."""
    if isinstance(name, VariantName):
        return
    kinds = {field.name.lower(): field.type for field in schema}
    for field in registry.contract(name).promised_columns():
        kind = kinds.get(field.name.lower(), field.type)
        if not kind.equals(field.type):
            yield (
                f"{field.name} is {type_words(kind)}, and the contract says "
                f"{type_words(field.type)}: `lake process start --dataset {name} --rebuild`"
            )


def _promised_columns(registry: Registry, name: Destination) -> set[str]:
    promised = {*columns_of(name).names}
    if isinstance(name, VariantName):  # its task may be deleted: then nothing is promised
        contract = registry.tasks.get(name.task, TaskContract())
        return promised | {*contract.promised_columns().names, *contract.key}
    dataset = registry.contract(name)
    promised |= {*dataset.key, *dataset.columns, dataset.time_column or ""} - {""}
    # Columns with image bytes are taken out of rows; what is left of them is `_image`.
    return promised - {dataset.image_column or ""}


def every_image_is_stored(stores: Stores, names: Sequence[DatasetName]) -> Results:
    """Each image of the dataset has its stored file, of the right size, and its thumbnail."""
    look = Look(stores, names)
    counts: dict[DatasetName, int] = defaultdict(int)
    absent: dict[DatasetName, list[str]] = defaultdict(list)
    for provider, dataset, sha, location, thumbnail, byte_count in look.streamed(
        IMAGES.name,
        f"""SELECT provider, dataset, sha256, location, thumbnail, stored_byte_count
            FROM {IMAGES.name} WHERE {DATASET_KEY} IN (SELECT unnest($1))""",
    ):
        name = DatasetName(provider, dataset)
        counts[name] += 1
        is_there = stores.thumbnails.size(thumbnail) is not None
        if stores.assets.size(location) != byte_count or not is_there:
            absent[name].append(sha)
    results: Results = {}
    for name in names:
        unknown = _images_without_facts(look, name)
        results[name] = CheckResult(
            passed=not absent[name] and not unknown,
            summary=summary(
                f"{counts[name]} images stored", "images are not", [*absent[name], *unknown]
            ),
            numbers={"images": counts[name], "missing": len(absent[name]),
                     "unknown": len(unknown)},
        )  # fmt: skip
    return results


def rejected_share_is_small(stores: Stores, names: Sequence[Destination]) -> Results:
    """No more than `rejected_share_limit` of the rows that came in are in the quarantine."""
    look = Look(stores, names)
    delivered = "CASE WHEN kind = 'replay' THEN 0 ELSE rows_in END"
    totals, rejected = look.totals(delivered), look.open_rows()
    limit = stores.settings.rejected_share_limit
    results: Results = {}
    for name in names:
        share = rejected[name] / totals[name] if totals[name] else 0.0
        results[name] = CheckResult(
            passed=share <= limit,
            summary=f"{rejected[name]} of {totals[name]} rows in quarantine ({share:.1%}, "
            f"limit {limit:.1%})",
            numbers={"rejected_share": round(share, 6), "limit": limit},
        )
    return results


def schema_has_not_drifted(stores: Stores, names: Sequence[Destination]) -> Results:
    """The latest finished upload changed nothing in the table's schema.

    News, which passes again with the next upload: it alone tells of columns that were added. That
    values stand beside a column is a state, of which ``no_value_stands_beside_its_column`` tells.
    """
    look = Look(stores, names)
    changes = look.by_name(
        SCHEMA_CHANGES.name,
        f"""
        WITH latest AS (
            SELECT arg_max(upload_id, (finished_at, upload_id)) AS upload_id FROM {UPLOADS.name}
            WHERE {look.ours} AND kind != '{UNDONE}' GROUP BY {look.key}
        )
        SELECT {look.key}, path || ' (' || change || ')'
        FROM {SCHEMA_CHANGES.name} WHERE upload_id IN (FROM latest)
        """,
    )
    good, bad = "the latest upload changed no column", "columns were changed by the latest upload"
    return {
        name: CheckResult(
            passed=not changes[name],
            summary=summary(good, bad, changes[name]),
            numbers={"schema_changes": len(changes[name])},
        )
        for name in names
    }


def damage_fails(rule: Rule) -> Rule:
    """Return ``rule`` so that a table that cannot be read fails it, for the datasets it is of."""

    @wraps(rule)
    def look(stores: Stores, names: Sequence[Destination]) -> Results:
        try:
            return rule(stores, names)
        except DamagedTable as error:
            if len(names) == 1:
                return {names[0]: CheckResult(passed=False, summary=error.message)}
        # One of them spoils the question to all: ask each by itself.
        return {name: result for one in names for name, result in look(stores, [one]).items()}

    return look


_RULES = (
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
        name="schema_has_not_drifted", asset="raw", blocking=False, rule=schema_has_not_drifted
    ),
    Check(
        name="no_value_stands_beside_its_column", asset="raw", blocking=False,
        rule=no_value_stands_beside_its_column,
    ),
    Check(
        name="rejected_share_is_small", asset="quarantine", blocking=False,
        rule=rejected_share_is_small,
    ),
)  # fmt: skip
CHECKS = tuple(replace(check, rule=damage_fails(check.rule)) for check in _RULES)


def _rejected_that_differ(look: Look) -> dict[Destination, list[str]]:
    """Return the uploads of which not as many rows are in the quarantine as the ledger says."""
    told = f"SELECT {look.key} AS key, upload_id, rejected FROM {UPLOADS.name} WHERE {look.ours}"
    if not look.has(QUARANTINE.name):  # right only if nothing should be in it
        return look.by_name(
            UPLOADS.name, f"SELECT key, upload_id FROM ({told}) WHERE rejected != 0"
        )
    return look.by_name(
        UPLOADS.name,
        f"""
        WITH told AS ({told}), found AS (
            SELECT {look.key} AS key, coalesce(rejected_by, _upload_id) AS upload_id,
                   count(*) AS found
            FROM {QUARANTINE.name} WHERE {look.ours} GROUP BY ALL
        )
        SELECT key, upload_id FROM told FULL JOIN found USING (key, upload_id)
        WHERE coalesce(rejected, 0) != coalesce(found, 0)
        """,
    )


def images_without_facts(stores: Stores, name: Destination) -> list[str]:
    """Return the images, by SHA-256, that rows name and ``lake.images`` lacks."""
    return _images_without_facts(Look(stores, [name]), name)


def _images_without_facts(look: Look, name: Destination) -> list[str]:
    if not look.has(IMAGES.name):
        return []
    # Most tables of a large lake have no images, which their files' statistics tell at once.
    if not look.of_table(name, "SELECT 1 FROM {table} WHERE _image IS NOT NULL LIMIT 1"):
        return []
    source = rows_of(name, name.table)
    rows = look.of_one(
        name,
        f"""SELECT DISTINCT _image FROM {source} WHERE _image IS NOT NULL AND _image NOT IN
            (SELECT sha256 FROM {IMAGES.name} WHERE provider = $1 AND dataset = $2)""",
    )
    return [sha for (sha,) in rows]
