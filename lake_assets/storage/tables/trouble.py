"""What the system says about the catalog's file and the tables' folders, as errors of this package.

Invariants: what a disk refuses is ``StorageUnavailable``, whichever library was told so; a file
that is missing is ``DamagedTable``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake_assets.errors import DamagedTable, StorageUnavailable

_BUSY = ("database is locked", "database table is locked", "database schema has changed")


@contextmanager
def table_errors() -> Iterator[None]:
    """Raise as ``StorageUnavailable`` what SQLite, Arrow and the system say of a disk.

    Raises:
        StorageUnavailable.
        DamagedTable: for a file that is missing: no later call will find it.
    """
    # Imported late: many a command asks the tables nothing that needs the catalog.
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        raise StorageUnavailable(
            f"the catalog cannot be used: {error.orig}. Try again once that is mended"
        ) from error
    except FileNotFoundError as error:
        raise missing_file(error.filename or error) from error
    except OSError as error:
        raise StorageUnavailable(
            f"the lake's tables cannot be used: {error}. Try again once that is mended"
        ) from error


def missing_file(file: object) -> DamagedTable:
    """Return the error that says that a file of a table is gone.

    Args:
        file: Its path, or words in which it is.
    """
    return damaged_table(file, "is missing")


def damaged_table(file: object, what: str) -> DamagedTable:
    """Return the error that says ``what`` is wrong with a file of a table, and what to do."""
    return DamagedTable(
        f"a table is damaged: {file} {what}. Run `lake verify`, then `lake repair`", file=str(file)
    )


def as_damage(error: FileNotFoundError, warehouse: Path) -> Exception:
    """Return what a missing file means: below the tables' folder it is damage, else ``error``."""
    name = error.filename
    if name is None or not Path(str(name)).is_relative_to(warehouse):
        return error
    damage = missing_file(name)
    damage.__cause__ = error
    return damage


def is_busy(error: StorageUnavailable) -> bool:
    """Return whether only another process stood in the way, for as long as SQLite waits."""
    from sqlalchemy.exc import OperationalError

    cause = error.__cause__
    return isinstance(cause, OperationalError) and any(said in str(cause.orig) for said in _BUSY)
