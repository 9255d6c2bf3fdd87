"""The manifest of an upload: who delivered what, and each of its files.

It is two files next to ``files/``: ``manifest.json``, small and for people, and ``files.jsonl``
with one line per file. Lists of uploads read only the first, however many images an upload has.

Invariant: no byte of either can change unnoticed. The manifest carries its own seal and the hash
of the list; those of earlier versions have neither and read as before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lake_assets.contracts.names import RAW, DatasetName, Destination, VariantName
from lake_assets.errors import InvalidManifest, StorageUnavailable
from lake_assets.intake.model import ReadOptions, RefusedFile, Replay, StagedFile
from lake_assets.storage.damage import says_damage
from lake_assets.storage.sealed_json import SEAL_KEY, SealState, seal_state, sealed_json

VERSION = 1
MANIFEST_FILE = "manifest.json"
LIST_FILE = "files.jsonl"
FILES_FOLDER = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is known of an upload before it is read."""

    upload_id: str
    """A ULID; sorts by time of upload."""
    name: Destination
    created_at: datetime
    """Aware, UTC."""
    created_by: str
    """``user@host``."""
    source: str
    """What was delivered, for people: a path, "DataFrame"…"""
    file_count: int
    byte_count: int
    description: str = ""
    variant: str = ""
    """Of a raw delivery: its kind, as the uploader named it. Of annotations: that of ``name``."""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    """What was said of a delivery of annotations: language, source…"""
    replays: Replay | None = None
    """What it takes from the quarantine; None: it is a delivery, with files."""
    options: ReadOptions = ReadOptions()
    refused: tuple[RefusedFile, ...] = ()
    ignored: tuple[str, ...] = ()
    files_sha256: str = ""
    """Of ``files.jsonl``; empty in manifests of versions that did not note it."""

    def listing(self, files_text: str) -> Manifest:
        """Return this manifest with the hash of the ``files.jsonl`` that belongs to it."""
        return replace(self, files_sha256=hashlib.sha256(files_text.encode()).hexdigest())

    def to_json(self) -> str:
        """Return the content of ``manifest.json``."""
        plain = asdict(self) | {
            "created_at": self.created_at.isoformat(),
            "provider": self.name.provider,
            "dataset": self.name.dataset,
            "task": self.name.task,
        }
        del plain["name"]
        if self.replays and self.replays.since:
            plain["replays"]["since"] = self.replays.since.isoformat()
        return sealed_json({"version": VERSION, **plain})


def parse_manifest(text: str, *, where: str) -> Manifest:
    """Return the manifest written by ``Manifest.to_json``.

    Raises:
        InvalidManifest: naming the file and what is wrong.
    """
    try:
        plain = json.loads(text)
        version = plain.pop("version")
        if version != VERSION:
            raise InvalidManifest(
                f"{where} is of version {version}, this package reads {VERSION}; upgrade it",
                path=where,
            )
        manifest = _from_plain(plain)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidManifest(
            f"{where} is damaged ({type(error).__name__}: {error}); deliver the upload again",
            path=where,
        ) from error
    if seal_state(text.encode()) is SealState.BROKEN:
        raise InvalidManifest(
            f"{where} is not as it was written: by a fault of the disk, or by hand. Deliver the "
            f'upload again; to keep an edit, take the line of "{SEAL_KEY}" out (and the comma '
            "before it)",
            path=where,
        )
    return manifest


def is_of_later_version(path: Path) -> bool:
    """Return whether a later version of this package wrote a ``manifest.json``."""
    try:
        version = json.loads(path.read_bytes())["version"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(version, int) and version > VERSION


def _from_plain(plain: dict[str, Any]) -> Manifest:
    known = {item.name for item in fields(Manifest)} - {"name"}
    values = {key: value for key, value in plain.items() if key in known}
    return Manifest(
        **{
            **values,
            "name": _destination(plain),
            "created_at": datetime.fromisoformat(plain["created_at"]),
            "tags": tuple(plain["tags"]),
            "replays": _replay(plain.get("replays")),
            "options": ReadOptions(**plain["options"]),
            "refused": tuple(RefusedFile(**item) for item in plain["refused"]),
            "ignored": tuple(plain["ignored"]),
        }
    )


def _replay(plain: dict[str, Any] | None) -> Replay | None:
    if plain is None:
        return None
    since = plain["since"]
    return Replay(
        rule=plain["rule"],
        upload_id=plain["upload_id"],
        since=None if since is None else datetime.fromisoformat(since),
        ids=tuple(plain["ids"]),
    )


def _destination(plain: dict[str, Any]) -> Destination:
    dataset, task = DatasetName(plain["provider"], plain["dataset"]), plain.get("task", RAW)
    return dataset if task == RAW else VariantName(dataset, task, plain["variant"])


def format_files(files: Iterable[StagedFile]) -> str:
    """Return the content of ``files.jsonl``."""
    encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes one for each line
    lines = (
        encode(
            {"name": file.name, "bytes": file.byte_count, "sha256": file.sha256, "role": file.role}
        )
        for file in files
    )
    return "".join(f"{line}\n" for line in lines)


def parse_files(path: Path, *, sha256: str = "") -> tuple[StagedFile, ...]:
    """Return the staged files listed in ``path``.

    Args:
        path: A ``files.jsonl``.
        sha256: What its manifest says of it; empty: nothing.

    Raises:
        InvalidManifest: naming the file and the line.
        StorageUnavailable: if the upload has moved on meanwhile, or the file cannot be read now.
    """
    found = []
    try:
        content = path.read_bytes()
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError("the file is not the one that its manifest tells of")
        # Not splitlines: file names may hold U+2028, which JSON leaves as it is.
        for line in content.decode("utf-8").split("\n"):
            if line:
                item = json.loads(line)
                found.append(
                    StagedFile(
                        name=item["name"],
                        byte_count=item["bytes"],
                        sha256=item["sha256"],
                        role=item["role"],
                    )
                )
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not says_damage(error):
            raise StorageUnavailable(
                f"{path} cannot be read: {error}. Try again once that is mended", path=str(path)
            ) from error
        if not path.parent.exists():
            raise StorageUnavailable(
                f"{path.parent} is gone: another process has taken the upload; "
                "`lake process status` says more",
                path=str(path),
            ) from None
        what = _what_is_wrong(error, len(found) + 1)
        raise InvalidManifest(f"{path}{what}; deliver the upload again", path=str(path)) from error
    return tuple(found)


def _what_is_wrong(error: Exception, line: int) -> str:
    if isinstance(error, FileNotFoundError):
        return ", the list of the upload's files, is missing"
    if isinstance(error, OSError):
        return f", the list of the upload's files, cannot be read: {error.strerror}"
    return f", line {line}: {type(error).__name__}: {error}"
