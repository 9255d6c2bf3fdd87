"""The rows of the quarantine that one replay tries again, and what becomes of each.

Held by DuckDB, which spills to disk, so that memory does not grow with the quarantine: only the
numbers of the rows of one upload at a time are in it. Invariant: each row has passed, is rejected
again, or is left; and what is noted of rows that are not held changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.errors import LakeError
from lake_assets.ingest.state import DatasetState
from lake_assets.intake.model import RejectedRow, Replay
from lake_assets.intake.readers.image_files import FOLDER
from lake_assets.query.duckdb import LakeSql, batches_of, connect, disk_errors
from lake_assets.storage.system_tables import QUARANTINE

OPEN, REPLAYED = "open", "replayed"
"""States of a row of the quarantine."""
WHOLE = ""
"""Place of a file as a whole."""
_DID_NOT_COME = "it did not come out of its file again"
_MEMORY_LIMIT = "512MB"
_NOTED_AT_ONCE = 5_000
_ROWS_AT_ONCE = 2_000
"""Of the quarantine, whose rows may each be a long document."""

_REASON = pa.schema([(name, pa.string()) for name in ("rule", "path", "expected", "actual")])
_PLACE = pa.schema([(name, pa.string()) for name in ("upload", "file", "place")])


def image_place(name: str) -> str:
    """Return the place of an image in a folder: its number is among others each time."""
    return f"/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where in one upload's files the rows are that are wanted."""

    whole: frozenset[str]
    """Files that were rejected as wholes."""
    numbers: Mapping[str, Any]
    """File → numbers of its rows (``pyarrow.Int64Array``)."""
    images: Any
    """Names of images of a folder (``pyarrow.StringArray``)."""

    @property
    def files(self) -> frozenset[str]:
        """All files in which one is."""
        return self.whole | {*self.numbers} | ({FOLDER} if len(self.images) else frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Became:
    """How many of the rows that were held became what."""

    passed: int
    rejected: Mapping[str, int]
    """Again, by the rule that they break now."""
    left: Mapping[str, int]
    """Not tried, by reason."""

    @property
    def stayed(self) -> dict[str, int]:
        """Those that stay in the quarantine, by rule or reason."""
        return {**self.rejected, **self.left}


class HeldRows:
    """The open rows of a dataset or variant that a replay is about. Close it."""

    def __init__(self, state: DatasetState, wanted: Replay) -> None:
        self._tables = state.stores.tables
        self._own = " AND ".join(f"{key} = '{value}'" for key, value in state.name.own_rows.items())
        self._prune = state.name.own_rows
        scratch = state.stores.layout.scratch
        self._connection = connect(scratch=scratch, memory_limit=_MEMORY_LIMIT)
        self._sql = LakeSql(self._tables, scratch=scratch, connection=self._connection)
        self._came: list[Any] = []
        self._came_rows = 0
        with self._disk():
            self._connection.execute(_TABLES)
        if self._tables.exists(QUARANTINE.name):
            self._hold(wanted)

    def _hold(self, wanted: Replay) -> None:
        said: list[tuple[str, object]] = [
            ("rule =", wanted.rule),
            ("_upload_id =", wanted.upload_id),
            ("rejected_at >=", wanted.since),
        ]
        known = [(text, value) for text, value in said if value is not None]
        texts = [f"{text} ${n}" for n, (text, _) in enumerate(known, start=1)]
        parameters = [value for _, value in known]
        if wanted.ids:
            parameters.append(list(wanted.ids))
            texts.append(f"quarantine_id IN (SELECT unnest(${len(parameters)}))")
        conditions = " AND ".join([self._own, f"state = '{OPEN}'", *texts])
        relation = self._sql.query(
            _HELD.format(conditions=conditions), parameters, prune=self._prune
        )
        with self._disk():
            relation.insert_into("held")

    def uploads(self) -> list[str]:
        """Return the ids of the uploads that brought rows, oldest first."""
        found = self._fetch("SELECT DISTINCT upload FROM held ORDER BY upload")
        return [upload_id for (upload_id,) in found]

    def places(self, upload_id: str) -> Places:
        """Return where the rows of one upload are."""
        with self._disk():
            numbers = self._connection.execute(
                "SELECT file, list(number) FROM held "
                "WHERE upload = ? AND number IS NOT NULL GROUP BY file",
                [upload_id],
            ).to_arrow_table()
            others = self._connection.execute(
                "SELECT file, place FROM held WHERE upload = ? AND number IS NULL", [upload_id]
            ).to_arrow_table()
        is_whole = pc.equal(others["place"], WHOLE)
        names = pc.utf8_slice_codeunits(others.filter(pc.invert(is_whole))["place"], 1)
        return Places(
            whole=frozenset(others.filter(is_whole)["file"].to_pylist()),
            numbers={
                file.as_py(): some.values for file, some in zip(numbers[0], numbers[1], strict=True)
            },
            images=names.cast(pa.string()).combine_chunks(),
        )

    # -- what became of them

    def came_out(self, upload_id: str, file: str, places: Any) -> None:
        """Note that rows came out of their file. One that is rejected later did not pass.

        Args:
            places: ``pyarrow.StringArray``.
        """
        if len(places):
            self._came.append(
                _places_table(upload_id, pa.repeat(pa.scalar(file), len(places)), places)
            )
            self._came_rows += len(places)
        if self._came_rows >= _NOTED_AT_ONCE or len(self._came) >= _NOTED_AT_ONCE:
            self._write_came()

    def _write_came(self) -> None:
        if self._came:
            self._add("came", pa.concat_tables(self._came))
        self._came, self._came_rows = [], 0

    def settle(self, upload_id: str, file: str) -> int:
        """Note that all of a file is accounted for by another delivery; return how many that is."""
        with self._disk():
            self._connection.execute(
                "INSERT INTO came SELECT upload, file, place FROM held "
                "WHERE upload = ? AND file = ?", [upload_id, file],
            )  # fmt: skip
        found = self._fetch(
            "SELECT count(*) FROM held WHERE upload = ? AND file = ?", [upload_id, file]
        )
        return int(found[0][0])

    def reject(self, upload_id: str, rejected: Sequence[tuple[str, str, RejectedRow]]) -> None:
        """Note why rows are rejected again.

        Args:
            rejected: File, place and rejection. At the place ``WHOLE``: of all rows of the file.
        """
        if not rejected:
            return
        files, places, rows = zip(*rejected, strict=True)
        table = _places_table(upload_id, pa.array(files), pa.array(places))
        for field in _REASON:
            reasons = pa.array([getattr(row, field.name) for row in rows], field.type)
            table = table.append_column(field, reasons)
        self._add("again", table)

    def reject_all(self, upload_id: str, *, rule: str, error: LakeError) -> None:
        """Note that an upload as a whole cannot be taken in, and why."""
        with self._disk():
            self._connection.execute(
                "INSERT INTO again SELECT upload, file, place, $2, '', $3, $4 FROM held "
                "WHERE upload = $1", [upload_id, rule, _EXPECTED[rule], error.message],
            )  # fmt: skip

    def leave(self, upload_id: str, why: str) -> None:
        """Note that the rows of an upload cannot be tried."""
        with self._disk():
            self._connection.execute("INSERT INTO not_tried VALUES (?, ?)", [upload_id, why])

    def forget(self) -> None:
        """Forget what became of the rows."""
        self._came, self._came_rows = [], 0
        with self._disk():
            self._connection.execute("DELETE FROM came; DELETE FROM again; DELETE FROM not_tried")

    def _add(self, name: str, rows: Any) -> None:
        with self._disk():
            self._connection.register("more", rows)
            self._connection.execute(f"INSERT INTO {name} FROM more")
            self._connection.unregister("more")

    # -- the end

    def became(self) -> Became:
        """Return what became of all of them. Nothing more may be noted afterwards."""
        self._write_came()
        with self._disk():
            self._connection.execute(_BECAME)
        counts = self._fetch("SELECT status, coalesce(rule, why, ''), count(*) FROM became "
                             "GROUP BY ALL ORDER BY 1, 2")  # fmt: skip
        return Became(
            passed=sum(count for status, _, count in counts if status == "passed"),
            rejected={rule: count for status, rule, count in counts if status == "rejected"},
            left={why: count for status, why, count in counts if status == "left"},
        )

    def marked(self, *, by: str, now: datetime) -> Iterator[Any]:
        """Yield all rows of the quarantine of the dataset or variant, as they are from now on.

        As ``pyarrow.Table``; after ``became``. None at all if none of them has changed.

        Args:
            by: Id of the replay.
            now: Aware UTC.
        """
        if not self._fetch("SELECT 1 FROM became WHERE status != 'left' LIMIT 1"):
            return
        # No parameters: with some, DuckDB keeps the whole result in memory.
        marked = _MARKED.format(own=self._own, by=by, now=now.isoformat())
        relation = self._sql.query(marked, prune=self._prune)
        schema = QUARANTINE.schema
        for batch in batches_of(relation, _ROWS_AT_ONCE, warehouse=self._tables.warehouse):
            yield pa.Table.from_batches([batch]).select(schema.names).cast(schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def _fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._disk():
            return list(self._connection.execute(sql, parameters).fetchall())

    def _disk(self) -> AbstractContextManager[None]:
        return disk_errors(self._tables.warehouse)


def _places_table(upload_id: str, files: Any, places: Any) -> Any:
    upload = pa.repeat(pa.scalar(upload_id), len(places))
    return pa.table([upload, files, places], schema=_PLACE)


_EXPECTED = {
    "metadata_meets_the_contract": "metadata that the task's contract allows",
    "upload_fits_its_table": "rows that its table and contract can take",
    "upload_is_readable": "an upload that can be read",
}
_TABLES = """
CREATE TABLE held (id VARCHAR, upload VARCHAR, file VARCHAR, place VARCHAR, number BIGINT);
CREATE TABLE came (upload VARCHAR, file VARCHAR, place VARCHAR);
CREATE TABLE again (upload VARCHAR, file VARCHAR, place VARCHAR,
                    rule VARCHAR, path VARCHAR, expected VARCHAR, actual VARCHAR);
CREATE TABLE not_tried (upload VARCHAR, why VARCHAR)
"""
_HELD = f"""
SELECT quarantine_id, _upload_id, file,
       CASE WHEN row IS NULL THEN '{WHOLE}' WHEN image IS NULL THEN row::VARCHAR
            ELSE '/' || image END,
       CASE WHEN image IS NULL THEN row END
FROM (SELECT *, CASE WHEN file = '{FOLDER}' AND row IS NOT NULL
                     THEN json_extract_string(row_json, '$.file_name') END AS image
      FROM {QUARANTINE.name} WHERE {{conditions}})
"""
_BECAME = f"""
CREATE TABLE became AS
WITH reasons AS (
    SELECT upload, file, place, arg_min({{rule: rule, path: path, expected: expected,
                                          actual: actual}}, rowid) AS reason
    FROM again GROUP BY ALL
), places AS (SELECT DISTINCT upload, file, place FROM came),
left_out AS (SELECT upload, any_value(why) AS why FROM not_tried GROUP BY upload),
joined AS (
    SELECT held.id, coalesce(own.reason, of_file.reason) AS reason, left_out.why,
           places.upload IS NOT NULL AS came
    FROM held
    LEFT JOIN reasons AS own USING (upload, file, place)
    LEFT JOIN reasons AS of_file
        ON of_file.upload = held.upload AND of_file.file = held.file AND of_file.place = '{WHOLE}'
    LEFT JOIN places USING (upload, file, place)
    LEFT JOIN left_out USING (upload)
)
SELECT id, CASE WHEN why IS NOT NULL THEN 'left' WHEN reason IS NOT NULL THEN 'rejected'
                WHEN came THEN 'passed' ELSE 'left' END AS status,
       reason.rule, reason.path, reason.expected, reason.actual,
       CASE WHEN reason IS NULL AND (why IS NOT NULL OR NOT came)
            THEN coalesce(why, '{_DID_NOT_COME}') END AS why
FROM joined
"""
_MARKED = f"""
SELECT q.* REPLACE (
    CASE became.status WHEN 'passed' THEN '{REPLAYED}' ELSE q.state END AS state,
    CASE became.status WHEN 'passed' THEN '{{by}}' ELSE q.replayed_by END AS replayed_by,
    CASE WHEN became.status IN ('passed', 'rejected')
         THEN TIMESTAMPTZ '{{now}}' ELSE q.replayed_at END AS replayed_at,
    CASE became.status WHEN 'rejected' THEN became.rule ELSE q.rule END AS rule,
    CASE became.status WHEN 'rejected' THEN became.path ELSE q.path END AS path,
    CASE became.status WHEN 'rejected' THEN became.expected ELSE q.expected END AS expected,
    CASE became.status WHEN 'rejected' THEN became.actual ELSE q.actual END AS actual
)
FROM {QUARANTINE.name} AS q LEFT JOIN became ON became.id = q.quarantine_id
WHERE {{own}}
"""
