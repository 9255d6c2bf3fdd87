"""Bring one dataset up to date: lease, recover, claim, prepare, commit, finish.

Invariants: only the holder of a dataset's lease changes what is stored of it; the journal of a
group of uploads is on disk before the first commit that they are part of, so after a crash their
parts are either all committed or all removed; running any step again changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

from lake_assets.errors import FatalError, LeaseLost, SchemaChanged
from lake_assets.ingest.changes import changes_of, commit
from lake_assets.ingest.groups import groups_of, open_pool, prepare_group
from lake_assets.ingest.model import (
    FailedUpload,
    Group,
    Ingested,
    Prepared,
    PreparedUpload,
    Request,
)
from lake_assets.ingest.rebuild import (
    RebuildTrial,
    begin_rebuild,
    fewer_rows,
    rebuild_is_unfinished,
    trial_of,
    with_changes,
)
from lake_assets.ingest.recovery import (
    claim,
    finish,
    recover,
    tell_schema_changes,
)
from lake_assets.ingest.revision import archived_uploads, move_uploads, told_of
from lake_assets.ingest.trouble import known_errors
from lake_assets.intake.uploads import State, Upload
from lake_assets.media.engines import Engine
from lake_assets.storage.files import storage_errors
from lake_assets.storage.shards import sync_file_system
from lake_assets.storage.tables import Lease
from lake_assets.storage.tables.catalog_file import read_catalog, seal_catalog
from lake_assets.stores import Stores

_SCHEMA_TRIES = 3
"""Each time another dataset's upload was faster to bring a column of another type."""

_log = logging.getLogger(__name__)


def ingest(stores: Stores, request: Request) -> Ingested:
    """Ingest what is pending for a dataset; nothing pending is a success.

    Raises:
        DatasetBusy: when another process worked on it for as long as the request waits.
        RetryableError, UnknownOutcome: the uploads are kept; a later call goes on with them.
    """
    done = _Done()
    for _ in range(_SCHEMA_TRIES - 1):
        try:
            return _ingest(stores, request, done)
        except SchemaChanged as error:  # what was prepared is taken back, and fitted anew
            _log.warning("%s: %s", request.name, error.message)
    return _ingest(stores, request, done)


@dataclass(frozen=True, slots=True)
class _Done:
    """What is over, also if what comes after it has to be tried again."""

    recovered: list[PreparedUpload] = field(default_factory=list)
    before: list[PreparedUpload] = field(default_factory=list)
    """Of groups that are in the tables."""
    failures: list[FailedUpload] = field(default_factory=list)


def _ingest(stores: Stores, request: Request, done: _Done) -> Ingested:
    with _prepared(stores, request, done) as prepared:
        commits = [commit(stores, prepared.changes[asset]) for asset in prepared.changes]
        finish(stores, prepared)
    return Ingested(
        name=prepared.name,
        outcomes=tuple(item.outcome for item in (*prepared.recovered, *prepared.all_uploads)),
        commits=tuple(commits),
        failures=prepared.failures,
    )


def prepared_dataset(stores: Stores, request: Request) -> AbstractContextManager[Prepared]:
    """Hold a dataset and give what is to be committed for it, in ``COMMIT_ORDER``.

    The caller commits each change and then calls ``finish``, inside the block.
    """
    return _prepared(stores, request, _Done())


@contextmanager
def _prepared(stores: Stores, request: Request, done: _Done) -> Iterator[Prepared]:
    with _held(stores, request, done) as dataset:
        if request.rebuild or rebuild_is_unfinished(stores, request.name):
            yield dataset.prepare_rebuild()
        else:
            yield dataset.prepare_pending()


def try_rebuild(stores: Stores, request: Request) -> RebuildTrial:
    """Return what a rebuild would come to; no table, and nothing in staging, is changed.

    Raises:
        DatasetBusy, InvalidRequest, and whatever would end the rebuild.
    """
    with _held(stores, request, _Done()) as dataset:
        return dataset.try_rebuild()


@contextmanager
def _held(stores: Stores, request: Request, done: _Done) -> Iterator[_Dataset]:
    with (
        _sealing(stores),
        stores.tables.leases.hold(
            str(request.name),
            wait_s=stores.settings.busy_timeout_s if request.wait_s is None else request.wait_s,
            run_id=request.run_id,
            on_wait=request.on_wait,
        ) as lease,
        known_errors(stores, lease),
    ):
        yield _Dataset(stores, request, lease, done)


@contextmanager
def _sealing(stores: Stores) -> Iterator[None]:
    """Seal the catalog's file after the last write to it, which gives the lease back.

    Raises:
        FatalError: if it is not as it was sealed: the next seal would hide that.
        LakeMoved: before anything is claimed, so uploads wait until the lake is relocated.
    """
    damage = read_catalog(stores.layout.catalog_file).damage
    if damage:
        raise FatalError(
            f"catalog.db is damaged: {damage}. Nothing was ingested; `lake verify` says more, "
            "`lake repair` makes it anew",
            path=str(stores.layout.catalog_file),
        )
    stores.require_here()
    try:
        yield
    finally:  # an upload that fails is an ordinary end too
        seal_catalog(stores.layout.catalog_file)


class _Dataset:
    """A dataset that this process holds, while what is to be committed for it is prepared."""

    def __init__(self, stores: Stores, request: Request, lease: Lease, done: _Done) -> None:
        self._stores = stores
        self._request = request
        self._lease = lease
        self._done = done

    def prepare_pending(self) -> Prepared:
        """Ingest what is pending, but for the commits of its last group."""
        self._done.recovered.extend(recover(self._stores, self._request.name, self._lease))
        prepared = self._prepared(None)
        with open_pool(self._stores) as pool:
            for number, uploads in enumerate(groups_of(self._pending())):
                if number:
                    self._commit(prepared)
                    self._new_token()
                group = self._prepare(claim(self._stores, uploads, self._lease), pool)
                if group:
                    self._write_journal(group)
                prepared = self._prepared(group)
        return prepared

    def prepare_rebuild(self) -> Prepared:
        """Ingest what is pending, and read all that was ingested again, as one group."""
        # By itself, so each upload is ever only ingested by its journal.
        self._commit(self.prepare_pending())
        self._done.before.clear()  # the rebuild has them too
        stores, name = self._stores, self._request.name
        self._new_token()
        seen_at_ns = stores.rebuilds.changed_at_ns(name)
        group = self._prepare_archived()
        trial = trial_of(stores, self._request, group)
        # One that was begun was agreed to, and some tables may be new by now.
        is_agreed = self._request.accepts_fewer_rows or seen_at_ns is not None
        if trial.loses_rows and not is_agreed:
            if group:
                group.discard()
            raise fewer_rows(trial)
        revises = self._request.revises
        if group and not revises:
            group = with_changes(group, trial.changes)
        _make_durable(stores)
        # From here on a crash leaves some tables new and some old: whoever comes next begins it
        # anew.
        begun_at_ns = begin_rebuild(stores, name, seen_at_ns=seen_at_ns)
        group = move_uploads(stores, self._request, group)
        prepared = replace(
            self._prepared(group, is_rebuild=True),
            begun_at_ns=begun_at_ns,
            # Of a process that died nobody knows whether it had moved one.
            is_revision=bool(revises) or seen_at_ns is not None,
            told=told_of(stores, self._request, trial.changes),
        )
        tell_schema_changes(stores, prepared)
        return prepared

    def try_rebuild(self) -> RebuildTrial:
        """Read all that was ingested again, and return what a rebuild would come to."""
        group = self._prepare_archived()
        trial = trial_of(self._stores, self._request, group)
        if group:
            group.discard()
        return trial

    def _prepare_archived(self) -> Group | None:
        stores = self._stores
        archived = archived_uploads(stores, self._request)
        with open_pool(stores) as pool:
            return self._prepare(archived, pool, is_rebuild=True)

    def _pending(self) -> list[Upload]:
        wanted = self._request.upload_ids
        pending = self._stores.staging.uploads(State.PENDING, name=self._request.name)
        return [upload for upload in pending if wanted is None or upload.id in wanted]

    def _prepare(
        self, uploads: Sequence[Upload], pool: Engine, *, is_rebuild: bool = False
    ) -> Group | None:
        before = sum(item.outcome.rows_in for item in self._done.before)
        request = replace(self._request, on_rows=lambda rows: self._request.on_rows(before + rows))
        failures = self._done.failures
        return prepare_group(
            self._stores, request, uploads, self._lease, pool, failures, is_rebuild=is_rebuild
        )

    def _prepared(self, group: Group | None, *, is_rebuild: bool = False) -> Prepared:
        name, lease = self._request.name, self._lease
        return Prepared(
            name=name,
            lease=lease,
            changes=changes_of(self._stores, name, group, lease=lease, rebuild=is_rebuild),
            group=group,
            before=tuple(self._done.before),
            failures=tuple(self._done.failures),
            recovered=tuple(self._done.recovered),
            rebuilt=is_rebuild,
        )

    def _commit(self, prepared: Prepared) -> None:
        for change in prepared.changes.values():
            commit(self._stores, change)
        finish(self._stores, prepared)
        self._done.before.extend(prepared.uploads)

    def _new_token(self) -> None:
        """Tell the parts of the next group from those of the last one."""
        self._stores.tables.leases.renew(self._lease)

    def _write_journal(self, group: Group) -> None:
        _make_durable(self._stores)
        try:
            self._stores.tables.leases.require(self._lease)
        except LeaseLost:  # the other process removed what it found, but not what came after that
            group.discard()
            raise
        group.write_journal()


def _make_durable(stores: Stores) -> None:
    """Put shards, thumbnails and parts on disk before a journal or a table names them."""
    with storage_errors(stores.layout.home):
        sync_file_system(stores.layout.home)
