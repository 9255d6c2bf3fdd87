"""The checks of a dataset, as asset checks. The rules are in ``upkeep.checks``."""

import dagster as dg

from lake_assets.contracts.names import DatasetName
from lake_assets.defs.partitions import datasets
from lake_assets.lake import Lake
from lake_assets.upkeep.checks import CHECKS, Check


def _asset_check(check: Check) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=check.asset,
        name=check.name,
        description=check.description,
        blocking=check.blocking,
        partitions_def=datasets,
    )
    def run_check(
        context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
    ) -> dg.AssetCheckResult:
        names = [DatasetName.parse(key) for key in context.op_execution_context.partition_keys]
        results = {str(name): check.rule(lake.stores, name) for name in names}
        severity = dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN
        numbers = next(iter(results.values())).numbers if len(results) == 1 else {}
        return dg.AssetCheckResult(
            passed=all(result.passed for result in results.values()),
            severity=severity,
            description="; ".join(f"{key}: {result.summary}" for key, result in results.items()),
            metadata=dict(numbers),
        )

    return run_check


dataset_checks = [_asset_check(check) for check in CHECKS]
