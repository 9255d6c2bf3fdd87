"""The words of verification: what is looked at, and what was found."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from lake_assets.stores import Stores


class Severity(StrEnum):
    """How bad a finding is."""

    DAMAGE = "damage"
    """Something that was stored is gone or changed. The only one that makes `verify` fail."""
    WARNING = "warning"
    """Nothing is lost, but something is to be tidied or finished."""
    NOTICE = "notice"
    """Good to know."""


class Kind(StrEnum):
    """What was found; the value is for people and programs and never changes."""

    CATALOG = "catalog_db"
    CATALOG_SEAL = "catalog_seal"
    TABLE_FILE = "table_file"
    TABLE_OUTSIDE = "table_outside"
    SEAL_LOG = "seal_log"
    UNSEALED = "unsealed"
    COUNTS = "counts"
    SHARD = "image"
    THUMBNAIL = "thumbnail"
    IMAGE_ROW = "image_row"
    STAGED_FILE = "staged_file"
    DOCUMENT = "upload_document"
    SETTINGS = "settings"
    ORPHAN = "orphan"
    DRAFT = "draft"
    STRANGE = "strange_file"
    UNFINISHED = "unfinished"
    STALE_CATALOG = "stale_catalog"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    kind: Kind
    severity: Severity
    path: str
    """Below the lake's folder; a folder ends in ``/``."""
    message: str
    about: str = ""
    """Table, dataset or upload that it belongs to."""
    age_s: float | None = None
    """Of files that nothing refers to: seconds since they came."""

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes two findings of two looks the same one."""
        return (self.kind, self.severity, self.path, self.about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file whose content can be checked."""

    key: str
    """Sorts the targets of a section."""
    place: str
    """Absolute path."""
    name: str
    """Path below the lake's folder."""
    byte_count: int
    sha256: str
    """What it should be. Empty: it is a thumbnail of a version that noted no hash; decode it."""
    kind: Kind
    about: str
    message: str
    """What to report if it is not."""
    inode: tuple[int, int] | None = None
    """Device and number of a file with several names: it is read once."""

    @property
    def finding(self) -> Finding:
        """What to report if its content is not what it should be."""
        return Finding(
            kind=self.kind, severity=Severity.DAMAGE, path=self.name, message=self.message,
            about=self.about,
        )  # fmt: skip

    def unreadable(self, error: OSError) -> Finding:
        """What to report if its content cannot be read just now."""
        message = f"it cannot be read just now: {error.strerror or error}"
        return replace(self.finding, kind=Kind.UNREADABLE, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which files have their content read."""

    is_full: bool = False
    share: float | None = None
    """Of each section, 0–1."""
    count: int | None = None
    """Files of each section."""
    seed: int = 0

    def __str__(self) -> str:
        if self.is_full:
            return "every file"
        amount = f"{self.share * 100:g} % of the files" if self.share is not None else (
            f"{self.count} files of each kind"
        )  # fmt: skip
        return f"{amount}, seed {self.seed}"


DEFAULT_CHOICE = Choice(count=500)
"""What is read where nobody says."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a section came to."""

    files: int = 0
    """Whose existence and size were looked at."""
    read_files: int = 0
    read_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `verify` found."""

    choice: Choice
    seconds: float
    tallies: Mapping[str, Tally]
    findings: Sequence[Finding]
    resumed_files: int = 0
    """Files that an interrupted run had read before."""

    @property
    def is_good(self) -> bool:
        """Whether nothing is damaged."""
        return not self.of(Severity.DAMAGE)

    @property
    def is_unknown(self) -> bool:
        """Whether all that speaks against the lake is that some of it cannot be read just now."""
        damage = self.of(Severity.DAMAGE)
        return bool(damage) and all(item.kind is Kind.UNREADABLE for item in damage)

    def of(self, severity: Severity) -> list[Finding]:
        """Return the findings of one severity."""
        return [item for item in self.findings if item.severity == severity]

    def to_plain(self) -> dict[str, Any]:
        """Return this as plain values, for JSON."""
        return {
            "is_good": self.is_good,
            "read": str(self.choice),
            "seconds": round(self.seconds, 3),
            "resumed_files": self.resumed_files,
            "sections": {name: asdict(tally) for name, tally in self.tallies.items()},
            "findings": [asdict(item) for item in self.findings],
        }


@dataclass(slots=True, kw_only=True)
class Look:
    """One look at a lake: what all sections need to know, and what they have learnt so far."""

    stores: Stores
    began_at: float = field(default_factory=time.time)
    busy_since: float | None = None
    """Since when a living process has been ingesting; None: none is."""
    pointers: Mapping[str, Path] = field(default_factory=dict)
    """Metadata file of each table."""
    broken_tables: set[str] = field(default_factory=set)
    """Tables that something is wrong with: what refers to them cannot be judged."""

    _prefix: str = field(init=False)

    def __post_init__(self) -> None:
        self._prefix = f"{self.home}/"

    @property
    def home(self) -> Path:
        """The lake's folder."""
        return self.stores.layout.home

    def below(self, path: Path | str) -> str:
        """Return a path as findings have it."""
        return str(path).removeprefix(self._prefix)

    def is_in_work(self, changed_at: float) -> bool:
        """Return whether a file that nothing names yet belongs to what goes on just now."""
        since = self.began_at if self.busy_since is None else self.busy_since
        return changed_at >= min(since, self.began_at)

    def stray(
        self, kind: Kind, path: Path, changed_at: float, message: str, about: str = ""
    ) -> list[Finding]:
        """Return the finding of a file that nothing refers to; none while it may be in work."""
        if self.is_in_work(changed_at):
            return []
        age_s = max(0.0, time.time() - changed_at)
        return [
            Finding(
                kind=kind, severity=Severity.WARNING, path=self.below(path), message=message,
                about=about, age_s=round(age_s, 1),
            )
        ]  # fmt: skip

    def damage(self, kind: Kind, path: Path | str, message: str, about: str = "") -> Finding:
        """Return a finding of something that is gone or changed."""
        return Finding(
            kind=kind, severity=Severity.DAMAGE, path=self.below(path), message=message, about=about
        )

    def unreadable(self, path: Path | str, error: Exception, about: str = "") -> Finding:
        """Return a finding of something that cannot be read just now: nobody knows what it holds.

        Its severity is that of damage, because nobody may take the lake for good.
        """
        return self.damage(Kind.UNREADABLE, path, f"it cannot be read just now: {error}", about)


Seen = Finding | Target | Tally
"""What looking at a section yields; a tally adds to the section's."""


def damaged_paths(findings: Iterable[Finding]) -> set[str]:
    """Return the paths of what is gone or changed."""
    return {item.path for item in findings if item.severity is Severity.DAMAGE}
