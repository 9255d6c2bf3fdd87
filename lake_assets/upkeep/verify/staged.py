"""Verify staging: each upload's documents and files, and what lies there beside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from lake_assets.errors import InvalidManifest, StorageUnavailable
from lake_assets.intake.manifest import (
    FILES_FOLDER,
    LIST_FILE,
    MANIFEST_FILE,
    Manifest,
    parse_files,
    parse_manifest,
)
from lake_assets.intake.model import StagedFile
from lake_assets.intake.uploads import (
    DEATHS_FILE,
    ERROR_FILE,
    JOURNAL_FILE,
    LEASE_FILE,
    OUTCOME_FILE,
    State,
)
from lake_assets.storage.damage import says_damage
from lake_assets.storage.sealed_json import SealState, seal_state
from lake_assets.storage.tables.catalog_file import read_catalog
from lake_assets.upkeep.verify.folders import FoundFile, files_below
from lake_assets.upkeep.verify.model import (
    Finding,
    Kind,
    Look,
    Seen,
    Severity,
    Tally,
    Target,
)

_DOCUMENTS = frozenset({DEATHS_FILE, ERROR_FILE, JOURNAL_FILE, LEASE_FILE, OUTCOME_FILE})
_OWN = frozenset({MANIFEST_FILE, LIST_FILE, *_DOCUMENTS})
_OTHER_FOLDERS = frozenset({"locks", "rebuilds", "stale"})


def look_at_uploads(look: Look) -> Iterator[Seen]:
    """Verify every upload but those that are still arriving."""
    root = look.stores.layout.staging
    folders = [
        (folder.name.partition(".")[0], state, folder)
        for state in State
        if state is not State.INCOMING
        for folder in _entries(root / state)
    ]
    for upload_id, state, folder in sorted(folders):
        if folder.is_dir():
            yield from _told(look, folder, upload_id, state)
        else:
            yield from _strange(look, folder)
    for folder in _entries(root):
        if folder.name not in {*State, *_OTHER_FOLDERS} and not folder.name.startswith(".draft-"):
            yield from _strange(look, folder)


def _told(look: Look, folder: Path, upload_id: str, state: State) -> Iterator[Seen]:
    """Yield what an upload is like; one that cannot be read does not keep the others from it."""
    try:
        yield from _look_at_upload(look, folder, upload_id, state)
    except (OSError, StorageUnavailable) as error:
        if not says_damage(error) or folder.exists():  # else it has moved on
            yield look.unreadable(f"{folder}/", error, upload_id)


def _look_at_upload(look: Look, folder: Path, upload_id: str, state: State) -> Iterator[Seen]:
    try:
        content = (folder / MANIFEST_FILE).read_bytes()
        manifest = parse_manifest(content.decode(), where=look.below(folder / MANIFEST_FILE))
        if manifest.upload_id != upload_id:
            raise InvalidManifest(f"it is that of upload {manifest.upload_id}")
    except (OSError, UnicodeDecodeError, InvalidManifest) as error:
        if not says_damage(error):
            raise
        if folder.exists():  # else it has moved on
            message = error.message if isinstance(error, InvalidManifest) else str(error)
            yield look.damage(Kind.DOCUMENT, folder / MANIFEST_FILE, message, upload_id)
        return
    yield Tally(files=2)
    if seal_state(content) is SealState.UNSEALED:
        yield Finding(
            kind=Kind.UNSEALED, severity=Severity.NOTICE, about=upload_id,
            path=look.below(folder / MANIFEST_FILE),
            message="it has no seal: an earlier version wrote it, or a person edited it",
        )  # fmt: skip
    yield from _look_at_documents(look, folder, upload_id, state)
    yield from _look_at_files(look, folder, manifest)


def _look_at_documents(look: Look, folder: Path, upload_id: str, state: State) -> Iterator[Seen]:
    for path in _entries(folder):
        if path.name in _DOCUMENTS:
            yield Tally(files=1)
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            except IsADirectoryError:
                content = b""
            if seal_state(content) is SealState.BROKEN:
                yield look.damage(Kind.DOCUMENT, path, "it is not as it was written", upload_id)
        elif path.name not in _OWN and path.name != FILES_FOLDER:
            yield from _strange(look, path)
    if state is State.FAILED and not (folder / ERROR_FILE).exists() and folder.exists():
        yield look.damage(Kind.DOCUMENT, folder / ERROR_FILE, "it is missing", upload_id)


def _look_at_files(look: Look, folder: Path, manifest: Manifest) -> Iterator[Seen]:
    try:
        listed = parse_files(folder / LIST_FILE, sha256=manifest.files_sha256)
    except InvalidManifest as error:
        yield look.damage(Kind.DOCUMENT, folder / LIST_FILE, error.message, manifest.upload_id)
        return
    wanted = {file.name: file for file in listed}
    for found in files_below(folder / FILES_FOLDER):
        file = wanted.pop(found.name, None)
        if file is None:
            yield from look.stray(
                Kind.STRANGE, found.path, found.changed_at, "its upload does not list it",
                manifest.upload_id,
            )  # fmt: skip
        else:
            yield Tally(files=1)
            yield _staged(look, manifest.upload_id, found, file)
    if folder.exists():
        for name in wanted:
            path = folder / FILES_FOLDER / name
            yield look.damage(Kind.STAGED_FILE, path, "it is missing", manifest.upload_id)


def _staged(look: Look, upload_id: str, found: FoundFile, file: StagedFile) -> Seen:
    if found.byte_count != file.byte_count:
        message = f"it has {found.byte_count} bytes, should have {file.byte_count}"
        return look.damage(Kind.STAGED_FILE, found.path, message, upload_id)
    return Target(
        key=f"{upload_id}/{found.name}", place=found.place, name=look.below(found.place),
        byte_count=found.byte_count, sha256=file.sha256, inode=found.inode,
        kind=Kind.STAGED_FILE, about=upload_id, message=f"its SHA-256 is not {file.sha256}",
    )  # fmt: skip


def look_at_unfinished(look: Look) -> Iterator[Seen]:
    """Find what processes that ended left half done."""
    stores = look.stores
    # The leases lie in the catalog: while that is damaged nobody knows who is alive.
    is_known = not read_catalog(stores.layout.catalog_file).damage
    for upload in stores.abandoned() if is_known else ():
        yield _unfinished(
            look, upload.folder, upload.id,
            "its process ended; the next `lake process start` finishes it",
        )  # fmt: skip
    for name in stores.rebuilds.names():
        yield _unfinished(
            look, stores.layout.rebuilds / f"{name.provider}.{name.dataset}.note", str(name),
            "a rebuild has begun and not ended; `lake process start` does it again",
        )  # fmt: skip
    for name in stores.stale.names():
        yield _unfinished(
            look, stores.layout.stale / f"{name.provider}.{name.dataset}.note", str(name),
            "the catalog is older than the tables; `lake process start` or `lake repair` mends it",
            Kind.STALE_CATALOG,
        )  # fmt: skip
    for folder in _entries(stores.layout.staging / State.INCOMING):
        yield _unfinished(look, folder, folder.name, "an upload that is still arriving, or died")


def _unfinished(
    look: Look, path: Path, about: str, message: str, kind: Kind = Kind.UNFINISHED
) -> Finding:
    try:
        age_s = round(max(0.0, time.time() - path.stat().st_ctime), 1)
    except FileNotFoundError:
        age_s = None
    return Finding(
        kind=kind, severity=Severity.WARNING, path=look.below(path), message=message, about=about,
        age_s=age_s,
    )  # fmt: skip


def _strange(look: Look, path: Path) -> Iterator[Seen]:
    try:
        changed_at = path.lstat().st_ctime
    except FileNotFoundError:
        return
    is_draft = path.name.startswith(".draft-")
    kind = Kind.DRAFT if is_draft else Kind.STRANGE
    message = "a file that was not finished" if is_draft else "nothing of the lake has this name"
    yield from look.stray(kind, path, changed_at, message)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
