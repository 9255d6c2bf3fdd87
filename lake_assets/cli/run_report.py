"""What became of uploads, told to people: tables per dataset and sentences per upload."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lake_assets.cli.documents import failure_document, name_document, outcome_document
from lake_assets.cli.output import counted, print_lines, size
from lake_assets.cli.tables import Column, print_table
from lake_assets.contracts.names import dataset_of
from lake_assets.errors import FatalError, LakeError, RetryableError

if TYPE_CHECKING:
    from lake_assets.contracts.schema_changes import SchemaChange
    from lake_assets.defs.launch import RunReport
    from lake_assets.ingest.model import Outcome
    from lake_assets.ingest.status import UploadStatus

_COLUMNS = (
    Column("upload", is_whole=True),
    *(
        Column(title, is_number=True)
        for title in ("rows in", "accepted", "rejected", "duplicates", "images stored", "saved",
                      "seconds", "speed")
    ),
)  # fmt: skip


def report_document(report: RunReport) -> dict[str, Any]:
    """Return a run as the JSON that `--json` prints."""
    return {
        **name_document(report.name),
        "run_id": report.run_id,
        "success": report.success,
        "error": report.error,
        "retryable": report.retryable,
        "failed_checks": report.failed_checks,
        "failures": [failure_document(item) for item in report.failures],
        "outcomes": [outcome_document(item) for item in report.outcomes],
    }


def print_report(report: RunReport) -> None:
    """Print what a run did for its dataset; why it failed is for ``trouble`` to tell."""
    run = f" (run {report.run_id})" if report.run_id else ""
    print_lines(f"{report.name}: {_verdict(report)}{run}")
    if report.outcomes:
        print_table(_COLUMNS, [_row(outcome) for outcome in report.outcomes])
    for outcome in report.outcomes:
        print_lines(*account(outcome))
    sys.stdout.flush()  # the next dataset may take an hour


def print_elsewhere(status: UploadStatus) -> None:
    """Print what became of an upload that another process ingested."""
    print_lines(f"{status.upload.name}: upload {status.upload.id} is {status.upload.state}")
    if status.outcome:
        print_lines(*account(status.outcome))


def account(outcome: Outcome) -> list[str]:
    """Return the sentences that account for every row of an upload."""
    images = (
        f"{counted(outcome.images_stored, 'image')} stored, {size(outcome.bytes_saved)} saved; "
        if outcome.images_in
        else ""
    )
    lines = [
        f"{outcome.upload_id}: {counted(outcome.rows_in, 'row')} in = "
        f"{outcome.accepted:,} accepted + {outcome.rejected:,} rejected + "
        f"{counted(outcome.duplicate, 'duplicate')}; {images}{outcome.seconds:.2f} s"
    ]
    lines += [
        f"  rejected: {count:,} by {rule}" for rule, count in by_count(outcome.rejected_by_rule)
    ]
    lines += [f"  {change_line(change)}" for change in outcome.schema_changes if _is_told(change)]
    lines += [f"  stays: {count:,} by {why}" for why, count in by_count(outcome.stayed)]
    return lines + [f"  warning: {item}" for item in outcome.beside]


def change_line(change: SchemaChange, *, verb: str = "became") -> str:
    """Return a change of a table's schema for a person; ``verb``: of one to come, "becomes"."""
    if change.old_type is None:
        return f"column {change.path}: new, {change.new_type}"
    if change.new_type is None:
        return f"column {change.path}: gone, {change.old_type}; no row has a value there"
    return f"column {change.path}: {change.old_type} {verb} {change.new_type} ({change.change})"


def _is_told(change: SchemaChange) -> bool:
    """Return whether it is news of rows that were there before, as new columns are not."""
    return change.old_type is not None


def by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return what was counted, the most first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def trouble(reports: Sequence[RunReport], elsewhere: Sequence[UploadStatus]) -> LakeError | None:
    """Return the error that stands for all that went wrong, or None.

    One that may be retried only if everything that went wrong will be.
    """
    from lake_assets.ingest import FailedUpload, failed_uploads

    broken = [_why_broken(report) for report in reports if _is_broken(report)]
    failures = [item for report in reports for item in report.failures]
    failures += [
        FailedUpload(upload_id=item.upload.id, message=item.error, will_retry=False)
        for item in elsewhere
        if item.error
    ]
    if not broken:
        return failed_uploads(failures) if failures else None
    told = [failed_uploads(failures).message] if failures else []
    may_pass = not told and all(report.retryable for report in reports if _is_broken(report))
    kind = RetryableError if may_pass else FatalError
    return kind("; ".join([*broken, *told]))


def _verdict(report: RunReport) -> str:
    if report.success:
        return "done" if report.outcomes else "nothing was pending"
    return "failed"


def _is_broken(report: RunReport) -> bool:
    """Return whether more went wrong than uploads that failed by themselves."""
    return bool(report.failed_checks) or (not report.success and not report.failures)


def _why_broken(report: RunReport) -> str:
    if report.failed_checks:
        failed, name = ", ".join(report.failed_checks), dataset_of(report.name)
        return f"checks of {report.name} failed: {failed}. `lake check --dataset {name}` says why"
    if not report.run_id:
        return f"{report.name}: {report.error}"
    return f"run {report.run_id} of {report.name} failed: {report.error or 'see the Dagster UI'}"


def _row(outcome: Outcome) -> list[str]:
    counts = (outcome.rows_in, outcome.accepted, outcome.rejected, outcome.duplicate,
              outcome.images_stored)  # fmt: skip
    return [
        outcome.upload_id,
        *(f"{count:,}" for count in counts),
        size(outcome.bytes_saved),
        f"{outcome.seconds:.2f}",
        _speed(outcome),
    ]


def _speed(outcome: Outcome) -> str:
    """Return images per second where there were images, else rows per second."""
    if outcome.seconds <= 0:
        return ""
    count, unit = (outcome.images_in, "img") if outcome.images_in else (outcome.rows_in, "rows")
    return f"{count / outcome.seconds:,.0f} {unit}/s"
