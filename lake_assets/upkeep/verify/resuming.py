"""How far a full verification got: a file that is appended to after every unit.

Each line is one JSON value with a CRC-32 before it. Lines that are not whole end the file: what
they told of is read again.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ulid import ULID

from lake_assets.upkeep.verify.model import Finding, Kind, Severity

_PREFIX = "full-"
_SUFFIX = ".jsonl"


@dataclass(slots=True, kw_only=True)
class Progress:
    """What was read so far, by this run and by those that it goes on from."""

    path: Path | None
    """None: nothing is noted."""
    cursors: dict[str, str] = field(default_factory=dict)
    """Key of the last target that was read, by section."""
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    """(section, finding) of what was read."""
    files: int = 0

    def note(self, section: str, key: str, files: int, findings: list[Finding]) -> None:
        """Put on disk that everything up to ``key`` was read."""
        if self.path is None:
            return
        value = {
            "section": section,
            "key": key,
            "files": files,
            "findings": [asdict(item) for item in findings],
        }
        body = json.dumps(value, ensure_ascii=False).encode()
        with self.path.open("ab", buffering=0) as file:
            file.write(b"%08x %b\n" % (zlib.crc32(body), body))


@contextmanager
def full_run(folder: Path, *, resume: bool) -> Iterator[Progress]:
    """Give the progress of a full run; it is forgotten when the block ends without an error.

    Args:
        folder: Made when missing.
        resume: Go on from the newest run that did not end; without one, from the beginning.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = _interrupted(folder) if resume else None
    progress = _read(path) if path else Progress(path=folder / f"{_PREFIX}{ULID()}{_SUFFIX}")
    if progress.path is None:
        raise ValueError("a run that is noted needs a file")
    descriptor = os.open(progress.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # Tells others that this run is alive; the kernel drops it with the process.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield progress
        progress.path.unlink(missing_ok=True)
        for other in _runs(folder):  # a full verification that ended makes older ones needless
            if _is_dead(other):
                other.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _runs(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"), reverse=True)


def _interrupted(folder: Path) -> Path | None:
    return next((path for path in _runs(folder) if _is_dead(path)), None)


def _is_dead(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _read(path: Path) -> Progress:
    progress = Progress(path=path)
    whole = 0
    for line in path.read_bytes().splitlines(keepends=True):
        head, _, body = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or head != b"%08x" % zlib.crc32(body):
            break
        whole += len(line)
        value = json.loads(body)
        progress.cursors[value["section"]] = value["key"]
        progress.files += value["files"]
        progress.findings += [
            (value["section"], finding_from_plain(item)) for item in value["findings"]
        ]
    os.truncate(path, whole)  # or the next line would go on from a torn one
    return progress


def finding_from_plain(plain: dict[str, Any]) -> Finding:
    """Return the finding that ``dataclasses.asdict`` made ``plain`` of."""
    return Finding(
        **{**plain, "kind": Kind(plain["kind"]), "severity": Severity(plain["severity"])}
    )
