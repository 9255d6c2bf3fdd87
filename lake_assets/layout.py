"""Where everything of a lake lies on disk.

Invariant: no other module builds a path below the lake's folder by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LakeLayout:
    """The paths of one lake. Nothing here touches the disk but ``create``."""

    home: Path
    """Absolute."""

    @property
    def settings_file(self) -> Path:
        """Settings of this lake; optional."""
        return self.home / "lake.toml"

    @property
    def registry_file(self) -> Path:
        """Providers and datasets."""
        return self.home / "config" / "schema.yaml"

    @property
    def staging(self) -> Path:
        """Uploads, one folder per state."""
        return self.home / "staging"

    @property
    def locks(self) -> Path:
        """One empty file per dataset, locked while it is ingested; safe to delete when idle."""
        return self.home / "staging" / "locks"

    @property
    def rebuilds(self) -> Path:
        """One note per dataset that is being rebuilt."""
        return self.home / "staging" / "rebuilds"

    @property
    def stale(self) -> Path:
        """One note per dataset whose row of the catalog is older than its tables."""
        return self.home / "staging" / "stale"

    @property
    def assets(self) -> Path:
        """Shard store."""
        return self.home / "assets"

    @property
    def thumbnails(self) -> Path:
        """Thumbnails; can be made again from the shards."""
        return self.home / "thumbnails"

    @property
    def tables(self) -> Path:
        """Iceberg warehouse."""
        return self.home / "tables"

    @property
    def catalog_file(self) -> Path:
        """Iceberg SQL catalog (SQLite)."""
        return self.home / "catalog.db"

    @property
    def verify(self) -> Path:
        """What `lake verify` found last, and how far a run got; safe to delete."""
        return self.home / "verify"

    @property
    def removed(self) -> Path:
        """What `lake repair` moved away; nothing of the lake refers to it."""
        return self.home / "removed"

    @property
    def dagster(self) -> Path:
        """Dagster's own storage: runs, events, schedules."""
        return self.home / "dagster"

    @property
    def logs(self) -> Path:
        """Output of background processes."""
        return self.home / "logs"

    @property
    def scratch(self) -> Path:
        """Spill files of running queries; safe to delete when idle."""
        return self.home / "tmp"

    @property
    def plans(self) -> Path:
        """Which files each table has, by its metadata file; safe to delete at any time."""
        return self.scratch / "plans"

    def create(self) -> None:
        """Make every folder that is missing."""
        folders = (
            self.registry_file.parent, self.locks, self.assets, self.thumbnails,
            self.tables, self.dagster, self.logs, self.scratch,
        )  # fmt: skip
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
