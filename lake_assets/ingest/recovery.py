"""Begin and end with a dataset: claim what is pending, finish it, heal what a dead process left.

All of it needs the dataset's lock. Invariant: an upload whose rows are in their table goes on to
``done``; one whose are not leaves no file behind that a table could be thought to have.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import FatalError, InvalidRequest, LakeError
from lake_assets.ingest.changes import changes_of, commit, table_of
from lake_assets.ingest.ledger import ledger_change
from lake_assets.ingest.model import (
    COMMIT_ORDER,
    Prepared,
    PreparedUpload,
    drop_journal,
    read_journal,
)
from lake_assets.ingest.rebuild import end_rebuild
from lake_assets.intake.uploads import State, Upload
from lake_assets.storage.system_tables import UPLOADS
from lake_assets.stores import Stores

_log = logging.getLogger(__name__)


def recover(stores: Stores, name: DatasetName) -> list[PreparedUpload]:
    """Finish what a process that died had prepared; give back what it had not.

    The dataset's lock is ours, so whoever claimed these uploads is gone.
    """
    finished = []
    for upload in list(stores.staging.uploads(State.PROCESSING, name=name)):
        for draft in upload.folder.glob(".draft-*"):  # of a journal or lease being written
            draft.unlink(missing_ok=True)
        prepared = read_journal(upload)
        if prepared is None:
            _log.warning("upload %s: its process died; ingesting it again", upload.id)
            give_back(stores, upload)
        elif _roll_forward(stores, prepared):
            finished.append(prepared)
    return finished


def _roll_forward(stores: Stores, prepared: PreparedUpload) -> bool:
    """Commit what a dead process had prepared; return False if its table will never take it.

    Raises:
        FatalError: when the rows are in their table and another table refuses the rest.
    """
    upload = prepared.upload
    _log.warning("upload %s: its process died while committing; finishing it", upload.id)
    try:
        for change in changes_of(stores, upload.name, [prepared], rebuild=False).values():
            commit(stores, change)
    except FatalError as error:
        if stores.tables.committed(upload.name.table, [upload.id]):
            raise
        # None of its rows is in the table; repeating this for ever would block the dataset.
        drop_journal(upload)
        _remove_parts(stores, upload)
        stores.staging.fail(upload, error_report(error, error.message))
        return False
    finish(stores, Prepared(name=upload.name, changes={}, uploads=(prepared,)))
    return True


def require_archive(stores: Stores, name: DatasetName, archived: Sequence[Upload]) -> None:
    """Raise unless each upload that the tables have can be read again.

    Raises:
        InvalidRequest: a rebuild would drop the rows of the others.
    """
    if not stores.tables.exists(UPLOADS.name):
        return
    where = {"provider": name.provider, "dataset": name.dataset}
    ledger = stores.tables.read(UPLOADS.name, where=where, columns=("upload_id",))
    gone = sorted(set(ledger["upload_id"].to_pylist()) - {upload.id for upload in archived})
    if gone:
        raise InvalidRequest(
            f"{name} cannot be rebuilt: {len(gone)} of its uploads are no longer in staging/done, "
            f"so their rows would be lost: {', '.join(gone[:5])}",
            uploads=gone,
        )


def give_back(stores: Stores, upload: Upload) -> None:
    """Remove the parts that an attempt left, which no table names, and make it pending again."""
    _remove_parts(stores, upload)
    stores.staging.release(upload)


def _remove_parts(stores: Stores, upload: Upload) -> None:
    for asset in COMMIT_ORDER:
        table = table_of(asset, upload.name)
        if stores.tables.committed(table, [upload.id]):
            continue  # then these are the table's files
        folder = stores.tables.data_folder(table)
        for part in folder.glob(f"{upload.id}-*.parquet"):
            part.unlink(missing_ok=True)


def claim_pending(
    stores: Stores, name: DatasetName, upload_ids: frozenset[str] | None, *, run_id: str
) -> list[Upload]:
    """Take the pending uploads of a dataset (or those of ``upload_ids``) for this process."""
    claimed = []
    for upload in list(stores.staging.uploads(State.PENDING, name=name)):
        if upload_ids is None or upload.id in upload_ids:
            mine = stores.staging.claim(upload, run_id=run_id)
            claimed += [mine] if mine else []
    return claimed


def finish(stores: Stores, prepared: Prepared) -> None:
    """Write the ledger and mark the uploads as done. All their changes must be committed."""
    if prepared.uploads:
        commit(stores, ledger_change(stores, prepared))
        stores.stale.put(prepared.name)  # whoever finds it brings the catalog up to date
    for item in prepared.uploads:
        if item.upload.state is State.PROCESSING:
            stores.staging.finish(item.upload)
    if prepared.rebuilt:
        end_rebuild(stores, prepared.name)


def error_report(error: Exception, message: str) -> dict[str, Any]:
    """Return what ``error.json`` of a failed upload says."""
    trace = "".join(traceback.format_exception(error))
    return {
        "error": type(error).__name__,
        "message": message,
        "failed_at": datetime.now(tz=UTC).isoformat(),
        # A known error explains itself; for one that is our fault the trace is what helps.
        "traceback": None if isinstance(error, LakeError) else trace,
    }
