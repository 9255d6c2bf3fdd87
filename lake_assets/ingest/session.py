"""Bring one dataset up to date: lock, recover, claim, prepare, commit, finish.

Invariants: one process at a time works on a dataset; an upload's journal is on disk before the
first commit that it is part of, so after a crash its parts are either all committed or all
removed; running any step again changes nothing.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ulid import ULID

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import FatalError, InvalidRequest, LakeError, RetryableError
from lake_assets.ingest.changes import changes_of, commit, table_of
from lake_assets.ingest.ledger import ledger_change
from lake_assets.ingest.model import (
    COMMIT_ORDER,
    FailedUpload,
    Ingested,
    Prepared,
    PreparedUpload,
    drop_journal,
    read_journal,
)
from lake_assets.ingest.rows import Job, prepare_upload
from lake_assets.ingest.state import open_state
from lake_assets.intake.uploads import State, Upload
from lake_assets.media.engines import open_engine
from lake_assets.storage.locks import exclusive_lock
from lake_assets.storage.shards import sync_file_system
from lake_assets.storage.system_tables import UPLOADS
from lake_assets.stores import Stores

_log = logging.getLogger(__name__)
_HEARTBEAT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to bring up to date, and how."""

    name: DatasetName
    upload_ids: frozenset[str] | None = None
    """Only these of the pending uploads; None: all."""
    rebuild: bool = False
    """Read all finished uploads again, and put the result in the place of what is there."""
    run_id: str = ""
    """Dagster run, or empty."""
    on_rows: Callable[[int], None] = lambda rows: None
    """Called with the number of rows read so far, over all uploads, once per batch."""
    on_wait: Callable[[], None] | None = None
    """Called once if another process is working on the dataset."""


def ingest(stores: Stores, request: Request) -> Ingested:
    """Ingest what is pending for a dataset; nothing pending is a success.

    Raises:
        DatasetBusy: when another process worked on it for ``busy_timeout_s``.
        RetryableError, UnknownOutcome: the uploads are kept; a later call goes on with them.
    """
    with prepared_dataset(stores, request) as prepared:
        commits = [commit(stores, prepared.changes[asset]) for asset in prepared.changes]
        finish(stores, prepared)
    return Ingested(
        name=prepared.name,
        outcomes=tuple(item.outcome for item in (*prepared.recovered, *prepared.uploads)),
        commits=tuple(commits),
        failures=prepared.failures,
    )


@contextmanager
def prepared_dataset(stores: Stores, request: Request) -> Iterator[Prepared]:
    """Hold a dataset and give what is to be committed for it, in ``COMMIT_ORDER``.

    The caller commits each change and then calls ``finish``, inside the block.
    """
    name = request.name
    lock = stores.layout.locks / f"{name.provider}.{name.dataset}.lock"
    timeout_s = stores.settings.busy_timeout_s
    with exclusive_lock(lock, timeout_s=timeout_s, what=str(name), on_wait=request.on_wait):
        yield _prepare(stores, request)


def finish(stores: Stores, prepared: Prepared) -> None:
    """Write the ledger and mark the uploads as done. All their changes must be committed."""
    if not prepared.uploads:
        return
    commit(stores, ledger_change(stores, prepared))
    for item in prepared.uploads:
        if item.upload.state is State.PROCESSING:
            stores.staging.finish(item.upload)


# -- recover, claim, prepare


def _prepare(stores: Stores, request: Request) -> Prepared:
    recovered = _recover(stores, request.name)
    if not request.rebuild:
        uploads = _claim(stores, request)
        prepared, failures = _prepare_uploads(stores, request, uploads)
        _make_durable(stores)
        for item in prepared:
            item.write_journal()
        return _prepared(stores, request, prepared, failures, recovered)
    # What is pending first, by itself: so each upload is ever only ingested by its journal.
    pending = _prepare(stores, replace(request, rebuild=False))
    for change in pending.changes.values():
        commit(stores, change)
    finish(stores, pending)
    archived = list(stores.staging.uploads(State.DONE, name=request.name))
    _require_archive(stores, request.name, archived)
    prepared, failures = _prepare_uploads(stores, request, archived)
    _make_durable(stores)
    known = (*recovered, *pending.recovered)
    return _prepared(stores, request, prepared, (*pending.failures, *failures), known)


def _prepared(
    stores: Stores,
    request: Request,
    uploads: Sequence[PreparedUpload],
    failures: Sequence[FailedUpload],
    recovered: Sequence[PreparedUpload],
) -> Prepared:
    return Prepared(
        name=request.name,
        changes=changes_of(stores, request.name, uploads, rebuild=request.rebuild),
        uploads=tuple(uploads),
        failures=tuple(failures),
        recovered=tuple(recovered),
        rebuilt=request.rebuild,
    )


def _recover(stores: Stores, name: DatasetName) -> list[PreparedUpload]:
    """Finish what a process that died had prepared; give back what it had not.

    The dataset's lock is ours, so whoever claimed these uploads is gone.
    """
    finished = []
    for upload in list(stores.staging.uploads(State.PROCESSING, name=name)):
        prepared = read_journal(upload)
        if prepared is None:
            _log.warning("upload %s: its process died; ingesting it again", upload.id)
            _give_back(stores, upload)
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
        stores.staging.fail(upload, _error_report(error, error.message))
        return False
    finish(stores, Prepared(name=upload.name, changes={}, uploads=(prepared,)))
    return True


def _require_archive(stores: Stores, name: DatasetName, archived: Sequence[Upload]) -> None:
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


def _give_back(stores: Stores, upload: Upload) -> None:
    """Remove the parts that an attempt left, which no table names, and make it pending again."""
    _remove_parts(stores, upload)
    stores.staging.release(upload)


def _remove_parts(stores: Stores, upload: Upload) -> None:
    for asset in COMMIT_ORDER:
        folder = stores.tables.data_folder(table_of(asset, upload.name))
        for part in folder.glob(f"{upload.id}-*.parquet"):
            part.unlink(missing_ok=True)


def _claim(stores: Stores, request: Request) -> list[Upload]:
    claimed = []
    for upload in list(stores.staging.uploads(State.PENDING, name=request.name)):
        if request.upload_ids is None or upload.id in request.upload_ids:
            mine = stores.staging.claim(upload, run_id=request.run_id)
            claimed += [mine] if mine else []
    return claimed


def _prepare_uploads(
    stores: Stores, request: Request, uploads: Sequence[Upload]
) -> tuple[list[PreparedUpload], list[FailedUpload]]:
    """Prepare each upload; one that fails leaves the others alone."""
    if not uploads:
        return [], []
    contract = stores.registry().contract(request.name)
    prepared: list[PreparedUpload] = []
    failures: list[FailedUpload] = []
    with (
        open_state(stores, request.name, contract, is_empty=request.rebuild) as state,
        open_engine(stores.settings.workers) as engine,
    ):
        progress = _Progress(stores, request)
        for upload in uploads:
            job = Job(
                state=state,
                engine=engine,
                run_id=request.run_id,
                now=datetime.now(tz=UTC),
                attempt=str(ULID()),
                on_rows=progress.of(upload),
            )
            result = _try_upload(job, upload, stores, rebuild=request.rebuild)
            if isinstance(result, FailedUpload):
                failures.append(result)
            else:
                prepared.append(result)
    return prepared, failures


def _try_upload(
    job: Job, upload: Upload, stores: Stores, *, rebuild: bool
) -> PreparedUpload | FailedUpload:
    """The error boundary of one upload."""
    try:
        return prepare_upload(job, upload)
    except Exception as error:
        job.state.forget(upload.id)
        if rebuild:  # the old rows stay: a rebuild is all or nothing
            raise
        return _set_aside(stores, upload, error)
    except BaseException:  # interrupted: the next run begins it again
        if not rebuild:  # then the upload is in the tables, with parts that begin like these
            _give_back(stores, upload)
        raise


def _set_aside(stores: Stores, upload: Upload, error: Exception) -> FailedUpload:
    message = error.message if isinstance(error, LakeError) else f"{type(error).__name__}: {error}"
    will_retry = isinstance(error, RetryableError)
    if will_retry:
        _give_back(stores, upload)
    else:
        stores.staging.fail(upload, _error_report(error, message))
    _log.error("upload %s of %s: %s", upload.id, upload.name, message)
    return FailedUpload(upload_id=upload.id, message=message, will_retry=will_retry)


def _error_report(error: Exception, message: str) -> dict[str, Any]:
    trace = "".join(traceback.format_exception(error))
    return {
        "error": type(error).__name__,
        "message": message,
        "failed_at": datetime.now(tz=UTC).isoformat(),
        # A known error explains itself; for one that is our fault the trace is what helps.
        "traceback": None if isinstance(error, LakeError) else trace,
    }


class _Progress:
    """Adds up rows over uploads, and keeps each upload's lease fresh."""

    def __init__(self, stores: Stores, request: Request) -> None:
        self._stores = stores
        self._request = request
        self._done = 0
        self._beaten_at = 0.0

    def of(self, upload: Upload) -> Callable[[int], None]:
        before = self._done

        def on_rows(rows: int) -> None:
            self._done = before + rows
            self._request.on_rows(self._done)
            now = time.monotonic()
            if upload.state is State.PROCESSING and now - self._beaten_at >= _HEARTBEAT_S:
                self._beaten_at = now
                self._stores.staging.report_progress(upload, run_id=self._request.run_id, rows=rows)

        return on_rows


def _make_durable(stores: Stores) -> None:
    """Put shards, thumbnails and parts on disk before a journal or a table names them."""
    sync_file_system(stores.layout.home)
