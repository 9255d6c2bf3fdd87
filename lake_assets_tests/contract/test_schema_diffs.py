"""What is said of a delivery beforehand is what ingesting it does."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName, VariantName
from lake_assets.contracts.registry import update_registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.errors import InvalidMetadata, InvalidRequest, UploadsFailed
from lake_assets.intake.uploads import Upload
from lake_assets.lake import Lake
from lake_assets.schema_diffs import schema_diff

EVENTS = DatasetName("acme", "events")
NOTES = VariantName(EVENTS, "notes", "one")


@pytest.fixture
def lake(tmp_path: Path):
    with Lake.init(tmp_path / "lake") as lake:
        lake.create_provider("acme")
        yield lake


def promise(lake: Lake, **contract: object) -> None:
    made = DatasetContract.model_validate(contract)
    update_registry(
        lake.stores.layout.registry_file, lambda registry: registry.with_dataset(EVENTS, made)
    )


def task(lake: Lake, **contract: object) -> None:
    made = TaskContract.model_validate(contract)
    update_registry(
        lake.stores.layout.registry_file,
        lambda known: (known.without_task("notes") if "notes" in known.tasks else known).with_task(
            "notes", made
        ),
    )


def stage(
    lake: Lake, *lines: object, meta: dict[str, str] | None = None, raw: bool = True
) -> Upload:
    path = lake.home.parent / f"{len(list(lake.home.parent.iterdir()))}.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts))
    if raw:
        return lake.upload_raw_data(path, provider="acme", dataset="events")
    return lake.upload_task_data(
        path, provider="acme", dataset="events", task="notes", variant="one", meta=meta or {}
    )


def counts(lake: Lake, upload: Upload) -> tuple[int, int]:
    outcome = lake.ingest(upload.id).outcomes[-1]
    return outcome.accepted, outcome.rejected


def test_a_field_that_the_contract_promises_by_now_is_no_change_to_refuse(lake: Lake):
    lake.ingest(stage(lake, {"id": 1}).id)
    task(lake, fields={"a": "long"}, drift="quarantine")
    lake.ingest(stage(lake, {"a": 1}, raw=False).id)
    task(lake, fields={"a": "long", "e": "string"}, drift="quarantine")
    upload = stage(lake, {"a": 2, "e": "x"}, {"a": 3, "f": 1}, raw=False)
    found = schema_diff(lake.stores, NOTES, upload)
    assert (found.rows, found.broken, found.rejected) == (2, 0, 1)
    assert ("e", "added") in [(change.path, change.change) for change in found.changes]
    assert counts(lake, upload) == (1, 1)


def test_a_table_of_which_every_row_was_rejected_is_as_good_as_none(lake: Lake):
    lake.ingest(stage(lake, "no json", "nor this").id)
    promise(lake, drift="freeze")
    upload = stage(lake, {"q": 1})
    found = schema_diff(lake.stores, EVENTS, upload)
    assert (found.is_new, found.needs) == (True, ())
    assert counts(lake, upload) == (1, 0)


def test_what_freeze_refuses_is_said_in_the_same_words(lake: Lake):
    lake.ingest(stage(lake, {"id": 1}).id)
    promise(lake, drift="freeze")
    records = [{"id": n, "e": {"z": 1} if n < 10_000 else {"q": [{"r": 1}]}} for n in range(20_000)]
    upload = stage(lake, *records)
    (line,) = schema_diff(lake.stores, EVENTS, upload).needs
    assert line.startswith("+ e: struct<")
    assert "20,000 rows" in line
    with pytest.raises(UploadsFailed) as failed:
        lake.ingest(upload.id)
    assert line in failed.value.message


def test_lines_that_are_no_records_are_counted(lake: Lake):
    task(lake, fields={"a": {"type": "long", "required": True}})
    lines = ({"a": 2}, "not json", '{"a":', {"b": 1})
    upload = stage(lake, *lines)
    found = schema_diff(lake.stores, EVENTS, upload)
    assert (found.rows, found.unusable, found.broken, found.usable) == (4, 2, 0, 2)
    assert counts(lake, upload) == (2, 2)
    upload = stage(lake, *lines, raw=False)
    found = schema_diff(lake.stores, NOTES, upload)
    assert (found.rows, found.unusable, found.broken, found.usable) == (4, 2, 1, 1)
    assert counts(lake, upload) == (1, 3)


def test_metadata_that_the_contract_forbids_by_now_fails_both(lake: Lake):
    lake.ingest(stage(lake, {"id": 1}).id)
    task(lake, required_fields=["lang"], allowed_values={"lang": ["en", "ko"]})
    upload = stage(lake, {"a": 1}, meta={"lang": "ko"}, raw=False)
    task(lake, required_fields=["lang"], allowed_values={"lang": ["en"]})
    with pytest.raises(InvalidMetadata):
        schema_diff(lake.stores, NOTES, upload)
    with pytest.raises(InvalidRequest, match="is of acme/events/notes/one, not of acme/events"):
        schema_diff(lake.stores, EVENTS, upload)


def test_a_file_that_is_damaged_in_its_middle_is_left_out(lake: Lake, tmp_path: Path):
    folder = tmp_path / "delivery"
    folder.mkdir()
    (folder / "y.jsonl").write_text('{"a":1}\n')
    table = pa.table({"a": list(range(400_000))})
    pq.write_table(table, folder / "q.parquet", row_group_size=50_000, use_dictionary=False)
    data = bytearray((folder / "q.parquet").read_bytes())
    place = len(data) * 3 // 4
    data[place : place + 3_000] = b"\xff" * 3_000
    (folder / "q.parquet").write_bytes(data)
    upload = lake.upload_raw_data(folder, provider="acme", dataset="events")
    found = schema_diff(lake.stores, EVENTS, upload)
    assert (found.usable, list(found.unreadable)) == (1, ["q.parquet"])
    assert counts(lake, upload) == (1, 1)
