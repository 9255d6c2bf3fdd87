"""Where an upload is, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from lake_assets.ingest.model import Outcome, read_outcome
from lake_assets.intake.uploads import State, Upload
from lake_assets.stores import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadStatus:
    """Where an upload is, and what became of it."""

    upload: Upload
    outcome: Outcome | None
    """Counts, once it was prepared; None also for one that was taken out of the tables."""
    error: str | None
    """Why it failed, if it did."""
    rows_read: int | None
    """Rows read so far, while it is being ingested."""


def upload_status(stores: Stores, upload_id: str) -> UploadStatus:
    """Return where an upload is and what became of it.

    Raises:
        UnknownUpload.
    """
    upload = stores.staging.find(upload_id)
    error = upload.error()
    lease = None
    if upload.state is State.PROCESSING:
        lease = stores.tables.leases.look(str(upload.name))
    return UploadStatus(
        upload=upload,
        outcome=None if upload.state is State.REMOVED else read_outcome(upload),
        error=error["message"] if error else None,
        rows_read=lease.rows_read if lease and lease.upload_id == upload.id else None,
    )
