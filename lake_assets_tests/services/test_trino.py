"""Trino reads every table of a lake, as it lies, with the same rows as `lake sql`."""

from __future__ import annotations

import base64
import datetime as dt
import shutil
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake_assets.lake import Lake
from lake_assets_tests.contract import small_lake
from lake_assets_tests.e2e.real_lake import environment
from lake_assets_tests.services import trino
from lake_assets_tests.torture.scenarios import SCENARIOS

_REASON = trino.why_not()
pytestmark = pytest.mark.skipif(_REASON is not None, reason=f"Trino was not asked: {_REASON}")

_NAMES = {
    "plain": "lake",
    "demo": "데모 호수 이",
    "marks": "50%20 off 100% a?b=c&d #e+f[1]",
}
_PREPARED = ("rows", "images with rows", "other columns", "annotations")


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A lake of every kind of table, a copy of it with another name, which went on, and the demo's
    lake, moved."""
    root = tmp_path_factory.mktemp("homes")
    homes = {name: root / text for name, text in _NAMES.items()}
    small_lake.make(homes["plain"], root / "small")
    with Lake.open(homes["plain"]) as lake:
        for scenario in _PREPARED:
            (root / scenario).mkdir()
            SCENARIOS[scenario].prepare(lake, root / scenario)
        lake.ingest_pending()
        _ingest(lake, _types())
    shutil.copytree(homes["plain"], homes["marks"], symlinks=True)
    _demo(root).rename(homes["demo"])
    for name in ("marks", "demo"):
        with Lake.open(homes[name]) as lake:
            lake.relocate()
            _ingest(lake, _types().slice(1))
    return homes


def _demo(root: Path) -> Path:
    words = ["--home", str(root / "demo"), "--samples", str(root / "samples"), "--receipts", "40"]
    subprocess.run(
        [sys.executable, "-m", "lake_assets.samples.demo", *words], env=environment(), check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return root / "demo"


@pytest.fixture(scope="module")
def server(homes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory):
    with trino.running(tmp_path_factory.mktemp("trino"), homes) as running:
        yield running


@pytest.mark.parametrize("name", _NAMES)
def test_trino_and_lake_sql_have_the_same_rows(name: str, server: trino.Trino, homes):
    with Lake.open(homes[name]) as lake:
        tables = lake.stores.tables.names()
        assert len(tables) >= 8
        found = {table: _of_trino(server, name, table) for table in tables}
        wanted = {table: _of_lake(lake, table) for table in tables}
    differing = {
        table: (sorted(wanted[table] - found[table])[:3], sorted(found[table] - wanted[table])[:3])
        for table in tables
        if found[table] != wanted[table]
    }
    assert differing == {}
    rows = sum(map(Counter.total, found.values()))
    print(f"{name}: {len(tables)} tables, {rows} rows")  # noqa: T201


def test_trino_writes_nothing(server: trino.Trino, homes):
    with pytest.raises(RuntimeError, match="(?i)read.?only"):
        server.rows("DELETE FROM plain.acme.ticks WHERE true")


def _types() -> pa.Table:
    at = dt.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)
    return pa.table({
        "at": pa.array([at, None], pa.timestamp("us", "UTC")),
        "day": pa.array([at.date(), None], pa.date32()),
        "amount": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
        "share": [0.1, None],
        "is_good": [True, None],
        "raw": [b"\x00\xff", None],
        "nest": [{"a": 1, "b": {"c": "x"}}, None],
        "items": [[{"n": 1}, {"n": None}], None],
        "a name, é": ["한글", None],
    })  # fmt: skip


def _ingest(lake: Lake, rows: pa.Table) -> None:
    lake.ingest(
        lake.upload_raw_data(rows, provider="acme", dataset="types", create_provider=True).id
    )


def _of_trino(server: trino.Trino, name: str, table: str) -> Counter[str]:
    return Counter(str(row) for row in server.rows(f"SELECT * FROM {name}.{table}"))


def _of_lake(lake: Lake, table: str) -> Counter[str]:
    found = lake.sql(f"SELECT * FROM {table}")
    are_maps = [kind.id == "map" for kind in found.types]
    return Counter(
        str([_as_trino(value, is_map) for value, is_map in zip(row, are_maps, strict=True)])
        for row in found.fetchall()
    )


def _as_trino(value: Any, is_map: bool = False) -> Any:
    """Return a value as Trino's JSON has it: a struct is a list there, a map is none."""
    match value:
        case dt.datetime():
            zone = " UTC" if value.tzinfo else ""
            return f"{value.replace(tzinfo=None).isoformat(' ', 'microseconds')}{zone}"
        case dt.date() | Decimal():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case dict() if is_map:
            return value
        case dict():
            return [_as_trino(item) for item in value.values()]
        case list():
            return [_as_trino(item) for item in value]
        case _:
            return value
