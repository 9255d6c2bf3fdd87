"""What a check of datasets is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lake_assets.contracts.names import Destination
from lake_assets.stores import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found."""

    passed: bool
    summary: str
    numbers: Mapping[str, float] = field(default_factory=dict)


Results = dict[Destination, CheckResult]
Rule = Callable[[Stores, Sequence[Any]], Results]
"""Takes datasets or, if it is about a task's asset, variants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A rule about datasets."""

    name: str
    asset: str
    """The asset that it is about: ``raw``, ``images`` or ``quarantine``."""
    blocking: bool
    rule: Rule
    """Returns what it found of each dataset that it is asked about."""

    @property
    def description(self) -> str:
        """What is true when it passes."""
        return (self.rule.__doc__ or "").strip().splitlines()[0]
