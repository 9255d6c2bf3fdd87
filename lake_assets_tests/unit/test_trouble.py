"""What the system says of the lake's own files, and what to do about it."""

import errno
import os
from pathlib import Path

import pytest

from lake_assets.errors import DamagedTable, StorageUnavailable
from lake_assets.ingest.trouble import as_known

WAREHOUSE = Path("lake") / "tables"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "Give this user the right"),
        (errno.EPERM, "Give this user the right"),
        (errno.EROFS, "mounted read-only"),
        (errno.EIO, "Mend that"),
    ],
)
def test_each_cause_has_its_own_advice(number, advice):
    known = as_known(OSError(number, os.strerror(number), "lake/x"), WAREHOUSE)
    assert isinstance(known, StorageUnavailable)
    assert advice in known.message
    assert ("Free space" in known.message) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_a_missing_file_is_damage_below_the_tables_and_as_it_was_elsewhere():
    lost = FileNotFoundError(errno.ENOENT, "gone", str(WAREHOUSE / "a" / "t" / "x.parquet"))
    known = as_known(lost, WAREHOUSE)
    assert isinstance(known, DamagedTable)
    assert "x.parquet is missing" in known.message
    elsewhere = FileNotFoundError(errno.ENOENT, "gone", "lake/staging/x")
    assert as_known(elsewhere, WAREHOUSE) is elsewhere
