"""`lake process start --rebuild`, after a contract has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lake_assets.contracts.names import DatasetName, VariantName
from lake_assets.contracts.registry import update_registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.lake import Lake
from lake_assets_tests.cli.conftest import Run

SHOPS = DatasetName("shops", "receipts")
FIRST, SECOND = (VariantName(SHOPS, "review", name) for name in ("first", "second"))
REBUILD = ("process", "start", "--rebuild", "--dataset", str(FIRST))


def promise(lake: Lake, rating: str) -> None:
    contract = TaskContract.model_validate({"fields": {"id": "long", "rating": rating}})
    update_registry(
        lake.stores.layout.registry_file,
        lambda registry: (
            registry.without_task("review") if "review" in registry.tasks else registry
        ).with_task("review", contract),
    )


def review(lake: Lake, path: Path, name: VariantName) -> None:
    upload = lake.upload_task_data(
        path, provider=name.provider, dataset=name.dataset, task=name.task, variant=name.variant
    )
    lake.ingest(upload.id)


@pytest.fixture
def rated(lake: Lake, people: Path, tmp_path: Path) -> Lake:
    """59 reviews as CSV and 9 as JSON of one variant, 3 of another; ratings are whole numbers."""
    upload = lake.upload_raw_data(
        people, provider="shops", dataset="receipts", create_provider=True
    )
    lake.ingest(upload.id)
    promise(lake, "int")
    text, typed = tmp_path / "text.csv", tmp_path / "typed.jsonl"
    text.write_text("id,rating\n" + "".join(f"{number},{number}\n" for number in range(59)))
    typed.write_text("".join(f'{{"id": {number}, "rating": {number}}}\n' for number in range(9)))
    review(lake, text, FIRST)
    review(lake, typed, FIRST)
    other = tmp_path / "other.csv"
    other.write_text("id,rating\n1,1\n2,2\n3,\n")
    review(lake, other, SECOND)
    return lake


def ratings(lake: Lake, name: VariantName) -> list[Any]:
    return [row["rating"] for row in lake.records(name)]


def test_a_dry_run_tells_and_changes_nothing(typed: Run, rated: Lake):
    promise(rated, "string")
    before = rated.stores.tables.facts("tasks.review")
    answer = typed(*REBUILD, "--dry-run")
    assert answer.code == 0
    assert answer.out.splitlines()[0] == f"{FIRST}: 68 accepted now, 59 then"
    assert "  rejected: 9 rows by fields_hold_their_types" in answer.out.splitlines()
    assert "  column rating: int becomes string (rewritten)" in answer.out.splitlines()
    (told,) = typed(*REBUILD, "--dry-run", "--json").json["rebuilds"]
    assert (told["accepted_before"], told["accepted"]) == (68, 59)
    assert told["rejected_by_rule"] == {"fields_hold_their_types": 9}
    assert rated.stores.tables.facts("tasks.review") == before
    data = rated.stores.tables.data_folder("tasks.review")
    assert len(list(data.glob("*.parquet"))) == before.file_count


def test_a_rebuild_that_would_lose_rows_stops_and_changes_nothing(process: Run, rated: Lake):
    promise(rated, "string")
    before = ratings(rated, FIRST)
    for how in ((), ("--wait",)):
        answer = process(*REBUILD, *how)
        assert answer.code == 1
        assert "would leave 59 of 68 accepted rows (9 rejected by fields_hold" in answer.err
        assert "--yes" in answer.err
    assert ratings(rated, FIRST) == before
    assert rated.sql("SELECT count(*) FROM lake.quarantine").fetchone() == (0,)


def test_a_person_who_agrees_gets_the_contracts_types(at_terminal: Run, typed: Run, rated: Lake):
    promise(rated, "string")
    assert at_terminal(*REBUILD, "--wait", answers="n\n").code == 1
    assert rated.stores.tables.schema("tasks.review").field("rating").type == "int32"
    answer = at_terminal(*REBUILD, "--wait", answers="y\n")
    assert answer.code == 0, answer.err
    assert "column rating: int became string (rewritten)" in answer.out
    assert ratings(rated, FIRST) == [str(number) for number in range(59)]
    # The other variant's whole numbers are no text: they stand beside, until it is rebuilt too.
    assert ratings(rated, SECOND) == [1, 2, None]
    question = "SELECT rating, rating__variant FROM tasks.review WHERE variant = 'second'"
    assert rated.sql(f"{question} ORDER BY id").fetchall() == [
        (None, "1"),
        (None, "2"),
        (None, None),
    ]
    assert typed("verify", "--full").code == 0


def test_yes_is_agreement_and_the_other_variant_can_be_rebuilt_too(process: Run, rated: Lake):
    promise(rated, "string")
    for name in (FIRST, SECOND):
        answer = process("process", "start", "--rebuild", "--dataset", str(name), "--wait", "--yes")
        assert answer.code == 0, answer.err
    assert ratings(rated, SECOND) == ["1", "2", None]
    promise(rated, "int")
    assert process(*REBUILD, "--wait", "--yes").code == 0
    assert ratings(rated, FIRST) == [*range(59), *range(9)]
    assert rated.stores.tables.schema("tasks.review").field("rating").type == "int32"


def test_options_of_rebuilds_are_for_rebuilds(typed: Run):
    assert typed("process", "start", "--dry-run").code == 2
    assert typed("process", "start", "--yes").code == 2


def test_what_becomes_another_type_is_told(process: Run, lake: Lake, tmp_path: Path):
    """As the issue types it: 10, 20 and next month 30, 40.5."""
    for number, rows in enumerate(["1,10\n2,20\n", "3,30\n4,40.5\n"]):
        path = tmp_path / f"{number}.csv"
        path.write_text(f"id,amount\n{rows}")
        upload = lake.upload_raw_data(path, provider="shop", dataset="sales", create_provider=True)
        answer = process("process", "start", "--wait")
        assert answer.code == 0
    line = "column amount: long became double (rewritten)"
    assert line in answer.out
    assert line in process("process", "status", upload.id).out
    told = process("process", "status", upload.id, "--json").json
    (change,) = told["outcome"]["schema_changes"]
    assert (change["path"], change["change"], change["rows_affected"]) == ("amount", "rewritten", 2)
    found = process("sql", "SELECT sum(amount) AS total FROM shop.sales", "--json")
    assert json.loads(found.out)["rows"] == [[100.5]]
