"""The words of a benchmark: how much to measure, one measured line, and what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much work a run is."""

    name: str
    rounds: int
    """How often short things are repeated; the best round counts."""
    table_rows: int
    columnar_rows: tuple[int, int]
    """Rows of the small and the large Parquet file whose ingestion must take the same memory."""
    text_rows: tuple[int, int]
    """The same for CSV and JSON Lines."""
    images: int
    commits: int
    query_rows: int


FULL = Scale(
    name="full",
    rounds=5,
    table_rows=100_000,
    columnar_rows=(500_000, 2_000_000),
    text_rows=(200_000, 800_000),
    images=1_500,
    commits=50,
    query_rows=2_000_000,
)
SMALL = Scale(
    name="small",
    rounds=1,
    table_rows=1_000,
    columnar_rows=(1_000, 4_000),
    text_rows=(500, 2_000),
    images=20,
    commits=3,
    query_rows=5_000,
)
"""Shows that everything runs. Its figures mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a line should come to."""

    of: Literal["value", "ratio"]
    most: float | None = None
    least: float | None = None

    def is_met(self, number: float) -> bool:
        """Return whether ``number`` is within the goal."""
        above = self.least is None or number >= self.least
        return above and (self.most is None or number <= self.most)

    def __str__(self) -> str:
        bound = f"≤ {self.most:g}" if self.most is not None else f"≥ {self.least:g}"
        return bound if self.of == "value" else f"ratio {bound}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measured figure beside its floor or peer."""

    measure: str
    value: float
    unit: str
    peer: str
    """What the value is compared with."""
    peer_value: float
    """In the same unit."""
    goal: Goal | None = None

    @property
    def ratio(self) -> float:
        """Value over peer; 0 where the peer is 0."""
        return self.value / self.peer_value if self.peer_value else 0.0

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None if there is none."""
        if self.goal is None:
            return None
        return self.goal.is_met(self.value if self.goal.of == "value" else self.ratio)

    def plain(self) -> dict[str, Any]:
        """Return the line in JSON's types."""
        return {
            "measure": self.measure,
            "value": self.value,
            "unit": self.unit,
            "peer": self.peer,
            "peer_value": self.peer_value,
            "ratio": self.ratio,
            "goal": str(self.goal) if self.goal else None,
            "is_met": self.is_met,
        }
