"""Runs whose process was killed: Dagster would call them started for ever.

Each run signs with its host, pid and start time when it opens the lake. A started run whose process
is gone is closed as failed, or it would hold its dataset's place in the queue
(`tag_concurrency_limits`) for ever. So is one that has not signed for ten minutes: opening the lake
is the first thing that a run does.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from lake_assets.storage.processes import is_dead, signature

_TAG = "lake/process"
_UNSIGNED = timedelta(minutes=10)
"""How long a run may take from being launched to opening the lake: Python's imports, a container's
start. Dagster's own limit for the same, `start_timeout_seconds`, is 3 minutes by default."""


def sign_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Write into the run's tags which process it is."""
    mine = signature()
    text = json.dumps({key: mine[key] for key in ("host", "pid", "process_started")})
    instance.add_run_tags(run.run_id, {_TAG: text})


def close_dead_runs(instance: dg.DagsterInstance, now: datetime | None = None) -> tuple[str, ...]:
    """Mark started runs whose process has ended as failed; return their ids.

    Args:
        now: Aware; None: the time of this call.
    """
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    unsigned_since = (now or datetime.now(tz=UTC)) - _UNSIGNED
    dead = []
    for record in instance.get_run_records(filters=started):
        run = record.dagster_run
        if _TAG in run.tags:
            is_gone = is_dead(json.loads(run.tags[_TAG]))
        else:
            is_gone = record.update_timestamp < unsigned_since
        if is_gone:
            instance.report_run_failed(run, "The process of this run ended without a word.")
            dead.append(run.run_id)
    return tuple(dead)
