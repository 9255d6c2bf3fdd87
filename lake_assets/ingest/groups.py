"""Which uploads go into the tables together, and preparing such a group.

A group costs one commit per table however many uploads it has, and a process that dies loses what
it had prepared of one group. So groups are large, but not without bounds; and after a death the
uploads of that group come again in smaller ones, until one that kills its process is alone and
keeps no other from the tables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa

from lake_assets.errors import (
    DamagedTable,
    LakeError,
    LeaseLost,
    RetryableError,
    SchemaChanged,
    UnreadableSource,
)
from lake_assets.ingest.model import FailedUpload, Group, PreparedUpload, Request
from lake_assets.ingest.parts import GroupParts, UploadRows
from lake_assets.ingest.recovery import error_report
from lake_assets.ingest.replay import prepare_replay
from lake_assets.ingest.rewriting import write_anew
from lake_assets.ingest.rows import Job, prepare_upload
from lake_assets.ingest.state import DatasetState, open_state
from lake_assets.ingest.trouble import as_known, as_missing
from lake_assets.intake.uploads import Upload
from lake_assets.media.engines import Engine, open_engine
from lake_assets.storage.tables import Lease
from lake_assets.stores import Stores

GROUP_UPLOADS = 1_000
"""Their commits cost 0.3 ms each; with more, a death costs more than the commits that it saves."""
GROUP_BYTES = 2**30
"""Some ten seconds of work. One larger upload is a group by itself."""
_SHRINK = 10
"""With each death, groups have so many times fewer uploads."""
DEATHS_ALLOWED = 6
"""Three in groups, three alone."""

_log = logging.getLogger(__name__)


def groups_of(uploads: Iterable[Upload]) -> Iterator[list[Upload]]:
    """Yield uploads in the groups to ingest them in: those that no process died of first."""
    group: list[Upload] = []
    byte_count = deaths_before = 0
    has_replay = False
    for deaths, upload in sorted(((item.deaths, item) for item in uploads), key=_order):
        size = upload.manifest.byte_count
        is_full = len(group) >= _most_uploads(deaths) or byte_count + size > GROUP_BYTES
        # A replay rewrites what the quarantine has, where others only add to it.
        is_full |= upload.manifest.replays is not None or has_replay
        if group and (is_full or deaths != deaths_before):
            yield group
            group, byte_count = [], 0
        has_replay = upload.manifest.replays is not None
        group.append(upload)
        byte_count += size
        deaths_before = deaths
    if group:
        yield group


def _order(counted: tuple[int, Upload]) -> tuple[int, str]:
    return counted[0], counted[1].id


def _most_uploads(deaths: int) -> int:
    return GROUP_UPLOADS // _SHRINK**deaths or 1


def prepare_group(
    stores: Stores,
    request: Request,
    uploads: Sequence[Upload],
    lease: Lease,
    pool: Engine,
    failures: list[FailedUpload],
    *,
    is_rebuild: bool,
) -> Group | None:
    """Return the group to commit with the parts of claimed uploads, if any of them can be used.

    Args:
        failures: Grows by uploads that cannot be used, each as soon as it is set aside; they leave
            the others alone.
        is_rebuild: Whether they are done, and are read again: then one that cannot be used is an
            error, and nothing is known of their dataset before them.
    """
    if not uploads:
        return None
    group = _OpenGroup(stores, request, lease, failures, is_rebuild=is_rebuild)
    try:
        return group.prepare(uploads, pool)
    except LeaseLost:  # the uploads are another process's by now
        raise
    except SchemaChanged:  # no fault of theirs: whoever asked fits them to the table anew
        group.release(uploads)
        raise
    except (LakeError, OSError, pa.ArrowException) as error:
        group.give_up(uploads, error)
        return None
    except BaseException:  # interrupted: the next run begins them again
        group.release(uploads)
        raise


def open_pool(stores: Stores) -> Engine:
    """Return the worker processes that look at images; they start with the first image."""
    settings = stores.settings
    return open_engine(
        settings.workers,
        item_timeout_s=settings.image_timeout_s,
        pixel_limit=settings.max_image_pixels,
    )


class _OpenGroup:
    """A group whose uploads are being prepared, one after the other."""

    def __init__(
        self,
        stores: Stores,
        request: Request,
        lease: Lease,
        failures: list[FailedUpload],
        *,
        is_rebuild: bool,
    ) -> None:
        self._stores = stores
        self._request = request
        self._lease = lease
        self._failures = failures
        self._is_rebuild = is_rebuild
        self._rows_before = 0
        self._prepared: list[PreparedUpload] = []

    def prepare(self, uploads: Sequence[Upload], pool: Engine) -> Group | None:
        """Return the group of those uploads that can be used."""
        stores, name = self._stores, self._request.name
        contract = stores.registry().promise(name)
        with (
            open_state(stores, name, contract, is_empty=self._is_rebuild) as state,
            GroupParts(
                stores.tables, name, token=self._lease.token, partition_by=state.partition_by
            ) as parts,
        ):
            state.prepared_files = partial(parts.files, "raw")
            for upload in uploads:
                self._add(upload, parts, state, pool)
            if not self._prepared:
                return None
            gone = write_anew(state, parts)
            return Group(uploads=tuple(self._prepared), parts=parts.close(), gone=gone)

    def give_up(self, uploads: Sequence[Upload], error: Exception) -> None:
        """Set all uploads aside: their rows share files, and one could not be written.

        Raises:
            LeaseLost: they are another process's by now.
            Exception: ``error``, where it is not about the rows of any of them.
        """
        self._stores.tables.leases.require(self._lease)
        if self._is_rebuild:
            raise error
        known = as_known(error, self._stores.tables.warehouse)
        prepared = {item.upload.id for item in self._prepared}
        failed = {item.upload_id for item in self._failures}
        if isinstance(known, DamagedTable):  # no upload's fault: they wait until it is repaired
            prepared = set()
        elif isinstance(known, RetryableError):
            prepared = {upload.id for upload in uploads} - failed
        late = [
            _set_aside(self._stores, upload, known) for upload in uploads if upload.id in prepared
        ]
        self.release([upload for upload in uploads if upload.id not in prepared | failed])
        if not late:
            raise known
        self._failures += late

    def release(self, uploads: Sequence[Upload]) -> None:
        """Make uploads pending again, but those that failed; those of a rebuild stay done."""
        failed = {item.upload_id for item in self._failures}
        for upload in () if self._is_rebuild else uploads:
            if upload.id not in failed:
                self._stores.staging.release(upload)

    def _add(self, upload: Upload, parts: GroupParts, state: DatasetState, pool: Engine) -> None:
        """Prepare one upload, and set it aside if it cannot be used."""
        job = Job(
            state=state,
            engine=pool,
            run_id=self._request.run_id,
            now=datetime.now(tz=UTC),
            on_rows=self._counter(upload),
        )
        try:
            with UploadRows(parts, upload.id) as rows:
                _require_harmless(upload)
                prepare = prepare_replay if upload.manifest.replays else prepare_upload
                prepared = prepare(job, upload, rows)
        except Exception as error:  # the boundary of one upload
            # One that another process took over is no longer ours to set aside.
            self._stores.tables.leases.require(self._lease)
            state.forget(upload.id)
            known = as_known(as_missing(error, upload), self._stores.tables.warehouse)
            # The old rows stay: a rebuild is all or nothing.
            if self._is_rebuild or isinstance(known, DamagedTable | SchemaChanged):
                if known is error:
                    raise
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


def _require_harmless(upload: Upload) -> None:
    """Raise if too many processes died while they had this upload.

    Raises:
        UnreadableSource.
    """
    if upload.deaths >= DEATHS_ALLOWED:
        raise UnreadableSource(
            f"{upload.deaths} processes died while they read this upload, and in the last of them "
            "it was alone. Perhaps it needs more memory than there is (then `dmesg` tells of it), "
            "or a library cannot bear it. Free memory or deliver it in smaller files; "
            f"`lake process retry {upload.id}` tries again",
            deaths=upload.deaths,
        )


def _set_aside(stores: Stores, upload: Upload, error: Exception) -> FailedUpload:
    message = error.message if isinstance(error, LakeError) else f"{type(error).__name__}: {error}"
    will_retry = isinstance(error, RetryableError)
    if will_retry:
        stores.staging.release(upload)
    else:
        stores.staging.fail(upload, error_report(error, message))
    _log.error("upload %s of %s: %s", upload.id, upload.name, message)
    return FailedUpload(upload_id=upload.id, message=message, will_retry=will_retry)
