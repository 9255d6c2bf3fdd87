"""Rows of the quarantine once more: those that pass by now go into their table, once.

A replay is an upload without files. Its rows are read again from the files of the uploads that
brought them. Invariants: a row that is taken in is marked as replayed in the same group of commits,
and its record id is the one that it would have had; a row that is rejected again stays, with its
new reason, and is counted where it was rejected first; what a replay itself counts as rejected are
rows of files that could not be read before, so rows in = accepted + rejected + duplicate.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace

from lake_assets.contracts.beside import added_up
from lake_assets.errors import (
    FatalError,
    InvalidManifest,
    InvalidMetadata,
    InvalidRequest,
    LakeError,
    SchemaMismatch,
    UnknownUpload,
    UnreadableSource,
    UnsupportedFormat,
)
from lake_assets.ingest.held import HeldRows
from lake_assets.ingest.model import Outcome, PreparedUpload
from lake_assets.ingest.parts import RowSink
from lake_assets.ingest.reread import Rereading, named_after
from lake_assets.ingest.rows import Job
from lake_assets.ingest.state import DatasetState
from lake_assets.intake.readers import Unreadable
from lake_assets.intake.uploads import State, Upload
from lake_assets.query.duckdb import LakeSql
from lake_assets.storage.system_tables import UPLOADS

_OF_ONE_UPLOAD = (InvalidManifest, InvalidMetadata, InvalidRequest, SchemaMismatch,
                  UnreadableSource, UnsupportedFormat)  # fmt: skip
"""What says that an upload cannot be taken in as it is: it keeps no other's rows out."""
_SUMS = ("accepted", "rejected", "duplicate", "images_in", "images_stored", "image_bytes_in",
         "image_bytes_stored")  # fmt: skip


def prepare_replay(job: Job, upload: Upload, rows: RowSink) -> PreparedUpload:
    """Try rows of the quarantine again, write into ``rows`` those that pass, and mark them.

    Raises:
        LakeError: and then nothing of it is kept.
    """
    started = time.monotonic()
    wanted = upload.manifest.replays
    state = job.state
    if wanted is None or state.is_empty:  # a rebuild reads what was delivered; this brought nothing
        return PreparedUpload(
            upload=upload, outcome=Outcome(upload_id=upload.id, run_id=job.run_id)
        )
    with HeldRows(state, wanted) as held:
        outcome = try_again(job, upload, held, rows)
        outcome = replace(outcome, stayed=held.became().stayed)
        for table in held.marked(by=upload.id, now=job.now):
            rows.write("quarantine", table)
    rows.close()
    state.remember(state.own_columns, outcome.data_files)
    seconds = round(time.monotonic() - started, 3)
    return PreparedUpload(upload=upload, outcome=replace(outcome, seconds=seconds))


def try_again(job: Job, upload: Upload, held: HeldRows, rows: RowSink) -> Outcome:
    """Read rows of the quarantine again, write into ``rows`` those that pass, and count them.

    What becomes of each of them is noted in ``held``. An upload that cannot be taken in as a whole
    leaves its rows where they are, and those of others go on.

    Args:
        upload: The replay.

    Raises:
        LakeError: what is no fault of an upload that brought rows.
    """
    state = job.state
    columns = state.own_columns, state.table_columns
    known = _Known()
    while True:
        attempt = _Attempt(job, upload, held, rows, known)
        try:
            return attempt.run()
        except _OF_ONE_UPLOAD as error:
            # Rows of the upload, or of others that came after, are written: begin again.
            if attempt.origin is None or not known.learn(attempt.origin, error):
                raise
        state.forget(upload.id)
        state.own_columns, state.table_columns = columns
        rows.begin_anew()
        held.forget()


class _Known:
    """What earlier attempts found out about the uploads."""

    def __init__(self) -> None:
        self.unreadable: dict[str, Unreadable] = defaultdict(dict)
        """Upload → its files that cannot be read."""
        self.refused: dict[str, FatalError] = {}
        """Upload → why it cannot be taken in as a whole."""

    def learn(self, origin: Upload, error: FatalError) -> bool:
        """Take in what was met in ``origin``; return False if that was known."""
        name = str(error.context.get("file", ""))
        unreadable = self.unreadable[origin.id]
        if isinstance(error, UnreadableSource | UnsupportedFormat):
            if name not in unreadable and _has(origin, name):
                unreadable[name] = error
                return True
        is_new = origin.id not in self.refused
        self.refused.setdefault(origin.id, error)
        return is_new


class _Attempt:
    """All uploads that brought rows of one replay, read again."""

    def __init__(
        self, job: Job, upload: Upload, held: HeldRows, rows: RowSink, known: _Known
    ) -> None:
        self._job = job
        self._upload = upload
        self._held = held
        self._rows = rows
        self._known = known
        self._outcome = Outcome(upload_id=upload.id, run_id=job.run_id)
        self._rows_read = 0
        self.origin: Upload | None = None
        """The upload that is being read."""

    def run(self) -> Outcome:
        for upload_id in self._held.uploads():
            self.origin = self._find(upload_id)
            error = self._known.refused.get(upload_id)
            if error is not None:
                self._held.reject_all(upload_id, rule=_rule(error), error=error)
            elif self.origin is not None:
                self._read(self.origin)
        return self._outcome

    def _find(self, upload_id: str) -> Upload | None:
        """Return the upload, or None if its rows are left where they are."""
        found: Upload | None = None
        try:
            found = self._job.state.stores.staging.find(upload_id)
            why = _is_gone(found)
        except UnknownUpload:
            why = "the upload that it came with is no longer in staging/done"
        except InvalidManifest as error:
            why = error.message
        if why is not None:
            self._held.leave(upload_id, why)
        return found if why is None else None

    def _read(self, origin: Upload) -> None:
        state = self._job.state
        unreadable = self._known.unreadable[origin.id]
        job = replace(self._job, on_rows=self._counter())
        reading = Rereading(job, origin, self._rows, unreadable, by=self._upload, held=self._held)
        brought = _delivered_files(state, but_of=origin.id) | {
            file.sha256
            for file in self._outcome.data_files
            if not file.name.startswith(named_after(origin.id, ""))
        }
        reading.run_again(brought)
        self._add(reading)

    def _add(self, reading: Rereading) -> None:
        before, more = self._outcome, reading.outcome(())
        known = {*self._job.state.data_files, *(file.sha256 for file in before.data_files)}
        sums = {name: getattr(before, name) + getattr(more, name) for name in _SUMS}
        # Not the rows that its copies of files have: nobody asked for them.
        sums["duplicate"] = before.duplicate + reading.counts.duplicate
        self._outcome = replace(
            before,
            **sums,
            rows_in=sums["accepted"] + sums["rejected"] + sums["duplicate"],
            rejected_by_rule=dict(
                Counter(before.rejected_by_rule) + Counter(more.rejected_by_rule)
            ),
            data_files=(*before.data_files, *reading.new_files(frozenset(known))),
            schema_changes=(*before.schema_changes, *more.schema_changes),
            beside=added_up(before.beside, more.beside),
        )
        self._job.state.remember(reading.fitting.written, ())

    def _counter(self) -> Callable[[int], None]:
        before = self._rows_read

        def on_rows(rows: int) -> None:
            self._rows_read = before + rows
            self._job.on_rows(self._rows_read)

        return on_rows


def _rule(error: LakeError) -> str:
    if isinstance(error, InvalidMetadata):
        return "metadata_meets_the_contract"
    return "upload_fits_its_table" if isinstance(error, SchemaMismatch) else "upload_is_readable"


def _has(upload: Upload, name: str) -> bool:
    return any(file.name == name for file in upload.files())


def _is_gone(upload: Upload) -> str | None:
    """Return why an upload cannot be read again, or None."""
    if upload.state is not State.DONE:
        return f"the upload that it came with is {upload.state}"
    folder = upload.files_folder
    gone = next((file.name for file in upload.files() if not (folder / file.name).exists()), None)
    return gone and f"{gone}, which came with it, is no longer in staging/done"


def _delivered_files(state: DatasetState, *, but_of: str) -> frozenset[str]:
    """Return the identities of files of which rows are there that another upload brought.

    Args:
        but_of: Id of that upload. What replays took from it came from there.
    """
    if not state.stores.tables.exists(UPLOADS.name):
        return frozenset()
    own = " AND ".join(f"{key} = '{value}'" for key, value in state.name.own_rows.items())
    rows = LakeSql(state.stores.tables, scratch=state.stores.layout.scratch).rows(
        UPLOADS.name,
        f"""SELECT DISTINCT file.sha256
            FROM (SELECT upload_id, kind, unnest(data_files) AS file FROM {{table}} WHERE {own})
            WHERE CASE kind WHEN 'replay' THEN NOT starts_with(file.name, $1)
                  ELSE upload_id != $2 END""",
        (named_after(but_of, ""), but_of),
        prune=state.name.own_rows,
    )
    return frozenset(sha for (sha,) in rows)
