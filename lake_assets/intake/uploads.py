"""An upload as it lies in staging: its state, its folder, and the documents in that.

``staging`` moves it from state to state.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lake_assets.contracts.names import Destination
from lake_assets.intake.manifest import FILES_FOLDER, LIST_FILE, Manifest, parse_files
from lake_assets.intake.model import StagedFile
from lake_assets.storage.sealed_json import SealState, read_sealed, seal_state

ERROR_FILE = "error.json"
JOURNAL_FILE = "prepared.json"
"""In a claimed upload: what is to be committed for it and those prepared together with it."""
OUTCOME_FILE = "outcome.json"
"""In a finished upload: what became of it."""
DEATHS_FILE = "deaths.json"
"""In an upload whose processes died: how many."""
LEASE_FILE = "lease.json"


class State(StrEnum):
    """Where an upload is on its way."""

    INCOMING = "incoming"
    """Being written by an uploader; nobody else looks at it."""
    PENDING = "pending"
    """Complete, waiting to be ingested."""
    PROCESSING = "processing"
    """Claimed by one process."""
    DONE = "done"
    """In the tables; kept so that a rebuild can read it again."""
    FAILED = "failed"
    """Nothing of it is in the tables; ``error.json`` says why."""
    CANCELLED = "cancelled"
    """Taken back by a person before it was claimed."""
    REMOVED = "removed"
    """Taken out of the tables again by a person; kept, so that it can be put back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One delivery as it lies in staging."""

    manifest: Manifest
    state: State
    folder: Path

    @property
    def id(self) -> str:
        """The upload's id, which is also the job id that a user sees."""
        return self.manifest.upload_id

    @property
    def name(self) -> Destination:
        """The dataset that it belongs to."""
        return self.manifest.name

    @property
    def files_folder(self) -> Path:
        """Folder of the delivered files."""
        return self.folder / FILES_FOLDER

    def files(self) -> tuple[StagedFile, ...]:
        """Return the delivered files. Reads ``files.jsonl``."""
        return parse_files(self.folder / LIST_FILE, sha256=self.manifest.files_sha256)

    def error(self) -> dict[str, Any] | None:
        """Return why it failed, or None."""
        return read_sealed(self.folder / ERROR_FILE)

    @property
    def deaths(self) -> int:
        """How many processes died while they had claimed it and not yet ingested it.

        A count that was cut off or is damaged is none: that costs some more tries.
        """
        try:
            content = (self.folder / DEATHS_FILE).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return 0
        return int(json.loads(content)["deaths"]) if seal_state(content) is SealState.WHOLE else 0

    @property
    def token(self) -> int | None:
        """Token of the lease under which it was claimed; None: it is not claimed."""
        suffix = self.folder.name.partition(".")[2]
        return int(suffix) if suffix.isdecimal() else None
