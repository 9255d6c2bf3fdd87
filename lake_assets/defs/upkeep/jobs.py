"""``verify_lake``: is everything that was stored still there, and as it was? Weekly, by itself."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from lake_assets.defs.policies import dagster_errors
from lake_assets.lake import Lake
from lake_assets.upkeep.verify import (
    DEFAULT_CHOICE,
    Choice,
    Finding,
    Report,
    Request,
    Severity,
    verify,
)

_SHOWN = 100
"""Findings in a run's metadata; `lake verify` shows all."""
_MD_ESCAPES = str.maketrans({"|": r"\|", "\n": " "})


class VerifyConfig(dg.Config):
    """How much of the lake to read."""

    full: bool = Field(
        default=False,
        description="Read every file and compare its SHA-256; goes on with a full run that was "
        "interrupted. Else a sample is read; existence and sizes are always looked at in full.",
    )
    sample_count: int = Field(
        default=DEFAULT_CHOICE.count or 0, ge=1, description="Files of each kind in the sample."
    )
    seed: int = Field(default=0, description="Which files the sample takes.")


@dg.op(out=dg.Out(dg.Nothing), description="Verify every file of the lake. Changes nothing.")
def verify_files(
    context: dg.OpExecutionContext, config: VerifyConfig, lake: dg.ResourceParam[Lake]
) -> None:
    """Verify the lake; a run that found damage fails, and says what."""
    choice = Choice(is_full=config.full, count=config.sample_count, seed=config.seed)
    with dagster_errors():
        report = verify(lake.stores, Request(choice=choice, resume=config.full))
    metadata = report_metadata(report)
    if not report.is_good:
        damage = report.of(Severity.DAMAGE)
        raise dg.Failure(
            f"{len(damage)} damaged, first {damage[0].path}: {damage[0].message}. "
            "`lake repair --dry-run` shows what can be put back",
            metadata=metadata,
            allow_retries=False,
        )
    context.log.info(f"nothing is damaged; read {report.choice}")
    context.add_output_metadata(metadata)


def report_metadata(report: Report) -> dict[str, dg.MetadataValue]:
    """Return what a person wants to see of a verification."""
    tallies = report.tallies.values()
    counts = {
        str(severity): dg.MetadataValue.int(len(report.of(severity))) for severity in Severity
    }
    return {
        **counts,
        "read": dg.MetadataValue.text(str(report.choice)),
        "files": dg.MetadataValue.int(sum(item.files for item in tallies)),
        "read files": dg.MetadataValue.int(sum(item.read_files for item in tallies)),
        "read bytes": dg.MetadataValue.int(sum(item.read_bytes for item in tallies)),
        "seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        "findings": dg.MetadataValue.md(_table(report.findings[:_SHOWN])),
    }


def _table(findings: Sequence[Finding]) -> str:
    if not findings:
        return "none"
    rows = [(str(item.severity), str(item.kind), item.path, item.message) for item in findings]
    lines = [("finding", "what", "path", "message"), ("---",) * 4, *rows]
    return "\n".join(f"| {' | '.join(cell.translate(_MD_ESCAPES) for cell in line)} |"
                     for line in lines)  # fmt: skip


@dg.job(description="Verify that everything the lake stored is there and as it was written.")
def verify_lake() -> None:
    """Verify the whole lake."""
    verify_files()


weekly_verification = dg.ScheduleDefinition(
    name="weekly_verification",
    job=verify_lake,
    cron_schedule="0 3 * * 0",  # Sunday, 3 at night, UTC
    run_config={"ops": {"verify_files": {"config": {"full": True}}}},
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reads every file of the lake once a week, as a scrub of a disk does.",
)
