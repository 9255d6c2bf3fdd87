"""Tasks that are taken out of the registry. Invariant: no upload that waits loses its contract."""

from __future__ import annotations

from dataclasses import dataclass

from lake_assets.contracts.names import VariantName
from lake_assets.contracts.registry import Registry, update_registry
from lake_assets.errors import InvalidRequest
from lake_assets.intake.uploads import State
from lake_assets.stores import Stores

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRemains:
    """What is left of a task that was deleted."""

    table_name: str
    rows: int | None
    """Rows in its table, which stays; None: it has none."""


def delete_task(stores: Stores, task: str) -> TaskRemains:
    """Take a task out of the registry; its table stays as it is.

    Raises:
        UnknownTask.
        InvalidRequest: uploads for it wait or are being ingested.
    """

    def change(registry: Registry) -> Registry:
        changed = registry.without_task(task)
        _require_no_uploads(stores, task)
        return changed

    update_registry(stores.layout.registry_file, change)
    return task_remains(stores, task)


def task_remains(stores: Stores, task: str) -> TaskRemains:
    """Return what would be left of a task if it were deleted now."""
    table = VariantName.table_of(task)
    rows = stores.tables.facts(table).rows if stores.tables.exists(table) else None
    return TaskRemains(table_name=table, rows=rows)


def _require_no_uploads(stores: Stores, task: str) -> None:
    found = stores.staging.uploads(State.PENDING, State.PROCESSING)
    waiting = [upload for upload in found if upload.name.task == task]
    if waiting:
        shown = ", ".join(upload.id for upload in waiting[:_SHOWN])
        more = ", …" if len(waiting) > _SHOWN else ""
        raise InvalidRequest(
            f"task {task!r} has uploads that wait or are being ingested: {shown}{more}. Ingest "
            "them with `lake process start`, or take them back with `lake process cancel`, first",
            task=task,
            uploads=[upload.id for upload in waiting],
        )
