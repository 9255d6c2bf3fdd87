"""Verify a whole lake: look at each section, read what was chosen, look again before telling.

Safe while ingestion runs: whatever looks wrong is looked at a second time, against the newest
snapshots. What a process finished in between is then as it should be, and is not reported.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from lake_assets.intake.uploads import State
from lake_assets.storage.files import write_atomically
from lake_assets.storage.sealed_json import SealState, seal_state, sealed_json
from lake_assets.storage.tables.catalog_file import read_catalog
from lake_assets.stores import Stores
from lake_assets.upkeep.verify.blobs import look_at_images, look_at_thumbnails
from lake_assets.upkeep.verify.house import look_at_counts, look_at_settings, settings_hashes
from lake_assets.upkeep.verify.model import (
    DEFAULT_CHOICE,
    Choice,
    Finding,
    Kind,
    Look,
    Report,
    Seen,
    Severity,
    Tally,
    Target,
)
from lake_assets.upkeep.verify.reading import Reader, chosen
from lake_assets.upkeep.verify.resuming import Progress, finding_from_plain, full_run
from lake_assets.upkeep.verify.staged import look_at_unfinished, look_at_uploads
from lake_assets.upkeep.verify.tables import look_at_catalog, look_at_tables

_LAST = "last.json"
_OF_TABLES = (Kind.TABLE_FILE, Kind.UNREADABLE)
_ORDER = (Severity.DAMAGE, Severity.WARNING, Severity.NOTICE)
OnProgress = Callable[[str, int, int], None]
"""Called with (section, files looked at, bytes read) so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How to verify."""

    choice: Choice = DEFAULT_CHOICE
    resume: bool = False
    """Go on with a full run that was interrupted."""
    suspects: frozenset[str] = frozenset()
    """Paths below the lake's folder of files that are read in any case."""
    on_progress: OnProgress = lambda section, files, read_bytes: None


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    look: Callable[[Look], Iterator[Seen]]


def verify(stores: Stores, request: Request) -> Report:
    """Return what is wrong with a lake. Nothing in it is changed.

    What was found is also left in the lake's ``verify/`` folder, for `lake repair`.
    """
    began = time.monotonic()
    with _progress(stores, request) as progress:
        resumed_files = progress.files
        run = _Run(stores, request, progress)
        findings = [item for section in run.sections for item in run.verify(section)]
    report = Report(
        choice=request.choice,
        seconds=time.monotonic() - began,
        tallies=run.tallies,
        findings=sorted(findings, key=_rank),
        resumed_files=resumed_files,
    )
    _remember(stores, run.look, report)
    return report


def last_findings(stores: Stores) -> list[Finding]:
    """Return what the last verify found; nothing if there was none."""
    plain = _last(stores)
    return [finding_from_plain(item) for item in plain.get("findings", [])]


def new_look(stores: Stores) -> Look:
    """Return a look at the lake as it is now."""
    return Look(stores=stores, busy_since=_busy_since(stores))


def _progress(stores: Stores, request: Request) -> AbstractContextManager[Progress]:
    if request.choice.is_full:
        return full_run(stores.layout.verify, resume=request.resume)
    return nullcontext(Progress(path=None))


class _Run:
    """One verification under way."""

    def __init__(self, stores: Stores, request: Request, progress: Progress) -> None:
        self._request = request
        self._progress = progress
        self._reader = Reader(stores.settings.workers)
        self._stores = stores
        self.look = new_look(stores)
        before = _last(stores).get("settings", {})
        self.sections: Sequence[_Section] = (
            _Section("settings", functools.partial(look_at_settings, before=before)),
            _Section("catalog", look_at_catalog),
            _Section("tables", look_at_tables),
            _Section("counts", look_at_counts),
            _Section("images", look_at_images),
            _Section("thumbnails", look_at_thumbnails),
            _Section("uploads", look_at_uploads),
            _Section("unfinished work", look_at_unfinished),
        )
        self.tallies: dict[str, Tally] = {section.name: Tally() for section in self.sections}

    def verify(self, section: _Section) -> list[Finding]:
        """Return what is wrong with a section, as two looks at it agree."""
        found: list[Finding] = []
        tally = self.tallies[section.name]
        cursor = self._progress.cursors.get(section.name, "")
        found += [item for name, item in self._progress.findings if name == section.name]
        targets = (target for target in self._seen(section, found, tally) if target.key > cursor)
        for unit in self._reader.read(self._chosen(targets)):
            wrong = list(unit.wrong)
            found += wrong
            tally.read_files += len(unit.targets)
            tally.read_bytes += unit.read_bytes
            self._progress.note(section.name, unit.targets[-1].key, len(unit.targets), wrong)
            self._tell(section, tally)
        return self._second_look(section, found) if any(map(_is_doubtful, found)) else found

    def _chosen(self, targets: Iterable[Target]) -> Iterator[Target]:
        suspects = self._request.suspects
        if self._request.choice.is_full or not suspects:
            yield from chosen(targets, self._request.choice)
            return
        set_aside: list[Target] = []

        def others() -> Iterator[Target]:
            for target in targets:
                if target.name in suspects:
                    set_aside.append(target)
                else:
                    yield target

        yield from chosen(others(), self._request.choice)
        yield from set_aside

    def _seen(self, section: _Section, found: list[Finding], tally: Tally) -> Iterator[Target]:
        """Yield a section's targets; put its findings and counts where they belong."""
        for seen in section.look(self.look):
            if isinstance(seen, Target):
                yield seen
            elif isinstance(seen, Finding):
                found.append(seen)
            else:
                tally.files += seen.files
                if tally.files % 1000 < seen.files:
                    self._tell(section, tally)

    def _second_look(self, section: _Section, found: Iterable[Finding]) -> list[Finding]:
        """Return those findings that are there again, now that what ran may have ended."""
        self.look.busy_since = _busy_since(self._stores)
        if section.name != "catalog":  # the newest snapshots
            for _ in look_at_catalog(self.look):
                pass
        self.look.broken_tables -= {item.about for item in found if item.kind in _OF_TABLES}
        doubted = {(item.path, item.about) for item in found}
        again: dict[tuple[str, ...], Finding] = {}
        for seen in section.look(self.look):
            seen_finding: Finding | None
            if isinstance(seen, Target):
                if (seen.name, seen.about) not in doubted:
                    continue
                seen_finding = self._reader.look_again(seen)
            elif isinstance(seen, Finding):
                seen_finding = seen
            else:
                seen_finding = None
            if seen_finding is not None:
                again.setdefault(seen_finding.identity, seen_finding)
        kept = {item.identity: again[item.identity] for item in found if item.identity in again}
        self.look.broken_tables |= {
            item.about for item in kept.values()
            if item.severity is Severity.DAMAGE and section.name == "tables"
        }  # fmt: skip
        return list(kept.values())

    def _tell(self, section: _Section, tally: Tally) -> None:
        self._request.on_progress(section.name, tally.files, tally.read_bytes)


def _is_doubtful(finding: Finding) -> bool:
    return finding.severity is not Severity.NOTICE


def _busy_since(stores: Stores) -> float | None:
    """Return since when the oldest upload that a living process works on has been claimed."""
    if read_catalog(stores.layout.catalog_file).damage:
        return None  # the leases lie in it; nobody can commit
    dead = {upload.id for upload in stores.abandoned()}
    since = []
    for upload in stores.staging.uploads(State.PROCESSING):
        if upload.id not in dead:
            try:
                since.append(upload.folder.stat().st_ctime)
            except FileNotFoundError:  # it has just ended
                since.append(time.time())
    return min(since, default=None)


def _rank(finding: Finding) -> tuple[int, str, str]:
    return _ORDER.index(finding.severity), finding.kind, finding.path


def _remember(stores: Stores, look: Look, report: Report) -> None:
    stores.layout.verify.mkdir(parents=True, exist_ok=True)
    plain = {
        "finished_at": time.time(),
        "settings": settings_hashes(look),
        "findings": [asdict(item) for item in report.findings],
    }
    write_atomically(stores.layout.verify / _LAST, sealed_json(plain).encode())


def _last(stores: Stores) -> dict[str, Any]:
    try:
        content = (stores.layout.verify / _LAST).read_bytes()
    except FileNotFoundError:
        return {}
    if seal_state(content) is not SealState.WHOLE:
        return {}  # what it told is found again
    plain: dict[str, Any] = json.loads(content)
    return plain
