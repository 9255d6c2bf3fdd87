"""Which uploads a rebuild reads: a dataset without one of them, or with one that was taken out.

An undo is a rebuild without the upload, so what it leaves is what a lake would have that never had
it: rows that came again with a later upload, types, columns and rejections included. Invariant: an
upload changes its state between the note of the rebuild and its first commit. So whoever finds the
note of a process that died makes the tables fit to the state that the uploads are in.
"""

from __future__ import annotations

from dataclasses import replace

from lake_assets.contracts.names import DatasetName, Destination
from lake_assets.contracts.schema_changes import SchemaChange
from lake_assets.errors import InvalidRequest
from lake_assets.ingest.model import Group, Outcome, PreparedUpload, Request
from lake_assets.intake.uploads import State, Upload
from lake_assets.storage.system_tables import IMAGES, UNDONE, UPLOADS
from lake_assets.stores import Stores


def archived_uploads(stores: Stores, request: Request) -> list[Upload]:
    """Return the uploads that a rebuild reads, oldest first.

    Raises:
        InvalidRequest: one that is to be taken out or put back is not there to be; or the files of
            one that the tables have are gone, so that its rows would be lost.
    """
    name = request.name
    done = {upload.id: upload for upload in stores.staging.uploads(State.DONE, name=name)}
    removed = {upload.id: upload for upload in stores.staging.uploads(State.REMOVED, name=name)}
    for wanted, there, state in (
        (request.takes_out, done, State.DONE),
        (request.puts_back, removed, State.REMOVED),
    ):
        for upload_id in sorted(wanted - there.keys()):
            raise InvalidRequest(
                f"upload {upload_id} of {name} is not {state}; `lake process status {upload_id}` "
                "tells where it is",
                upload_id=upload_id,
            )
    _require_archive(stores, name, {*done, *removed})
    back = {upload_id: removed[upload_id] for upload_id in request.puts_back}
    read = {**done, **back}
    return [read[upload_id] for upload_id in sorted(read) if upload_id not in request.takes_out]


def _require_archive(stores: Stores, name: Destination, archived: set[str]) -> None:
    if not stores.tables.exists(UPLOADS.name):
        return
    ledger = stores.tables.read(UPLOADS.name, where=name.own_rows, columns=("upload_id", "kind"))
    told = {row["upload_id"] for row in ledger.to_pylist() if row["kind"] != UNDONE}
    gone = sorted(told - archived)
    if gone:
        raise InvalidRequest(
            f"{name} cannot be rebuilt: {len(gone)} of its uploads are no longer in staging/done, "
            f"so their rows would be lost: {', '.join(gone[:5])}",
            uploads=gone,
        )


def move_uploads(stores: Stores, request: Request, group: Group | None) -> Group | None:
    """Move the uploads that go or come back, and return the group with those where they lie now."""
    for upload_id in sorted(request.takes_out):
        stores.staging.take_out(stores.staging.find(upload_id))
    for upload_id in sorted(request.puts_back):
        stores.staging.put_back(stores.staging.find(upload_id))
    if group is None or not request.puts_back:
        return group
    uploads = [
        replace(item, upload=stores.staging.find(item.upload.id))
        if item.upload.id in request.puts_back
        else item
        for item in group.uploads
    ]
    return replace(group, uploads=tuple(uploads))


def told_of(
    stores: Stores, request: Request, changes: tuple[SchemaChange, ...]
) -> tuple[PreparedUpload, ...]:
    """Return the upload that went or came back, as the reason for changes of the schema."""
    return tuple(
        PreparedUpload(
            upload=stores.staging.find(upload_id),
            outcome=Outcome(upload_id=upload_id, run_id=request.run_id, schema_changes=changes),
        )
        for upload_id in sorted(request.revises)[:1]
    )


def ask_for_variants(stores: Stores, name: Destination) -> None:
    """Have the variants of a dataset rebuilt, whose images may be others by now.

    After its commits, and before its own note goes: a variant that is read earlier is read again,
    and a process that dies in between leaves the dataset's note.
    """
    for variant in stores.variants_of(name):
        stores.rebuilds.put(variant)


def remove_images(stores: Stores, name: Destination) -> None:
    """Remove the stored files of images that a dataset has no more, and their thumbnails.

    Their bytes stay with the uploads that were taken out. The dataset's lease is ours, and all that
    was prepared is committed: so a file that no row names is none that a row is to come for.
    """
    if not isinstance(name, DatasetName) or not stores.tables.exists(IMAGES.name):
        return
    where = {"provider": name.provider, "dataset": name.dataset}
    rows = stores.tables.read(IMAGES.name, where=where, columns=("location", "thumbnail"))
    for store, column in ((stores.assets, "location"), (stores.thumbnails, "thumbnail")):
        named = set(rows[column].to_pylist())
        for location in [place for place in store.locations(name) if place not in named]:
            store.remove(location)
