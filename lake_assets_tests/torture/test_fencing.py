"""A commit that its lease refuses never happens: not then, and not with a later commit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from lake_assets.errors import LeaseLost
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec

_SPEC = TableSpec(name="p.d", schema=pa.schema([("a", pa.int64())]))


def test_what_a_lost_lease_refused_is_not_committed_by_what_comes_next(tmp_path: Path):
    tables = IcebergTables(tmp_path / "tables", tmp_path / "catalog.db")
    try:
        with tables.leases.hold("p/d", wait_s=0) as lease:
            tables.append_once(_SPEC, [_rows(tables, "u1", 1)], lease=lease)
            old = replace(lease)
            tables.leases.renew(lease)
            with pytest.raises(LeaseLost):
                tables.append_once(_SPEC, [_rows(tables, "u2", 2)], lease=old)
            tables.leases.renew(lease)  # a commit on the connection that was refused
            tables.append_once(_SPEC, [_rows(tables, "u3", 3)], lease=lease)
        assert sorted(tables.read("p.d")["a"].to_pylist()) == [1, 3]
        assert tables.committed("p.d", ["u1", "u2", "u3"]) == {"u1", "u3"}
    finally:
        tables.close()


def _rows(tables: IcebergTables, key: str, value: int) -> Delivery:
    with tables.part_writer(_SPEC, stem=key) as parts:
        parts.write(pa.table({"a": [value]}))
        return Delivery(keys=(key,), parts=parts.close())
