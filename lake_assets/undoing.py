"""Take an upload out of the tables again, and put it back.

Either is a rebuild of its dataset, so whatever depends on the upload is right afterwards: a row
that a later upload delivered too is now that one's, columns that only it brought are gone,
annotations of an image that went are in the quarantine. Invariant: an upload is taken out as a
whole or not at all, and its files stay in ``staging/removed``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake_assets.contracts.names import DatasetName, Destination, dataset_of
from lake_assets.contracts.schema_changes import SchemaChange
from lake_assets.errors import InvalidRequest
from lake_assets.ingest_here import ingest_names, ingest_request
from lake_assets.intake.uploads import State, Upload
from lake_assets.storage.system_tables import DATASET_KEY, IMAGES
from lake_assets.stores import Stores

if TYPE_CHECKING:
    from lake_assets.ingest import Ingested, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What taking an upload out, or putting it back, changes."""

    upload_id: str
    name: str
    """Of its dataset or variant."""
    is_undo: bool
    rows_before: int
    """Accepted rows of the dataset or variant."""
    rows: int
    """Those that there are afterwards."""
    images_before: int
    images: int
    annotations: int
    """Rows about images that go: they come into the quarantine."""
    byte_count: int
    """Size of the files that were delivered with it; they are kept."""
    columns: tuple[SchemaChange, ...]
    """How the columns of its table change."""
    rejected_by_rule: Mapping[str, int]
    """Rows that would be in the quarantine then, those that are there already among them."""
    loses_rows: bool
    """Whether rows of other uploads would be accepted no more, as contracts are now."""
    variants: tuple[str, ...]
    """Variants of tasks that are read again, because they annotate the dataset."""


def plan_revision(stores: Stores, upload_id: str, *, is_undo: bool) -> Revision:
    """Return what an undo (or a redo) would change. Reads the dataset's uploads; changes nothing.

    Raises:
        UnknownUpload, DatasetBusy.
        InvalidRequest: the upload is not in the tables, or (of a redo) was not taken out.
    """
    from lake_assets.ingest.session import try_rebuild

    upload = _require(stores, upload_id, is_undo=is_undo)
    request = _request(upload, is_undo=is_undo)
    trial = try_rebuild(stores, request)
    before, variants = _images(stores, upload), stores.variants_of(upload.name)
    gone = before - trial.images
    return Revision(
        upload_id=upload.id,
        name=str(upload.name),
        is_undo=is_undo,
        rows_before=trial.accepted_before,
        rows=trial.accepted,
        images_before=len(before),
        images=len(trial.images),
        annotations=sum(_rows_about(stores, variant, gone) for variant in variants),
        byte_count=upload.manifest.byte_count,
        columns=trial.changes,
        rejected_by_rule=trial.rejected_by_rule,
        loses_rows=trial.loses_rows,
        variants=tuple(map(str, variants)),
    )


def revise(
    stores: Stores,
    upload_id: str,
    *,
    is_undo: bool,
    accepts_fewer_rows: bool = False,
    run_id: str = "",
) -> Ingested:
    """Take a finished upload out of the tables, or put one back; then read what annotates it again.

    Raises:
        FewerRows: rows of other uploads would be accepted no more, and that was not asked for.
        UnknownUpload, DatasetBusy.
        InvalidRequest: as ``plan_revision``.
        UploadsFailed: annotations could not be read again; the next ingestion tries it.
    """
    upload = _require(stores, upload_id, is_undo=is_undo)
    request = _request(
        upload, is_undo=is_undo, accepts_fewer_rows=accepts_fewer_rows, run_id=run_id
    )
    done = ingest_request(stores, request)
    ingest_names(stores, stores.variants_of(upload.name))
    return done


def _require(stores: Stores, upload_id: str, *, is_undo: bool) -> Upload:
    """Return the upload, if it can be taken out or put back.

    Raises:
        UnknownUpload, InvalidRequest.
    """
    upload = stores.staging.find(upload_id)
    wanted = State.DONE if is_undo else State.REMOVED
    if upload.manifest.replays:
        raise InvalidRequest(
            f"upload {upload.id} is a replay: its rows came with other uploads. Undo those",
            upload_id=upload.id,
        )
    if upload.state is not wanted:
        raise InvalidRequest(
            f"upload {upload.id} is {upload.state}: {_ADVICE[is_undo].get(upload.state, '')}",
            upload_id=upload.id,
        )
    return upload


_ADVICE = {
    True: {
        State.INCOMING: "it is still arriving",
        State.PENDING: "nothing of it is in the tables; `lake process cancel` takes it back",
        State.PROCESSING: "try again when it is done",
        State.FAILED: "nothing of it is in the tables",
        State.CANCELLED: "nothing of it is in the tables",
        State.REMOVED: "it was taken out already; `lake upload redo` puts it back",
    },
    False: {
        State.DONE: "it is in the tables",
        State.FAILED: "`lake process retry` tries it again",
        State.CANCELLED: "`lake process retry` tries it again",
    },
}


def _request(
    upload: Upload, *, is_undo: bool, accepts_fewer_rows: bool = False, run_id: str = ""
) -> Request:
    from lake_assets.ingest import Request

    ids = frozenset({upload.id})
    return Request(
        name=upload.name,
        upload_ids=frozenset(),  # what is pending stays so
        rebuild=True,
        accepts_fewer_rows=accepts_fewer_rows,
        takes_out=ids if is_undo else frozenset(),
        puts_back=frozenset() if is_undo else ids,
        run_id=run_id,
    )


def _images(stores: Stores, upload: Upload) -> frozenset[str]:
    if not isinstance(upload.name, DatasetName) or not stores.tables.exists(IMAGES.name):
        return frozenset()
    where = {"provider": upload.name.provider, "dataset": upload.name.dataset}
    rows = stores.tables.read(IMAGES.name, where=where, columns=("sha256",))
    return frozenset(rows["sha256"].to_pylist())


def _rows_about(stores: Stores, variant: Destination, images: frozenset[str]) -> int:
    from lake_assets.query.duckdb import LakeSql

    if not images or not stores.tables.exists(variant.table):
        return 0
    rows = LakeSql(stores.tables, scratch=stores.layout.scratch).rows(
        variant.table,
        f"""SELECT count(*) FROM {{table}} WHERE {DATASET_KEY} = $1 AND variant = $2
            AND _image IN (SELECT unnest($3))""",
        (str(dataset_of(variant)), variant.own_rows["variant"], sorted(images)),
        prune=variant.table_rows,
    )
    return int(rows[0][0])
