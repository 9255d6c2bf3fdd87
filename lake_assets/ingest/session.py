"""Bring one dataset up to date: lease, recover, claim, prepare, commit, finish.

Invariants: only the holder of a dataset's lease changes what is stored of it; the journal of a
group of uploads is on disk before the first commit that they are part of, so after a crash their
parts are either all committed or all removed; running any step again changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import (
    LakeError,
    LeaseLost,
    RetryableError,
    StorageUnavailable,
    UnreadableSource,
)
from lake_assets.ingest.changes import changes_of, commit
from lake_assets.ingest.model import (
    FailedUpload,
    Group,
    Ingested,
    Prepared,
    PreparedUpload,
)
from lake_assets.ingest.parts import GroupParts, UploadRows
from lake_assets.ingest.rebuild import begin_rebuild, rebuild_is_unfinished
from lake_assets.ingest.recovery import (
    claim_pending,
    error_report,
    finish,
    recover,
    require_archive,
)
from lake_assets.ingest.rows import Job, prepare_upload
from lake_assets.ingest.state import DatasetState, open_state
from lake_assets.intake.uploads import State, Upload
from lake_assets.media.engines import Engine, open_engine
from lake_assets.storage.files import storage_errors
from lake_assets.storage.shards import sync_file_system
from lake_assets.storage.tables import Lease
from lake_assets.storage.tables.catalog_file import seal_catalog
from lake_assets.stores import Stores

_log = logging.getLogger(__name__)


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
    wait_s: float | None = None
    """How long to wait for that process, in seconds; None: ``busy_timeout_s``."""


def ingest(stores: Stores, request: Request) -> Ingested:
    """Ingest what is pending for a dataset; nothing pending is a success.

    Raises:
        DatasetBusy: when another process worked on it for as long as the request waits.
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
    with (
        _sealing(stores),
        stores.tables.leases.hold(
            str(name),
            wait_s=stores.settings.busy_timeout_s if request.wait_s is None else request.wait_s,
            run_id=request.run_id,
            on_wait=request.on_wait,
        ) as lease,
        _known_errors(stores, lease),
    ):
        if request.rebuild or rebuild_is_unfinished(stores, name):
            yield _prepare_rebuild(stores, replace(request, rebuild=True), lease)
        else:
            yield _prepare(stores, request, lease)


@contextmanager
def _sealing(stores: Stores) -> Iterator[None]:
    """Seal the catalog's file after the last write to it, which gives the lease back."""
    yield
    seal_catalog(stores.layout.catalog_file)


# -- prepare


def _prepare(stores: Stores, request: Request, lease: Lease) -> Prepared:
    recovered = recover(stores, request.name, lease)
    uploads = claim_pending(stores, request.name, request.upload_ids, lease)
    group, failures = _prepare_uploads(stores, request, uploads, lease)
    if group:
        _make_durable(stores)
        try:
            stores.tables.leases.require(lease)
        except LeaseLost:  # the other process removed what it found, but not what came after that
            group.discard()
            raise
        group.write_journal()
    return _prepared(stores, request, lease, group, failures, recovered)


def _prepare_rebuild(stores: Stores, request: Request, lease: Lease) -> Prepared:
    # What is pending first, by itself: so each upload is ever only ingested by its journal.
    pending = _prepare(stores, replace(request, rebuild=False), lease)
    for change in pending.changes.values():
        commit(stores, change)
    finish(stores, pending)
    archived = list(stores.staging.uploads(State.DONE, name=request.name))
    require_archive(stores, request.name, archived)
    stores.tables.leases.renew(lease)  # tells the rebuild's parts from those of what was pending
    group, failures = _prepare_uploads(stores, request, archived, lease)
    _make_durable(stores)
    # From here on a crash leaves some tables new and some old: whoever comes next begins it anew.
    begin_rebuild(stores, request.name)
    failures = (*pending.failures, *failures)
    return _prepared(stores, request, lease, group, failures, pending.recovered)


def _prepared(
    stores: Stores,
    request: Request,
    lease: Lease,
    group: Group | None,
    failures: Sequence[FailedUpload],
    recovered: Sequence[PreparedUpload],
) -> Prepared:
    return Prepared(
        name=request.name,
        lease=lease,
        changes=changes_of(stores, request.name, group, lease=lease, rebuild=request.rebuild),
        group=group,
        failures=tuple(failures),
        recovered=tuple(recovered),
        rebuilt=request.rebuild,
    )


def _prepare_uploads(
    stores: Stores, request: Request, uploads: Sequence[Upload], lease: Lease
) -> tuple[Group | None, tuple[FailedUpload, ...]]:
    """Prepare uploads as one group; one that fails leaves the others alone."""
    if not uploads:
        return None, ()
    group = _OpenGroup(stores, request, lease)
    try:
        return group.prepare(uploads)
    except LeaseLost:  # the uploads are another process's by now
        raise
    except (LakeError, OSError, pa.ArrowException) as error:
        return None, group.give_up(uploads, error)
    except BaseException:  # interrupted: the next run begins them again
        group.release(uploads)
        raise


def _engine(stores: Stores) -> Engine:
    settings = stores.settings
    return open_engine(
        settings.workers,
        item_timeout_s=settings.image_timeout_s,
        pixel_limit=settings.max_image_pixels,
    )


class _OpenGroup:
    """A group whose uploads are being prepared, one after the other."""

    def __init__(self, stores: Stores, request: Request, lease: Lease) -> None:
        self._stores = stores
        self._request = request
        self._lease = lease
        self._rows_before = 0
        self._prepared: list[PreparedUpload] = []
        self._failures: list[FailedUpload] = []

    def prepare(self, uploads: Sequence[Upload]) -> tuple[Group | None, tuple[FailedUpload, ...]]:
        """Return the group of those uploads that can be used, and what is not in it."""
        stores, name = self._stores, self._request.name
        contract = stores.registry().contract(name)
        with (
            open_state(stores, name, contract, is_empty=self._request.rebuild) as state,
            _engine(stores) as engine,
            GroupParts(
                stores.tables, name, token=self._lease.token, partition_by=state.partition_by
            ) as parts,
        ):
            for upload in uploads:
                self._add(upload, parts, state, engine)
            if not self._prepared:
                return None, tuple(self._failures)
            group = Group(uploads=tuple(self._prepared), parts=parts.close())
            return group, tuple(self._failures)

    def give_up(self, uploads: Sequence[Upload], error: Exception) -> tuple[FailedUpload, ...]:
        """Set all uploads aside: their rows share files, and one could not be written.

        Raises:
            LeaseLost: they are another process's by now.
            Exception: ``error``, where it is not about the rows of any of them.
        """
        self._stores.tables.leases.require(self._lease)
        if self._request.rebuild:
            raise error
        known, prepared = _as_known(error), {item.upload.id for item in self._prepared}
        failed = {item.upload_id for item in self._failures}
        if isinstance(known, RetryableError):
            prepared = {upload.id for upload in uploads} - failed
        late = tuple(
            _set_aside(self._stores, upload, known) for upload in uploads if upload.id in prepared
        )
        self.release([upload for upload in uploads if upload.id not in prepared | failed])
        if not late:
            raise error
        return (*self._failures, *late)

    def release(self, uploads: Sequence[Upload]) -> None:
        """Make uploads pending again; those of a rebuild were done and stay so."""
        for upload in uploads if not self._request.rebuild else ():
            self._stores.staging.release(upload)

    def _add(self, upload: Upload, parts: GroupParts, state: DatasetState, engine: Engine) -> None:
        """Prepare one upload, and set it aside if it cannot be used."""
        job = Job(
            state=state,
            engine=engine,
            run_id=self._request.run_id,
            now=datetime.now(tz=UTC),
            on_rows=self._counter(upload),
        )
        try:
            with UploadRows(parts, upload.id) as rows:
                prepared = prepare_upload(job, upload, rows)
        except Exception as error:  # the boundary of one upload
            # One that another process took over is no longer ours to set aside.
            self._stores.tables.leases.require(self._lease)
            state.forget(upload.id)
            known = _as_known(_as_missing(error, upload))
            if self._request.rebuild:  # the old rows stay: a rebuild is all or nothing
                raise known from error
            self._failures.append(_set_aside(self._stores, upload, known))
            return
        self._prepared.append(prepared)
        parts.take(rows)

    def _counter(self, upload: Upload) -> Callable[[int], None]:
        before = self._rows_before
        self._lease.upload_id, self._lease.rows_read = upload.id, 0

        def on_rows(rows: int) -> None:
            self._rows_before = before + rows
            self._lease.rows_read = rows
            self._request.on_rows(self._rows_before)

        return on_rows


def _set_aside(stores: Stores, upload: Upload, error: Exception) -> FailedUpload:
    message = error.message if isinstance(error, LakeError) else f"{type(error).__name__}: {error}"
    will_retry = isinstance(error, RetryableError)
    if will_retry:
        stores.staging.release(upload)
    else:
        stores.staging.fail(upload, error_report(error, message))
    _log.error("upload %s of %s: %s", upload.id, upload.name, message)
    return FailedUpload(upload_id=upload.id, message=message, will_retry=will_retry)


@contextmanager
def _known_errors(stores: Stores, lease: Lease) -> Iterator[None]:
    """Raise what the system says of the lake's own files as one of this package's errors.

    So also where it is said between two uploads: of their folders, the journal, the ledger.

    Raises:
        LeaseLost: whatever went wrong, if another process took the dataset over: its doings are
            why this one does not find what it knew.
    """
    try:
        yield
    except (LakeError, OSError) as error:
        stores.tables.leases.require(lease)
        known = _as_known(error)
        if known is error:
            raise
        raise known from error


def _as_known(error: Exception) -> Exception:
    """Return what an error of the system means for what is the lake's own by now."""
    if not isinstance(error, OSError) or isinstance(error, FileNotFoundError):
        return error
    known = StorageUnavailable(
        f"the lake's disk cannot be used: {error}. Free space on it, or mend that, and try again"
    )
    known.__cause__ = error
    return known


def _as_missing(error: Exception, upload: Upload) -> Exception:
    """Return what a missing file means: one of the upload's own will not come back by itself."""
    name = error.filename if isinstance(error, FileNotFoundError) else None
    if name is None or not Path(str(name)).is_relative_to(upload.files_folder):
        return error
    staged = Path(str(name)).relative_to(upload.files_folder)
    missing = UnreadableSource(
        f"{staged} of upload {upload.id} is gone from staging: somebody removed it, or the disk is "
        "damaged; deliver it again",
        file=str(staged),
    )
    missing.__cause__ = error
    return missing


def _make_durable(stores: Stores) -> None:
    """Put shards, thumbnails and parts on disk before a journal or a table names them."""
    with storage_errors(stores.layout.home):
        sync_file_system(stores.layout.home)
