"""What many datasets cost: the sensor's tick, and a backfill of all with nothing to do."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.lakes import new_lake
from benchmarks.model import Goal, Line, Scale
from benchmarks.probe import probe

_TICK = Goal(of="value", most=2)
_BACKFILL = Goal(of="value", most=60)
_WITH_ROWS = 20
"""Datasets that have rows; the others are in the registry only."""
_PROVIDERS = 20
_ASSETS = 4
"""raw, images, quarantine and catalog."""
_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def measure(scale: Scale, folder: Path) -> list[Line]:
    """Time the sensor and a backfill over many datasets."""
    count, few = scale.partitions, scale.floor_partitions
    home = str(folder / "lake")
    probe(make_lake, home=home, count=count)
    ticks = probe(tick, home=home).result
    # Before uploads are pending: this backfill has nothing to do.
    backfill_s = probe(backfill, home=home).result["s"]
    floor_s = probe(backfill_of_nothing, home=str(folder / "dagster"), count=few).result["s"]
    probe(deliver_everywhere, home=home)
    pending = probe(tick, home=home).result
    parsed = f"parse {count:,} manifests"
    return [
        _tick(f"sensor tick that registers {count:,} datasets", ticks["s"][0], parsed, pending),
        _tick("sensor tick, nothing pending", min(ticks["s"][1:]), parsed, pending),
        _tick(f"sensor tick, {count:,} uploads pending", min(pending["s"]), parsed, pending),
        Line(
            measure=f"backfill of {count:,} datasets, nothing pending",
            value=backfill_s,
            unit="s",
            peer=f"Dagster, a run that does nothing ({few:,}, times {count / few:g})",
            peer_value=floor_s * count / few,
            goal=_BACKFILL,
        ),
    ]


def _tick(measure: str, seconds: float, peer: str, pending: dict[str, Any]) -> Line:
    return Line(measure=measure, value=seconds, unit="s", peer=peer,
                peer_value=pending["parse_s"], goal=_TICK)  # fmt: skip


def make_lake(home: str, count: int) -> dict[str, Any]:
    """Make a lake with ``count`` datasets; some have a few rows."""
    from lake_assets.contracts.datasets import DatasetContract
    from lake_assets.contracts.registry import update_registry

    with new_lake(Path(home)) as lake:
        names = {f"p{n % _PROVIDERS}/d{n:05d}": DatasetContract() for n in range(count)}
        providers = tuple(sorted({name.partition("/")[0] for name in names}))
        update_registry(
            lake.stores.layout.registry_file,
            lambda known: known.model_copy(update={"providers": providers, "datasets": names}),
        )
        for name in lake.registry.dataset_names()[:: max(1, count // _WITH_ROWS)]:
            _deliver(lake, name)
        lake.ingest_pending()
    return {}


def deliver_everywhere(home: str) -> dict[str, Any]:
    """Stage a small upload for every dataset."""
    with new_lake(Path(home)) as lake:
        for name in lake.registry.dataset_names():
            _deliver(lake, name)
    return {}


def _deliver(lake: Any, name: Any) -> None:
    import pyarrow as pa

    rows = pa.table({"a": [1, 2], "b": ["x", str(name)]})
    lake.upload_raw_data(rows, provider=name.provider, dataset=name.dataset)


def tick(home: str) -> dict[str, Any]:
    """Return the seconds of three ticks, after each of which its partitions are added."""
    with _opened(home) as (lake, instance, dg):
        from lake_assets.defs.ingestion.sensors import staged_upload_sensor

        seconds, sensor = [], staged_upload_sensor([])
        for _ in range(3):
            with dg.build_sensor_context(instance=instance, resources={"lake": lake}) as context:
                started = time.perf_counter()
                result = sensor(context)
                for request in getattr(result, "dynamic_partitions_requests", None) or ():
                    instance.add_dynamic_partitions(
                        request.partitions_def_name, list(request.partition_keys)
                    )
                seconds.append(time.perf_counter() - started)
        return {"s": seconds, "parse_s": _parse_manifests(lake.home)}


def _parse_manifests(home: Path) -> float:
    started = time.perf_counter()
    for file in (home / "staging").glob("*/*/manifest.json"):
        json.loads(file.read_text(encoding="utf-8"))
    return time.perf_counter() - started


def backfill(home: str) -> dict[str, Any]:
    """Return the seconds of one run of the main job over all datasets, made as a backfill's is.

    Dagster's daemon makes it with the same two tags; creating the run is in the time.
    """
    from lake_assets.definitions import build_definitions

    with _opened(home) as (lake, instance, _):
        job = build_definitions(home).resolve_job_def("ingest_uploads")
        keys = [str(name) for name in lake.registry.dataset_names()]
        return {"s": _run_over(job, instance, keys)}


def backfill_of_nothing(home: str, count: int) -> dict[str, Any]:
    """Return the seconds of a run over ``count`` partitions of as many assets that do nothing."""
    import dagster as dg  # noqa: TID251  the floor, without the lake

    warnings.simplefilter("ignore")
    partitions = dg.DynamicPartitionsDefinition(name="things")
    names = [f"asset{number}" for number in range(_ASSETS)]

    @dg.multi_asset(
        outs={name: dg.AssetOut(dagster_type=dg.Nothing) for name in names},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def nothing() -> Any:
        for name in names:
            yield dg.Output(None, output_name=name)

    place = Path(home)
    place.mkdir()
    (place / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    job = dg.define_asset_job("do_nothing", [nothing])
    resolved = dg.Definitions(assets=[nothing], jobs=[job]).resolve_job_def("do_nothing")
    keys = [f"p/d{number:05d}" for number in range(count)]
    with dg.DagsterInstance.from_config(home) as instance:
        instance.add_dynamic_partitions("things", keys)
        return {"s": _run_over(resolved, instance, keys)}


def _run_over(job: Any, instance: Any, keys: list[str]) -> float:
    started = time.perf_counter()
    tags = dict(zip(_RANGE, (keys[0], keys[-1]), strict=True))
    job.execute_in_process(instance=instance, tags=tags, run_config=_QUIET)
    return time.perf_counter() - started


@contextmanager
def _opened(home: str) -> Iterator[tuple[Any, Any, Any]]:
    import dagster as dg  # noqa: TID251  a tick is made as Dagster's daemon makes it

    from lake_assets.defs.launch import lake_instance

    with new_lake(Path(home)) as lake, lake_instance(lake) as instance:
        yield lake, instance, dg
