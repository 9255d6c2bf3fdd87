"""The quarantine for people: what is in it, and having it tried again.

A replay is staged as an upload of its dataset or variant, so that it is ingested, resumed, shown
and counted as every other one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lake_assets.contracts.names import DatasetName, Destination, in_order, parse_destination
from lake_assets.errors import InvalidRequest
from lake_assets.intake.manifest import Manifest
from lake_assets.intake.model import Replay
from lake_assets.intake.uploads import State, Upload
from lake_assets.query.duckdb import LakeSql
from lake_assets.storage.processes import created_by
from lake_assets.storage.system_tables import DATASET_KEY, DESTINATION_KEY, QUARANTINE
from lake_assets.stores import Stores

if TYPE_CHECKING:
    from lake_assets.ingest.model import Outcome

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


def rows_of(stores: Stores, wanted: Wanted, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Return rows of the quarantine, the newest first."""
    condition, parameters = wanted.condition()
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


def stage_replays(stores: Stores, wanted: Wanted) -> tuple[Upload, ...]:
    """Stage one replay for each dataset or variant that has such open rows, and return them.

    One that is waiting to do the same is returned instead of a second one.

    Raises:
        StorageUnavailable.
    """
    staged = []
    for name, ids in _open_rows(stores, wanted).items():
        replay = _replay(wanted, ids)
        waiting = stores.staging.uploads(State.PENDING, name=name)
        same = next((item for item in waiting if item.manifest.replays == replay), None)
        staged.append(same or _stage(stores, name, replay))
    return tuple(staged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a replay of a dataset's or variant's rows would do."""

    name: Destination
    passed: int
    """Rows that would be marked as replayed."""
    rejected_by_rule: Mapping[str, int]
    """Rows that would stay, by the rule that they break now."""
    left: Mapping[str, int]
    """Rows that cannot be tried, by reason."""
    outcome: Outcome
    """What the replay would count: rows accepted, duplicates, and rejected rows of files that could
    not be read before."""

    @property
    def tried(self) -> int:
        """All rows that were asked for."""
        return self.passed + sum(self.rejected_by_rule.values()) + sum(self.left.values())


def try_replays(stores: Stores, wanted: Wanted) -> tuple[Trial, ...]:
    """Return what replays would do. Nothing of the lake is changed."""
    return tuple(
        _trial(stores, name, _replay(wanted, ids))
        for name, ids in _open_rows(stores, wanted).items()
    )


def _trial(stores: Stores, name: Destination, replay: Replay) -> Trial:
    from lake_assets.ingest.groups import open_pool
    from lake_assets.ingest.held import HeldRows
    from lake_assets.ingest.parts import NoRows
    from lake_assets.ingest.replay import try_again
    from lake_assets.ingest.rows import Job
    from lake_assets.ingest.state import open_state
    from lake_assets.storage.shards import ShardStore

    contract = stores.registry().promise(name)
    upload = Upload(
        manifest=_manifest("0" * 26, name, replay),
        state=State.PENDING,
        folder=stores.layout.scratch,
    )
    with (
        TemporaryDirectory(dir=stores.layout.scratch) as folder,
        open_state(stores, name, contract, is_empty=False) as state,
        open_pool(stores) as pool,
        HeldRows(state, replay) as held,
    ):
        shards = ShardStore(Path(folder))
        job = Job(
            state=state, engine=pool, run_id="", now=datetime.now(tz=UTC), assets=shards,
            thumbnails=shards,
        )  # fmt: skip
        outcome = try_again(job, upload, held, NoRows())
        became = held.became()
    return Trial(
        name=name,
        passed=became.passed,
        rejected_by_rule=became.rejected,
        left=became.left,
        outcome=outcome,
    )


def _replay(wanted: Wanted, ids: tuple[str, ...]) -> Replay:
    """Return what a replay takes; by their ids only where somebody named them."""
    return Replay(
        rule=wanted.rule,
        upload_id=wanted.upload_id,
        since=wanted.since,
        ids=ids if wanted.ids else (),
    )


def _open_rows(stores: Stores, wanted: Wanted) -> dict[Destination, tuple[str, ...]]:
    condition, parameters = wanted.condition()
    found = _ask(
        stores,
        f"SELECT {DESTINATION_KEY} AS name, list(quarantine_id ORDER BY quarantine_id) AS ids "
        f"FROM {QUARANTINE.name} WHERE {condition} AND state = '{OPEN}' GROUP BY ALL",
        parameters,
    )
    by_name = {parse_destination(row["name"]): tuple(row["ids"]) for row in found}
    return {name: by_name[name] for name in in_order(by_name)}


def _stage(stores: Stores, name: Destination, replay: Replay) -> Upload:
    upload_id, _ = stores.staging.open_incoming()
    try:
        return stores.staging.publish(_manifest(upload_id, name, replay), ())
    except BaseException:
        stores.staging.discard_incoming(upload_id)
        raise


def _manifest(upload_id: str, name: Destination, replay: Replay) -> Manifest:
    what = f"rows that broke {replay.rule}" if replay.rule else "rows"
    return Manifest(
        upload_id=upload_id,
        name=name,
        created_at=datetime.now(tz=UTC),
        created_by=created_by(),
        source=f"quarantine: {what}",
        file_count=0,
        byte_count=0,
        variant=name.table_rows.get("variant", ""),
        replays=replay,
    )


def _ask(stores: Stores, sql: str, parameters: list[object]) -> list[dict[str, Any]]:
    if not stores.tables.exists(QUARANTINE.name):
        return []
    relation = LakeSql(stores.tables, scratch=stores.layout.scratch).query(sql, parameters)
    names = relation.columns
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
