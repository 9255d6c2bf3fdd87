"""How a run that was started by a command tells that command how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from lake_assets.errors import LakeError


def _ignore(_: object) -> None:
    return None


on_rows: ContextVar[Callable[[int], None]] = ContextVar("on_rows", default=_ignore)
"""Called with the rows read so far."""
on_wait: ContextVar[Callable[[str], None]] = ContextVar("on_wait", default=_ignore)
"""Called with the name of a dataset that another process is working on."""
on_error: ContextVar[Callable[[LakeError], None] | None] = ContextVar("on_error", default=None)
"""Called with an error that ends a step. Who listens decides about another try; see policies."""
