"""`lake upload raw` and what follows an upload about: status, list, cancel, retry."""

from __future__ import annotations

from pathlib import Path

from lake_assets.lake import Lake
from lake_assets.storage.processes import created_by
from lake_assets_tests.cli.conftest import Run


def deliver(typed: Run, path: Path, *words: str) -> str:
    answer = typed("upload", "raw", str(path), "--provider", "hr", "--dataset", "people",
                   "--create", "--json", *words)  # fmt: skip
    assert answer.code == 0, answer.err
    upload_id: str = answer.json["upload_id"]
    return upload_id


def test_an_upload_is_staged_and_the_next_step_told(typed: Run, lake: Lake, people: Path):
    answer = typed("upload", "raw", str(people), "--provider", "hr", "--dataset", "people",
                   "--create")  # fmt: skip
    (upload,) = lake.uploads()
    assert answer.code == 0
    assert upload.id in answer.out
    assert "1 file, " in answer.out
    assert f"Next: lake --home {lake.home} process start --job {upload.id} --wait" in answer.out


def test_options_are_kept_with_the_upload(typed: Run, lake: Lake, people: Path):
    deliver(typed, people, "--tag", "one", "--tag", "two", "--variant", "mixed", "--no-header",
            "--delimiter", r"\t")  # fmt: skip
    (upload,) = lake.uploads()
    assert upload.manifest.tags == ("one", "two")
    assert upload.manifest.variant == "mixed"
    assert (upload.manifest.options.header, upload.manifest.options.delimiter) == (False, "\t")


def test_an_unknown_provider_is_an_error(typed: Run, lake: Lake, people: Path):
    answer = typed("upload", "raw", str(people), "--provider", "hr", "--dataset", "people")
    assert answer.code == 1
    assert "--create" in answer.err
    assert lake.uploads() == ()


def test_a_missing_path_is_an_error(typed: Run, lake: Lake, tmp_path: Path):
    answer = typed("upload", "raw", str(tmp_path / "nothing"), "--provider", "hr", "--dataset",
                   "people", "--create")  # fmt: skip
    assert answer.code == 1
    assert "nothing" in answer.err
    assert lake.uploads() == ()


def test_a_missing_option_is_an_error_that_names_it(typed: Run, people: Path):
    without_provider = typed("upload", "raw", str(people))
    without_dataset = typed("upload", "raw", str(people), "--provider", "hr")
    without_path = typed("upload", "raw")
    assert (without_provider.code, without_dataset.code, without_path.code) == (2, 2, 2)
    assert "--provider" in without_provider.err
    assert "--dataset" in without_dataset.err
    assert "PATH" in without_path.err


def test_a_person_is_asked_for_what_was_left_out(at_terminal: Run, lake: Lake, people: Path):
    lake.create_provider("shops")
    answer = at_terminal("upload", "raw", str(people), "--json", answers="hr\ny\npeople\n")
    (upload,) = lake.uploads()
    assert answer.code == 0, answer.err
    assert str(upload.name) == "hr/people"
    assert "Known: shops" in answer.err
    assert "create it?" in answer.err
    assert answer.out.startswith("{"), "questions belong on stderr"
    assert answer.json["upload_id"] == upload.id


def test_a_person_may_interrupt(at_terminal: Run, lake: Lake, people: Path):
    end_of_input = "\x04"
    answer = at_terminal("upload", "raw", str(people), answers=end_of_input)
    assert answer.code == 130
    assert "interrupted" in answer.err
    assert lake.uploads() == ()


def test_status_tells_of_a_pending_upload(typed: Run, people: Path):
    upload_id = deliver(typed, people)
    answer = typed("process", "status", upload_id)
    assert "pending" in answer.out
    assert created_by() in answer.out
    assert f"--job {upload_id} --wait" in answer.out
    document = typed("process", "status", upload_id.lower(), "--json").json
    assert (document["state"], document["outcome"], document["files"]) == ("pending", None, 1)


def test_status_tells_of_processes_that_died_over_an_upload(typed: Run, lake: Lake, people: Path):
    upload_id = deliver(typed, people)
    assert "processes died" not in typed("process", "status", upload_id).out
    for _ in range(2):
        claimed = lake.stores.staging.claim(lake.stores.staging.find(upload_id), token=1)
        assert claimed
        lake.stores.staging.release_after_death(claimed)
    assert "processes died  2" in typed("process", "status", upload_id).out
    assert typed("process", "status", upload_id, "--json").json["deaths"] == 2


def test_an_unknown_upload_is_an_error(typed: Run):
    unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    for words in (("status",), ("retry",), ("cancel",), ("start", "--job"),
                  ("start", "--wait", "--job")):  # fmt: skip
        answer = typed("process", *words, unknown)
        assert (answer.code, answer.out) == (1, "")
        assert unknown in answer.err


def test_uploads_are_listed_newest_first(typed: Run, people: Path):
    ids = [deliver(typed, people) for _ in range(3)]
    listed = typed("process", "list", "--json").json["uploads"]
    assert [item["upload_id"] for item in listed] == ids[::-1]
    cut = typed("process", "list", "--limit", "2")
    assert ids[0] not in cut.out
    assert "and 1 older upload" in cut.out


def test_uploads_are_listed_by_state_and_person(typed: Run, people: Path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody_else")
    theirs = deliver(typed, people)
    monkeypatch.delenv("LOGNAME")
    mine, cancelled = deliver(typed, people), deliver(typed, people)
    typed("process", "cancel", cancelled)

    def ids(*words: str) -> set[str]:
        return {
            item["upload_id"] for item in typed("process", "list", "--json", *words).json["uploads"]
        }

    assert ids("--mine") == {mine, cancelled}
    assert ids("--state", "pending") == {theirs, mine}
    assert ids("--state", "pending", "--state", "cancelled", "--mine") == {mine, cancelled}
    assert typed("process", "list", "--state", "lost").code == 2


def test_a_cancelled_upload_may_be_retried(typed: Run, people: Path):
    upload_id = deliver(typed, people)
    assert "is cancelled" in typed("process", "cancel", upload_id).out
    start = typed("process", "start", "--job", upload_id, "--wait")
    assert start.code == 1
    assert f"lake process retry {upload_id}" in start.err
    assert typed("process", "retry", upload_id, "--json").json["state"] == "pending"
    assert typed("process", "retry", upload_id).code == 1
