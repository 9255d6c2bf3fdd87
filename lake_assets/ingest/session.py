"""Bring one dataset up to date: lock, recover, claim, prepare, commit, finish.

Invariants: one process at a time works on a dataset; an upload's journal is on disk before the
first commit that it is part of, so after a crash its parts are either all committed or all
removed; running any step again changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ulid import ULID

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import LakeError, RetryableError, StorageUnavailable
from lake_assets.ingest.changes import changes_of, commit
from lake_assets.ingest.model import (
    FailedUpload,
    Ingested,
    Prepared,
    PreparedUpload,
)
from lake_assets.ingest.rebuild import begin_rebuild, rebuild_is_unfinished
from lake_assets.ingest.recovery import (
    claim_pending,
    error_report,
    finish,
    give_back,
    recover,
    require_archive,
)
from lake_assets.ingest.rows import Job, prepare_upload
from lake_assets.ingest.state import open_state
from lake_assets.intake.uploads import State, Upload
from lake_assets.media.engines import open_engine
from lake_assets.storage.files import storage_errors
from lake_assets.storage.locks import exclusive_lock
from lake_assets.storage.shards import sync_file_system
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
        if request.rebuild or rebuild_is_unfinished(stores, name):
            yield _prepare_rebuild(stores, replace(request, rebuild=True))
        else:
            yield _prepare(stores, request)


# -- prepare


def _prepare(stores: Stores, request: Request) -> Prepared:
    recovered = recover(stores, request.name)
    uploads = claim_pending(stores, request.name, request.upload_ids, run_id=request.run_id)
    prepared, failures = _prepare_uploads(stores, request, uploads)
    _make_durable(stores)
    for item in prepared:
        item.write_journal()
    return _prepared(stores, request, prepared, failures, recovered)


def _prepare_rebuild(stores: Stores, request: Request) -> Prepared:
    # What is pending first, by itself: so each upload is ever only ingested by its journal.
    pending = _prepare(stores, replace(request, rebuild=False))
    for change in pending.changes.values():
        commit(stores, change)
    finish(stores, pending)
    archived = list(stores.staging.uploads(State.DONE, name=request.name))
    require_archive(stores, request.name, archived)
    prepared, failures = _prepare_uploads(stores, request, archived)
    _make_durable(stores)
    # From here on a crash leaves some tables new and some old: whoever comes next begins it anew.
    begin_rebuild(stores, request.name, [part for item in prepared for part in item.all_parts()])
    return _prepared(stores, request, prepared, (*pending.failures, *failures), pending.recovered)


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
        # What is read is the lake's own by now: a disk that is full, away or out of file handles.
        is_away = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        known = _as_unavailable(error) if is_away else error
        if rebuild:  # the old rows stay: a rebuild is all or nothing
            raise known from error
        return _set_aside(stores, upload, known)
    except BaseException:  # interrupted: the next run begins it again
        if not rebuild:  # then the upload is in the tables, with parts that begin like these
            give_back(stores, upload)
        raise


def _set_aside(stores: Stores, upload: Upload, error: Exception) -> FailedUpload:
    message = error.message if isinstance(error, LakeError) else f"{type(error).__name__}: {error}"
    will_retry = isinstance(error, RetryableError)
    if will_retry:
        give_back(stores, upload)
    else:
        stores.staging.fail(upload, error_report(error, message))
    _log.error("upload %s of %s: %s", upload.id, upload.name, message)
    return FailedUpload(upload_id=upload.id, message=message, will_retry=will_retry)


def _as_unavailable(error: Exception) -> StorageUnavailable:
    return StorageUnavailable(
        f"the lake's disk cannot be used: {error}. Free space on it, or mend that, and try again"
    )


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
    with storage_errors(stores.layout.home):
        sync_file_system(stores.layout.home)
