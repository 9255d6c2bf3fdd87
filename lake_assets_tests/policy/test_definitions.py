"""What Dagster sees of the lake, as a snapshot: a change of it is to be meant."""

from __future__ import annotations

import os
import shutil
import tomllib

import dagster as dg
import pytest
import yaml

from lake_assets.defs.event_log import BatchedEventLog
from lake_assets.defs.instance import LakeInstance
from lake_assets_tests.policy.package_source import REPOSITORY

# defs.policies says so once for a process, and pytest forgets it with the test that came first.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Specifying a partitions_def on an AssetCheckSpec"),
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),
]

LAKE = {"owners": ["team:lake"], "group": "ingestion", "kinds": ["iceberg", "parquet"]}
ASSETS = {
    "staged_uploads": {
        **LAKE, "kinds": ["file"], "partitions": None, "deps": [], "condition": None,
    },
    "raw": {**LAKE, "partitions": "datasets", "deps": ["staged_uploads"], "condition": None},
    "images": {**LAKE, "partitions": "datasets", "deps": ["staged_uploads"], "condition": None},
    "quarantine": {
        **LAKE, "partitions": "datasets", "deps": ["staged_uploads"], "condition": None,
    },
    "catalog": {
        **LAKE, "group": "catalog", "partitions": "datasets", "condition": "eager",
        "deps": ["images", "quarantine", "raw"],
    },
}  # fmt: skip

CHECKS = {
    # asset and check: (partitions, whether it blocks)
    ("raw", "rows_are_accounted_for"): ("datasets", True),
    ("raw", "accepted_rows_are_in_the_table"): ("datasets", True),
    ("raw", "schema_matches_table"): ("datasets", True),
    ("raw", "schema_has_not_drifted"): ("datasets", False),
    ("raw", "no_value_stands_beside_its_column"): ("datasets", False),
    ("images", "every_image_is_stored"): ("datasets", True),
    ("quarantine", "rejected_share_is_small"): ("datasets", False),
}

JOBS = {
    # job: (its partitions, the assets that it makes, the checks that it runs)
    "ingest_uploads": (
        "datasets",
        ["catalog", "images", "quarantine", "raw"],
        sorted(name for _, name in CHECKS),
    ),
    "replay_quarantine": (None, [], []),
    "verify_lake": (None, [], []),
    # Dagster gives a job of checks alone no partitions, whatever those of the checks are.
}

SENSORS = {
    # sensor: (whether it runs without being switched on, seconds between ticks)
    "staged_upload_arrived": (True, 10),
    "assets_follow": (True, 30),
}

SCHEDULES = {
    # schedule: (its job, whether it runs without being switched on, when)
    "weekly_verification": ("verify_lake", True, "0 3 * * 0"),
}

STORAGE_SECTIONS = ("storage", "local_artifact_storage", "compute_logs")


@pytest.fixture
def definitions(monkeypatch, tmp_path) -> dg.Definitions:
    # Importing the module builds definitions, too: of this lake, not of one that lies around.
    for variable in [name for name in os.environ if name.startswith("LAKE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("LAKE_HOME", str(tmp_path))
    from lake_assets.definitions import build_definitions

    return build_definitions()


def read_yaml(path: str) -> dict[str, object]:
    return yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))


def partitions_name(partitions: dg.PartitionsDefinition | None) -> str | None:
    if partitions is None:
        return None
    assert isinstance(partitions, dg.DynamicPartitionsDefinition)
    return partitions.name


def test_the_assets_are_these(definitions):
    found = {
        spec.key.to_user_string(): {
            "owners": list(spec.owners),
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "partitions": partitions_name(spec.partitions_def),
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "condition": spec.automation_condition and spec.automation_condition.get_label(),
        }
        for spec in definitions.resolve_all_asset_specs()
    }
    assert found == ASSETS


def test_every_asset_says_what_it_is(definitions):
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.description.startswith(("One row per ", "One folder per ")), spec.key


def test_every_asset_that_is_made_has_a_code_version(definitions):
    made = {
        key.to_user_string() for key in definitions.resolve_asset_graph().materializable_asset_keys
    }
    versions = {
        s.key.to_user_string(): s.code_version for s in definitions.resolve_all_asset_specs()
    }
    assert made == set(ASSETS) - {"staged_uploads"}
    assert all(versions[key] for key in made)


def test_the_checks_are_these_and_block_where_data_would_be_wrong(definitions):
    found = {
        (spec.asset_key.to_user_string(), spec.name): (
            partitions_name(spec.partitions_def),
            spec.blocking,
        )
        for check in definitions.asset_checks or ()
        for spec in check.check_specs
    }
    assert found == CHECKS


def test_the_jobs_are_these(definitions):
    names = {job.name for job in definitions.jobs or ()}
    found = {}
    for name in names:
        job = definitions.resolve_job_def(name)
        layer = job.asset_layer
        found[name] = (
            partitions_name(job.partitions_def),
            sorted(key.to_user_string() for key in layer.selected_asset_keys),
            sorted(key.name for key in layer.asset_graph.asset_check_keys),
        )
    assert found == JOBS


def test_the_sensors_are_these_and_run_by_themselves(definitions):
    found = {
        sensor.name: (
            sensor.default_status == dg.DefaultSensorStatus.RUNNING,
            sensor.minimum_interval_seconds,
        )
        for sensor in definitions.sensors or ()
    }
    assert found == SENSORS


def test_the_schedules_are_these_and_run_by_themselves(definitions):
    found = {
        schedule.name: (
            schedule.job_name,
            schedule.default_status == dg.DefaultScheduleStatus.RUNNING,
            schedule.cron_schedule,
        )
        for schedule in definitions.schedules or ()
    }
    assert found == SCHEDULES


def test_resources_are_named_for_what_they_are(definitions):
    assert set(definitions.resources or {}) == {"lake", "iceberg", "parquet"}


def test_everything_that_is_asked_for_is_there(definitions):
    dg.Definitions.validate_loadable(definitions)


def test_loading_makes_no_folder(definitions, tmp_path):
    assert definitions is not None
    assert list(tmp_path.iterdir()) == []


def test_dagster_loads_these_definitions():
    assert read_yaml("workspace.yaml") == {
        "load_from": [{"python_module": "lake_assets.definitions"}]
    }
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["dagster"] == {"module_name": "lake_assets.definitions"}


def test_the_module_has_one_set_of_definitions(definitions):
    from lake_assets import definitions as module

    assert isinstance(module.defs, dg.Definitions)
    others = [v for k, v in vars(module).items() if isinstance(v, dg.Definitions) and k != "defs"]
    assert others == []


def test_dagster_dev_in_this_folder_runs_like_a_lake():
    here = read_yaml("dagster.yaml")
    storage = {key: here.pop(key) for key in STORAGE_SECTIONS}
    assert here == read_yaml("lake_assets/defs/instance.yaml")
    assert set(places(storage)) == {"data/lake/dagster", "data/lake/dagster/storage"}


def places(value: object) -> list[str]:
    """Every ``base_dir`` below ``value``."""
    if not isinstance(value, dict):
        return []
    own = [value["base_dir"]] if "base_dir" in value else []
    return own + [place for inner in value.values() for place in places(inner)]


def test_the_instance_is_one_that_dagster_accepts(tmp_path):
    shutil.copy(REPOSITORY / "lake_assets/defs/instance.yaml", tmp_path / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance, LakeInstance)
        assert isinstance(instance.event_log_storage, BatchedEventLog)
        assert instance.telemetry_enabled is False
        assert instance.nux_enabled is False
        assert instance.get_concurrency_config().run_queue_config is not None


def test_the_instance_of_this_folder_is_one_that_dagster_accepts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance, LakeInstance)
        assert isinstance(instance.event_log_storage, BatchedEventLog)
    assert list((tmp_path / "data/lake/dagster/history/runs").glob("index.db"))
