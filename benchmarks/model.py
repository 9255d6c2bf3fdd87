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
    parquet_rows: int
    text_rows: int
    """Rows of the CSV and of the JSON Lines file."""
    command_rows: int
    """Rows of the table that goes through `lake process start --wait`."""
    images: int
    memory_images: int
    """Sizes whose peak of memory is compared with that of half as much."""
    memory_rows: int
    memory_jsonl_bytes: int
    small_uploads: int
    """Uploads of ten rows that are ingested together."""
    single_uploads: int
    """Uploads of ten rows that are ingested one by one."""
    grown_keys: tuple[int, int]
    """Commits that a table has when one more comes."""
    grown_images: tuple[int, ...]
    """Images that the lake has when new ones come."""
    new_images: int
    """How many come then."""
    partitions: int
    floor_partitions: int
    """Partitions of the run that shows what Dagster takes by itself."""
    query_rows: int


FULL = Scale(
    name="full",
    rounds=5,
    parquet_rows=5_000_000,
    text_rows=1_000_000,
    command_rows=100_000,
    images=3_000,
    memory_images=20_000,
    memory_rows=5_000_000,
    memory_jsonl_bytes=2 * 10**9,
    small_uploads=1_000,
    single_uploads=30,
    grown_keys=(50, 1_000),
    grown_images=(1_000, 10_000, 100_000),
    new_images=300,
    partitions=2_000,
    floor_partitions=500,
    query_rows=2_000_000,
)
SMALL = Scale(
    name="small",
    rounds=1,
    parquet_rows=4_000,
    text_rows=2_000,
    command_rows=1_000,
    images=20,
    memory_images=8,
    memory_rows=4_000,
    memory_jsonl_bytes=400_000,
    small_uploads=4,
    single_uploads=2,
    grown_keys=(2, 4),
    grown_images=(10, 20),
    new_images=4,
    partitions=6,
    floor_partitions=3,
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
