"""One claimed upload becomes parts: read, look at images, fit, find duplicates, write.

Memory is bounded by the batch. Invariant: each row of the upload is counted exactly once, as
accepted, rejected or duplicate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import pyarrow as pa

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName, dataset_of
from lake_assets.contracts.tasks import TaskContract
from lake_assets.errors import FatalError, UnreadableSource, UnsupportedFormat
from lake_assets.ingest.annotations import open_annotations, sorted_annotations
from lake_assets.ingest.declared import typed_batches
from lake_assets.ingest.fitting import Fitting
from lake_assets.ingest.images import LookPlan, image_row, look_at_batches
from lake_assets.ingest.model import Outcome, PreparedUpload
from lake_assets.ingest.parts import RowSink
from lake_assets.ingest.quarantine import quarantine_row, refused_rows
from lake_assets.ingest.sorting import (
    Rows,
    SortedBatch,
    check_partition_columns,
    check_unique_columns,
    clashing_rows,
    lake_rows,
    record_ids,
    sorted_batch,
    split_keyless,
    unique_key,
)
from lake_assets.ingest.state import DatasetState
from lake_assets.ingest.tuning import tuned_for
from lake_assets.ingest.whole_files import Identity, WholeFiles, by_content
from lake_assets.intake.annotations.batches import annotations_identity
from lake_assets.intake.model import Batch, RejectedRow, StagedFile
from lake_assets.intake.readers import Unreadable, read_upload
from lake_assets.intake.uploads import Upload
from lake_assets.media.engines import Engine
from lake_assets.storage.files import hash_file
from lake_assets.storage.shards import ShardStore
from lake_assets.storage.system_tables import IMAGES, QUARANTINE

IMAGE_BATCH_ROWS = 512
"""Rows per batch where rows have images: the pool gets its next ones before these are written."""

OnRows = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What preparing one upload needs to know besides the upload."""

    state: DatasetState
    engine: Engine
    run_id: str
    now: datetime
    """Aware UTC; ``_ingested_at`` of all its rows."""
    on_rows: OnRows = lambda rows: None
    """Called with the number of rows read so far, once per batch."""
    assets: ShardStore | None = None
    """Where images go that are new; None: into the lake."""
    thumbnails: ShardStore | None = None


def prepare_upload(job: Job, upload: Upload, rows: RowSink) -> PreparedUpload:
    """Read ``upload`` into ``rows`` and return what became of it.

    A data file that cannot be read is one rejected row. Where some of its rows had come out before
    the damage was met, the upload is read again without it: its mended redelivery will bring them.
    It is also read again, once, where its rows need other types than their table has.

    Raises:
        LakeError: when the upload as a whole cannot be used, as one of which nothing else than
            unreadable files is left.
    """
    started = time.monotonic()
    files = upload.files()
    unreadable: Unreadable = {}
    while True:
        preparation = Preparation(job, upload, files, rows, unreadable)
        try:
            with tuned_for(upload.manifest.byte_count):
                preparation.run()
            if not preparation.fitting.grows():
                break
            job.state.forget_rows(upload.id)
            rows.begin_anew()
        except (UnreadableSource, UnsupportedFormat) as error:
            name = str(error.context.get("file", ""))
            if name in unreadable or not any(file.name == name for file in files):
                raise
            unreadable[name] = error
            job.state.forget(upload.id)
            rows.begin_anew()
    outcome = replace(preparation.outcome(files), seconds=round(time.monotonic() - started, 3))
    if unreadable:
        _require_undamaged(upload, files, unreadable)
        if not outcome.accepted and not outcome.duplicate:
            raise next(iter(unreadable.values()))
    job.state.remember(preparation.fitting.written, outcome.data_files)
    return PreparedUpload(upload=upload, outcome=outcome)


def _require_undamaged(
    upload: Upload, files: tuple[StagedFile, ...], unreadable: Unreadable
) -> None:
    """Raise if a file cannot be read because it is not what was delivered."""
    for file in files:
        if file.name in unreadable:
            found = hash_file(upload.files_folder / file.name)
            if found != file.sha256:
                raise UnreadableSource(
                    f"{file.name} is damaged in staging: it was delivered with SHA-256 "
                    f"{file.sha256} and now has {found}. Check the disk, then deliver it again",
                    file=file.name,
                )


def _batches(
    job: Job, upload: Upload, files: Sequence[StagedFile], unreadable: Unreadable
) -> Iterator[Batch]:
    settings = job.state.stores.settings
    has_images = any(file.role == "image" for file in files) or upload.manifest.options.image_column
    rows = min(settings.batch_size, IMAGE_BATCH_ROWS) if has_images else settings.batch_size
    return read_upload(
        upload.files_folder,
        files,
        upload.manifest.options,
        expected=job.state.expected,
        batch_rows=rows,
        batch_bytes=settings.batch_bytes,
        unreadable=unreadable,
    )


@dataclass(slots=True)
class Counts:
    """Of one upload; see ``Outcome``."""

    rows_in: int = 0
    accepted: int = 0
    duplicate: int = 0
    images_in: int = 0
    images_stored: int = 0
    image_bytes_in: int = 0
    image_bytes_stored: int = 0
    rejected_by_rule: dict[str, int] = field(default_factory=dict)


class Preparation:
    """The state of preparing one upload: its rows and the counts.

    Args:
        upload: Whose files are read.
        by: The upload that brings the rows into their table; another one where rows of ``upload``
            come out of the quarantine.
    """

    def __init__(
        self,
        job: Job,
        upload: Upload,
        files: tuple[StagedFile, ...],
        rows: RowSink,
        unreadable: Unreadable,
        *,
        by: Upload | None = None,
    ) -> None:
        self._job = job
        self._upload = upload
        self._by = by or upload
        self._name = job.state.name
        self._is_task = isinstance(job.state.contract, TaskContract)
        self.fitting = Fitting(job.state)
        self.counts = Counts()
        self.files = WholeFiles(files, self._identity())
        self._rows = rows
        self._unreadable = unreadable

    def _identity(self) -> Identity:
        contract = self._job.state.contract
        if not isinstance(contract, TaskContract):
            return by_content
        return partial(annotations_identity, self._upload.files_folder, contract.record_type)

    def run(self) -> None:
        """Read the upload to its end."""
        self.reject(refused_rows(self._upload))
        files, duplicate = self.files.new(lambda: self._job.state.data_files)
        self.counts.rows_in += duplicate
        self.counts.duplicate += duplicate
        for batch in self.annotations(files) if self._is_task else self.deliveries(files):
            self.take(batch)
        self.reject(self.files.unreadable_copies(self._unreadable))
        self.fitting.require_fit()
        self._rows.close()

    # -- batches

    def deliveries(self, files: Sequence[StagedFile]) -> Iterator[SortedBatch]:
        """Yield the batches of a raw delivery with their images looked at."""
        state, contract = self._job.state, self._job.state.contract
        if not isinstance(self._name, DatasetName) or not isinstance(contract, DatasetContract):
            raise FatalError(f"{self._name} is no dataset")
        plan = LookPlan(
            name=self._name,
            policy=contract.images,
            pixel_limit=state.stores.settings.max_image_pixels,
            assets=self._job.assets or state.stores.assets,
            thumbnails=self._job.thumbnails or state.stores.thumbnails,
        )
        batches = _batches(self._job, self._upload, files, self._unreadable)
        for seen in look_at_batches(
            typed_batches(self._counted(batches), state.declared),
            self._job.engine,
            plan=plan,
            known=state.images,
            unusable=state.unusable,
            upload_id=self._by.id,
        ):
            yield sorted_batch(seen)

    def annotations(self, files: Sequence[StagedFile]) -> Iterator[SortedBatch]:
        """Yield the batches of an upload of annotations, checked against its task's contract."""
        with open_annotations(self._job.state, self._upload) as plan:
            batches = plan.batches(files, self._unreadable)
            yield from sorted_annotations(self._counted(batches), plan)

    def _counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        total = 0
        for batch in batches:
            total += batch.rows.num_rows + len(batch.rejected)
            self._job.on_rows(total)
            self.files.count(batch)
            yield batch

    def take(self, batch: SortedBatch) -> None:
        """Sort a batch's rows into accepted, rejected and duplicate, and write them."""
        self.counts.rows_in += batch.row_count
        self._write_images(batch)
        self.counts.images_in += batch.images_in
        self.counts.image_bytes_in += batch.image_bytes_in
        self.reject(batch.rejected, counted=True)
        self._write_rows(batch.rows)

    def reject(self, rejected: tuple[RejectedRow, ...], *, counted: bool = False) -> None:
        """Write rows to the quarantine."""
        if not rejected:
            return
        if not counted:
            self.counts.rows_in += len(rejected)
        by_rule = self.counts.rejected_by_rule
        for row in rejected:
            by_rule[row.rule] = by_rule.get(row.rule, 0) + 1
        upload, now = self._upload, self._job.now
        rows = [quarantine_row(row, upload, now, by=self._by) for row in rejected]
        self._rows.write("quarantine", pa.Table.from_pylist(rows, schema=QUARANTINE.schema))

    def _write_images(self, batch: SortedBatch) -> None:
        manifest = self._upload.manifest
        of_upload = {
            "_upload_id": self._by.id,
            "upload_time": manifest.created_at,
            "tag": ",".join(manifest.tags) or None,
        }
        rows = [image_row(stored, dataset_of(self._name)) | of_upload for stored in batch.stored]
        if rows:
            self._rows.write("images", pa.Table.from_pylist(rows, schema=IMAGES.schema))
        self.counts.images_stored += len(batch.stored)
        self.counts.image_bytes_stored += sum(item.stored_byte_count for item in batch.stored)

    def _write_rows(self, usable: Rows) -> None:
        state, upload_id = self._job.state, self._by.id
        check_unique_columns(usable.table, state.contract)
        fitted, misfits = self.fitting.fit(usable)
        self.reject(misfits, counted=True)
        kept, keyless = split_keyless(fitted, state.contract)
        self.reject(keyless, counted=True)
        if not self._is_task:  # whose table is partitioned by columns of the lake
            check_partition_columns(kept.table, state.partition_by)
        number = self.files.number(kept.file)
        ids = record_ids(
            kept, state.contract, name=self._name, upload_id=self._upload.id, number=number
        )
        rows = lake_rows(kept, ids, state.contract, self._by, now=self._job.now)
        if unique_key(kept, state.contract) is not None:
            is_new = state.records.add_new(ids.to_pylist(), upload_id=upload_id)
            clashes = self._clashes(rows, is_new)
            self.reject(clashing_rows(kept, state.contract, clashes), counted=True)
            self.counts.duplicate += len(is_new) - sum(is_new) - len(clashes)
            self._mark_useful(kept.file, rows.num_rows - len(clashes))
            rows = rows.filter(pa.array(is_new, pa.bool_()))
        self._mark_useful(kept.file, rows.num_rows)
        self.counts.accepted += rows.num_rows
        self.fitting.count(rows)
        self._rows.write("raw", rows)

    def _mark_useful(self, file: str, rows: int) -> None:
        if rows:
            self.files.mark_useful(file)

    def _clashes(self, rows: pa.Table, is_new: list[bool]) -> list[int]:
        """Return the positions of records whose key another record has, which says otherwise."""
        if not self._is_task:  # of a raw row with the key of another the first one counts
            return []
        contents, upload_id = self._job.state.contents, self._by.id
        said = rows["_content"].to_pylist()
        contents.add_new([c if new else None for c, new in zip(said, is_new, strict=True)],
                         upload_id=upload_id)  # fmt: skip
        known = contents.known({c for c, new in zip(said, is_new, strict=True) if not new})
        return [n for n, c in enumerate(said) if not is_new[n] and c not in known]

    # -- the end

    def outcome(self, files: tuple[StagedFile, ...]) -> Outcome:
        """Return the counts."""
        counts = self.counts
        copied = self.files.copied_rows(self._unreadable)
        return Outcome(
            upload_id=self._upload.id,
            run_id=self._job.run_id,
            rows_in=counts.rows_in + copied,
            accepted=counts.accepted,
            rejected=sum(counts.rejected_by_rule.values()),
            duplicate=counts.duplicate + copied,
            images_in=counts.images_in,
            images_stored=counts.images_stored,
            bytes_in=sum(file.byte_count for file in files),
            image_bytes_in=counts.image_bytes_in,
            image_bytes_stored=counts.image_bytes_stored,
            rejected_by_rule=counts.rejected_by_rule,
            data_files=self.files.data_files(self._unreadable),
            schema_changes=self.fitting.changes(),
            beside=self.fitting.beside(),
        )
