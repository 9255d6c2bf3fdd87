"""`lake relocate`, as typed, and what other commands say before it."""

from __future__ import annotations

import shlex
import shutil

import pytest

from lake_assets_tests.e2e.real_lake import lake as typed_apart
from lake_assets_tests.e2e.real_lake import ok


@pytest.fixture
def copied(lake, samples, monkeypatch, tmp_path):
    """A lake in another place than it was made at, without its hard links."""
    monkeypatch.setenv("LAKE_WORKERS", "1")
    source = samples.monday.folder
    lake.ingest(
        lake.upload_raw_data(source, provider="shop", dataset="receipts", create_provider=True).id
    )
    lake.upload_raw_data(source, provider="shop", dataset="receipts")
    lake.close()
    return shutil.copytree(lake.home, tmp_path / "호수 이")


COMMANDS = [
    ["sql", "select 1 from shop.receipts"],
    ["catalog", "list"],
    ["check"],
    ["schema", "show", "shop/receipts"],
    ["quarantine", "list"],
    ["upload", "raw", "x.csv", "--provider", "shop", "--dataset", "receipts"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_say_what_to_run(words, bare, copied, home, tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    answer = bare("--home", str(copied), *words)
    told = answer.err + answer.out
    assert answer.code == 1
    assert f"made at {home} and is at {copied}" in told
    assert f"lake relocate --home {shlex.quote(str(copied))}" in told


def test_a_run_fails_and_says_what_to_run(copied, home):
    answer = typed_apart(copied, "process", "start", "--wait")
    assert answer.code == 1
    assert f"this lake was made at {home} and is at {copied}" in answer.err
    assert f"lake relocate --home {shlex.quote(str(copied))}" in answer.err


def test_the_plan_is_told_and_nothing_is_done(bare, copied, home):
    answer = bare("relocate", "--home", str(copied), "--dry-run")
    lines = answer.out.splitlines()
    assert answer.code == 0
    assert lines[0] == f"This lake was made at {home}"
    assert lines[1] == "Would write the metadata of 5 tables anew"
    assert lines[2].startswith("Up to ")
    assert lines[-1] == f"Next: lake --home {shlex.quote(str(copied))} relocate"
    assert bare("--home", str(copied), "catalog", "list").code == 1


def test_it_is_done_once(bare, copied, home):
    answer = bare("--home", str(copied), "relocate")
    lines = answer.out.splitlines()
    assert (answer.code, lines[0]) == (0, f"This lake was made at {home}")
    assert lines[1] == "Wrote the metadata of 5 tables anew"
    assert lines[2].startswith("Linked ")
    assert lines[2].endswith(" saved")
    ok(copied, "process", "start", "--wait")
    assert bare("--home", str(copied), "verify", "--full").out.endswith("Nothing is damaged\n")
    again = bare("--home", str(copied), "relocate")
    assert again.out == "Nothing to do: the lake is where its tables say\n"


def test_json_says_all(bare, copied, home):
    planned = bare("--home", str(copied), "relocate", "--json", "--dry-run").json
    done = bare("--home", str(copied), "relocate", "--json").json
    assert (planned["is_done"], done["is_done"]) == (False, True)
    assert (planned["made_at"], done["made_at"]) == ([str(home)], [str(home)])
    assert planned["tables"] == done["tables"]
    assert planned["linked_bytes"] == done["linked_bytes"] > 0
    assert done["home"] == str(copied)


@pytest.mark.parametrize("name", ["a?b", "50%20 off", "c[1]"])
def test_dagster_keeps_its_storage_in_a_home_of_any_name(name, tmp_path):
    """Not in the folder that it takes that name for."""
    home = tmp_path / name
    (tmp_path / "x.csv").write_text("a\n1\n")
    ok(home, "init")
    ok(home, "upload", "raw", str(tmp_path / "x.csv"), "--provider", "p", "--dataset", "d",
       "--create")  # fmt: skip
    ok(home, "process", "start", "--wait")
    assert (home / "dagster" / "history" / "runs.db").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {name, "x.csv"}
