"""A second name for Dagster's home where its own would be misread.

Dagster takes the path of its settings for a pattern, and puts that of its databases into a URL as
it is. So ``?`` ends the path there, ``%20`` is a blank, and ``a[1]`` is the folder ``a1``: its
storage would lie in another folder, or be that of another lake.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from lake_assets.errors import StorageUnavailable
from lake_assets.storage.files import storage_errors

_MISREAD = frozenset("?%*[")


def plain_name(folder: Path) -> Path:
    """Return ``folder``, or a link to it in the system's folder for temporary files.

    Raises:
        StorageUnavailable: the link cannot be made, or somebody else has made it.
    """
    if not _MISREAD & {*str(folder)}:
        return folder
    number = hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]
    link = Path(tempfile.gettempdir()) / f"lake-dagster-{os.getuid()}-{number}"
    with storage_errors(link):
        with suppress(FileExistsError):
            link.symlink_to(folder)
        is_own = link.is_symlink() and link.lstat().st_uid == os.getuid()
        if not is_own or link.readlink() != folder:
            raise StorageUnavailable(
                f"{link} should be a link to {folder}, which Dagster needs because of the "
                "characters in that name. Take away what is there, then try again",
                path=str(link),
            )
    return link
