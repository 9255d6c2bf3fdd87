"""A real lake, worked on by commands in processes of their own, and what it comes to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pyiceberg.catalog.sql import SqlCatalog

from lake_assets.intake.uploads import State
from lake_assets.lake import Lake

_TICK_S = 0.01
_PER_RUN = frozenset(
    "_upload_id upload_id last_upload_id quarantine_id _ingested_at upload_time created_at "
    "finished_at changed_at last_ingested_at rejected_at rejected_by replayed_at replayed_by "
    "seconds run_id source created_by table_bytes".split()
)
"""Columns that differ between two lakes that were given the same; table_bytes, because ids do."""


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def lake(home: Path, *words: str, timeout_s: float = 120) -> Answer:
    """Run ``lake --home HOME WORDS`` to its end."""
    done = subprocess.run(
        command(home, *words),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def ok(home: Path, *words: str) -> Answer:
    """Run a command that must succeed."""
    answer = lake(home, *words)
    assert answer.code == 0, f"{words}: {answer.code}\n{answer.out}\n{answer.err}"
    return answer


def command(home: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "lake_assets.cli.main", "--home", str(home), *words]


def environment() -> dict[str, str]:
    """Return the environment without what would change a lake."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LAKE_")}
    return {key: value for key, value in kept.items() if not key.startswith("DAGSTER_")}


@contextlib.contextmanager
def started(home: Path, *words: str, output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command as the leader of its own process group, of which nothing stays behind."""
    process = subprocess.Popen(
        command(home, *words),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started, at once and without a word."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)


def comes_true(
    condition: Callable[[], object], process: subprocess.Popen[bytes], *, deadline_s: float = 60
) -> bool:
    """Return True as soon as ``condition`` is, False if ``process`` ends before that."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        if condition():
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_TICK_S)
            return bool(condition())
    raise AssertionError(f"not within {deadline_s} s, and the process still runs")


def count_files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


# -- what a lake comes to


@dataclass(frozen=True)
class Contents:
    """What people can see of a lake, without what differs between two lakes given the same."""

    rows: dict[str, Counter[str]]
    """Rows of each table, as JSON."""
    blobs: dict[str, str]
    """SHA-256 of each stored image and thumbnail, by its place."""
    uploads: Counter[str]
    """Uploads per state."""


def contents(home: Path) -> Contents:
    with Lake.open(home) as opened:
        tables = opened.stores.tables
        rows = {name: _plain_rows(tables.read(name)) for name in tables.names()}
        uploads = Counter(str(upload.state) for upload in opened.uploads())
    blobs = {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in (home / "assets", home / "thumbnails")
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".draft-")
    }
    return Contents(rows=rows, blobs=blobs, uploads=uploads)


def failed_checks(home: Path) -> list[str]:
    """Return the blocking checks that do not pass, each with what it says."""
    with Lake.open(home) as opened:
        return [
            f"{check.name} of {name}: {result.summary}"
            for name, check, result in opened.check()
            if check.blocking and not result.passed
        ]


def leftovers(home: Path) -> list[str]:
    """Return what a finished lake must not have: files that nothing names, uploads under way.

    A draft in a store of images, or a part of the catalog, of which ``kill -9`` kept the last step
    from being made is a file more, which nobody reads; no command has to look for them.
    """
    found = [*(home / "staging" / State.PROCESSING).iterdir()]
    found += (home / "staging").rglob(".draft-*")
    found += [
        path
        for path in (home / "tmp").rglob("*")
        if path.is_file() and "plans" not in path.parts  # which are kept for the next command
    ]
    found += [path for path in orphan_parts(home) if "partitions" not in path.parts]
    return sorted(str(path.relative_to(home)) for path in found)


def orphan_parts(home: Path) -> list[Path]:
    """Return the data files that no snapshot of their table names."""
    named = _data_files_of_snapshots(home)
    return [path for path in home.glob("tables/*/*/data/**/*.parquet") if str(path) not in named]


def _data_files_of_snapshots(home: Path) -> set[str]:
    catalog = SqlCatalog("lake", uri=f"sqlite:///{home}/catalog.db", warehouse=str(home / "tables"))
    try:
        return {
            entry.data_file.file_path.removeprefix("file://")
            for namespace in catalog.list_namespaces()
            for name in catalog.list_tables(namespace)
            for table in [catalog.load_table(name)]
            for snapshot in table.metadata.snapshots
            for manifest in snapshot.manifests(table.io)
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
        }
    finally:
        catalog.close()


def _plain_rows(table: Any) -> Counter[str]:
    kept = table.select([name for name in table.column_names if name not in _PER_RUN])
    return Counter(json.dumps(_in_any_order(row), default=str) for row in kept.to_pylist())


def _in_any_order(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without the order of its columns, and of those that one of the catalog names.

    An upload over which a process died comes after the others, and so do the columns it brings.
    """
    if "columns" in row:
        row["columns"] = sorted(row["columns"])
    return dict(sorted(row.items()))
