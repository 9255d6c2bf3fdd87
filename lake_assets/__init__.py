"""lake_assets: a multimodal data lake that runs itself in Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lake_assets.lake import Lake

__all__ = ["Lake"]


def __getattr__(name: str) -> object:
    # Lazy, so that `lake --help` and the policy tests do not pay for pyarrow and PyIceberg.
    if name == "Lake":
        from lake_assets.lake import Lake

        return Lake
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
