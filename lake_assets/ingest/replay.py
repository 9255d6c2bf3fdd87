"""Rows of the quarantine once more: those that pass by now go into their table, once.

A replay is an upload without files. Its rows are read again from the files of the uploads that
brought them, on the same way as at first, so that images, types and rules are what they are now.
Invariants: a row that is taken in is marked as replayed in the same group of commits, and its
record id is the one that it would have had; a row that is rejected again stays, with its new
reason; rows in = accepted + duplicate, as those that stay are counted where they were rejected.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from lake_assets.errors import (
    InvalidMetadata,
    UnknownUpload,
    UnreadableSource,
    UnsupportedFormat,
)
from lake_assets.ingest.model import DataFile, Outcome, PreparedUpload
from lake_assets.ingest.parts import RowSink
from lake_assets.ingest.rows import Job, Preparation
from lake_assets.ingest.state import DatasetState
from lake_assets.intake.model import Batch, RejectedRow, Replay, StagedFile
from lake_assets.intake.readers import Unreadable
from lake_assets.intake.readers.image_files import FOLDER
from lake_assets.intake.uploads import State, Upload
from lake_assets.query.duckdb import LakeSql, batches_of
from lake_assets.storage.system_tables import QUARANTINE, UPLOADS

_ROWS_AT_ONCE = 10_000
OPEN, REPLAYED = "open", "replayed"
"""States of a row of the quarantine."""

Place = tuple[str, int | str | None]
"""File and number of a row; of a folder's images their name; None: the file as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A row of the quarantine that is to be tried again."""

    id: str
    upload_id: str
    place: Place
    rule: str


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What became of the rows that were tried again, by ``quarantine_id``."""

    passed: dict[str, Held] = field(default_factory=dict)
    rejected: dict[str, RejectedRow] = field(default_factory=dict)
    """Again, and why now."""
    left: dict[str, str] = field(default_factory=dict)
    """Not tried, and why."""


def prepare_replay(job: Job, upload: Upload, rows: RowSink) -> PreparedUpload:
    """Try rows of the quarantine again, write into ``rows`` those that pass, and mark them.

    Raises:
        LakeError: as ``prepare_upload``, of none of which anything is kept.
    """
    started = time.monotonic()
    wanted = upload.manifest.replays
    state = job.state
    if wanted is None or state.is_empty:  # a rebuild reads what was delivered; this brought nothing
        return PreparedUpload(
            upload=upload, outcome=Outcome(upload_id=upload.id, run_id=job.run_id)
        )
    outcome, replayed = try_again(job, upload, wanted, rows)
    for table in _marked(state, upload, replayed, job.now):
        rows.write("quarantine", table)
    rows.close()
    seconds = round(time.monotonic() - started, 3)
    return PreparedUpload(upload=upload, outcome=replace(outcome, seconds=seconds))


def try_again(job: Job, upload: Upload, wanted: Replay, rows: RowSink) -> tuple[Outcome, Replayed]:
    """Read rows of the quarantine again, write into ``rows`` those that pass, and say which.

    Args:
        upload: The replay.
    """
    skipped: dict[str, Unreadable] = defaultdict(dict)
    while True:
        attempt = _Attempt(job, upload, rows, skipped)
        try:
            return attempt.run(wanted)
        except (UnreadableSource, UnsupportedFormat) as error:
            # Rows of a file came out before its damage was met: begin again without it.
            name = str(error.context.get("file", ""))
            origin = attempt.origin
            if origin is None or name in skipped[origin.id] or not _has(origin, name):
                raise
            skipped[origin.id][name] = error
            job.state.forget(upload.id)
            rows.begin_anew()


def held_rows(state: DatasetState, wanted: Replay) -> list[Held]:
    """Return the open rows of a dataset or variant that a replay is about."""
    if not state.stores.tables.exists(QUARANTINE.name):
        return []
    conditions = [_own(state), f"state = '{OPEN}'"]
    parameters: list[object] = []
    if wanted.rule is not None:
        parameters.append(wanted.rule)
        conditions.append(f"rule = ${len(parameters)}")
    if wanted.ids:
        parameters.append(list(wanted.ids))
        conditions.append(f"quarantine_id IN (SELECT unnest(${len(parameters)}))")
    relation = _sql(state).query(
        f"""SELECT quarantine_id, _upload_id, file, row, rule,
                   CASE WHEN file = '{FOLDER}' THEN row_json END
            FROM {QUARANTINE.name} WHERE {" AND ".join(conditions)}""",
        parameters,
        prune=state.name.own_rows,
    )
    return [
        Held(id=key, upload_id=upload_id, place=_place(file, row, row_json), rule=rule)
        for key, upload_id, file, row, rule, row_json in relation.fetchall()
    ]


def _place(file: str, row: int | None, row_json: str | None) -> Place:
    if file != FOLDER or row is None or row_json is None:
        return file, row
    # Numbered among the images that no table named, which may be others by now.
    return file, str(json.loads(row_json).get("file_name"))


class _Attempt:
    """All uploads that brought rows of one replay, read again."""

    def __init__(
        self, job: Job, upload: Upload, rows: RowSink, skipped: Mapping[str, Unreadable]
    ) -> None:
        self._job = job
        self._upload = upload
        self._rows = rows
        self._skipped = skipped
        self._replayed = Replayed()
        self._outcome = Outcome(upload_id=upload.id, run_id=job.run_id)
        self.origin: Upload | None = None
        """The upload that is being read."""

    def run(self, wanted: Replay) -> tuple[Outcome, Replayed]:
        by_upload: dict[str, list[Held]] = defaultdict(list)
        for held in held_rows(self._job.state, wanted):
            by_upload[held.upload_id].append(held)
        for upload_id, some in sorted(by_upload.items()):
            self._try_upload(upload_id, some)
        return self._outcome, self._replayed

    def _try_upload(self, upload_id: str, some: Sequence[Held]) -> None:
        origin = self.origin = _find(self._job.state, upload_id)
        if origin is None:
            why = "the files that it came with are no longer in staging/done"
            self._replayed.left.update({held.id: why for held in some})
            return
        later = _delivered_otherwise(self._job.state, upload_id)
        reading = _Reading(
            self._job, origin, origin.files(), self._rows, self._skipped[upload_id],
            by=self._upload, wanted=some,
        )  # fmt: skip
        try:
            reading.run_again(later)
        except InvalidMetadata as error:
            reading.reject_all(error)
        reading.settle(self._replayed)
        self._add(reading)

    def _add(self, reading: _Reading) -> None:
        before, more = self._outcome, reading.outcome(())
        names = ("accepted", "duplicate", "images_in", "images_stored", "image_bytes_in",
                 "image_bytes_stored")  # fmt: skip
        sums = {name: getattr(before, name) + getattr(more, name) for name in names}
        self._outcome = replace(
            before,
            **sums,
            rows_in=sums["accepted"] + sums["duplicate"],
            data_files=(*before.data_files, *reading.new_files()),
            schema_changes=(*before.schema_changes, *more.schema_changes),
        )
        self._job.state.remember(reading.fitting.written, self._outcome.data_files)


class _Reading(Preparation):
    """One upload, of whose rows only some are looked at."""

    def __init__(
        self,
        job: Job,
        upload: Upload,
        files: tuple[StagedFile, ...],
        rows: RowSink,
        unreadable: Unreadable,
        *,
        by: Upload,
        wanted: Sequence[Held],
    ) -> None:
        super().__init__(job, upload, files, rows, unreadable, by=by)
        self._wanted: dict[Place, list[Held]] = defaultdict(list)
        for held in wanted:
            self._wanted[held.place].append(held)
        self._read: set[Place] = set()
        """Of the places that are wanted, those that came out."""
        self._again: dict[Place, RejectedRow] = {}
        self._before = frozenset(job.state.data_files)

    def run_again(self, delivered_otherwise: frozenset[str]) -> None:
        """Read the upload to its end.

        Args:
            delivered_otherwise: Identities of files that another upload brought since: what was
                rejected of them here is in the table, or in the quarantine, by that one.
        """
        files = []
        for file in self.files.files:
            if self.files.identity(file) in delivered_otherwise:
                places = [place for place in self._wanted if place[0] == file.name]
                self._read.update(places)
                self.counts.duplicate += len(places)
            else:
                files.append(file)
        for batch in self.annotations(files) if self._is_task else self.deliveries(files):
            self.take(batch)
        self.fitting.require_fit()

    def reject(self, rejected: tuple[RejectedRow, ...], *, counted: bool = False) -> None:
        """Take in that rows are rejected again."""
        for row in rejected:
            place = _place(row.file, row.row, row.row_json)
            for known in (place, (row.file, None)):
                if known in self._wanted:
                    self._read.add(known)
                    self._again.setdefault(known, row)

    def reject_all(self, error: InvalidMetadata) -> None:
        """Take in that the upload as a whole breaks its task's contract by now."""
        for place in self._wanted:
            self._read.add(place)
            self._again[place] = RejectedRow(
                file=place[0], row=None, rule="metadata_meets_the_contract",
                expected="metadata that the task allows", actual=error.message, row_json="",
            )  # fmt: skip

    def settle(self, replayed: Replayed) -> None:
        """Tell what became of the rows that were wanted."""
        for place, some in self._wanted.items():
            for held in some:
                if place in self._again:
                    replayed.rejected[held.id] = self._again[place]
                elif place in self._read:
                    replayed.passed[held.id] = held
                else:
                    replayed.left[held.id] = "it did not come out of its file again"

    def new_files(self) -> tuple[DataFile, ...]:
        """Return files of which no row was in the table before, and some are now.

        If they are delivered again, their rows are duplicates.
        """
        found = self.files.data_files(self._unreadable)
        return tuple(file for file in found if file.sha256 not in self._before)

    def _counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in super()._counted(batches):
            some = self._picked(batch)
            if some.rows.num_rows or some.rejected:
                yield some

    def _picked(self, batch: Batch) -> Batch:
        """Return the rows of a batch that are wanted."""
        whole = (batch.file, None) in self._wanted
        numbers = batch.row_numbers.to_pylist()
        keys: Sequence[int | str] = numbers
        if batch.file == FOLDER and "file_name" in batch.rows.column_names:
            keys = batch.rows["file_name"].to_pylist()
        kept = [n for n, key in enumerate(keys) if whole or (batch.file, key) in self._wanted]
        self._read |= {(batch.file, None)} if whole else {(batch.file, keys[n]) for n in kept}
        positions = pa.array(kept, pa.int64())
        mask = pa.array([n in set(kept) for n in range(len(numbers))], pa.bool_())
        images = batch.images
        return replace(
            batch,
            # Not `Table.take`, which forgets how many rows a table without columns has.
            rows=batch.rows.filter(mask),
            row_numbers=batch.row_numbers.take(positions),
            images=None if images is None else tuple(images[n] for n in kept),
        )


def _find(state: DatasetState, upload_id: str) -> Upload | None:
    try:
        found = state.stores.staging.find(upload_id)
    except UnknownUpload:
        return None
    return found if found.state is State.DONE else None


def _has(upload: Upload, name: str) -> bool:
    return any(file.name == name for file in upload.files())


def _delivered_otherwise(state: DatasetState, upload_id: str) -> frozenset[str]:
    """Return the identities of files that other deliveries brought."""
    rows = _sql(state).rows(
        UPLOADS.name,
        f"""SELECT DISTINCT file.sha256 FROM (
                SELECT unnest(data_files) AS file FROM {{table}}
                WHERE {_own(state)} AND upload_id != $1 AND coalesce(kind, '') != 'replay')""",
        (upload_id,),
        prune=state.name.own_rows,
    )
    return frozenset(sha for (sha,) in rows)


def _own(state: DatasetState) -> str:
    return " AND ".join(f"{key} = '{value}'" for key, value in state.name.own_rows.items())


def _sql(state: DatasetState) -> LakeSql:
    return LakeSql(state.stores.tables, scratch=state.stores.layout.scratch)


def _marked(
    state: DatasetState, upload: Upload, replayed: Replayed, now: datetime
) -> Iterator[Any]:
    """Yield all rows of the quarantine of a dataset or variant, as they are from now on."""
    if not state.stores.tables.exists(QUARANTINE.name):
        return
    relation = _sql(state).query(
        f"SELECT * FROM {QUARANTINE.name} WHERE {_own(state)}", prune=state.name.own_rows
    )
    schema = QUARANTINE.schema
    for batch in batches_of(relation, _ROWS_AT_ONCE, warehouse=state.stores.tables.warehouse):
        rows = [_mark(row, upload, replayed, now) for row in batch.to_pylist()]
        yield pa.Table.from_pylist(rows, schema=schema)


def _mark(row: dict[str, Any], upload: Upload, replayed: Replayed, now: datetime) -> dict[str, Any]:
    key = row["quarantine_id"]
    if key in replayed.passed:
        return row | {"state": REPLAYED, "replayed_by": upload.id, "replayed_at": now}
    again = replayed.rejected.get(key)
    if again is None:
        return row
    reason = {name: getattr(again, name) for name in ("rule", "path", "expected", "actual")}
    return row | reason | {"replayed_at": now}
