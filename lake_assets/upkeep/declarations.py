"""Declares types of a dataset's columns in the registry."""

from __future__ import annotations

from collections.abc import Mapping

from lake_assets.contracts.datasets import DatasetContract, with_columns
from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import Registry, update_registry
from lake_assets.stores import Stores


def declare_columns(stores: Stores, name: DatasetName, types: Mapping[str, str]) -> DatasetContract:
    """Declare types of columns of a dataset, which may be new; return what it promises then.

    Args:
        types: As contracts write them, by column; other declarations stay.

    Raises:
        UnknownProvider.
        InvalidRequest: with all that is wrong with a name or type.
    """

    def change(registry: Registry) -> Registry:
        contract = with_columns(registry.datasets.get(str(name)), types)
        return registry.with_dataset(name, contract)

    return update_registry(stores.layout.registry_file, change).contract(name)
