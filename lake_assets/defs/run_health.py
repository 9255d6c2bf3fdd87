"""Runs whose process was killed: Dagster would call them started for ever.

Each run signs with its host, pid and start time. A started run whose process is gone is closed as
failed, or it would hold its dataset's place in the queue (`tag_concurrency_limits`) for ever.
"""

from __future__ import annotations

import json

import dagster as dg

from lake_assets.storage.processes import is_dead, signature

_TAG = "lake/process"


def sign_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Write into the run's tags which process it is."""
    mine = signature()
    text = json.dumps({key: mine[key] for key in ("host", "pid", "process_started")})
    instance.add_run_tags(run.run_id, {_TAG: text})


def close_dead_runs(instance: dg.DagsterInstance) -> tuple[str, ...]:
    """Mark started runs of this host whose process has ended as failed; return their ids."""
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    dead = []
    for run in instance.get_runs(filters=started):
        if _TAG in run.tags and is_dead(json.loads(run.tags[_TAG])):
            instance.report_run_failed(run, "The process of this run ended without a word.")
            dead.append(run.run_id)
    return tuple(dead)
