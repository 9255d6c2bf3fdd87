"""Begin and end with a dataset: claim what is pending, finish it, heal what a dead process left.

All of it needs the dataset's lease. Invariant: an upload whose rows are in their table goes on to
``done``; one whose are not leaves no file behind that a table could be thought to have.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lake_assets.contracts.names import Destination
from lake_assets.errors import (
    DamagedTable,
    FatalError,
    LakeError,
    LeaseLost,
    SchemaChanged,
    UnknownUpload,
)
from lake_assets.ingest.changes import changes_of, commit, table_of
from lake_assets.ingest.ledger import ledger_change, schema_changes
from lake_assets.ingest.model import (
    COMMIT_ORDER,
    Group,
    Prepared,
    PreparedUpload,
    TableChange,
    drop_journal,
    has_journal,
    read_group,
)
from lake_assets.ingest.parts import part_stem
from lake_assets.ingest.rebuild import end_rebuild
from lake_assets.ingest.revision import ask_for_variants, remove_images
from lake_assets.intake.uploads import State, Upload
from lake_assets.storage.system_tables import SCHEMA_CHANGES, UPLOADS
from lake_assets.storage.tables import Lease
from lake_assets.storage.tables.locations import local_path
from lake_assets.storage.tables.tree import table_tree
from lake_assets.stores import Stores

_log = logging.getLogger(__name__)


def recover(stores: Stores, name: Destination, lease: Lease) -> tuple[PreparedUpload, ...]:
    """Finish what a process that died had prepared; give back what it had not.

    The dataset's lease is ours, so whoever claimed these uploads is gone, or cannot commit.
    """
    left = list(stores.staging.uploads(State.PROCESSING, name=name))
    if not left and not lease.left_tokens:
        return ()
    finished = _recover(stores, name, lease, left)
    lease.has_recovered = True  # until here, whoever comes next learns of the same tokens
    return finished


def _recover(
    stores: Stores, name: Destination, lease: Lease, left: Sequence[Upload]
) -> tuple[PreparedUpload, ...]:
    tokens = {upload.token for upload in left if upload.token is not None} | {*lease.left_tokens}
    _remove_unused_parts(stores, name, tokens, has_journal=any(map(has_journal, left)))
    # Under a new name, so that nothing that the other process may still write gets here.
    taken = [stores.staging.claim(upload, token=lease.token) for upload in left]
    claimed = [upload for upload in taken if upload]
    for upload in claimed:
        for draft in upload.folder.glob(".draft-*"):  # of a journal being written
            draft.unlink(missing_ok=True)
    group = read_group(
        claimed,
        lambda upload_id: _find_done(stores, upload_id),
        lambda asset: stores.tables.data_folder(table_of(asset, name)),
    )
    finished = _roll_forward(stores, group, lease) if group else ()
    others = {upload.id: upload for upload in claimed}
    for item in group.uploads if group else ():
        others.pop(item.upload.id, None)
    _finish_or_release(stores, list(others.values()))
    if group:  # now that its parts are in the tables, those of others can be told from them
        _remove_unused_parts(stores, name, tokens, has_journal=False)
    return finished


def _find_done(stores: Stores, upload_id: str) -> Upload | None:
    try:
        found = stores.staging.find(upload_id)
    except UnknownUpload:
        return None
    return found if found.state is State.DONE else None


def _roll_forward(stores: Stores, group: Group, lease: Lease) -> tuple[PreparedUpload, ...]:
    """Commit what a dead process had prepared; none if its table will never take it, or has other
    columns by now, for which it is to be prepared anew.

    Raises:
        FatalError: when the rows are in their table and another table refuses the rest.
        DamagedTable: what was prepared is kept until the table is repaired.
    """
    first = group.uploads[0].upload
    ids = [item.upload.id for item in group.uploads]
    _log.warning("%s: a process died while committing %s; finishing it", first.name, ", ".join(ids))
    changes = changes_of(stores, first.name, group, lease=lease, rebuild=False)
    try:
        for change in changes.values():
            commit(stores, change)
    except DamagedTable:
        raise
    except SchemaChanged:
        if any(stores.tables.committed(change.spec.name, ids) for change in changes.values()):
            raise
        _take_back(stores, group)
        return ()
    except FatalError as error:
        if any(stores.tables.committed(change.spec.name, ids) for change in changes.values()):
            raise
        # None of its rows is in a table; repeating this for ever would block the dataset.
        drop_journal(first)
        for item in group.uploads:
            stores.staging.fail(item.upload, error_report(error, error.message))
        return ()
    finish(stores, Prepared(name=first.name, lease=lease, changes={}, group=group))
    return group.uploads


def _take_back(stores: Stores, group: Group) -> None:
    """Make the uploads of a group pending again, of which nothing is in a table."""
    drop_journal(group.uploads[0].upload)
    group.discard()
    for item in group.uploads:
        stores.staging.release(item.upload)


def _finish_or_release(stores: Stores, claimed: Sequence[Upload]) -> None:
    """Mark as done what the ledger has, and make pending again what it has not."""
    known: frozenset[str] = frozenset()
    if claimed:
        known = stores.tables.committed(UPLOADS.name, [upload.id for upload in claimed])
    for upload in claimed:
        if upload.id not in known:
            _log.warning("upload %s: its process died; ingesting it again", upload.id)
            stores.staging.release_after_death(upload)
    stores.staging.finish([upload for upload in claimed if upload.id in known])


def _remove_unused_parts(
    stores: Stores, name: Destination, tokens: Iterable[int], *, has_journal: bool
) -> None:
    """Remove what holders of these tokens had written and that no table names.

    Args:
        has_journal: Whether parts are still to be committed: then only those are removed that
            tell of uploads, which are written anew.
    """
    assets = () if has_journal else COMMIT_ORDER
    for table in [*(table_of(asset, name) for asset in assets), UPLOADS.name, SCHEMA_CHANGES.name]:
        folder = stores.tables.data_folder(table)
        found = [
            path for token in tokens for path in folder.glob(f"{part_stem(name, token)}*.parquet")
        ]
        remove_unused(stores, table, found)


def remove_unused(stores: Stores, table: str, paths: Sequence[Path]) -> None:
    """Remove those of ``paths`` that no snapshot of ``table`` names.

    Raises:
        FatalError: if the table's files lie elsewhere, as in a copy of a lake: then nothing can
            be said of these.
    """
    if not paths:
        return
    used: set[str] = set()
    if stores.tables.exists(table):
        used = {os.path.realpath(file) for file in stores.tables.data_files(table)}
    folder = os.path.realpath(paths[0].parent)
    if any(str(Path(file).parent) != folder for file in used):
        raise FatalError(
            f"table {table} has files outside of {folder}: this lake was copied or moved. Put it "
            "back where it was made",
            table=table,
        )
    left = [path for path in paths if os.path.realpath(path) not in used]
    for path in _without_history(stores, table, left):
        path.unlink(missing_ok=True)


def _without_history(stores: Stores, table: str, paths: Sequence[Path]) -> list[Path]:
    """Return those of ``paths`` that no snapshot names: older ones have what was written anew."""
    plan = stores.tables.plan(table) if paths and stores.tables.exists(table) else None
    if plan is None:
        return list(paths)
    tree = table_tree(Path(local_path(plan.metadata_location)))
    if tree.problems:  # `lake verify` tells of them, and of what is left over
        return []
    named = {os.path.realpath(path) for path in tree.files}
    return [path for path in paths if os.path.realpath(path) not in named]


def claim(stores: Stores, uploads: Sequence[Upload], lease: Lease) -> list[Upload]:
    """Take pending uploads for this process, and return those that were still there."""
    claimed = [stores.staging.claim(upload, token=lease.token) for upload in uploads]
    return [upload for upload in claimed if upload]


def finish(stores: Stores, prepared: Prepared) -> None:
    """Write the ledger and mark the uploads as done. All their changes must be committed."""
    if prepared.uploads or prepared.rebuilt:
        if not prepared.rebuilt:
            tell_schema_changes(stores, prepared)
        _commit_own(stores, prepared, ledger_change(stores, prepared))
        stores.stale.put(prepared.name)  # whoever finds it brings the catalog up to date
    claimed = [item for item in prepared.uploads if item.upload.state is State.PROCESSING]
    for item in prepared.uploads if prepared.rebuilt else claimed:
        item.keep_outcome()
    if claimed:
        drop_journal(claimed[0].upload)
        stores.staging.finish([item.upload for item in claimed])
    if prepared.rebuilt:
        if prepared.is_revision:
            remove_images(stores, prepared.name)
            ask_for_variants(stores, prepared.name)
        end_rebuild(stores, prepared.name, prepared.begun_at_ns)


def tell_schema_changes(stores: Stores, prepared: Prepared) -> None:
    """Put what uploads changed in schemas into ``lake.schema_changes``, once.

    For a rebuild before its first commit: once its table has changed, another rebuild, after this
    one died, finds no change. For others after their last.
    """
    change = schema_changes(stores, prepared)
    if change is not None:
        _commit_own(stores, prepared, change)


def _commit_own(stores: Stores, prepared: Prepared, change: TableChange) -> None:
    try:
        commit(stores, change)
        # A table that has these rows already is no change, so nothing was asked of the lease.
        stores.tables.leases.require(prepared.lease)
    except LeaseLost:  # whoever has it now writes rows of its own
        paths = [Path(part.path) for item in change.deliveries for part in item.parts]
        remove_unused(stores, change.spec.name, paths)
        raise


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
