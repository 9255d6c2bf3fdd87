"""``replay_quarantine``: stage replays of rejected rows; the sensor then ingests them."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from lake_assets.contracts.names import DatasetName
from lake_assets.defs.policies import dagster_errors
from lake_assets.intake.uploads import Upload
from lake_assets.lake import Lake
from lake_assets.replays import Trial
from lake_assets.upkeep.quarantine import Wanted


class ReplayConfig(dg.Config):
    """Which rows to try again."""

    provider_dataset: str = Field(
        default="", description="Only of this dataset, as provider/dataset; empty: of all."
    )
    task: str = Field(default="", description="Only of this task, or raw; empty: of all.")
    rule: str = Field(default="", description="Only those that broke this rule; empty: any.")
    dry_run: bool = Field(
        default=False, description="Only say what would pass and what would stay."
    )


@dg.op(out=dg.Out(dg.Nothing), description="Try rows of the quarantine again, from the archive.")
def stage_replays(
    context: dg.OpExecutionContext, config: ReplayConfig, lake: dg.ResourceParam[Lake]
) -> None:
    """Stage replays, or say what they would do."""
    with dagster_errors():
        wanted = Wanted(
            dataset=DatasetName.parse(config.provider_dataset) if config.provider_dataset else None,
            task=config.task or None,
            rule=config.rule or None,
        )
        if config.dry_run:
            metadata = trial_metadata(lake.try_replay(wanted))
        else:
            metadata = staged_metadata(lake.replay_quarantine(wanted))
    context.log.info(f"{metadata['what'].value}")
    context.add_output_metadata(metadata)


def staged_metadata(staged: Sequence[Upload]) -> dict[str, dg.MetadataValue]:
    """Return what a person wants to see of replays that were staged."""
    what = f"{len(staged)} replays staged, to be ingested soon" if staged else "nothing to replay"
    return {
        "what": dg.MetadataValue.text(what),
        "replays": dg.MetadataValue.json(
            [{"upload_id": upload.id, "of": str(upload.name)} for upload in staged]
        ),
    }


def trial_metadata(trials: Sequence[Trial]) -> dict[str, dg.MetadataValue]:
    """Return what a person wants to see of replays that were only tried."""
    passed, tried = (sum(getattr(trial, name) for trial in trials) for name in ("passed", "tried"))
    return {
        "what": dg.MetadataValue.text(f"{passed} of {tried} rows would pass"),
        "trials": dg.MetadataValue.json(
            [
                {
                    "of": str(trial.name),
                    "passed": trial.passed,
                    "stayed": {**trial.rejected_by_rule, **trial.left},
                }
                for trial in trials
            ]
        ),
    }


@dg.job(description="Try rejected rows again; those that pass by now go into their tables, once.")
def replay_quarantine() -> None:
    """Have rows of the quarantine tried again."""
    stage_replays()
