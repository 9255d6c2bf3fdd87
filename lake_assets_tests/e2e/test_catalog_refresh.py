"""The catalog's rows are never older than the tables, whoever stands still while making them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest

from lake_assets.contracts.names import DatasetName
from lake_assets.lake import Lake
from lake_assets.stores import Stores
from lake_assets.upkeep import catalog
from lake_assets.upkeep.catalog import catalog_rows, refresh_catalog

NAME, OTHER = DatasetName("acme", "d"), DatasetName("acme", "e")


@pytest.fixture
def lake(tmp_path, monkeypatch) -> Iterator[Lake]:
    monkeypatch.setenv("LAKE_WORKERS", "1")
    with Lake.init(tmp_path / "lake") as opened:
        ingest(opened, 1)
        ingest(opened, 1, OTHER)
        yield opened


def ingest(lake: Lake, rows: int, name: DatasetName = NAME) -> None:
    upload = lake.upload_raw_data(
        pa.table({"a": range(rows)}),
        provider=name.provider,
        dataset=name.dataset,
        create_provider=True,
    )
    lake.ingest(upload.id)


def after_making(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen once, after rows were made and before they are committed."""

    def stood_still(stores: Stores, names: Sequence[DatasetName]) -> Any:
        rows = catalog_rows(stores, names)
        monkeypatch.setattr(catalog, "catalog_rows", catalog_rows)
        happens()
        return rows

    monkeypatch.setattr(catalog, "catalog_rows", stood_still)


def rows_by_dataset(lake: Lake) -> dict[str, int]:
    return {row["dataset"]: row["rows"] for row in lake.catalog()}


@pytest.mark.parametrize("name", [NAME, OTHER], ids=["the same dataset", "another dataset"])
def test_rows_that_others_replaced_meanwhile_are_made_anew(lake, monkeypatch, name):
    folder = lake.stores.layout.tables / "lake" / "partitions"
    files = len(list(folder.rglob("*.parquet")))
    with Lake.open(lake.home) as other:
        after_making(monkeypatch, lambda: ingest(other, 5, name))
        refresh_catalog(lake.stores, [NAME, OTHER])
    assert rows_by_dataset(lake) == {"d": 1, "e": 1} | {name.dataset: 6}
    assert lake.stores.stale.names() == ()
    # One file by either process: that with the old rows is gone.
    assert len(list(folder.rglob("*.parquet"))) == files + 2


def test_a_note_that_is_put_while_rows_are_made_stays(lake, monkeypatch):
    lake.stores.stale.put(NAME)
    after_making(monkeypatch, lambda: lake.stores.stale.put(NAME))
    refresh_catalog(lake.stores, [NAME])
    assert lake.stores.stale.names() == (NAME,)
    assert lake.ingest_pending()
    assert lake.stores.stale.names() == ()


def test_no_datasets_are_no_commit(lake):
    assert refresh_catalog(lake.stores, []) is None
