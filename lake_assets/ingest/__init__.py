"""The one path from a claimed upload to committed tables.

``session`` takes a dataset's lease, recovers what a dead process left and claims what is pending,
in ``groups``; ``rows`` turns each upload into rows, with ``images``, ``sorting`` and ``state``;
``growing`` says which columns may take another type, and ``rewriting`` writes their files anew;
``parts`` puts those of a group into files; ``changes`` says what to commit and does it, once;
``recovery`` and ``ledger`` finish the uploads, and heal what a dead process left; ``rebuild`` keeps
note of one that is under way; ``trouble`` says what an error means. ``many`` works on several
datasets.
"""

from __future__ import annotations

from lake_assets.imports import uncollected

with uncollected():
    from lake_assets.ingest.changes import commit
    from lake_assets.ingest.many import as_one, in_turn
    from lake_assets.ingest.model import (
        COMMIT_ORDER,
        Asset,
        FailedUpload,
        Ingested,
        Outcome,
        Prepared,
        Request,
        TableChange,
        failed_uploads,
        raise_failures,
    )
    from lake_assets.ingest.rebuild import RebuildTrial
    from lake_assets.ingest.recovery import finish
    from lake_assets.ingest.session import ingest, prepared_dataset, try_rebuild

__all__ = [
    "COMMIT_ORDER",
    "Asset",
    "FailedUpload",
    "Ingested",
    "Outcome",
    "Prepared",
    "RebuildTrial",
    "Request",
    "TableChange",
    "as_one",
    "commit",
    "failed_uploads",
    "finish",
    "in_turn",
    "ingest",
    "prepared_dataset",
    "raise_failures",
    "try_rebuild",
]
