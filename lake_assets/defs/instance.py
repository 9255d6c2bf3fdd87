"""How this lake's Dagster keeps what runs tell: the class that dagster.yaml names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

from lake_assets.defs.event_log import LakeStorage

_EVENTS_AT_ONCE = 500
"""Of one asset in one run, and planned ones of a run; a few MB of text."""
_keys: ContextVar[dict[str, dict[str, None]] | None] = ContextVar("_keys", default=None)


class LakeInstance(dg.DagsterInstance):
    """Writes events that come in batches as batches, into a log that can do so."""

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """Return the settings that it adds to dagster.yaml: none."""
        return {}

    @staticmethod
    def config_defaults(base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """Return the parts of an instance for which dagster.yaml names no others."""
        storage = ConfigurableClassData(
            LakeStorage.__module__, LakeStorage.__name__, yaml.safe_dump({"base_dir": base_dir})
        )
        return {**InstanceRef.config_defaults(base_dir), "storage": storage}

    def _get_event_batch_size(self) -> int:
        """Return what DAGSTER_EVENT_BATCH_SIZE else says, which few would know to set."""
        return _EVENTS_AT_ONCE

    def get_dynamic_partitions(self, partitions_def_name: str) -> Sequence[str]:
        """Return the keys of partitions, in the order in which they were added."""
        known = _keys.get()
        if known is None:
            return super().get_dynamic_partitions(partitions_def_name)
        if partitions_def_name not in known:
            keys = super().get_dynamic_partitions(partitions_def_name)
            known[partitions_def_name] = dict.fromkeys(keys)
        return list(known[partitions_def_name])

    def has_dynamic_partition(self, partitions_def_name: str, partition_key: str) -> bool:
        """Return whether there is a partition of this key."""
        if _keys.get() is None:
            return super().has_dynamic_partition(partitions_def_name, partition_key)
        self.get_dynamic_partitions(partitions_def_name)
        return partition_key in (_keys.get() or {})[partitions_def_name]


@contextmanager
def partitions_read_once() -> Iterator[None]:
    """Make a ``LakeInstance`` read the keys of partitions at most once, in this thread.

    ``add_asset_metadata`` reads all of them three times to see that a partition is of the run: for
    2,000 partitions of three assets 18,000 times.
    """
    token = _keys.set({})
    try:
        yield
    finally:
        _keys.reset(token)
