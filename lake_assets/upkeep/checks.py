"""Checks of datasets: sentences that are true when they pass.

Each looks at the datasets that it is asked about and at no other. A blocking one that fails means
that the data is wrong, and holds back what is made from it; the others warn. What datasets share,
the ledger and the tables of images and rejected rows, is read once for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

from lake_assets.contracts.names import (
    DatasetName,
    Destination,
    VariantName,
    parse_destination,
)
from lake_assets.contracts.registry import Registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.errors import DamagedTable
from lake_assets.query.duckdb import LakeSql, connect, disk_errors, files_in_sql
from lake_assets.storage.system_tables import (
    DATASET_KEY,
    DESTINATION_KEY,
    IMAGES,
    QUARANTINE,
    UPLOADS,
    columns_of,
)
from lake_assets.stores import Stores

_FETCHED_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found."""

    passed: bool
    summary: str
    numbers: Mapping[str, float] = field(default_factory=dict)


Results = dict[Destination, CheckResult]
Rule = Callable[[Stores, Sequence[Any]], Results]
"""Takes datasets or, if it is about a task's asset, variants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A rule about datasets."""

    name: str
    asset: str
    """The asset that it is about: ``raw``, ``images`` or ``quarantine``."""
    blocking: bool
    rule: Rule
    """Returns what it found of each dataset that it is asked about."""

    @property
    def description(self) -> str:
        """What is true when it passes."""
        return (self.rule.__doc__ or "").strip().splitlines()[0]


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
    """The table has the lake's columns and those that its contract names; its files can be read."""
    look = Look(stores, names)
    registry = stores.registry()
    results: Results = {}
    for name in names:
        schema = stores.tables.schema(name.table)
        if schema is None:
            results[name] = CheckResult(passed=True, summary=f"{name.table} does not exist yet")
            continue
        missing = sorted(_promised_columns(registry, name) - {*schema.names})
        look.rows(name.table, f"SELECT * FROM {name.table} LIMIT 0", parameters=())
        results[name] = CheckResult(
            passed=not missing,
            summary=summary(f"{len(schema)} columns as promised", "columns are missing", missing),
            numbers={"columns": len(schema), "missing_columns": len(missing)},
        )
    return results


def _promised_columns(registry: Registry, name: Destination) -> set[str]:
    promised = {*columns_of(name).names}
    if isinstance(name, VariantName):  # its task may be deleted: then nothing is promised
        contract = registry.tasks.get(name.task, TaskContract())
        return promised | {*contract.promised_columns().names, *contract.key}
    dataset = registry.contract(name)
    promised |= {*dataset.key} | ({dataset.time_column} if dataset.time_column else set())
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


def rejected_share_is_small(stores: Stores, names: Sequence[DatasetName]) -> Results:
    """No more than `rejected_share_limit` of the rows that came in were rejected."""
    look = Look(stores, names)
    totals, rejected = look.totals("rows_in"), look.totals("rejected")
    limit = stores.settings.rejected_share_limit
    results: Results = {}
    for name in names:
        share = rejected[name] / totals[name] if totals[name] else 0.0
        results[name] = CheckResult(
            passed=share <= limit,
            summary=f"{rejected[name]} of {totals[name]} rows rejected ({share:.1%}, "
            f"limit {limit:.1%})",
            numbers={"rejected_share": round(share, 6), "limit": limit},
        )
    return results


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
        name="rejected_share_is_small", asset="quarantine", blocking=False,
        rule=rejected_share_is_small,
    ),
)  # fmt: skip
CHECKS = tuple(replace(check, rule=damage_fails(check.rule)) for check in _RULES)


class Look:
    """Questions about some datasets, over one connection."""

    def __init__(self, stores: Stores, names: Sequence[Destination]) -> None:
        scratch = stores.layout.scratch
        self._tables = stores.tables
        self._connection = connect(scratch=scratch)
        self._sql = LakeSql(stores.tables, scratch=scratch, connection=self._connection)
        self._keys = [str(name) for name in names]
        self._prune = _own(names[0]) if len(names) == 1 else {}
        self._known = frozenset(stores.tables.names())
        self.key = DESTINATION_KEY
        """Name of what a row of the ledger or the quarantine is about."""
        self.ours = f"{self.key} IN (SELECT unnest($1))"
        """Condition on these tables; queries have the names as parameter 1."""

    def has(self, table: str) -> bool:
        """Return whether there is such a table."""
        return table in self._known

    def rows(
        self, table: str, sql: str, parameters: Sequence[object] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none where ``table`` does not exist yet."""
        return list(self.streamed(table, sql, parameters))

    def streamed(
        self, table: str, sql: str, parameters: Sequence[object] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query as they come."""
        if not self.has(table):
            return
        values = (self._keys,) if parameters is None else parameters
        relation = self._sql.query(sql, values, prune=self._prune)
        while rows := self._fetched(relation):
            yield from rows

    def _fetched(self, relation: Any) -> list[tuple[Any, ...]]:
        with disk_errors(self._tables.warehouse):
            rows: list[tuple[Any, ...]] = relation.fetchmany(_FETCHED_ROWS)
        return rows

    def by_name(self, table: str, sql: str) -> dict[Destination, list[str]]:
        """Return the second column of a query, by what the first one names."""
        found: dict[Destination, list[str]] = defaultdict(list)
        for key, value in self.rows(table, sql):
            found[parse_destination(key)].append(value)
        return found

    def totals(self, count: str) -> dict[Destination, int]:
        """Return the sum of a column of the ledger for each name."""
        rows = self.rows(
            UPLOADS.name,
            f"""SELECT {self.key}, sum({count})::BIGINT FROM {UPLOADS.name}
                WHERE {self.ours} GROUP BY ALL""",
        )
        return defaultdict(int, {parse_destination(key): total for key, total in rows})

    def of_table(self, name: Destination, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query answers about the rows of ``name``; none if there is no table.

        Args:
            sql: With ``{table}``. Of the columns, only the lake's own.
        """
        plan = self._tables.plan(name.table) if self.has(name.table) else None
        if plan is None:  # no such table, or one with delete files
            rows = _own_rows(name, name.table)
            return self.rows(name.table, sql.format(table=rows), parameters=())
        files = plan.paths(name.table_rows)
        if not files:
            return []
        # Straight from the files, which all have the lake's columns: 1 ms, where a view of all
        # columns takes 5; and a run may check thousands of tables.
        source = _own_rows(name, files_in_sql(files))
        with disk_errors(self._tables.warehouse):
            relation = self._connection.sql(sql.format(table=source))
            answer: list[tuple[Any, ...]] = relation.fetchall()
        return answer

    def of_one(self, name: Destination, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query answers whose parameters are a dataset's provider and name."""
        relation = self._sql.query(sql, (name.provider, name.dataset), prune=_own(name))
        with disk_errors(self._tables.warehouse):
            answer: list[tuple[Any, ...]] = relation.fetchall()
        return answer


def _own_rows(name: Destination, source: str) -> str:
    """Return SQL for those rows of a table that are of ``name``."""
    where = " AND ".join(f"{key} = '{value}'" for key, value in name.table_rows.items())
    return f"(SELECT * FROM {source} WHERE {where})" if where else source


def _own(name: Destination) -> dict[str, str]:
    return {"provider": name.provider, "dataset": name.dataset}


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
            SELECT {look.key} AS key, _upload_id AS upload_id, count(*) AS found
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
    source = _own_rows(name, name.table)
    rows = look.of_one(
        name,
        f"""SELECT DISTINCT _image FROM {source} WHERE _image IS NOT NULL AND _image NOT IN
            (SELECT sha256 FROM {IMAGES.name} WHERE provider = $1 AND dataset = $2)""",
    )
    return [sha for (sha,) in rows]


def summary(good: str, bad: str, wrong: Sequence[str]) -> str:
    """Return what a check found: ``good``, or how many are ``bad``, and some of them."""
    if not wrong:
        return good
    listed = sorted({*wrong})
    shown = ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")
    return f"{len(listed)} {bad}: {shown}"
