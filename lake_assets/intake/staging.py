"""Staging: where uploads wait, in seven states, each a folder.

    incoming → pending → processing → done ⇄ removed
                  │           └─────→ failed → pending (retried)
                  └→ cancelled

Invariants: an upload is in exactly one state; it changes state by one rename, so of two processes
that want the same step one gets it; nobody sees half a delivery, because only whole ones leave
``incoming``.

A claimed upload's folder carries the token of its claimer's lease: ``processing/<id>.<token>``.
Whoever takes a dataset over renames the folders to its own token, and a process that was frozen
meanwhile finds nothing at the paths that it knows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ulid import ULID

from lake_assets.contracts.names import Destination
from lake_assets.errors import InvalidManifest, InvalidRequest, StorageUnavailable, UnknownUpload
from lake_assets.intake.manifest import (
    FILES_FOLDER,
    LIST_FILE,
    MANIFEST_FILE,
    Manifest,
    format_files,
    parse_manifest,
)
from lake_assets.intake.model import StagedFile
from lake_assets.intake.uploads import DEATHS_FILE, ERROR_FILE, LEASE_FILE, State, Upload
from lake_assets.storage.files import (
    fsync_file,
    fsync_folder,
    move_atomically,
    remove_tree,
    storage_errors,
    write_atomically,
    write_new,
)
from lake_assets.storage.processes import is_dead, signature
from lake_assets.storage.sealed_json import read_sealed, sealed_json

_UNSIGNED_S = 60.0
"""How long a folder may lack its lease before its process is taken for dead."""


_log = logging.getLogger(__name__)


class Staging:
    """All uploads of one lake.

    Args:
        root: The staging folder; made when missing.

    Raises:
        StorageUnavailable: it cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        with storage_errors(root):
            for state in State:
                (root / state).mkdir(parents=True, exist_ok=True)

    # -- arriving

    def open_incoming(self) -> tuple[str, Path]:
        """Return a new upload's id and the empty folder that its files go into.

        Raises:
            StorageUnavailable: and then nothing is left of it.
        """
        upload_id = str(ULID())
        files_folder = self._root / State.INCOMING / upload_id / FILES_FOLDER
        with storage_errors(files_folder):
            files_folder.mkdir(parents=True)
        try:
            # Tells others that its process lives; worth nothing after a loss of power: no sync.
            with storage_errors(files_folder.parent):
                text = sealed_json(signature())
                (files_folder.parent / LEASE_FILE).write_text(text, encoding="utf-8")
        except StorageUnavailable:
            self.discard_incoming(upload_id)
            raise
        return upload_id, files_folder

    def discard_incoming(self, upload_id: str) -> None:
        """Remove an upload that did not become whole."""
        remove_tree(self._root / State.INCOMING / upload_id)

    def publish(self, manifest: Manifest, files: tuple[StagedFile, ...]) -> Upload:
        """Make an incoming upload pending: from now on it will be ingested, whatever crashes.

        Its files must have reached the disk (``collect`` sees to that).
        """
        folder = self._root / State.INCOMING / manifest.upload_id
        listed = format_files(files)
        manifest = manifest.listing(listed)
        # Nobody looks into the folder before it is renamed, so its files need no atomic write.
        _write_new(folder / LIST_FILE, listed)
        _write_new(folder / MANIFEST_FILE, manifest.to_json())
        (folder / LEASE_FILE).unlink(missing_ok=True)
        fsync_folder(folder)
        target = self._root / State.PENDING / manifest.upload_id
        move_atomically(folder, target)
        return Upload(manifest=manifest, state=State.PENDING, folder=target)

    def sweep_incoming(self) -> tuple[str, ...]:
        """Remove incoming uploads whose uploader died on this host, and return their ids.

        Their sources are where they were: nothing is lost. One that cannot be looked at or removed
        is left for the next time, with a word in the log: it must not keep the others there.

        Raises:
            StorageUnavailable.
        """
        dead = []
        with storage_errors(self._root / State.INCOMING):
            folders = sorted((self._root / State.INCOMING).iterdir())
        for folder in folders:
            try:
                if _is_left_alone(folder):
                    remove_tree(folder)
                    dead.append(folder.name)
            except (OSError, StorageUnavailable) as error:
                _log.warning("left in incoming: %s: %s", folder.name, error)
        return tuple(dead)

    # -- looking

    def uploads(self, *states: State, name: Destination | None = None) -> Iterator[Upload]:
        """Yield the uploads in ``states`` (all, if none is given), oldest first in each state.

        One whose manifest is damaged is left out, with a word in the log: it must not keep the
        others from being ingested. ``find`` says what is wrong with it.
        """
        for state in states or tuple(State):
            with storage_errors(self._root / state):
                folders = sorted((self._root / state).iterdir())
            for folder in folders:
                upload = self._load_or_warn(folder, state)
                if upload and (name is None or upload.name == name):
                    yield upload

    def find(self, upload_id: str) -> Upload:
        """Return the upload with this id.

        Raises:
            UnknownUpload.
        """
        # Twice: an upload that moves on while we look is in neither place for us.
        for state in (*State, *State):
            for folder in self._folders_of(_checked(upload_id), state):
                upload = self._load(folder, state)
                if upload:
                    return upload
        raise UnknownUpload(
            f"no upload {upload_id!r}; `lake process list` shows those there are",
            upload_id=upload_id,
        )

    def _folders_of(self, upload_id: str, state: State) -> Iterable[Path]:
        place = self._root / state
        return place.glob(f"{upload_id}.*") if state is State.PROCESSING else (place / upload_id,)

    def _load_or_warn(self, folder: Path, state: State) -> Upload | None:
        try:
            return self._load(folder, state)
        except InvalidManifest as error:
            _log.error("left out: %s", error.message)
            return None

    def _load(self, folder: Path, state: State) -> Upload | None:
        try:
            text = (folder / MANIFEST_FILE).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None  # moved on between listing and reading, or still arriving
        except IsADirectoryError as error:
            raise InvalidManifest(
                f"{folder / MANIFEST_FILE} is a folder; take it away and deliver the upload again",
                path=str(folder),
            ) from error
        except OSError as error:  # too many open files, no right to read: it is there all the same
            raise StorageUnavailable(
                f"{folder / MANIFEST_FILE} cannot be read: {error.strerror}. Try again once that "
                "is mended",
                path=str(folder),
            ) from error
        manifest = parse_manifest(text, where=str(folder / MANIFEST_FILE))
        return Upload(manifest=manifest, state=state, folder=folder)

    # -- moving on

    def claim(self, upload: Upload, *, token: int) -> Upload | None:
        """Take a pending upload under a lease, or over from an older one; None: it is gone.

        Not on disk yet: if the machine loses power, the upload may be pending again.
        """
        return self._move(upload, State.PROCESSING, token=token, is_durable=False)

    def finish(self, uploads: Sequence[Upload]) -> None:
        """Mark claimed uploads as done; has reached the disk when this returns."""
        for upload in uploads:
            (upload.folder / DEATHS_FILE).unlink(missing_ok=True)
            self._move(upload, State.DONE, is_durable=False)
        if uploads:
            fsync_folder(self._root / State.DONE)
            fsync_folder(self._root / State.PROCESSING)

    def fail(self, upload: Upload, error: dict[str, Any]) -> Upload | None:
        """Mark a claimed upload as failed, with the reason."""
        _write_json(upload.folder / ERROR_FILE, error)
        return self._move(upload, State.FAILED)

    def release(self, upload: Upload) -> Upload | None:
        """Give a claimed upload back, to be ingested again from its start."""
        return self._move(upload, State.PENDING)

    def release_after_death(self, upload: Upload) -> Upload | None:
        """Give back what a process that died had claimed, and count its death."""
        text = sealed_json({"deaths": upload.deaths + 1})
        with storage_errors(upload.folder):  # a lost count costs one more try: no sync
            (upload.folder / DEATHS_FILE).write_text(text, encoding="utf-8")
        return self.release(upload)

    def take_out(self, upload: Upload) -> Upload | None:
        """Keep a finished upload's files apart, for its rows leave the tables; None: it is gone."""
        return self._move(upload, State.REMOVED)

    def put_back(self, upload: Upload) -> Upload | None:
        """Mark an upload that was taken out as done again; None: it is gone."""
        return self._move(upload, State.DONE)

    def retry(self, upload_id: str) -> Upload:
        """Make a failed or cancelled upload pending again.

        Raises:
            UnknownUpload, InvalidRequest.
        """
        return self._move_from(upload_id, (State.FAILED, State.CANCELLED), State.PENDING)

    def cancel(self, upload_id: str) -> Upload:
        """Take back a pending or failed upload; its files are kept in ``cancelled/``.

        Raises:
            UnknownUpload, InvalidRequest.
        """
        return self._move_from(upload_id, (State.PENDING, State.FAILED), State.CANCELLED)

    def _move_from(self, upload_id: str, states: tuple[State, ...], target: State) -> Upload:
        upload = self.find(upload_id)
        if upload.state in states:
            # Before it moves: whoever claims it at once must not find the old count.
            with storage_errors(upload.folder):
                (upload.folder / DEATHS_FILE).unlink(missing_ok=True)
        moved = self._move(upload, target) if upload.state in states else None
        if moved is None:
            wanted = " or ".join(states)
            found = self.find(upload_id).state
            is_out = found is State.REMOVED
            hint = f"; `lake upload redo {upload_id}` puts it back" if is_out else ""
            raise InvalidRequest(
                f"upload {upload_id} is {found}, not {wanted}{hint}", upload_id=upload_id
            )
        (moved.folder / ERROR_FILE).unlink(missing_ok=True)
        return moved

    def _move(
        self, upload: Upload, state: State, *, token: int | None = None, is_durable: bool = True
    ) -> Upload | None:
        name = upload.id if token is None else f"{upload.id}.{token}"
        target = self._root / state / name
        if not move_atomically(upload.folder, target, is_durable=is_durable):
            return None
        return Upload(manifest=upload.manifest, state=state, folder=target)


def _checked(upload_id: str) -> str:
    try:
        return str(ULID.from_str(upload_id.upper()))
    except ValueError:
        raise UnknownUpload(
            f"{upload_id!r} is not an upload id (26 letters and digits, from `lake process list`)",
            upload_id=upload_id,
        ) from None


def _is_left_alone(folder: Path) -> bool:
    """Return whether nobody works on an upload any more, as far as this host can tell."""
    lease = read_sealed(folder / LEASE_FILE)
    if lease is not None and lease.keys() >= {"host", "pid", "process_started"}:
        return is_dead(lease)
    # Died before the lease was there or whole, milliseconds after it made the folder.
    try:
        return time.time() - folder.stat().st_mtime > _UNSIGNED_S
    except FileNotFoundError:
        return False


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_atomically(path, sealed_json(value).encode())


def _write_new(path: Path, text: str) -> None:
    write_new(path, memoryview(text.encode()), mode=0o644)
    fsync_file(path)
