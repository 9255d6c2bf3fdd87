"""Uploads and what became of them, as the JSON that `--json` prints.

Invariant: keys are only ever added; programs read these.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lake_assets.contracts.names import RAW

if TYPE_CHECKING:
    from lake_assets.contracts.names import Destination
    from lake_assets.ingest.model import FailedUpload, Outcome
    from lake_assets.ingest.status import UploadStatus
    from lake_assets.intake.uploads import Upload


def name_document(name: Destination) -> dict[str, str]:
    """Return what rows are of: a dataset itself (task ``raw``), or what annotates it."""
    return {
        "dataset": f"{name.provider}/{name.dataset}",
        "task": name.task,
        "variant": getattr(name, "variant", ""),
    }


def name_facts(upload: Upload) -> list[tuple[str, str]]:
    """Return the same of an upload, for people, with what was said of it."""
    document = name_document(upload.name)
    variant, meta = upload.manifest.variant, upload.manifest.meta
    return [
        ("dataset", document["dataset"]),
        ("task", "" if document["task"] == RAW else document["task"]),
        ("variant", variant),
        ("meta", ", ".join(f"{name}={value}" for name, value in meta.items())),
    ]


def upload_document(upload: Upload) -> dict[str, Any]:
    """Return what is known of an upload before it is read."""
    manifest = upload.manifest
    return {
        "upload_id": upload.id,
        **name_document(upload.name),
        "kind": "replay" if manifest.replays else "delivery",
        "state": str(upload.state),
        "created_at": manifest.created_at,
        "created_by": manifest.created_by,
        "source": manifest.source,
        "files": manifest.file_count,
        "bytes": manifest.byte_count,
        "refused": len(manifest.refused),
        "ignored": len(manifest.ignored),
        "description": manifest.description,
        "variant": manifest.variant,
        "tags": manifest.tags,
        "meta": dict(manifest.meta),
    }


def status_document(status: UploadStatus) -> dict[str, Any]:
    """Return where an upload is, and what became of it."""
    return {
        **upload_document(status.upload),
        "rows_read": status.rows_read,
        "deaths": status.upload.deaths,
        "error": status.error,
        "outcome": outcome_document(status.outcome) if status.outcome else None,
    }


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """Return the counts of an upload."""
    names = ("upload_id", "run_id", "rows_in", "accepted", "rejected", "duplicate", "images_in",
             "images_stored", "bytes_in", "image_bytes_in", "image_bytes_stored", "bytes_saved",
             "seconds", "rejected_by_rule", "stayed")  # fmt: skip
    counts = {name: getattr(outcome, name) for name in names}
    return counts | {
        "schema_changes": [asdict(change) for change in outcome.schema_changes],
        "beside": [asdict(item) for item in outcome.beside],
    }


def failure_document(failure: FailedUpload) -> dict[str, Any]:
    """Return why an upload failed."""
    return {
        "upload_id": failure.upload_id,
        "message": failure.message,
        "will_retry": failure.will_retry,
    }
