"""Ingestion in this process and without Dagster, with what follows from it.

Invariant: whatever was ingested is in the catalog too, or noted as missing from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lake_assets.contracts.names import Destination
from lake_assets.errors import InvalidRequest, LeaseLost
from lake_assets.intake.uploads import State
from lake_assets.stores import Stores

if TYPE_CHECKING:
    from lake_assets.ingest import Ingested, Request


def ingest_upload(stores: Stores, upload_id: str) -> Ingested:
    """Ingest one pending upload; one that was ingested before is left alone.

    Raises:
        UploadsFailed, InvalidRequest, UnknownUpload, DatasetBusy.
    """
    from lake_assets.intake.ahead import start_ahead

    upload = stores.staging.find(upload_id)
    if upload.state in (State.FAILED, State.CANCELLED, State.REMOVED):
        again = "upload redo" if upload.state is State.REMOVED else "process retry"
        raise InvalidRequest(
            f"upload {upload.id} is {upload.state}; `lake {again} {upload.id}` tries it again",
            upload_id=upload.id,
        )
    if upload.state is State.PENDING:
        start_ahead(upload)  # before the imports of ingest, which take as long as small files

    from lake_assets.ingest import Request

    return ingest_request(stores, Request(name=upload.name, upload_ids=frozenset({upload.id})))


def ingest_names(stores: Stores, names: Sequence[Destination]) -> tuple[Ingested, ...]:
    """Ingest what is pending for each of these in turn; those that are held come last.

    Raises:
        UploadsFailed, or another LakeError: of one of them; the others were ingested.
    """
    from lake_assets.ingest import Request, as_one, failed_uploads, in_turn

    done = in_turn(
        names, lambda name, wait_s: _bring_up_to_date(stores, Request(name=name, wait_s=wait_s))
    )
    failures = [failure for item in done.results for failure in item.failures]
    errors = [*([failed_uploads(failures)] if failures else []), *done.errors]
    if errors:
        raise as_one(errors)
    return done.results


def rebuild(stores: Stores, name: Destination, *, accepts_fewer_rows: bool = False) -> Ingested:
    """Read all finished uploads of ``name`` again and replace its rows.

    Raises:
        UploadsFailed, DatasetBusy.
        FewerRows: fewer rows would be accepted than there are, and that was not asked for.
    """
    from lake_assets.ingest import Request

    request = Request(name=name, rebuild=True, accepts_fewer_rows=accepts_fewer_rows)
    return ingest_request(stores, request)


def ingest_request(stores: Stores, request: Request) -> Ingested:
    """Do what ``request`` says, and bring the catalog up to date.

    Raises:
        UploadsFailed, DatasetBusy, InvalidRequest, FewerRows.
    """
    from lake_assets.ingest import raise_failures

    done = _bring_up_to_date(stores, request)
    raise_failures(done.failures)
    return done


def _bring_up_to_date(stores: Stores, request: Request) -> Ingested:
    from lake_assets.ingest import ingest
    from lake_assets.upkeep.catalog import refresh_catalog

    try:
        done = ingest(stores, request)
    except LeaseLost:
        # It may have noted that the catalog is old after the other process had seen to that.
        if request.name in stores.stale.names():
            refresh_catalog(stores, [request.name])
        raise
    if done.outcomes or request.name in stores.stale.names():
        refresh_catalog(stores, [request.name])
    return done
