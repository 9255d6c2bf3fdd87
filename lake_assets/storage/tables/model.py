"""What a table store is asked for and answers: table specifications, parts, facts.

A *part* is one Parquet file that lies in its table's data folder but that no snapshot names yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table as it should be when the first rows arrive."""

    name: str
    """``namespace.table``."""
    schema: Any
    """``pyarrow.Schema``; a field's ``doc`` metadata becomes the column's comment."""
    partition_by: tuple[tuple[str, str], ...] = ()
    """(transform, column) pairs; transforms: identity, year, month, day, hour."""
    description: str = ""
    exact_bounds: tuple[str, ...] = ()
    """Text columns by whose values rows are replaced. Their least and greatest value in each file
    are kept whole, where Iceberg keeps 16 characters: so a file with nothing else is dropped, and
    need not be read and written anew."""


def partition_field_name(transform: str, column: str) -> str:
    """Return what a table calls its partition field.

    Not the usual ``at_day``: Iceberg has no column and partition field of one name, and a delivery
    may well have ``at`` and ``at_day``.
    """
    return column if transform == "identity" else f"_{column}_{transform}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One Parquet file that waits to be committed. All its rows lie in one partition."""

    path: str
    """Absolute path."""
    rows: int
    byte_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Parts that come into one table together, or not at all."""

    keys: tuple[str, ...]
    """Ids of the uploads whose rows they hold. A table takes in each key once, so a commit that is
    repeated changes nothing."""
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What a commit did."""

    table: str
    keys: tuple[str, ...]
    """Keys that this commit brought in."""
    skipped: tuple[str, ...]
    """Keys that the table had already."""
    rows: int
    snapshot_id: int | None
    """None: there was nothing to commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """A table's present state, from its metadata alone (no data file is opened)."""

    name: str
    location: str
    rows: int
    byte_count: int
    file_count: int
    snapshot_id: int | None
    committed_at: datetime | None
    columns: tuple[tuple[str, str, str], ...]
    """(name, type in Iceberg's words, comment)."""


@dataclass(slots=True, kw_only=True)
class Lease:
    """The right to change what is stored of ``name``. Passed on to every commit."""

    name: str
    token: int
    left_tokens: tuple[int, ...] = ()
    """Of holders who died or whose work an error ended: they may have left files. Kept until one
    who holds the lease has seen to them and ends well."""
    has_recovered: bool = False
    """Whether they were seen to."""
    upload_id: str = ""
    """What its holder works on; others see it, some seconds late."""
    rows_read: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseFacts:
    """What others see of a lease."""

    is_held: bool
    """Whether a living process holds it, as far as can be told from here."""
    token: int
    holder: dict[str, Any]
    """Host, pid and start of the process; empty: nobody."""
    run_id: str
    upload_id: str
    rows_read: int
