"""What ingestion passes on: what is wanted, what an upload came to, what is to be committed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lake_assets.contracts.beside import Beside
from lake_assets.contracts.names import Destination
from lake_assets.contracts.schema_changes import SchemaChange
from lake_assets.errors import FatalError, LakeError, StorageUnavailable, UploadsFailed
from lake_assets.intake.uploads import JOURNAL_FILE, OUTCOME_FILE, Upload
from lake_assets.storage.files import storage_errors, write_atomically
from lake_assets.storage.sealed_json import read_sealed, sealed_json
from lake_assets.storage.tables import Commit, Delivery, Lease, Part, TableSpec

Asset = Literal["images", "raw", "quarantine"]
COMMIT_ORDER: tuple[Asset, ...] = ("images", "raw", "quarantine")
"""Images first: a row in a dataset's table never names an image that ``lake.images`` lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to bring up to date, and how."""

    name: Destination
    upload_ids: frozenset[str] | None = None
    """Only these of the pending uploads; None: all."""
    rebuild: bool = False
    """Read all finished uploads again, and put the result in the place of what is there."""
    accepts_fewer_rows: bool = False
    """Whether a rebuild may leave fewer accepted rows than there were."""
    takes_out: frozenset[str] = frozenset()
    """Finished uploads that a rebuild leaves out: none of their rows stays in a table."""
    puts_back: frozenset[str] = frozenset()
    """Uploads that were taken out, which a rebuild reads again."""

    @property
    def revises(self) -> frozenset[str]:
        """Uploads that a rebuild takes out or puts back."""
        return self.takes_out | self.puts_back

    run_id: str = ""
    """Dagster run, or empty."""
    on_rows: Callable[[int], None] = lambda rows: None
    """Called with the number of rows read so far, over all uploads, once per batch."""
    on_wait: Callable[[], None] | None = None
    """Called once if another process is working on the dataset."""
    wait_s: float | None = None
    """How long to wait for that process, in seconds; None: ``busy_timeout_s``."""


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
    schema_changes: tuple[SchemaChange, ...] = ()
    """What it changed in the schema of its table; to make the table is no change."""
    beside: tuple[Beside, ...] = ()
    """Values of its accepted rows that their columns cannot hold."""
    stayed: Mapping[str, int] = field(default_factory=dict)
    """Of a replay: the rows that it left in the quarantine, by the rule that they break now, or by
    why they could not be tried."""

    @property
    def bytes_saved(self) -> int:
        """Image bytes that did not have to be stored, because the lake had them or they shrank."""
        return self.image_bytes_in - self.image_bytes_stored


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedUpload:
    """A claimed upload whose rows are in the parts of its group."""

    upload: Upload
    outcome: Outcome

    def keep_outcome(self) -> None:
        """Put the outcome next to the upload's files, where ``process status`` finds it.

        The ledger has it too, so it need not have reached the disk.
        """
        text = sealed_json(asdict(self.outcome))
        with storage_errors(self.upload.folder):
            (self.upload.folder / OUTCOME_FILE).write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Uploads of one dataset that go into the tables together; only commits are left to do.

    Its journal makes a crash between two commits harmless: whoever finds it commits the same
    parts, and the tables skip those that they have.
    """

    uploads: tuple[PreparedUpload, ...]
    """At least one, by id; the first one's folder holds the journal."""
    parts: Mapping[Asset, tuple[Part, ...]]
    gone: tuple[str, ...] = ()
    """Paths of the files of their own table whose rows are in ``parts``, in other types."""

    @property
    def is_replay(self) -> bool:
        """Whether its rows of the quarantine take the place of those that are there."""
        return self.uploads[0].upload.manifest.replays is not None

    def delivery(self, asset: Asset) -> Delivery:
        """Return what these uploads bring to the table of ``asset``."""
        keys = tuple(item.upload.id for item in self.uploads)
        return Delivery(keys=keys, parts=self.parts[asset])

    def all_parts(self) -> tuple[Part, ...]:
        """Return the parts of all tables."""
        return tuple(part for asset in COMMIT_ORDER for part in self.parts[asset])

    def discard(self) -> None:
        """Remove the parts, which no journal names."""
        for part in self.all_parts():
            Path(part.path).unlink(missing_ok=True)

    def write_journal(self) -> None:
        """Put this on disk, next to the first upload's manifest.

        Raises:
            StorageUnavailable: also where another process took the upload over, and so renamed
                its folder.
        """
        plain = {
            "outcomes": [asdict(item.outcome) for item in self.uploads],
            "parts": {asset: [asdict(p) for p in self.parts[asset]] for asset in COMMIT_ORDER},
            "gone": self.gone,
        }
        folder = self.uploads[0].upload.folder
        write_atomically(folder / JOURNAL_FILE, sealed_json(plain).encode())


def read_group(
    claimed: Sequence[Upload],
    finished: Callable[[str], Upload | None],
    folder_of: Callable[[Asset], Path],
) -> Group | None:
    """Return the group that a process which died had prepared, or None if it had not yet.

    Args:
        claimed: All claimed uploads of a dataset.
        finished: Finds an upload of the group that was marked as done before the process died.
        folder_of: Where the parts of an asset lie. A lake that was copied meanwhile has its own.

    Raises:
        FatalError: if an upload of the group cannot be found.
    """
    holder = next(filter(has_journal, claimed), None)
    if holder is None:
        return None
    plain = json.loads((holder.folder / JOURNAL_FILE).read_text(encoding="utf-8"))
    outcomes = [outcome_from_plain(item) for item in plain["outcomes"]]
    by_id = {upload.id: upload for upload in claimed}
    uploads = [(by_id.get(item.upload_id) or finished(item.upload_id), item) for item in outcomes]
    missing = [outcome.upload_id for upload, outcome in uploads if upload is None]
    if missing:  # their rows are in the parts, and would come a second time
        raise FatalError(
            f"{len(missing)} uploads were prepared together with {holder.id} and cannot be found: "
            f"{', '.join(missing[:5])}. Mend their manifests in staging/processing "
            "(`lake verify`, `lake repair`), then try again",
            missing=missing,
        )
    return Group(
        uploads=tuple(
            PreparedUpload(upload=upload, outcome=outcome)
            for upload, outcome in uploads
            if upload is not None
        ),
        parts={
            asset: tuple(_own_part(item, folder_of(asset)) for item in plain["parts"][asset])
            for asset in COMMIT_ORDER
        },
        gone=tuple(plain.get("gone", ())),
    )


def _own_part(plain: Mapping[str, Any], folder: Path) -> Part:
    return Part(**{**plain, "path": str(folder / Path(plain["path"]).name)})


def has_journal(upload: Upload) -> bool:
    """Return whether the journal of a group lies with ``upload``."""
    return (upload.folder / JOURNAL_FILE).exists()


def read_outcome(upload: Upload) -> Outcome | None:
    """Return what became of a finished upload, or None if that is not known here."""
    # One that was cut off (the machine lost power before it reached the disk): the ledger has it.
    plain = read_sealed(upload.folder / OUTCOME_FILE)
    return outcome_from_plain(plain) if plain else None


def drop_journal(upload: Upload) -> None:
    """Forget the group whose journal lies with ``upload``."""
    (upload.folder / JOURNAL_FILE).unlink(missing_ok=True)


def outcome_from_plain(plain: Mapping[str, Any]) -> Outcome:
    """Return the outcome that ``dataclasses.asdict`` made ``plain`` of."""
    files = tuple(DataFile(**item) for item in plain["data_files"])
    # Journals of earlier versions have neither.
    changes = tuple(SchemaChange(**item) for item in plain.get("schema_changes", ()))
    beside = tuple(Beside(**item) for item in plain.get("beside", ()))
    return Outcome(**{**plain, "data_files": files, "schema_changes": changes, "beside": beside})


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedUpload:
    """An upload of which nothing is in the tables."""

    upload_id: str
    message: str
    will_retry: bool
    """True: it is pending again; False: it lies in ``failed/``."""


def failed_uploads(failures: Sequence[FailedUpload]) -> LakeError:
    """Return the error that tells of uploads that failed, and what to do."""
    listed = "; ".join(f"{item.upload_id}: {item.message.rstrip('.')}" for item in failures)
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
    lease: Lease | None = None
    """Commit only while this is held; None: whoever commits needs none."""
    once: bool = False
    """Whether rows are replaced only if none of these deliveries is in the table yet: after a crash
    it may be the second time."""
    gone: tuple[str, ...] = ()
    """Paths of all files of the table, in whose place the deliveries come; empty: none goes."""
    drops: bool = False
    """Whether columns go that ``spec`` lacks; all rows must be replaced."""
    forgets: tuple[str, ...] = ()
    """Keys of deliveries whose rows are replaced by none."""
    was_asked: bool = False
    """Whether the table took these columns when it was asked, before the parts were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that is to be committed for one dataset, and what failed on the way."""

    name: Destination
    lease: Lease
    changes: Mapping[Asset, TableChange]
    """In ``COMMIT_ORDER``; of tables that nothing comes into there is none."""
    group: Group | None
    before: tuple[PreparedUpload, ...] = ()
    """Uploads of earlier groups; they are committed and finished."""
    failures: tuple[FailedUpload, ...] = ()
    recovered: tuple[PreparedUpload, ...] = ()
    """Uploads of a process that died, committed before these."""
    rebuilt: bool = False
    begun_at_ns: int | None = None
    """Of a rebuild: when its note was put; None: the note stays, for another one is asked for."""
    is_revision: bool = False
    """Whether uploads were taken out or put back, so that images and annotations may be others."""
    told: tuple[PreparedUpload, ...] = ()
    """Whose changes of the schema are told, besides those of ``uploads``."""

    @property
    def uploads(self) -> tuple[PreparedUpload, ...]:
        """The uploads that are to be committed."""
        return self.group.uploads if self.group else ()

    @property
    def all_uploads(self) -> tuple[PreparedUpload, ...]:
        """All uploads that this process prepared."""
        return (*self.before, *self.uploads)

    def parts(self, asset: Asset) -> tuple[Part, ...]:
        """Return the files that come into the table of ``asset``."""
        return self.group.parts[asset] if self.group else ()

    def total(self) -> Mapping[str, float]:
        """Return the sums of all uploads' numbers, by name."""
        names = ("rows_in", "accepted", "rejected", "duplicate", "images_in", "images_stored",
                 "bytes_in", "image_bytes_in", "image_bytes_stored", "seconds")  # fmt: skip
        return {
            name: sum(getattr(item.outcome, name) for item in self.all_uploads) for name in names
        }

    def rejected_by_rule(self) -> Mapping[str, int]:
        """Return how many rows each rule rejected."""
        counts: dict[str, int] = {}
        for item in self.all_uploads:
            for rule, count in item.outcome.rejected_by_rule.items():
                counts[rule] = counts.get(rule, 0) + count
        return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """One dataset, brought up to date."""

    name: Destination
    outcomes: tuple[Outcome, ...]
    """One per upload that is in the tables now, also those that a dead process had begun."""
    commits: tuple[Commit, ...]
    failures: tuple[FailedUpload, ...]
