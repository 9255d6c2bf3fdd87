"""The checks of every task's asset. The rules are in ``upkeep.task_checks``."""

import dagster as dg

from lake_assets.defs.ingestion.checks import asset_check
from lake_assets.defs.partitions import task_partitions, variant_name
from lake_assets.defs.tasks.assets import task_key
from lake_assets.upkeep.task_checks import TASK_CHECKS


def task_checks(task: str) -> list[dg.AssetChecksDefinition]:
    """Return the checks of one task's asset."""
    return [
        asset_check(
            check,
            asset=task_key(task),
            partitions=task_partitions(task),
            name_of=lambda key: variant_name(task, key),
        )
        for check in TASK_CHECKS
    ]
