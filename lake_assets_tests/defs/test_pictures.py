"""What a materialisation shows of what was ingested."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from lake_assets.contracts.names import DatasetName
from lake_assets.defs import pictures
from lake_assets.ingest import Request, commit, finish, prepared_dataset
from lake_assets.lake import Lake

NAME = DatasetName("acme", "d")


def shown(lake: Lake, rows: pa.Table) -> dict[str, object]:
    lake.upload_raw_data(rows, provider="acme", dataset="d", create_provider=True)
    with prepared_dataset(lake.stores, Request(name=NAME)) as prepared:
        metadata = pictures.schema_metadata(prepared) | pictures.beside_metadata(prepared)
        for change in prepared.changes.values():
            commit(lake.stores, change)
        finish(lake.stores, prepared)
    return metadata


def test_changes_of_the_schema_are_shown_as_a_table(tmp_path: Path):
    with Lake.init(tmp_path / "lake") as lake:
        assert shown(lake, pa.table({"a": pa.array([1], pa.int32())})) == {}
        text = shown(lake, pa.table({"a": [2**40, None], "b|c": ["x", "y"]}))["schema changes"]
        assert "| a | widened | int | long | 1 |" in str(text)
        assert "| b\\|c | added |  | string | 2 |" in str(text).replace("\\\\", "\\")


def test_values_beside_their_columns_are_told(tmp_path: Path):
    with Lake.init(tmp_path / "lake") as lake:
        assert shown(lake, pa.table({"a": [1]})) == {}
        lake.upload_raw_data(pa.table({"a": ["x"]}), provider="acme", dataset="d")
        told = shown(lake, pa.table({"a": ["y"], "b": [1]}))["values beside their columns"]
        assert told == ('2 values of a (long) stand beside it in a__variant, for example "x"')
        assert "values beside their columns" not in shown(lake, pa.table({"a": [2]}))


def test_variants_are_shown_in_their_places():
    rows = pa.table({"a": [1, None], "a__variant": [None, '["x"]'], "b__variant": ["[]", None]})
    assert pictures.markdown_table(rows).splitlines() == [
        "| a | b |", "|--|--|", "| 1 | [] |", "| ['x'] |  |"
    ]  # fmt: skip
