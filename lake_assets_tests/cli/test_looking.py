"""`lake catalog`, `lake check`, `lake sql`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from lake_assets.lake import Lake
from lake_assets.upkeep.checks import CHECKS
from lake_assets_tests.cli.conftest import Run

EVERY_TYPE = """select 170141183460469231731687303715884105727 as huge,
    1.50::decimal(9, 2) as price,
    timestamptz '2026-01-02 03:04:05.678901+00' as at, date '2026-01-02' as day,
    interval 90 second as span, 'ab'::blob as blob, {'a': [1, 2]} as nested,
    map {1: 'x'} as pairs, 'nan'::double as nothing, null as none, true as yes, 'ü' as text"""


@pytest.fixture
def with_people(lake: Lake, people: Path) -> str:
    upload = lake.upload_raw_data(people, provider="hr", dataset="people", create_provider=True)
    lake.ingest(upload.id)
    return upload.id


def test_an_empty_lake_says_so(typed: Run):
    assert "No datasets" in typed("catalog", "list").out
    assert "No datasets" in typed("check").out
    assert typed("catalog", "list", "--json").json == {"datasets": []}
    assert typed("check", "--json").json == {"checks": []}


def test_the_catalog_lists_what_there_is(typed: Run, with_people: str, people: Path):
    typed("upload", "raw", str(people), "--provider", "hr", "--dataset", "people")
    text = typed("catalog", "list").out
    assert "hr/people" in text
    assert "Pending: 1 upload;" in text
    (row,) = typed("catalog", "list", "--json").json["datasets"]
    assert (row["rows"], row["uploads"], row["last_upload_id"]) == (3, 1, with_people)


def test_a_dataset_is_shown_with_columns_and_uploads(typed: Run, with_people: str):
    text = typed("catalog", "show", "hr/people").out
    assert "Hash of the unique key" in text
    assert with_people in text
    document = typed("catalog", "show", "hr.people", "--json").json
    assert [item["name"] for item in document["columns"]][-2:] == ["name", "age"]
    assert document["uploads"][0]["outcome"]["accepted"] == 3


def test_a_dataset_that_waits_is_shown(typed: Run, people: Path):
    typed("upload", "raw", str(people), "--provider", "hr", "--dataset", "people", "--create")
    answer = typed("catalog", "show", "hr/people")
    assert (answer.code, "Nothing of it is in a table yet" in answer.out) == (0, True)


def test_an_unknown_dataset_is_told_with_those_known(typed: Run, with_people: str):
    for words in (("catalog", "show"), ("check", "--dataset"), ("process", "start", "--dataset")):
        answer = typed(*words, "hr/cats")
        assert answer.code == 1
        assert "known: hr/people" in answer.err


def test_checks_that_pass_are_0(typed: Run, with_people: str):
    answer = typed("check", "--dataset", "hr/people", "--json")
    assert answer.code == 0
    assert [row["check"] for row in answer.json["checks"]] == [check.name for check in CHECKS]
    assert {row["outcome"] for row in answer.json["checks"]} == {"passed"}
    assert typed("check").out.count("passed") == len(CHECKS)


def test_a_warning_is_0(typed: Run, lake: Lake, tmp_path: Path):
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("a,b\n1,2\n1,2,3\n")
    upload = lake.upload_raw_data(ragged, provider="hr", dataset="ragged", create_provider=True)
    lake.ingest(upload.id)
    answer = typed("check")
    assert answer.code == 0
    assert "warning" in answer.out


def test_a_blocking_check_that_fails_is_1(typed: Run, lake: Lake, with_people: str):
    promise = "providers: [hr]\ndatasets:\n  hr/people:\n    time_column: born_at\n"
    lake.stores.layout.registry_file.write_text(promise)
    answer = typed("check", "--json")
    assert answer.code == 1
    failed = [row["check"] for row in answer.json["checks"] if row["outcome"] == "failed"]
    assert failed == ["schema_matches_table"]


def test_sql_answers_with_a_table(typed: Run, with_people: str):
    answer = typed("sql", "select name, age from hr.people order by age")
    assert [line.split() for line in answer.out.splitlines()] == [
        ["name", "age"], ["Ada", "36"], ["Alan", "41"], ["Grace", "85"],
    ]  # fmt: skip
    assert answer.err == "(3 rows)\n"


def test_sql_comes_from_stdin(typed: Run):
    assert typed("sql", stdin="select 42 as n").out.split() == ["n", "42"]
    assert typed("sql", "-", "--csv", stdin="select 42 as n").out == "n\n42\n"
    assert typed("sql").code == 2
    assert typed("sql", "-", stdin=" \n").code == 2


def test_sql_hides_rows_and_says_so(typed: Run):
    answer = typed("sql", "select * from range(1234)")
    assert len(answer.out.splitlines()) == 1 + 1000
    assert answer.err == "(1,234 rows; 234 not shown, see --limit)\n"
    assert typed("sql", "select * from range(3)", "--limit", "3").err == "(3 rows)\n"


def test_sql_for_programs_is_whole_unless_limited(typed: Run):
    assert len(typed("sql", "select * from range(1234)", "--json").json["rows"]) == 1234
    assert len(typed("sql", "select * from range(1234)", "--csv").out.splitlines()) == 1235
    limited = typed("sql", "select * from range(1234)", "--json", "--limit", "2")
    assert limited.json == {"columns": ["range"], "rows": [[0], [1]]}


def test_sql_as_json_knows_every_type(typed: Run):
    document = typed("sql", EVERY_TYPE, "--json").json
    row = dict(zip(document["columns"], document["rows"][0], strict=True))
    assert row == {
        "huge": 170141183460469231731687303715884105727,
        "price": "1.50",
        "at": "2026-01-02T03:04:05.678901+00:00",
        "day": "2026-01-02",
        "span": 90.0,
        "blob": "YWI=",
        "nested": {"a": [1, 2]},
        "pairs": {"1": "x"},
        "nothing": None,
        "none": None,
        "yes": True,
        "text": "ü",
    }


def test_sql_as_csv_knows_every_type(typed: Run):
    (row,) = csv.DictReader(io.StringIO(typed("sql", EVERY_TYPE, "--csv").out))
    assert (row["price"], row["none"], row["yes"], row["text"]) == ("1.50", "", "true", "ü")
    assert json.loads(row["nested"]) == {"a": [1, 2]}


def test_sql_text_cannot_steer_a_terminal(typed: Run):
    answer = typed("sql", "select '[red]x[/red]' as markup, chr(27) || '[31m' || chr(10) as code")
    assert "[red]x[/red]" in answer.out
    assert "\x1b" not in answer.out
    assert r"\x1b[31m\n" in answer.out


def test_sql_off_a_terminal_is_never_cut(typed: Run):
    assert "x" * 5000 in typed("sql", "select repeat('x', 5000) as long, 1 as n").out


def test_sql_without_a_result_is_done(typed: Run, tmp_path: Path):
    answer = typed("sql", f"copy (select 1 as n) to '{tmp_path}/n.csv'")
    assert (answer.code, answer.out) == (0, "done\n")
    assert typed("sql", "create table t (n int)", "--json").json == {"columns": [], "rows": []}


@pytest.mark.parametrize(
    "query",
    ["selec", "select * from hr.nobody", "select cast(x as int) from (values ('a')) t(x)"],
    ids=["syntax", "table", "while it runs"],
)
def test_sql_that_fails_is_1(typed: Run, query: str):
    for form in ((), ("--json",), ("--csv",)):
        answer = typed("sql", query, *form)
        assert answer.code == 1
        assert answer.err.startswith("lake: ")


def test_sql_has_one_form(typed: Run):
    assert typed("sql", "select 1", "--json", "--csv").code == 2
