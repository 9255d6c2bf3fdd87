"""What ingestion passes on: what an upload came to, and what is to be committed for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import LakeError, StorageUnavailable, UploadsFailed
from lake_assets.intake.uploads import Upload
from lake_assets.storage.files import write_atomically
from lake_assets.storage.sealed_json import sealed_json
from lake_assets.storage.tables import Commit, Delivery, Part, TableSpec

JOURNAL_FILE = "prepared.json"
Asset = Literal["images", "raw", "quarantine"]
COMMIT_ORDER: tuple[Asset, ...] = ("images", "raw", "quarantine")
"""Images first: a row in a dataset's table never names an image that ``lake.images`` lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A delivered file of rows."""

    name: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one upload. ``rows_in == accepted + rejected + duplicate``, always."""

    upload_id: str
    run_id: str
    rows_in: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    images_in: int = 0
    images_stored: int = 0
    bytes_in: int = 0
    image_bytes_in: int = 0
    image_bytes_stored: int = 0
    seconds: float = 0.0
    rejected_by_rule: Mapping[str, int] = field(default_factory=dict)
    data_files: tuple[DataFile, ...] = ()

    @property
    def bytes_saved(self) -> int:
        """Image bytes that did not have to be stored, because the lake had them or they shrank."""
        return self.image_bytes_in - self.image_bytes_stored


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedUpload:
    """A claimed upload whose parts are written; nothing but commits is left to do.

    Its journal makes a crash between two commits harmless: whoever finds it commits the same
    parts, and the tables skip those that they have.
    """

    upload: Upload
    outcome: Outcome
    parts: Mapping[Asset, tuple[Part, ...]]

    def delivery(self, asset: Asset) -> Delivery:
        """Return what this upload brings to the table of ``asset``."""
        return Delivery(key=self.upload.id, parts=self.parts[asset])

    def all_parts(self) -> tuple[Part, ...]:
        """Return the parts of all tables."""
        return tuple(part for asset in COMMIT_ORDER for part in self.parts[asset])

    def write_journal(self) -> None:
        """Put this on disk, next to the upload's manifest."""
        plain = {"outcome": asdict(self.outcome), "parts": _plain_parts(self.parts)}
        write_atomically(self.upload.folder / JOURNAL_FILE, sealed_json(plain).encode())


def read_journal(upload: Upload) -> PreparedUpload | None:
    """Return what a process that died had prepared for ``upload``, or None."""
    path = upload.folder / JOURNAL_FILE
    if not path.exists():
        return None
    plain = json.loads(path.read_text())
    parts: dict[Asset, tuple[Part, ...]] = {
        asset: tuple(Part(**item) for item in plain["parts"][asset]) for asset in COMMIT_ORDER
    }
    return PreparedUpload(upload=upload, outcome=outcome_from_plain(plain["outcome"]), parts=parts)


def drop_journal(upload: Upload) -> None:
    """Forget what was prepared for ``upload``."""
    (upload.folder / JOURNAL_FILE).unlink(missing_ok=True)


def outcome_from_plain(plain: Mapping[str, Any]) -> Outcome:
    """Return the outcome that ``dataclasses.asdict`` made ``plain`` of."""
    files = tuple(DataFile(**item) for item in plain["data_files"])
    return Outcome(**{**plain, "data_files": files})


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedUpload:
    """An upload of which nothing is in the tables."""

    upload_id: str
    message: str
    will_retry: bool
    """True: it is pending again; False: it lies in ``failed/``."""


def failed_uploads(failures: Sequence[FailedUpload]) -> LakeError:
    """Return the error that tells of uploads that failed, and what to do."""
    listed = "; ".join(f"{item.upload_id}: {item.message}" for item in failures)
    if all(item.will_retry for item in failures):
        return StorageUnavailable(f"{len(failures)} upload(s) are pending again: {listed}")
    return UploadsFailed(
        f"{len(failures)} upload(s) failed: {listed}. Mend what is said and deliver again, or "
        "`lake process retry ID`",
        uploads=[item.upload_id for item in failures],
    )


def raise_failures(failures: Sequence[FailedUpload]) -> None:
    """Raise ``failed_uploads`` if there are any."""
    if failures:
        raise failed_uploads(failures)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChange:
    """One commit to come."""

    spec: TableSpec
    deliveries: tuple[Delivery, ...]
    replaces: tuple[dict[str, str], ...] | None
    """None: append once. Else the rows to replace: any of these column → value sets; an empty
    set selects every row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that is to be committed for one dataset, and what failed on the way."""

    name: DatasetName
    changes: Mapping[Asset, TableChange]
    """Empty when there is nothing to commit."""
    uploads: tuple[PreparedUpload, ...]
    failures: tuple[FailedUpload, ...] = ()
    recovered: tuple[PreparedUpload, ...] = ()
    """Uploads of a process that died, committed before these."""
    rebuilt: bool = False

    def total(self) -> Mapping[str, float]:
        """Return the sums of the uploads' numbers, by name."""
        names = ("rows_in", "accepted", "rejected", "duplicate", "images_in", "images_stored",
                 "bytes_in", "image_bytes_in", "image_bytes_stored", "seconds")  # fmt: skip
        return {name: sum(getattr(item.outcome, name) for item in self.uploads) for name in names}

    def rejected_by_rule(self) -> Mapping[str, int]:
        """Return how many rows each rule rejected."""
        counts: dict[str, int] = {}
        for item in self.uploads:
            for rule, count in item.outcome.rejected_by_rule.items():
                counts[rule] = counts.get(rule, 0) + count
        return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """One dataset, brought up to date."""

    name: DatasetName
    outcomes: tuple[Outcome, ...]
    """One per upload that is in the tables now, also those that a dead process had begun."""
    commits: tuple[Commit, ...]
    failures: tuple[FailedUpload, ...]


def _plain_parts(parts: Mapping[Asset, tuple[Part, ...]]) -> dict[str, Any]:
    return {asset: [asdict(part) for part in items] for asset, items in parts.items()}
