"""`lake verify` and `lake repair`, as typed."""

import errno
import json
import os
import re

import pytest

from lake_assets.storage.tables.catalog_file import seal_catalog


@pytest.fixture
def full_lake(lake, samples, monkeypatch):
    monkeypatch.setenv("LAKE_WORKERS", "1")
    source = samples.monday.folder
    lake.ingest(
        lake.upload_raw_data(source, provider="shop", dataset="receipts", create_provider=True).id
    )
    seal_catalog(lake.stores.layout.catalog_file)
    return lake


def thumbnail(lake):
    return sorted((lake.home / "thumbnails").rglob("*.jpg"))[0]


def test_an_empty_lake_is_good(typed):
    answer = typed("verify")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "Nothing is damaged")


def test_a_good_lake_is_good_and_the_seed_is_told(typed, full_lake):
    answer = typed("verify", "--sample", "50%")
    assert answer.code == 0
    assert re.search(r"read 50 % of the files, seed \d+, in ", answer.out)
    assert re.search(r"^images +\d+", answer.out, re.MULTILINE)


def test_damage_is_named_and_the_code_is_1(typed, full_lake):
    path = thumbnail(full_lake)
    path.unlink()
    answer = typed("verify", "--sample", "1", "--seed", "7")
    name = path.relative_to(full_lake.home).as_posix()
    assert answer.code == 1
    assert re.search(rf"damage +thumbnail +{re.escape(name)} +it is missing", answer.out)
    last = answer.out.splitlines()[-1]
    assert last.startswith("Damaged: 1. See what can be put back: lake --home")
    assert last.endswith(" repair --dry-run")


def test_json_has_everything(typed, full_lake):
    thumbnail(full_lake).unlink()
    answer = typed("verify", "--json", "--full")
    assert answer.code == 1
    assert answer.json["is_good"] is False
    (found,) = answer.json["findings"]
    assert (found["kind"], found["severity"]) == ("thumbnail", "damage")
    assert answer.json["sections"]["images"]["read_files"] > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sample", "lots"), "neither a share, as 5%, nor a count"),
        (("--sample", "0"), "neither a share"),
        (("--sample", "101%"), "neither a share"),
        (("--full", "--sample", "5%"), "leave --sample out"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(typed, words, told):
    answer = typed("verify", *words)
    assert answer.code == 2
    assert told in answer.err


def test_resume_reads_every_file(typed, full_lake):
    assert "read every file" in typed("verify", "--resume").out


def test_help_says_what_is_not_looked_into(typed):
    text = " ".join(typed("verify", "--help").out.split())
    assert "dagster/" in text and "logs/" in text and "tmp/ hold no data of the lake" in text


def test_a_dry_run_shows_the_plan_and_does_nothing(typed, full_lake):
    path = thumbnail(full_lake)
    path.unlink()
    answer = typed("repair", "--dry-run")
    assert answer.code == 1
    assert re.search(r"remake +thumbnails/\S+ +make it again from its image", answer.out)
    assert not path.exists()


def test_off_a_terminal_a_repair_needs_yes(typed, full_lake):
    path = thumbnail(full_lake)
    path.unlink()
    answer = typed("repair")
    assert answer.code == 2
    assert "add --yes" in answer.err
    assert not path.exists()


def test_a_repair_puts_back_what_can_be(typed, full_lake):
    path = thumbnail(full_lake)
    content = path.read_bytes()
    path.unlink()
    answer = typed("repair", "--yes")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "Done. Nothing is damaged")
    assert path.read_bytes() == content
    assert typed("verify", "--full").code == 0


def test_a_repair_finds_again_what_the_last_verify_found(typed, full_lake):
    """Without reading every file once more: a sample of one would miss it."""
    path = thumbnail(full_lake)
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + b"x")
    assert typed("verify", "--full").code == 1
    assert typed("repair", "--yes").code == 0
    assert path.read_bytes() == content


def test_at_a_terminal_a_repair_asks(at_terminal, full_lake):
    path = thumbnail(full_lake)
    path.unlink()
    assert at_terminal("repair", answers="n\n").code == 0
    assert not path.exists()
    assert at_terminal("repair", answers="y\n").code == 0
    assert path.exists()


def test_nothing_to_repair(typed, full_lake):
    answer = typed("repair")
    assert (answer.code, answer.out) == (0, "Nothing to repair\n")


def test_a_repair_as_json(typed, full_lake):
    thumbnail(full_lake).unlink()
    plan = json.loads(typed("repair", "--dry-run", "--json").out)
    assert [step["action"] for step in plan["steps"]] == ["remake"]
    assert plan["is_done"] is False
    done = json.loads(typed("repair", "--yes", "--json").out)
    assert (done["is_done"], done["after"]["is_good"]) == (True, True)


def test_an_age_needs_a_unit(typed):
    answer = typed("repair", "--older-than", "7")
    assert answer.code == 2
    assert "is no age" in answer.err


def test_what_cannot_be_read_just_now_is_worth_another_try(typed, full_lake, monkeypatch):
    place, real = str(full_lake.home / "assets"), os.scandir

    def refused(path):
        if str(path).startswith(place):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    answer = typed("verify")
    assert answer.code == 75
    assert re.search(r"damage +unreadable +assets", answer.out)
    assert answer.out.splitlines()[-1].startswith("Some of the lake cannot be read just now")
    repair = typed("repair", "--yes")
    assert (repair.code, repair.out) == (75, "")
    assert "Nothing was repaired" in repair.err
