"""The manifest of an upload: who delivered what, and each of its files.

It is two files next to ``files/``: ``manifest.json``, small and for people, and ``files.jsonl``
with one line per file. Lists of uploads read only the first, however many images an upload has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import InvalidManifest, StorageUnavailable
from lake_assets.intake.model import ReadOptions, RefusedFile, StagedFile

VERSION = 1
MANIFEST_FILE = "manifest.json"
LIST_FILE = "files.jsonl"
FILES_FOLDER = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is known of an upload before it is read."""

    upload_id: str
    """A ULID; sorts by time of upload."""
    name: DatasetName
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
    tags: tuple[str, ...] = ()
    options: ReadOptions = ReadOptions()
    refused: tuple[RefusedFile, ...] = ()
    ignored: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the content of ``manifest.json``."""
        plain = asdict(self) | {
            "created_at": self.created_at.isoformat(),
            "provider": self.name.provider,
            "dataset": self.name.dataset,
        }
        del plain["name"]
        return json.dumps({"version": VERSION, **plain}, indent=2, ensure_ascii=False) + "\n"


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
        return _from_plain(plain)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidManifest(
            f"{where} is damaged ({type(error).__name__}: {error}); deliver the upload again",
            path=where,
        ) from error


def _from_plain(plain: dict[str, Any]) -> Manifest:
    known = {field.name for field in fields(Manifest)} - {"name"}
    values = {key: value for key, value in plain.items() if key in known}
    return Manifest(
        **{
            **values,
            "name": DatasetName(plain["provider"], plain["dataset"]),
            "created_at": datetime.fromisoformat(plain["created_at"]),
            "tags": tuple(plain["tags"]),
            "options": ReadOptions(**plain["options"]),
            "refused": tuple(RefusedFile(**item) for item in plain["refused"]),
            "ignored": tuple(plain["ignored"]),
        }
    )


def format_files(files: Iterable[StagedFile]) -> str:
    """Return the content of ``files.jsonl``."""
    lines = (
        json.dumps(
            {"name": file.name, "bytes": file.byte_count, "sha256": file.sha256, "role": file.role},
            ensure_ascii=False,
        )
        for file in files
    )
    return "".join(f"{line}\n" for line in lines)


def parse_files(path: Path) -> tuple[StagedFile, ...]:
    """Return the staged files listed in ``path``.

    Raises:
        InvalidManifest: naming the file and the line.
        StorageUnavailable: if the upload has moved on meanwhile.
    """
    found = []
    try:
        # Not splitlines: file names may hold U+2028, which JSON leaves as it is.
        for line in path.read_text(encoding="utf-8").split("\n"):
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
        if not path.parent.exists():
            raise StorageUnavailable(
                f"{path.parent} is gone: another process has taken the upload; "
                "`lake process status` says more",
                path=str(path),
            ) from None
        raise InvalidManifest(
            f"{path}, line {len(found) + 1}: {type(error).__name__}: {error}; "
            "deliver the upload again",
            path=str(path),
        ) from error
    return tuple(found)
