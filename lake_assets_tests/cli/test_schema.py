"""`lake schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lake_assets.lake import Lake
from lake_assets_tests.cli.conftest import Run

RECORDS = (
    {"k1": "abc", "k2": True},
    {"k2": True, "k3": "100"},
    {"k1": ["def", "ghi"], "k2": False, "k3": 200},
)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.jsonl" for number in range(len(RECORDS))]
    for path, record in zip(paths, RECORDS, strict=True):
        path.write_text(json.dumps(record))
    return paths


def ingest(lake: Lake, path: Path) -> str:
    upload = lake.upload_raw_data(path, provider="live", dataset="events", create_provider=True)
    lake.ingest(upload.id)
    return upload.id


def test_the_readmes_three_records_come_back(typed: Run, lake: Lake, files: list[Path]):
    ids = [ingest(lake, path) for path in files]
    query = (
        "select either(k1, k1__variant) as k1, k2, either(k3, k3__variant) as k3 from live.events"
    )
    rows = typed("sql", query, "--json").json["rows"]
    assert {tuple(row) for row in rows} == {
        ('"abc"', True, None),
        (None, True, '"100"'),
        ('["def", "ghi"]', False, "200"),
    }
    log = typed("schema", "log", "live/events", "--json").json["schema_changes"]
    assert [(row["path"], row["change"], row["upload_id"]) for row in log] == [
        ("k3", "added", ids[1]),
        ("k1__variant", "variant", ids[2]),
        ("k3__variant", "variant", ids[2]),
    ]
    columns = typed("schema", "show", "live/events", "--json").json["columns"]
    assert [(item["name"], item["type"], item["since"]) for item in columns[4:]] == [
        ("k1", "string", ""), ("k2", "boolean", ""), ("k3", "string", ids[1]),
        ("k1__variant", "string", ids[2]), ("k3__variant", "string", ids[2]),
    ]  # fmt: skip
    assert "as JSON, what k1 cannot hold" in typed("schema", "show", "live/events").out
    assert "schema_has_not_drifted" in typed("check").out


def test_the_log_knows_since_when(typed: Run, lake: Lake, files: list[Path]):
    assert "No table has changed" in typed("schema", "log").out
    for path in files:
        ingest(lake, path)
    assert typed("schema", "log").out.count("live.events") == 3
    assert typed("schema", "log", "--since", "1h").out.count("live.events") == 3
    assert typed("schema", "log", "--since", "2100-01-01", "--json").json == {"schema_changes": []}
    assert typed("schema", "log", "--since", "yesterday").code == 2


def test_a_diff_tells_what_each_mode_would_do_and_does_nothing(
    typed: Run, lake: Lake, files: list[Path]
):
    ingest(lake, files[0])
    text = typed("schema", "diff", "live/events", str(files[2])).out
    assert "evolve (the contract's mode): 2 changes" in text
    assert "added k3: long (1 row)" in text
    assert '~ k1: string does not hold 1 row, as ["def", "ghi"]' in text
    assert "quarantine: 1 of 1 row rejected" in text
    upload = lake.upload_raw_data(files[2], provider="live", dataset="events")
    document = typed("schema", "diff", "live/events", upload.id, "--json").json
    assert [item["path"] for item in document["changes"]] == ["k1__variant", "k3"]
    assert "fit the table as it is" in typed("schema", "diff", "live/events", str(files[0])).out
    assert len(typed("schema", "show", "live/events", "--json").json["columns"]) == 6


def test_a_file_that_is_not_there_is_told(typed: Run, lake: Lake, files: list[Path]):
    ingest(lake, files[0])
    answer = typed("schema", "diff", "live/events", "folder/none.jsonl")
    assert (answer.code, answer.out) == (1, "")
    assert "there is no file folder/none.jsonl" in answer.err


def test_of_a_dataset_without_a_table_the_columns_are_told(
    typed: Run, lake: Lake, files: list[Path]
):
    lake.upload_raw_data(files[0], provider="live", dataset="events", create_provider=True)
    assert "Nothing of it is in a table yet" in typed("schema", "show", "live/events").out
    assert "k2: boolean" in typed("schema", "diff", "live/events", str(files[0])).out


@pytest.mark.parametrize("command", ["show", "log"])
@pytest.mark.parametrize(
    ("name", "said"),
    [("live/evnts", "unknown dataset live/evnts"), ("live/events/ocr/a", "unknown task 'ocr'")],
)
def test_a_name_that_means_nothing_is_an_error(
    typed: Run, lake: Lake, files: list[Path], command: str, name: str, said: str
):
    ingest(lake, files[0])
    result = typed("schema", command, name)
    assert result.code == 1
    assert said in result.err
