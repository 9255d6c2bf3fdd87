"""What an error of the system means for what is the lake's own by now."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake_assets.errors import LakeError, StorageUnavailable, UnreadableSource
from lake_assets.intake.uploads import Upload
from lake_assets.storage.tables import Lease
from lake_assets.storage.tables.trouble import as_damage
from lake_assets.stores import Stores

_RIGHTS = "Give this user the right to do so"
_ADVICE = {
    errno.ENOSPC: "Free space on it",
    errno.EDQUOT: "Free space, or ask for a larger quota",
    errno.EROFS: "Make it writable: it is mounted read-only",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
}
_OTHERWISE = "Mend that"


@contextmanager
def known_errors(stores: Stores, lease: Lease) -> Iterator[None]:
    """Raise what the system says of the lake's own files as one of this package's errors.

    So also where it is said between two uploads: of their folders, the journal, the ledger.

    Raises:
        LeaseLost: whatever went wrong, if another process took the dataset over: its doings are
            why this one does not find what it knew.
    """
    try:
        yield
    except (LakeError, OSError) as error:
        stores.tables.leases.require(lease)
        known = as_known(error, stores.tables.warehouse)
        if known is error:
            raise
        raise known from error


def as_known(error: Exception, warehouse: Path) -> Exception:
    """Return one of this package's errors for what the system says, or ``error`` as it is.

    Args:
        warehouse: Folder of the tables, in which a file that is missing is damage.
    """
    if not isinstance(error, OSError):
        return error
    if isinstance(error, FileNotFoundError):
        return as_damage(error, warehouse)
    known = StorageUnavailable(
        f"the lake's disk cannot be used: {error}. {_ADVICE.get(error.errno or 0, _OTHERWISE)}, "
        "then try again"
    )
    known.__cause__ = error
    return known


def as_missing(error: Exception, upload: Upload) -> Exception:
    """Return what a missing file means: one of the upload's own will not come back by itself."""
    name = error.filename if isinstance(error, FileNotFoundError) else None
    if name is None or not Path(str(name)).is_relative_to(upload.files_folder):
        return error
    staged = Path(str(name)).relative_to(upload.files_folder)
    missing = UnreadableSource(
        f"{staged} of upload {upload.id} is gone from staging: somebody removed it, or the disk is "
        "damaged; deliver it again",
        file=str(staged),
    )
    missing.__cause__ = error
    return missing
