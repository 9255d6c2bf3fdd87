"""The checks of a dataset, as asset checks. The rules are in ``upkeep.checks``."""

from collections.abc import Callable

import dagster as dg

from lake_assets.contracts.names import DatasetName, Destination
from lake_assets.defs.partitions import datasets
from lake_assets.lake import Lake
from lake_assets.upkeep.check_model import Check, Results
from lake_assets.upkeep.checks import CHECKS

_TOLD = 20
"""Datasets of which a check's summary tells, where it looked at more."""


def asset_check(
    check: Check,
    *,
    asset: dg.AssetKey,
    partitions: dg.PartitionsDefinition[str],
    name_of: Callable[[str], Destination],
) -> dg.AssetChecksDefinition:
    """Return a rule as a check of an asset, partition by partition.

    Args:
        name_of: What a partition key stands for.
    """

    @dg.asset_check(
        asset=asset,
        name=check.name,
        description=check.description,
        blocking=check.blocking,
        partitions_def=partitions,
    )
    def run_check(
        context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
    ) -> dg.AssetCheckResult:
        names = [name_of(key) for key in context.op_execution_context.partition_keys]
        results = check.rule(lake.stores, names)
        severity = dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN
        numbers = next(iter(results.values())).numbers if len(results) == 1 else {}
        return dg.AssetCheckResult(
            passed=all(result.passed for result in results.values()),
            severity=severity,
            description=_summary(results),
            metadata=dict(numbers),
        )

    return run_check


def _summary(results: Results) -> str:
    """Return what was found, in words; of many datasets only those that failed."""
    told = [f"{name}: {result.summary}" for name, result in results.items()]
    if len(told) <= _TOLD:
        return "; ".join(told)
    wrong = [f"{name}: {result.summary}" for name, result in results.items() if not result.passed]
    more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
    return (
        f"{len(told) - len(wrong)} of {len(told)} datasets pass; {'; '.join(wrong[:_TOLD])}{more}"
    )


dataset_checks = [
    asset_check(
        check, asset=dg.AssetKey(check.asset), partitions=datasets, name_of=DatasetName.parse
    )
    for check in CHECKS
]
