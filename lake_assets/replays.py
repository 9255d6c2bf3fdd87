"""Having rows of the quarantine tried again: staged, or only tried.

A replay is staged as an upload of its dataset or variant, so that it is ingested, resumed, shown
and counted as every other one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lake_assets.contracts.names import Destination
from lake_assets.errors import UnknownDataset, UnknownTask
from lake_assets.intake.manifest import Manifest
from lake_assets.intake.model import Replay
from lake_assets.intake.uploads import State, Upload
from lake_assets.storage.processes import created_by
from lake_assets.stores import Stores
from lake_assets.upkeep.quarantine import Wanted, open_rows

if TYPE_CHECKING:
    from lake_assets.ingest import Outcome

_log = logging.getLogger(__name__)


def stage_replays(stores: Stores, wanted: Wanted | None = None) -> tuple[Upload, ...]:
    """Stage one replay for each dataset or variant that has such open rows, and return them.

    Of all open rows, if nothing is said. A replay that is waiting to do the same is returned
    instead of a second one. Rows of a task that the registry no longer has stay where they are.

    Raises:
        StorageUnavailable.
    """
    wanted = wanted or Wanted()
    staged = []
    registry = stores.registry()
    for name, count in open_rows(stores, wanted).items():
        try:
            registry.promise(name)
        except (UnknownDataset, UnknownTask) as error:
            _log.warning("%s: %d rows are left in the quarantine: %s", name, count, error.message)
            continue
        replay = _replay(wanted)
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


def try_replays(stores: Stores, wanted: Wanted | None = None) -> tuple[Trial, ...]:
    """Return what replays would do. Nothing of the lake is changed.

    Each by itself: annotations of an image that the replay of their dataset would bring are told
    as those that stay, and pass once it has.

    Raises:
        LakeError: what would also end the replay, as ``DamagedTable``.
    """
    wanted = wanted or Wanted()
    found = open_rows(stores, wanted)
    return tuple(_trial(stores, name, count, _replay(wanted)) for name, count in found.items())


def _trial(stores: Stores, name: Destination, count: int, replay: Replay) -> Trial:
    from lake_assets.ingest import Outcome
    from lake_assets.ingest.groups import open_pool
    from lake_assets.ingest.held import HeldRows
    from lake_assets.ingest.parts import NoRows
    from lake_assets.ingest.replay import try_again
    from lake_assets.ingest.rows import Job
    from lake_assets.ingest.state import open_state
    from lake_assets.storage.shards import ShardStore

    try:
        contract = stores.registry().promise(name)
    except (UnknownDataset, UnknownTask) as error:
        none = Outcome(upload_id="", run_id="")
        left = {error.message: count}
        return Trial(name=name, passed=0, rejected_by_rule={}, left=left, outcome=none)
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


def _replay(wanted: Wanted) -> Replay:
    return Replay(
        rule=wanted.rule,
        upload_id=wanted.upload_id,
        since=wanted.since,
        ids=tuple(sorted(wanted.ids)),
    )


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
