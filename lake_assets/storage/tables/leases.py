"""Leases: which process works on a dataset, kept in the catalog's database.

Every holder gets a token, greater than all before it. Commits name their lease, and the catalog
looks at the token in the very transaction that changes a table: a process that was frozen, lost
its lease meanwhile and wakes up can therefore not commit (Kleppmann, "How to do distributed
locking", 2016: fencing). Invariant: of all processes, at most the last one to get a lease commits.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from lake_assets.errors import DatasetBusy, LeaseLost, StorageUnavailable
from lake_assets.storage.processes import is_dead, signature
from lake_assets.storage.tables.model import Lease, LeaseFacts
from lake_assets.storage.tables.trouble import table_errors

_POLL_S = 0.05
_BEATS_PER_TIMEOUT = 6
_FREE = ""
_ENDED_BADLY = -1
"""In the place of rows read: an error ended the holder's work, so it may have left files."""

_log = logging.getLogger(__name__)

_MAKE = """
CREATE TABLE IF NOT EXISTS lake_leases (
    name VARCHAR(255) PRIMARY KEY, token BIGINT NOT NULL, holder TEXT NOT NULL,
    heartbeat_at DOUBLE PRECISION NOT NULL, run_id TEXT NOT NULL,
    upload_id TEXT NOT NULL, rows_read BIGINT NOT NULL, left_tokens TEXT NOT NULL DEFAULT ''
)"""
_GROW = "ALTER TABLE lake_leases ADD COLUMN left_tokens TEXT NOT NULL DEFAULT ''"
"""Catalogs of earlier versions lack it."""
_COLUMNS = "token, holder, heartbeat_at, run_id, upload_id, rows_read, left_tokens"


class Leases:
    """The leases of one lake.

    Args:
        engine: Gives the catalog's database, once it is needed.
        timeout_s: A holder whose heartbeat is older is taken for dead. One that ran on this host
            and has ended is found to be dead at once.
    """

    def __init__(self, engine: Callable[[], Engine], *, timeout_s: float) -> None:
        self._engine = engine
        self._timeout_s = timeout_s
        self._held: dict[str, Lease] = {}
        self._guard = threading.Lock()
        self._heart: threading.Thread | None = None
        self._stop = threading.Event()

    @contextmanager
    def hold(
        self,
        name: str,
        *,
        wait_s: float,
        run_id: str = "",
        on_wait: Callable[[], None] | None = None,
    ) -> Iterator[Lease]:
        """Hold the lease of ``name`` for the duration of the block.

        Args:
            wait_s: How long to wait for another holder, in seconds; 0: not at all.
            run_id: Shown to others.
            on_wait: Called once when another process holds it.

        Raises:
            DatasetBusy: when the other holder kept it for ``wait_s``.
            StorageUnavailable: when the catalog cannot be used.
        """
        lease = self._wait_for(name, wait_s=wait_s, run_id=run_id, on_wait=on_wait)
        self._begin_beating(lease)
        is_clean = False
        try:
            yield lease
            is_clean = True
        finally:
            self._end_beating(lease)
            try:
                self._release(lease, is_clean=is_clean)
            except StorageUnavailable as error:  # what happened in the block matters more
                _log.warning(
                    "%s stays taken until this process ends, or for %.0f s: %s",
                    name, self._timeout_s, error.message,
                )  # fmt: skip

    def renew(self, lease: Lease) -> None:
        """Give a held lease its next token.

        Raises:
            LeaseLost.
        """
        with self._transaction() as connection:
            changed = connection.execute(
                text("UPDATE lake_leases SET token = token + 1 WHERE name = :n AND token = :t"),
                {"n": lease.name, "t": lease.token},
            )
            if changed.rowcount != 1:
                raise lease_lost(lease)
        lease.token += 1

    def require(self, lease: Lease) -> None:
        """Raise unless the lease is still held.

        Raises:
            LeaseLost.
        """
        with self._transaction() as connection:
            require_lease(connection, lease)

    def look(self, name: str) -> LeaseFacts:
        """Return what is known of a lease; one that nobody ever held is free."""
        with self._transaction() as connection:
            return self._facts(_row(connection, name))

    def look_at_all(self) -> dict[str, LeaseFacts]:
        """Return what is known of every lease that was ever held, by name."""
        with self._transaction() as connection:
            rows = _select(connection, f"SELECT name, {_COLUMNS} FROM lake_leases")
        return {row[0]: self._facts(tuple(row[1:])) for row in rows}

    def left(self) -> tuple[str, ...]:
        """Return the names whose holder is gone and did not give the lease back.

        There may be files of it that no table names.
        """
        facts = self.look_at_all()
        return tuple(name for name in facts if facts[name].holder and not facts[name].is_held)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with table_errors(), self._engine().begin() as connection:
            yield connection

    # -- getting and giving back

    def _wait_for(
        self, name: str, *, wait_s: float, run_id: str, on_wait: Callable[[], None] | None
    ) -> Lease:
        deadline = time.monotonic() + wait_s
        told = False
        watch = _Watch(self._timeout_s)
        while True:
            lease = self._try_to_take(name, run_id, watch)
            if lease is not None:
                return lease
            if time.monotonic() >= deadline:
                raise DatasetBusy(
                    f"another process is working on {name}; try again when it is done", what=name
                )
            if on_wait and not told:
                on_wait()
                told = True
            time.sleep(_POLL_S)

    def _try_to_take(self, name: str, run_id: str, watch: _Watch) -> Lease | None:
        with self._transaction() as connection:
            row = _row(connection, name)
            if row is None:
                _add_row(connection, name)
                row = _row(connection, name)
            if row is None or (self._is_held(row) and not watch.stands_still(row)):
                return None
            seen, holder = int(row[0]), str(row[1])
            left = tuple(int(token) for token in row[6].split(",") if token)
            if holder != _FREE or row[5] == _ENDED_BADLY:
                left = (*left, seen)
            taken = connection.execute(
                text(
                    "UPDATE lake_leases SET token = :new, holder = :me, heartbeat_at = :now, "
                    "run_id = :run, upload_id = '', rows_read = 0, left_tokens = :left "
                    "WHERE name = :n AND token = :seen AND holder = :holder"
                ),
                {"new": seen + 1, "me": json.dumps(signature()), "now": time.time(),
                 "run": run_id, "n": name, "seen": seen, "holder": holder,
                 "left": ",".join(map(str, left))},
            )  # fmt: skip
            if taken.rowcount != 1:
                return None
        if holder != _FREE:
            _log.warning("%s: whoever held it is gone; taking over", name)
        return Lease(name=name, token=seen + 1, left_tokens=left)

    def _release(self, lease: Lease, *, is_clean: bool) -> None:
        is_done = is_clean and (lease.has_recovered or not lease.left_tokens)
        rows = lease.rows_read if is_done else _ENDED_BADLY
        left = "" if is_done else ",".join(map(str, lease.left_tokens))
        with self._transaction() as connection:
            connection.execute(
                text(
                    "UPDATE lake_leases SET holder = '', rows_read = :r, left_tokens = :left "
                    "WHERE name = :n AND token = :t"
                ),
                {"r": rows, "n": lease.name, "t": lease.token, "left": left},
            )

    def _facts(self, row: Sequence[Any] | None) -> LeaseFacts:
        if row is None:
            return LeaseFacts(
                is_held=False, token=0, holder={}, run_id="", upload_id="", rows_read=0
            )
        return LeaseFacts(
            is_held=self._is_held(row),
            token=row[0],
            holder=json.loads(row[1]) if row[1] else {},
            run_id=row[3],
            upload_id=row[4],
            rows_read=row[5],
        )

    def _is_held(self, row: Sequence[Any]) -> bool:
        holder, heartbeat_at = row[1], row[2]
        if holder == _FREE or is_dead(json.loads(holder)):
            return False
        return bool(time.time() - heartbeat_at < self._timeout_s)

    # -- heartbeat

    def _begin_beating(self, lease: Lease) -> None:
        with self._guard:
            self._held[lease.name] = lease
            if self._heart is None:
                self._stop = threading.Event()
                self._heart = threading.Thread(
                    target=self._beat, args=(self._stop,), name="lease-heartbeat", daemon=True
                )
                self._heart.start()

    def _end_beating(self, lease: Lease) -> None:
        with self._guard:
            self._held.pop(lease.name, None)
            last = None
            if not self._held:
                last, self._heart = self._heart, None
                self._stop.set()
        if last is not None:  # or it could hold the database while its folder is removed
            last.join()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(self._timeout_s / _BEATS_PER_TIMEOUT):
            with self._guard:
                leases = list(self._held.values())
            try:
                self._beat_once(leases)
            except StorageUnavailable as error:  # locked for long, or gone: a commit will tell
                _log.warning("heartbeat failed: %s", error.message)

    def _beat_once(self, leases: Sequence[Lease]) -> None:
        now = time.time()
        with self._transaction() as connection:
            for lease in leases:
                connection.execute(
                    text(
                        "UPDATE lake_leases SET heartbeat_at = :now, upload_id = :u, "
                        "rows_read = :r WHERE name = :n AND token = :t"
                    ),
                    {"now": now, "u": lease.upload_id, "r": lease.rows_read,
                     "n": lease.name, "t": lease.token},
                )  # fmt: skip


class _Watch:
    """Looks at a lease again and again, by a clock that nobody sets.

    Were the time of day alone believed, a heartbeat from before the clock was set back by an hour
    would keep a dataset for that hour.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._seen: tuple[Any, Any] | None = None
        self._since = 0.0

    def stands_still(self, row: Sequence[Any]) -> bool:
        """Return whether the row's heart has not beaten while it was watched for the timeout."""
        seen, now = (row[0], row[2]), time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since >= self._timeout_s


def require_lease(connection: Connection, lease: Lease) -> None:
    """Raise unless ``lease`` is held, as the transaction of ``connection`` sees it.

    Raises:
        LeaseLost.
    """
    row = _row(connection, lease.name)
    if row is None or row[0] != lease.token:
        raise lease_lost(lease)


def lease_lost(lease: Lease) -> LeaseLost:
    """Return the error for a lease that another process took."""
    return LeaseLost(
        f"this process stood still for so long that another one took over {lease.name}; nothing "
        "of what it had begun is changed. The other one goes on with the uploads",
        name=lease.name,
        token=lease.token,
    )


def _row(connection: Connection, name: str) -> tuple[Any, ...] | None:
    rows = _select(connection, f"SELECT {_COLUMNS} FROM lake_leases WHERE name = :n", n=name)
    return tuple(rows[0]) if rows else None


def _select(connection: Connection, statement: str, **values: object) -> Sequence[Any]:
    """Return the rows of a query; the table of leases is made, or grows, if it has to."""
    try:
        return connection.execute(text(statement), values).all()
    except OperationalError as error:
        if "no such table" in str(error):
            connection.execute(text(_MAKE))
        elif "no such column" in str(error):
            connection.execute(text(_GROW))
        else:
            raise
    return connection.execute(text(statement), values).all()


def _add_row(connection: Connection, name: str) -> None:
    # Begins at the time in seconds: also in a catalog that was made anew, tokens go on rising.
    connection.execute(
        text(
            f"INSERT INTO lake_leases (name, {_COLUMNS}) VALUES (:n, :t, '', 0, '', '', 0, '') "
            "ON CONFLICT (name) DO NOTHING"
        ),
        {"n": name, "t": int(time.time())},
    )
