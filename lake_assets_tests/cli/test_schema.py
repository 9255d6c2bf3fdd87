"""`lake schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

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
    same = typed("schema", "diff", "live/events", str(files[0])).out
    assert same == "The table can take 1 row as it is.\n"
    assert len(typed("schema", "show", "live/events", "--json").json["columns"]) == 6


def test_a_file_that_is_not_there_is_told(typed: Run, lake: Lake, files: list[Path]):
    ingest(lake, files[0])
    answer = typed("schema", "diff", "live/events", "folder/none.jsonl")
    assert (answer.code, answer.out) == (1, "")
    assert "there is no file 'folder/none.jsonl', and it is no upload's id" in answer.err
    assert "there is no file ''" in typed("schema", "diff", "live/events", "").err
    folder = typed("schema", "diff", "live/events", str(files[0].parent)).err
    assert "is a folder. Name a file in it" in folder


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


# -- annotations


@pytest.fixture
def task(typed: Run, lake: Lake, tmp_path: Path) -> str:
    """Name of a variant, of whose dataset one image is there."""
    typed("config", "task", "create", "ocr", "--record-type", "ocr", "--required", "lang")
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (40, 20)).save(folder / "a.png")
    upload = lake.upload_raw_data(folder, provider="live", dataset="photos", create_provider=True)
    lake.ingest(upload.id)
    return "live/photos/ocr/words"


def annotations(path: Path, *records: dict[str, object]) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def test_a_diff_of_annotations_knows_their_contract(
    typed: Run, lake: Lake, task: str, tmp_path: Path
):
    first = annotations(tmp_path / "1.jsonl", {"image": "a", "text": "x", "page": 1})
    assert "page: long" in typed("schema", "diff", task, str(first)).out
    upload = lake.upload_task_data(
        data_file=first, provider="live", dataset="photos", task="ocr", variant="words",
        meta={"lang": "en"},
    )  # fmt: skip
    assert "There is no table yet" in typed("schema", "diff", task, upload.id).out
    lake.ingest(upload.id)
    second = annotations(
        tmp_path / "2.jsonl",
        {"image": "a", "text": "y", "page": "iv"},
        {"image": "a", "text": "z", "page": 2, "sure": True},
        {"image": "a"},
    )
    document = typed("schema", "diff", task, str(second), "--json").json
    assert (document["rows"], document["broken"], document["rejected"]) == (3, 1, 2)
    assert [(item["path"], item["change"]) for item in document["changes"]] == [
        ("page__variant", "variant"), ("sure", "added"),
    ]  # fmt: skip
    assert "1 of 3 rows break the contract" in typed("schema", "diff", task, str(second)).out
    assert "can take 1 row as it is" in typed("schema", "diff", task, str(first)).out
    assert "goes to a dataset P/D" in typed("schema", "diff", "tasks.ocr", str(first)).err
    assert "is of live/photos/ocr/words" in typed("schema", "diff", "live/photos", upload.id).err
    assert typed("schema", "log", "tasks.ocr").out == "No table has changed.\n"
    broken = tmp_path / "broken.txt"
    broken.write_text("?")
    assert (
        "none of the known forms of ocr records" in typed("schema", "diff", task, str(broken)).err
    )


def test_a_table_may_be_meant_by_its_name(typed: Run, lake: Lake, files: list[Path]):
    for path in files:
        ingest(lake, path)
    assert '"k1__variant"' in typed("schema", "show", "live.events", "--json").out
    assert "sha256" in typed("schema", "show", "lake.images").out
    assert typed("schema", "log", "lake.images").out == "No table has changed.\n"
    result = typed("schema", "show", "tasks.ocr")
    assert (result.code, "there is no table tasks.ocr (known: none yet)" in result.err) == (1, True)
    assert "known: lake." in typed("schema", "show", "lake.nothing").err


def deliver(lake: Lake, text: str) -> str:
    Path("a.csv").write_text(text)
    upload = lake.upload_raw_data("a.csv", provider="acme", dataset="d", create_provider=True)
    return upload.id


def test_values_beside_a_column_are_told_until_they_are_gone(typed: Run, process: Run, lake: Lake):
    told = '1 value of amount (long) stands beside it in amount__variant, for example "n/a"'
    lake.ingest(deliver(lake, "id,amount\n1,10\n2,20\n"))
    upload_id = deliver(lake, "id,amount\n3,30\n4,n/a\n")
    assert f"  warning: {told}" in process("process", "start", "--wait").out
    assert f"  warning: {told}" in typed("process", "status", upload_id).out
    status = typed("process", "status", upload_id, "--json").json
    assert status["outcome"]["beside"] == [
        {"path": "amount", "type": "long", "values": 1, "example": '"n/a"'}
    ]
    clean = deliver(lake, "id,amount\n5,50\n")
    lake.ingest(clean)
    assert "warning" not in typed("process", "status", clean).out
    (row,) = [row for row in typed("check", "--json").json["checks"]
              if row["check"] == "no_value_stands_beside_its_column"]  # fmt: skip
    assert row["outcome"] == "warning"
    assert row["summary"].startswith(f"{told}. Say with `lake config dataset set acme/d --column")


def test_columns_are_declared_before_the_first_upload(typed: Run, lake: Lake):
    lake.create_provider("acme")
    answer = typed("config", "dataset", "set", "acme/d", "--column", "zip=string",
                   "--column", "amount=decimal(12,2)")  # fmt: skip
    assert answer.code == 0
    assert answer.out == "acme/d: declared zip string, amount decimal(12,2)\n"
    assert "  amount: decimal(12,2), as the contract says" in typed("schema", "show", "acme/d").out
    upload_id = deliver(lake, "zip,amount\n007,1.50\n008,1.005\n")
    diff = typed("schema", "diff", "acme/d", "a.csv").out
    assert "1 of 2 rows break the contract." in diff
    assert "  zip: string" in diff
    lake.ingest(upload_id)
    rejected = typed("process", "status", upload_id).out
    assert "rejected: 1 by fields_hold_their_types" in rejected
    found = typed("sql", "select zip, amount from acme.d", "--json").json["rows"]
    assert found == [["007", "1.50"]]
    assert "amount: decimal(12,2)" in typed("config", "dataset", "show", "acme/d").out


def test_a_declaration_that_contradicts_the_table_says_what_to_run(
    typed: Run, process: Run, lake: Lake
):
    lake.ingest(deliver(lake, "zip\n7\n"))
    answer = typed("config", "dataset", "set", "acme/d", "--column", "zip=string")
    assert "process start --dataset acme/d --rebuild" in answer.out
    shown = typed("schema", "show", "acme/d").out
    assert "the contract says string: a rebuild reads it so" in shown
    deliver(lake, "zip\n008\n")
    started = process("process", "start", "--wait")
    assert started.code == 1
    assert "schema_matches_table. `lake check --dataset acme/d` says why" in started.err
    checked = typed("check", "--dataset", "acme/d")
    assert checked.code == 1
    assert (
        "zip is long, and the contract says string: `lake process start --dataset acme/d --rebuild`"
        in checked.out
    )


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("acme/d", "--column", "a=money"), 1, "'money' is no type; there are string, int"),
        (("acme/d", "--column", "_image=long"), 1, "a column that the lake fills in itself"),
        (("acme/d", "--column", "a"), 2, "--column 'a' is not NAME=VALUE."),
        (("acme/d",), 2, "Missing option '--column'."),
        (("other/d", "--column", "a=long"), 1, "unknown provider 'other'"),
        (("--column", "a=long"), 2, "Missing argument 'P/D'."),
    ],
)
def test_a_declaration_that_is_none_changes_nothing(
    typed: Run, lake: Lake, words: tuple[str, ...], code: int, problem: str
):
    lake.create_provider("acme")
    answer = typed("config", "dataset", "set", *words)
    assert (answer.code, answer.out) == (code, "")
    assert problem in answer.err
    assert lake.registry.datasets == {}
