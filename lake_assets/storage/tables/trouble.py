"""What the system says about the catalog's file and the tables' folders, as errors of this package.

Invariant: what a disk refuses is ``StorageUnavailable``, whichever library was told so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lake_assets.errors import StorageUnavailable

_BUSY = ("database is locked", "database table is locked", "database schema has changed")


@contextmanager
def table_errors() -> Iterator[None]:
    """Raise as ``StorageUnavailable`` what SQLite, Arrow and the system say of a disk.

    Not a file that is missing: that is damage, and no later call will find it.
    """
    # Imported late: many a command asks the tables nothing that needs the catalog.
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        raise StorageUnavailable(
            f"the catalog cannot be used: {error.orig}. Try again once that is mended"
        ) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageUnavailable(
            f"the lake's tables cannot be used: {error}. Try again once that is mended"
        ) from error


def is_busy(error: StorageUnavailable) -> bool:
    """Return whether only another process stood in the way, for as long as SQLite waits."""
    from sqlalchemy.exc import OperationalError

    cause = error.__cause__
    return isinstance(cause, OperationalError) and any(said in str(cause.orig) for said in _BUSY)
