"""Is everything that the lake stored still there, and as it was? `lake verify`."""

from __future__ import annotations

from lake_assets.upkeep.verify.model import (
    DEFAULT_CHOICE,
    Choice,
    Finding,
    Kind,
    Report,
    Severity,
    Tally,
)
from lake_assets.upkeep.verify.run import Request, verify

__all__ = [
    "DEFAULT_CHOICE",
    "Choice",
    "Finding",
    "Kind",
    "Report",
    "Request",
    "Severity",
    "Tally",
    "verify",
]
