"""`lake quarantine`: what is rejected, and trying it again, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import update_registry
from lake_assets.lake import Lake
from lake_assets_tests.cli.conftest import Run

TICKS = DatasetName("shop", "ticks")


def promise(lake: Lake, drift: str) -> None:
    contract = DatasetContract.model_validate({"drift": drift})
    update_registry(
        lake.stores.layout.registry_file,
        lambda registry: registry.with_dataset(TICKS, contract),
    )


def deliver(lake: Lake, folder: Path, name: str, *lines: str) -> str:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    upload = lake.upload_raw_data(path, provider="shop", dataset="ticks", create_provider=True)
    lake.ingest(upload.id)
    return upload.id


@pytest.fixture
def rejected(lake: Lake, tmp_path: Path) -> str:
    """Two rows that are let in by now, and one that is no JSON; return their upload's id."""
    deliver(lake, tmp_path, "first.jsonl", '{"n": 1, "k": 1}')
    promise(lake, "quarantine")
    upload_id = deliver(lake, tmp_path, "more.jsonl", '{"n": 2, "k": "a"}', '{"n": 3, "k": "b"}',
                        "{no", '{"n": 4, "k": 4}')  # fmt: skip
    promise(lake, "evolve")
    return upload_id


# -- list


def test_an_empty_quarantine_says_so(typed: Run):
    answer = typed("quarantine", "list")
    assert (answer.code, answer.out) == (0, "No open rows of that kind are in the quarantine\n")
    assert typed("quarantine", "list", "--json").json == {"counts": [], "rows": []}
    assert typed("quarantine", "replay").out == "Nothing to replay\n"
    assert typed("quarantine", "replay", "--dry-run").out == "Nothing to replay\n"
    nothing = typed("quarantine", "replay", "--json").json
    assert nothing == {"jobs": [], "done": [], "runs": []}


def test_a_list_begins_with_counts_and_shows_each_row(typed: Run, rejected: str):
    lines = typed("quarantine", "list").out.splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["shop/ticks", "row_fits_the_schema", "2"],
        ["shop/ticks", "line_is_valid_json", "1"],
    ]
    assert lines[4].split() == ["id", "of", "where", "rule", "path", "expected", "actual"]
    assert "more.jsonl row 0" in lines[5]
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--rule", "row_fits_the_schema"), 2),
        (("--rule", "no_such_rule"), 0),
        (("--dataset", "shop/ticks"), 3),
        (("--task", "raw"), 3),
        (("--task", "ocr"), 0),
        (("--since", "1d"), 3),
        (("--since", "2999-01-01"), 0),
        (("--state", "replayed"), 0),
        (("--state", "all"), 3),
        (("--limit", "1"), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_list_can_be_narrowed(typed: Run, rejected: str, words: tuple[str, ...], count: int):
    assert len(typed("quarantine", "list", "--json", *words).json["rows"]) == count


def test_rows_with_numbers_that_json_readers_do_not_keep_are_shown(
    typed: Run, lake: Lake, tmp_path: Path
):
    many = "7" * 5000
    deliver(lake, tmp_path, "odd.jsonl", f'{{"": {many}, "k": 1e400}}', '{"n": 1}')
    (row,) = typed("quarantine", "list", "--json").json["rows"]
    assert row["content"] == {"": many, "k": "1E+400"}
    assert many in typed("quarantine", "show", row["quarantine_id"]).out


def test_a_list_of_one_upload(typed: Run, rejected: str):
    assert (
        len(typed("quarantine", "list", "--json", "--upload", rejected.lower()).json["rows"]) == 3
    )
    other = "0" * 26
    assert typed("quarantine", "list", "--json", "--upload", other).json["rows"] == []


def test_what_is_not_shown_is_told(typed: Run, rejected: str):
    out = typed("quarantine", "list", "--limit", "1").out
    assert "The newest 1 of 3 rows; --limit shows more" in out
    assert "more.jsonl" not in typed("quarantine", "list", "--limit", "0").out


def test_a_wrong_word_is_a_usage_error(typed: Run, rejected: str):
    assert typed("quarantine", "list", "--since", "soon").code == 2
    assert typed("quarantine", "list", "--state", "gone").code == 2
    assert typed("quarantine", "list", "--dataset", "shop/none").code == 1


# -- show


def test_a_row_is_shown_whole_by_the_beginning_of_its_id(typed: Run, rejected: str):
    listed = typed("quarantine", "list", "--json", "--rule", "row_fits_the_schema").json["rows"]
    row = min(listed, key=lambda item: item["row"])
    answer = typed("quarantine", "show", row["quarantine_id"][:8].upper())
    assert answer.code == 0
    for text in (row["quarantine_id"], rejected, "more.jsonl row 0", "row_fits_the_schema"):
        assert text in answer.out
    assert answer.out.endswith('{\n  "n": 2,\n  "k": "a"\n}\n')
    document = typed("quarantine", "show", row["quarantine_id"], "--json").json
    assert document["content"] == {"n": 2, "k": "a"}


def test_an_id_that_is_none_or_several_is_refused(typed: Run, rejected: str):
    assert "no row has the id 'zz'" in typed("quarantine", "show", "zz").err
    several = typed("quarantine", "show", "")
    assert (several.code, "several rows" in several.err) == (1, True)
    assert typed("quarantine", "replay", "zz").code == 1


# -- replay


def test_a_dry_run_says_what_would_pass_and_changes_nothing(typed: Run, lake: Lake, rejected: str):
    out = typed("quarantine", "replay", "--dry-run").out
    assert out == (
        "shop/ticks: 2 of 3 rows would pass (2 accepted, 0 duplicates)\n"
        "  would stay: 1 by line_is_valid_json\n"
    )
    (trial,) = typed("quarantine", "replay", "--dry-run", "--json").json["trials"]
    assert trial["stayed"] == {"line_is_valid_json": 1}
    assert len(lake.quarantine()) == 3
    assert lake.datasets_with_work() == ()


def test_a_replay_is_a_run_that_says_what_stays(process: Run, lake: Lake, rejected: str):
    answer = process("quarantine", "replay")
    assert answer.code == 0, answer.err
    assert "2 rows in = 2 accepted + 0 rejected + 0 duplicates" in answer.out
    assert "  stays: 1 by line_is_valid_json" in answer.out
    assert lake.sql("select count(*) from shop.ticks").fetchall() == [(4,)]
    (row,) = lake.quarantine()
    document = process("quarantine", "replay", row["quarantine_id"][:10], "--json").json
    (outcome,) = document["runs"][0]["outcomes"]
    assert (outcome["rows_in"], outcome["stayed"]) == (0, {"line_is_valid_json": 1})
    (entry,) = lake.catalog()
    assert entry["quarantined"] == 1


def test_a_replay_of_some_rows_leaves_the_others(process: Run, lake: Lake, rejected: str):
    one, _ = (row for row in lake.quarantine() if row["rule"] == "row_fits_the_schema")
    answer = process("quarantine", "replay", one["quarantine_id"], "--json")
    assert answer.json["runs"][0]["outcomes"][0]["accepted"] == 1
    assert one["quarantine_id"] not in {row["quarantine_id"] for row in lake.quarantine()}
    assert len(lake.quarantine()) == 2
    again = process("quarantine", "replay", one["quarantine_id"])
    assert (again.code, again.out) == (0, "Nothing to replay\n")


def test_a_replay_that_fails_is_1_and_says_why(process: Run, lake: Lake, rejected: str):
    (part,) = lake.stores.layout.tables.glob("lake/quarantine/data/*.parquet")
    assert process("quarantine", "replay", "--dry-run").code == 0
    kept = part.read_bytes()
    (upload,) = lake.replay_quarantine()
    part.chmod(0o644)
    part.unlink()
    answer = process("process", "start", "--wait", "--job", upload.id)
    assert answer.code == 1
    assert part.name in answer.err
    part.write_bytes(kept)
    assert process("process", "start", "--wait", "--job", upload.id).code == 0
    assert len(lake.quarantine()) == 1


def test_a_replay_can_be_left_to_the_background(typed: Run, lake: Lake, rejected: str, monkeypatch):
    from lake_assets.defs import launch

    started = []

    def start(lake: Lake, arguments: tuple[str, ...]) -> launch.BackgroundStart:
        started.append(arguments)
        return launch.BackgroundStart(pid=1, log=Path("log"))

    monkeypatch.setattr(launch, "start_in_background", start)
    document = typed("quarantine", "replay", "--no-wait", "--json").json
    (upload,) = lake.uploads(name=TICKS)[-1:]
    assert document["jobs"] == [upload.id]
    assert started == [("process", "start", "--wait", "--job", upload.id)]
    status = typed("process", "status", upload.id, "--json").json
    assert (status["kind"], status["state"]) == ("replay", "pending")
    assert json.dumps(status)
