"""Rows of ``lake.quarantine``: what was rejected, and why."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from lake_assets.intake.model import RejectedRow
from lake_assets.intake.readers.row_json import row_json
from lake_assets.intake.uploads import Upload


def quarantine_row(
    row: RejectedRow, upload: Upload, now: datetime, *, by: Upload
) -> dict[str, Any]:
    """Return the row of ``lake.quarantine`` for a rejected row of ``upload``.

    Args:
        now: Aware UTC.
        by: The upload that counts it among its rejected rows; a replay, where that was the first
            to read the row's file.
    """
    key = f"{upload.id}\0{row.file}\0{row.row}\0{row.rule}\0{row.path}"
    return {
        "quarantine_id": hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32],
        "provider": upload.name.provider,
        "dataset": upload.name.dataset,
        "task": upload.name.task,
        "variant": upload.manifest.variant,
        "_upload_id": upload.id,
        "file": row.file,
        "row": row.row,
        "rule": row.rule,
        "path": row.path,
        "expected": row.expected,
        "actual": row.actual,
        "row_json": row.row_json,
        "state": "open",
        "rejected_at": now,
        "replayed_by": None,
        "replayed_at": None,
        "rejected_by": by.id,
    }


def refused_rows(upload: Upload) -> tuple[RejectedRow, ...]:
    """Return a rejected row for each file that staging did not take in."""
    return tuple(
        RejectedRow(
            file=item.name,
            row=None,
            rule=item.rule,
            expected="a file that can be stored",
            actual=item.actual,
            row_json=row_json({"file_name": item.name}),
        )
        for item in upload.manifest.refused
    )
