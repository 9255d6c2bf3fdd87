"""The words of repair: a plan is steps, each of which says what it does before it does it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from lake_assets.contracts.names import DatasetName, Destination
from lake_assets.errors import InvalidName
from lake_assets.intake.manifest import FILES_FOLDER, LIST_FILE, MANIFEST_FILE, parse_files
from lake_assets.intake.uploads import State, Upload
from lake_assets.stores import Stores
from lake_assets.upkeep.verify.model import Finding, Look, Severity

_DONE = f"staging/{State.DONE}"


class Action(StrEnum):
    """What a step does."""

    RESTORE = "restore"
    """Put the right content back, proven by its SHA-256."""
    REMAKE = "remake"
    """Make again what follows from other data."""
    ROLL_BACK = "roll back"
    """Make an older state of a table the present one."""
    REBUILD = "rebuild"
    """Ask for a rebuild of a dataset from its archive."""
    SEAL = "seal"
    """Write down what a file that was confirmed holds."""
    MOVE = "move away"
    """Into ``removed/``; nothing is deleted."""
    REMOVE = "remove"
    """A draft, which was never a file of the lake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do."""

    action: Action
    path: str
    """Below the lake's folder."""
    what: str
    """What is done, in words."""
    do: Callable[[], None]
    needs_proof: bool = False
    """Do it only if nothing refers to the path even while nobody can write to the lake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hopeless:
    """Damage that nothing in the lake can mend."""

    path: str
    message: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `lake repair` would do."""

    steps: Sequence[Step]
    hopeless: Sequence[Hopeless]
    findings: Sequence[Finding]
    """What verification found."""

    @property
    def is_needed(self) -> bool:
        """Whether something is damaged."""
        return any(item.severity is Severity.DAMAGE for item in self.findings)

    def to_plain(self) -> dict[str, Any]:
        """Return this as plain values, for JSON."""
        return {
            "steps": [
                {"action": str(step.action), "path": step.path, "what": step.what}
                for step in self.steps
            ],
            "hopeless": [
                {"path": item.path, "message": item.message, "advice": item.advice}
                for item in self.hopeless
            ],
        }


@dataclass(slots=True, kw_only=True)
class Bench:
    """What planning works with."""

    stores: Stores
    look: Look
    removed: Path
    """Folder that things are moved to."""
    steps: list[Step] = field(default_factory=list)
    hopeless: list[Hopeless] = field(default_factory=list)
    rebuilds: dict[Destination, str] = field(default_factory=dict)
    """Datasets to be rebuilt, and why."""

    def path(self, finding: Finding) -> Path:
        """Return the absolute path of a finding."""
        return self.stores.layout.home / finding.path

    def give_up(self, finding: Finding, advice: str) -> None:
        """Say that a finding cannot be mended."""
        self.hopeless.append(Hopeless(path=finding.path, message=finding.message, advice=advice))

    def move_away(self, path: Path) -> None:
        """Move a file or folder of the lake into ``removed/``, if it is there."""
        target = self.removed / path.relative_to(self.stores.layout.home)
        target.parent.mkdir(parents=True, exist_ok=True)
        number = 0
        while os.path.lexists(target):
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        if os.path.lexists(path):
            path.rename(target)

    def datasets_with_tables(self) -> set[Destination]:
        """Return the datasets that the catalog has a table of."""
        found: set[Destination] = set()
        for table in self.look.pointers:
            with suppress(InvalidName):  # lake.images and its like
                found.add(DatasetName.parse(table))
        return found

    def archive_of(self, name: Destination) -> list[Upload] | None:
        """Return the finished uploads of a dataset, or None if one cannot be read again."""
        uploads = list(self.stores.staging.uploads(State.DONE, name=name))
        damaged = self._damaged_uploads()
        if not uploads or any(upload.id in damaged for upload in uploads):
            return None
        for upload in uploads:
            listed = parse_files(upload.folder / LIST_FILE)
            if any(not (upload.files_folder / file.name).exists() for file in listed):
                return None
        return uploads

    def _damaged_uploads(self) -> set[str]:
        """Return those that have lost what a rebuild reads; other documents do not count."""
        found = set()
        for item in self.hopeless:
            folder, _, rest = item.path.removeprefix(f"{_DONE}/").partition("/")
            needed = (MANIFEST_FILE, LIST_FILE, FILES_FOLDER)
            if item.path.startswith(f"{_DONE}/") and rest.partition("/")[0] in needed:
                found.add(folder)
        return found
