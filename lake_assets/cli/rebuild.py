"""`lake process start --rebuild`: what it would do, and whether it may lose rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lake_assets.cli.context import Session
from lake_assets.cli.questions import agrees, is_interactive

if TYPE_CHECKING:
    from lake_assets.cli.work import Plan
    from lake_assets.ingest import RebuildTrial


def agreed(opened: Session, plan: Plan, *, wait: bool) -> Plan | None:
    """Return the plan of a rebuild with whether it may lose rows; None: somebody said no.

    A rebuild that nobody can be asked about, and that is waited for, finds out by itself.

    Raises:
        FewerRows: it would lose rows, and nobody can be asked.
    """
    if plan.accepts_fewer_rows or (wait and not is_interactive()):
        return plan
    losing = [trial for trial in trials(opened, plan) if trial.loses_rows]
    if not losing:
        return plan
    if not is_interactive():
        from lake_assets.ingest.rebuild import fewer_rows

        raise fewer_rows(losing[0])
    print_trials(losing)
    if agrees("Rebuild all the same?"):
        return replace(plan, accepts_fewer_rows=True)
    return None


def trials(opened: Session, plan: Plan) -> Sequence[RebuildTrial]:
    """Return what rebuilding each name of a plan would come to."""
    from lake_assets.cli.progress import Work, shown
    from lake_assets.cli.work import expected_rows
    from lake_assets.ingest import Request, try_rebuild

    work = Work(what="reading again", unit="rows", total=expected_rows(opened.lake, plan))
    with shown(opened.err, work) as progress:
        requests = [Request(name=name, on_rows=progress) for name in plan.names]
        return [try_rebuild(opened.lake.stores, request) for request in requests]


def print_trials(found: Sequence[RebuildTrial]) -> None:
    """Print what rebuilds would do."""
    from lake_assets.cli.output import counted, print_lines
    from lake_assets.cli.run_report import by_count, change_line

    for trial in found:
        print_lines(
            f"{trial.name}: {trial.accepted_before:,} accepted now, {trial.accepted:,} then",
            *(
                f"  rejected: {counted(count, 'row')} by {rule}"
                for rule, count in by_count(trial.rejected_by_rule)
            ),
            *(f"  {change_line(change, verb='becomes')}" for change in trial.changes),
        )


def trials_document(found: Sequence[RebuildTrial]) -> dict[str, Any]:
    """Return what rebuilds would do as the JSON that `--json` prints."""
    return {
        "rebuilds": [
            {
                "name": str(trial.name),
                "accepted_before": trial.accepted_before,
                "accepted": trial.accepted,
                "rejected_by_rule": dict(trial.rejected_by_rule),
                "schema_changes": [asdict(change) for change in trial.changes],
            }
            for trial in found
        ]
    }
