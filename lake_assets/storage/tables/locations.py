"""Where files of tables lie: as a table's metadata says it, and as this machine has it.

A location is ``file://`` and the path as it is, nothing escaped: other engines look for a scheme,
and take what follows as it is written. To Trino 476 ``file:///a%20b`` is the folder ``a%20b``, and
``?`` and ``#`` belong to a name (its ``Location`` only splits off scheme and host;
`services/test_trino.py` asks it), as they do in Hadoop's ``Path``, which Spark has. Tables of
earlier versions have plain paths; what is added to them has locations as these, and both are read.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path, PurePath

from lake_assets.errors import LakeMoved

_SCHEME = "file://"


def local_path(location: str) -> str:
    """Return the path that a table's metadata means by ``location``."""
    return location.removeprefix(_SCHEME)


def location_of(path: Path | str) -> str:
    """Return what a table's metadata calls an absolute path."""
    return f"{_SCHEME}{path}"


def own_path(location: str, warehouse: Path) -> Path | None:
    """Return the path below ``warehouse`` of a file; None: it lies in another lake.

    The lake's folder is compared by its real path, whatever its name is in ``location``. Links
    below it are the lake's own; were they followed, a copy would not be told from its original
    where both link to one folder.
    """
    path = Path(local_path(location))
    if ".." in path.parts:
        return None
    if path.is_relative_to(warehouse):
        return path
    home = os.path.realpath(warehouse.parent)
    for parent in path.parents:
        if parent.name == warehouse.name and os.path.realpath(parent.parent) == home:
            return warehouse / path.relative_to(parent)
    return None


def require_own(location: str, warehouse: Path) -> None:
    """Raise unless a file lies in the lake whose tables are in ``warehouse``.

    Raises:
        LakeMoved.
    """
    if own_path(location, warehouse) is not None:
        return
    made, here = home_around(location), warehouse.parent
    raise LakeMoved(
        f"this lake was made at {made} and is at {here}, so the metadata of its tables name files "
        f"of the other place. Run `lake relocate --home {shlex.quote(str(here))}`; until then its "
        "tables are neither read nor written",
        made_at=made,
        home=str(here),
    )


def home_around(location: str) -> str:
    """Return the folder of the lake in whose tables a file lies, by the names in its location."""
    path = PurePath(local_path(location))
    # Above `<namespace>/<table>/metadata`, each of which may be called so too.
    tables = (parent for parent in [*path.parents][3:] if parent.name == "tables")
    return str(next(tables, path).parent)
