"""The quarantine for people: what is in it, and how to name some of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lake_assets.contracts.names import DatasetName, Destination, in_order, parse_destination
from lake_assets.errors import InvalidRequest
from lake_assets.query.duckdb import LakeSql
from lake_assets.storage.system_tables import DATASET_KEY, DESTINATION_KEY, QUARANTINE
from lake_assets.stores import Stores

OPEN = "open"
_ID_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows of the quarantine are meant; what is left out is no condition."""

    dataset: DatasetName | None = None
    """With all that annotates it."""
    task: str | None = None
    rule: str | None = None
    upload_id: str | None = None
    since: datetime | None = None
    """Rejected then or later; aware."""
    state: str | None = OPEN
    """``open`` or ``replayed``; None: any."""
    ids: tuple[str, ...] = ()

    def condition(self) -> tuple[str, list[object]]:
        """Return the SQL condition and its parameters, ``$1`` and so on."""
        said: list[tuple[str, object]] = [
            (f"{DATASET_KEY} =", None if self.dataset is None else str(self.dataset)),
            ("task =", self.task),
            ("rule =", self.rule),
            ("_upload_id =", self.upload_id),
            ("rejected_at >=", self.since),
            ("state =", self.state),
        ]
        known = [(text, value) for text, value in said if value is not None]
        texts = [f"{text} ${n}" for n, (text, _) in enumerate(known, start=1)]
        parameters = [value for _, value in known]
        if self.ids:
            parameters.append(list(self.ids))
            texts.append(f"quarantine_id IN (SELECT unnest(${len(parameters)}))")
        return " AND ".join(texts) or "true", parameters


def rows_of(
    stores: Stores, wanted: Wanted | None = None, *, limit: int | None = None
) -> list[dict[str, Any]]:
    """Return rows of the quarantine (default: all open ones), the newest first."""
    condition, parameters = (wanted or Wanted()).condition()
    end = "" if limit is None else f" LIMIT {int(limit)}"
    return _ask(
        stores,
        f"SELECT * FROM {QUARANTINE.name} WHERE {condition} "
        f"ORDER BY rejected_at DESC, _upload_id, file, row{end}",
        parameters,
    )


def counts_of(stores: Stores, wanted: Wanted) -> list[dict[str, Any]]:
    """Return how many rows broke each rule, by dataset or variant: the most first."""
    condition, parameters = wanted.condition()
    return _ask(
        stores,
        f"SELECT {DESTINATION_KEY} AS name, rule, count(*) AS rows FROM {QUARANTINE.name} "
        f"WHERE {condition} GROUP BY ALL ORDER BY rows DESC, name, rule",
        parameters,
    )


def row_of(stores: Stores, text: str) -> dict[str, Any]:
    """Return the row whose id is, or begins with, ``text``.

    Raises:
        InvalidRequest: there is none, or there are several.
    """
    found = _ask(
        stores,
        f"SELECT * FROM {QUARANTINE.name} WHERE starts_with(quarantine_id, $1) LIMIT 2",
        [text.lower()],
    )
    if len(found) != 1 or not text:
        what = "several rows have an id that begins with" if found else "no row has the id"
        raise InvalidRequest(
            f"{what} {text!r}; `lake quarantine list` shows all, with {_ID_DIGITS} digits each"
        )
    return found[0]


def open_rows(stores: Stores, wanted: Wanted) -> dict[Destination, int]:
    """Return how many such rows were not replayed, by their dataset or variant, in order."""
    found = counts_of(stores, replace(wanted, state=OPEN))
    counts: Counter[Destination] = Counter()
    for row in found:
        counts[parse_destination(row["name"])] += row["rows"]
    return {name: counts[name] for name in in_order(counts)}


def _ask(stores: Stores, sql: str, parameters: list[object]) -> list[dict[str, Any]]:
    if not stores.tables.exists(QUARANTINE.name):
        return []
    relation = LakeSql(stores.tables, scratch=stores.layout.scratch).query(sql, parameters)
    names = relation.columns
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
