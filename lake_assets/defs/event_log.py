"""Dagster's event log in SQLite, where the events of many partitions are written together.

Dagster's own class takes five connections and two or three transactions for each event, each with
its own syncs. Here a batch of an asset's events is one transaction per file. Files, schema and
durability are Dagster's: either class reads and continues what the other has written, and several
processes may have the log open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Self

from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.events import DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData, serialize_value

_OF_ASSETS = {
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_OBSERVATION,
}
_LOG = SqlEventLogStorageTable


class BatchedEventLog(SqliteEventLogStorage):
    """Keeps a batch of events in one transaction per file, and all else as Dagster does."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of any kinds, in their order."""
        for (is_of_asset, run_id), group in groupby(events, key=_kind):
            if is_of_asset:
                self._store_together(run_id, list(group))
            else:
                for event in group:
                    self.store_event(event)

    def _store_together(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        """Store events of one run that are about assets.

        As in Dagster's own ``store_event``, first in the run's file, then in the one for all runs.
        """
        rows = [self._event_to_row(event) for event in events]
        with self.run_connection(run_id) as connection:
            connection.execute(_LOG.insert(), rows)
        with self.index_transaction() as connection:
            ids = _insert(connection, rows)
            self._store_asset_event_tags(connection, events, ids)
            for event, event_id in _latest(events, ids):
                self._store_asset_event(connection, event, event_id)

    def _store_asset_check_evaluation_planned(
        self, event: EventLogEntry, event_id: int | None
    ) -> None:
        """Store a row for each partition that the check will be evaluated for.

        Dagster puts all of them into one statement, whose variables are limited, each with the
        event as text, which names all partitions: 100 kB for each of 2,000.
        """
        planned: Any = event.get_dagster_event().event_specific_data
        subset = planned.partitions_subset
        keys = list(subset.get_partition_keys()) if subset else []
        if not keys:
            super()._store_asset_check_evaluation_planned(event, event_id)
            return
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(_without_partitions(event)),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),
            "evaluation_event_storage_id": event_id,
        }
        with self.index_connection() as connection:
            rows = [{**row, "partition": key} for key in keys]
            connection.execute(AssetCheckExecutionsTable.insert(), rows)


class LakeStorage(DagsterSqliteStorage):
    """Dagster's three databases in one folder, with a log that is written in batches."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data=inst_data)
        # It holds nothing open before it is asked for something.
        self._event_log_storage = BatchedEventLog(self._event_log_storage._base_dir)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Open what dagster.yaml names."""
        return cls.from_local(inst_data=inst_data, **config_value)


def _kind(event: EventLogEntry) -> tuple[bool, str]:
    dagster_event = event.dagster_event
    is_of_asset = (
        dagster_event is not None
        and dagster_event.event_type in _OF_ASSETS
        and dagster_event.asset_key is not None
    )
    return is_of_asset, event.run_id


def _insert(connection: Any, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Insert rows of the log and return their ids, in the same order."""
    # The first one takes the lock: ids above its own are those of this transaction.
    first: int = connection.execute(_LOG.insert(), rows[0]).inserted_primary_key[0]
    if rows[1:]:
        connection.execute(_LOG.insert(), rows[1:])
    rest = _LOG.select().with_only_columns(_LOG.c.id).where(_LOG.c.id > first).order_by(_LOG.c.id)
    return [first, *connection.execute(rest).scalars()]


def _latest(
    events: Sequence[EventLogEntry], ids: Sequence[int]
) -> Iterator[tuple[EventLogEntry, int]]:
    """Yield the last event of each asset and type, with its id: it is what an asset's row tells."""
    found = {
        (event.get_dagster_event().asset_key, event.dagster_event_type): (event, event_id)
        for event, event_id in zip(events, ids, strict=True)
    }
    yield from found.values()


def _without_partitions(event: EventLogEntry) -> EventLogEntry:
    """Return a planned evaluation as an event that names no partitions."""
    dagster_event = event.get_dagster_event()
    planned: Any = dagster_event.event_specific_data
    alone = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
    return event._replace(dagster_event=dagster_event._replace(event_specific_data=alone))
