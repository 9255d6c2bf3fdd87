"""Contracts of datasets: the columns that they declare, as people write them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from lake_assets.contracts.datasets import DatasetContract, with_columns
from lake_assets.contracts.registry import load_registry, save_registry
from lake_assets.errors import InvalidRegistry, InvalidRequest

AS_IN_THE_ISSUE = """\
providers: [p]
datasets:
  p/d:
    columns:
      amount: decimal(12,2)
      zip: {type: string, description: With leading zeros}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "schema.yaml"
    path.write_text(AS_IN_THE_ISSUE)
    return path


def test_columns_are_declared_as_fields_of_tasks_are(path: Path):
    contract = load_registry(path).datasets["p/d"]
    assert contract.promised_columns() == pa.schema(
        [("amount", pa.decimal128(12, 2)), ("zip", pa.string())]
    )


def test_a_declaration_is_written_as_it_was_read(path: Path):
    save_registry(load_registry(path), path)
    assert yaml.safe_load(path.read_text()) == yaml.safe_load(AS_IN_THE_ISSUE)


@pytest.mark.parametrize(
    ("contract", "problem"),
    [
        ("columns: {a: money}", "columns.a.type: 'money' is no type; there are string, int"),
        ("columns: {a: 'decimal(2,3)'}", "'decimal(2,3)' is no type"),
        ("columns: {_image: string}", "'_image' is a column that the lake fills in itself"),
        ("columns: {_Record_Id: long}", "'_Record_Id' is a column that the lake fills in itself"),
        ("columns: {a__variant: string}", "ends in __variant, which the lake adds itself"),
        ("columns: {' ': string}", "has no name"),
        ("columns: {a: long, A: long}", "A and a are one column; spell them alike"),
        ("columns: {a: {type: long, required: true}}", "required: only fields of tasks have that"),
        ("columns: {a: {typ: long}}", "columns.a.type: Field required"),
        ("columns: [a]", "columns: should be keys with values"),
        ("{columns: {at: string}, partition_by: [day(at)]}", "partition_by: day is at, which"),
        ("{columns: {At: string}, time_column: at}", "time_column is at, which should be date or"),
        ("{columns: {scan: binary}, image_column: scan}", "image_column is scan, which should be"),
        ("{columns: {at: date, id: string}, partition_by: [day(at), identity(id)]}", None),
        ("{columns: {_note: string}}", None),
    ],
)
def test_what_cannot_be_declared_is_named(path: Path, contract: str, problem: str | None):
    body = yaml.safe_load(contract)
    path.write_text(yaml.safe_dump({"providers": ["p"], "datasets": {"p/d": body}}))
    if problem is None:
        assert load_registry(path).datasets["p/d"].columns
        return
    with pytest.raises(InvalidRegistry) as caught:
        load_registry(path)
    assert problem in caught.value.message


def test_a_type_that_is_said_anew_keeps_the_rest_of_the_contract():
    before = DatasetContract.model_validate(
        {"owner": "me", "columns": {"Zip": {"type": "long", "description": "x"}, "a": "date"}}
    )
    after = with_columns(before, {"zip": "string", "b": "double"})
    assert after.model_dump(mode="json", exclude_unset=True) == {
        "owner": "me",
        "columns": {"Zip": {"type": "string", "description": "x"}, "a": "date", "b": "double"},
    }
    with pytest.raises(InvalidRequest, match="'money' is no type"):
        with_columns(None, {"a": "money"})
