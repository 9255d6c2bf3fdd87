"""What assets are partitioned by."""

from __future__ import annotations

import dagster as dg

from lake_assets.contracts.names import DatasetName, VariantName

datasets = dg.DynamicPartitionsDefinition(name="datasets")
"""Keys ``provider/dataset``; the sensor and the command line add them."""
_DATASET, _VARIANT = "dataset", "variant"


def variants_of(task: str) -> dg.DynamicPartitionsDefinition:
    """Return the partitions of a task's variants; the sensor and the command line add them."""
    return dg.DynamicPartitionsDefinition(name=f"variants_of_{task}")


def task_partitions(task: str) -> dg.MultiPartitionsDefinition:
    """Return dataset × variant. Dagster maps the first to the datasets' own by itself."""
    return dg.MultiPartitionsDefinition({_DATASET: datasets, _VARIANT: variants_of(task)})


def variant_key(name: VariantName) -> dg.MultiPartitionKey:
    """Return the partition of a task's asset that has the annotations of ``name``."""
    return dg.MultiPartitionKey({_DATASET: str(name.of), _VARIANT: name.variant})


def variant_name(task: str, key: str) -> VariantName:
    """Return what the partition ``key`` of a task's asset has.

    Args:
        key: ``provider/dataset|variant``; neither part can have a ``|``.
    """
    dataset, _, variant = key.partition("|")
    return VariantName(DatasetName.parse(dataset), task, variant)
