"""The lake runs itself: UI and daemon are up, a delivery arrives, and its rows are in the table."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus

from lake_assets.defs.launch import lake_instance
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets_tests.e2e.real_lake import comes_true, kill_group, ok, started

DEADLINE_S = 120
_TAIL = 8_000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    ok(tmp_path / "lake", "init")
    return tmp_path / "lake"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "ui.log"


@pytest.fixture
def daemon(home: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, started(home, "ui", "--port", str(port), output=output) as ui:
        yield ui
        # Asked first: what Dagster started in groups of its own ends with it.
        ui.terminate()
        try:
            ui.wait(timeout=30)
        except subprocess.TimeoutExpired:
            kill_group(ui)


def test_a_delivery_is_ingested_without_anybody_asking(
    daemon: subprocess.Popen[bytes], home: Path, port: int, log: Path, tmp_path: Path
):
    delivery = tmp_path / "people.csv"
    delivery.write_text("name,age\nAda,36\nAlan,41\nGrace,85\n")
    staged = ok(home, "upload", "raw", str(delivery), "--provider", "shop", "--dataset", "people",
                "--create", "--json").json  # fmt: skip

    with Lake.open(home) as lake:
        _await(lambda: lake.uploads(State.DONE, State.FAILED), daemon, log)
        status = lake.status(staged["upload_id"])
        assert status.upload.state is State.DONE, f"{status.error}\n{_tail(log)}"
        assert lake.sql("select count(*) from shop.people").fetchone() == (3,)
        assert status.outcome
        run_id = status.outcome.run_id

    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        _await(lambda: instance.get_run_by_id(run_id).is_finished, daemon, log)
        run = instance.get_run_by_id(run_id)
        assert run
        assert run.status is dg.DagsterRunStatus.SUCCESS, _tail(log)
        assert run.tags["dagster/sensor_name"] == "staged_upload_arrived"
        assert run.tags["dagster/partition"] == "shop/people"
        assert instance.get_dynamic_partitions("datasets") == ["shop/people"]
        event = instance.get_latest_materialization_event(dg.AssetKey("raw"))
        assert event
        assert event.run_id == run_id
    with Lake.open(home) as lake:
        assert [row["rows"] for row in lake.catalog()] == [3]

    _await(lambda: _server_info(port), daemon, log)
    assert "dagster_version" in (_server_info(port) or {})


BACKFILL = """
mutation($keys: [String!]!) {
  launchPartitionBackfill(backfillParams: {
    partitionNames: $keys
    assetSelection: [{path: "raw"}, {path: "images"}, {path: "quarantine"}, {path: "catalog"}]
  }) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""


def test_a_backfill_with_nothing_pending_is_one_run_that_shows_each_partition(
    daemon: subprocess.Popen[bytes], home: Path, port: int, log: Path
):
    keys = [f"shop/d{number}" for number in range(5)]
    with Lake.open(home) as lake, lake_instance(lake) as instance:
        lake.create_provider("shop")
        for key in keys:  # known, and with nothing pending
            rows = pa.table({"a": [key]})
            upload = lake.upload_raw_data(rows, provider="shop", dataset=key.partition("/")[2])
            lake.cancel(upload.id)
        _await(lambda: set(instance.get_dynamic_partitions("datasets")) == set(keys), daemon, log)
        _await(lambda: _server_info(port), daemon, log)
        answer = _ask(port, BACKFILL, keys=keys)["data"]["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        backfill = answer["backfillId"]

        def is_over() -> bool:
            return instance.get_backfill(backfill).status in BULK_ACTION_TERMINAL_STATUSES

        _await(is_over, daemon, log)
        status = instance.get_backfill(backfill).status
        assert status is BulkActionStatus.COMPLETED_SUCCESS, _tail(log)
        assert len(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))) == 1
        for asset in ("raw", "images", "quarantine", "catalog"):
            assert instance.get_materialized_partitions(dg.AssetKey(asset)) == set(keys)


def _ask(port: int, query: str, **variables: object) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def _await(condition: object, daemon: subprocess.Popen[bytes], log: Path) -> None:
    try:
        assert comes_true(condition, daemon, deadline_s=DEADLINE_S)
    except AssertionError as error:
        pytest.fail(f"{error or '`lake ui` ended'}\n{_tail(log)}")


def _server_info(port: int) -> dict[str, str] | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5) as answer:
            return json.loads(answer.read())
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_TAIL:]
