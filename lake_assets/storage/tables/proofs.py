"""Proofs: which deliveries a table has taken in, kept in the catalog's database.

Invariant: a key is proved for a table exactly when the commit that brought it has moved the
table's pointer, for both are one transaction. How long a table's history is kept does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sqlalchemy import Connection, Engine, bindparam, text
from sqlalchemy.exc import OperationalError

_MAKE = """
CREATE TABLE IF NOT EXISTS lake_commits (
    table_name VARCHAR(512) NOT NULL, key VARCHAR(255) NOT NULL, PRIMARY KEY (table_name, key)
)"""
_INSERT = "INSERT INTO lake_commits (table_name, key) VALUES (:t, :k)"
_IS_WHOLE = ""
"""In the place of a key: all keys of the table are here. Tables of earlier versions have theirs in
the summaries of their snapshots only, until they are brought over."""
_AT_ONCE = 500
"""SQLite before 3.32 takes 999 variables in a statement."""


def proved(
    engine: Engine, table: str, keys: Iterable[str], history: Callable[[], Iterable[str]]
) -> frozenset[str]:
    """Return those of ``keys`` that ``table`` has taken in.

    Args:
        history: Returns the keys in the table's snapshots. Called once in the life of a table, if
            an earlier version made it, while nobody else can change its pointer.
    """
    wanted = list(keys)
    # Not a transaction that is committed: there the catalog would ask for the lease.
    with engine.connect() as connection:
        found = _those_of(connection, table, [*wanted, _IS_WHOLE])
    if _IS_WHOLE not in found:
        with engine.begin() as connection:
            _bring_over(connection, table, history)
            found = _those_of(connection, table, wanted)
    return found - {_IS_WHOLE}


def record(connection: Connection, table: str, keys: Iterable[str], *, is_again: bool) -> None:
    """Prove ``keys``, in the transaction that moves the pointer of ``table``.

    Args:
        is_again: Whether the table may have some of them: their rows are replaced.

    Raises:
        sqlalchemy.exc.IntegrityError: another commit has brought one of them.
    """
    connection.execute(text(_MAKE))
    _insert(connection, table, keys, is_again=is_again)


def forget(connection: Connection, table: str, keys: Iterable[str]) -> None:
    """Prove ``keys`` no more, in the transaction that takes their rows out of ``table``."""
    rows = [{"t": table, "k": key} for key in keys]
    if rows:
        connection.execute(text(_MAKE))
        connection.execute(
            text("DELETE FROM lake_commits WHERE table_name = :t AND key = :k"), rows
        )


def begin(connection: Connection, table: str) -> None:
    """Note, in the transaction that makes ``table``, that it has no key yet.

    What is proved of an earlier table of that name goes: its rows are not in this one.
    """
    connection.execute(text(_MAKE))
    connection.execute(text("DELETE FROM lake_commits WHERE table_name = :t"), {"t": table})
    _insert(connection, table, [_IS_WHOLE], is_again=False)


def _bring_over(connection: Connection, table: str, history: Callable[[], Iterable[str]]) -> None:
    connection.execute(text(_MAKE))
    # First, as it takes the write lock: a repair cannot set the pointer back while we look.
    _insert(connection, table, [_IS_WHOLE], is_again=True)
    _insert(connection, table, history(), is_again=True)


def _insert(connection: Connection, table: str, keys: Iterable[str], *, is_again: bool) -> None:
    rows = [{"t": table, "k": key} for key in dict.fromkeys(keys)]
    if rows:
        statement = f"{_INSERT} ON CONFLICT DO NOTHING" if is_again else _INSERT
        connection.execute(text(statement), rows)


def _those_of(connection: Connection, table: str, keys: Sequence[str]) -> frozenset[str]:
    statement = text("SELECT key FROM lake_commits WHERE table_name = :t AND key IN :keys")
    statement = statement.bindparams(bindparam("keys", expanding=True))
    try:
        return frozenset(
            key
            for some in _chunks(keys)
            for (key,) in connection.execute(statement, {"t": table, "keys": some})
        )
    except OperationalError as error:
        if "no such table" not in str(error):
            raise
        return frozenset()


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(keys), _AT_ONCE):
        yield keys[first : first + _AT_ONCE]
