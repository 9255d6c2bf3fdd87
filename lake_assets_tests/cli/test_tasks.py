"""`lake config task`, `lake upload task`, and what other commands show of annotations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lake_assets.contracts.registry import update_registry
from lake_assets.lake import Lake
from lake_assets.samples import SampleFacts
from lake_assets_tests.cli.conftest import Run

CREATE = ("config", "task", "create", "kie", "--record-type", "kie", "--required", "lang,src",
          "--allow", "lang=ko,en", "--allow", "src=real,synthetic",
          "--unique-by", "image", "--unique-by", "field", "--owner", "team:x",
          "--description", "Keys of receipts")  # fmt: skip
UPLOAD = ("--provider", "shop", "--dataset", "receipts", "--task", "kie", "--variant", "people")
META = ("--meta", "lang=en", "--meta", "src=real")
NAME = "shop/receipts/kie/people"


@pytest.fixture
def annotated(typed: Run, lake: Lake, samples: SampleFacts, tmp_path: Path) -> Path:
    """Receipts in their table, the task ``kie``, and a file of two keys, one of them unknown."""
    upload = lake.upload_raw_data(
        samples.monday.folder, provider="shop", dataset="receipts", create_provider=True
    )
    lake.ingest(upload.id)
    assert typed(*CREATE).code == 0
    image = lake.sql("select file_name from shop.receipts order by 1").fetchone()[0]
    keys = [{"image": image, "field": "total", "value": "1.00"},
            {"image": "nowhere.jpg", "field": "total", "value": "2.00"}]  # fmt: skip
    path = tmp_path / "keys.jsonl"
    path.write_text("".join(f"{json.dumps(key)}\n" for key in keys))
    return path


def test_a_task_is_created_as_the_options_say(typed: Run, lake: Lake):
    answer = typed(*CREATE, "--field", "score=double", "--required-field", "rater=string",
                   "--allow", "rater=ann,bo", "--image-by", "sha256", "--drift", "freeze",
                   "--json")  # fmt: skip
    assert answer.code == 0, answer.err
    contract = lake.registry.task("kie")
    assert answer.json["task"] == "kie"
    assert (
        answer.json["contract"]
        == yaml.safe_load((lake.home / "config" / "schema.yaml").read_text())["tasks"]["kie"]
    )
    assert (contract.required_fields, contract.key) == (("lang", "src"), ("image", "field"))
    assert contract.allowed_values == {"lang": ("ko", "en"), "src": ("real", "synthetic")}
    assert contract.fields["score"].type == "double"
    assert contract.fields["rater"].model_dump() == {
        "type": "string", "required": True, "allowed": ("ann", "bo"),
    }  # fmt: skip
    found = (contract.image_by, contract.drift, contract.owner)
    assert found == ("sha256", "freeze", "team:x")


def test_a_task_is_created_once(typed: Run):
    assert "Created task kie" in typed(*CREATE).out
    again = typed(*CREATE)
    assert (again.code, again.out) == (1, "")
    assert "exists already" in again.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--record-type", "ocrr"), 2, "'ocrr' is not one of"),
        (("--allow", "lang"), 2, "--allow 'lang' is not NAME=VALUE"),
        (("--allow", "lang="), 2, "--allow 'lang=' is not NAME=VALUE"),
        (("--field", "a=long", "--field", "a=int"), 2, "--field says two things of a"),
        (("--field", "a=number"), 1, "'number' is no type"),
        (("--record-type", "ocr", "--field", "text=string"), 1, "of the record type already"),
        (("--image-by", "file"), 2, "'file' is not one of"),
    ],
)
def test_a_contract_that_makes_no_sense_is_refused(
    typed: Run, lake: Lake, words: tuple[str, ...], code: int, said: str
):
    answer = typed("config", "task", "create", "x", *words)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert lake.registry.tasks == {}


def test_a_person_is_asked_for_a_contract(at_terminal: Run, lake: Lake):
    answers = ["lines", "Lines of text", "ocr", "lang, src", "ko,en", "", "score=decimal(9,2)"]
    answer = at_terminal("config", "task", "create", "--json", answers="\n".join([*answers, ""]))
    assert answer.code == 0, answer.err
    contract = lake.registry.task("lines")
    assert "Known: kie, layout, ocr, vqa" in answer.err
    assert (contract.description, contract.record_type) == ("Lines of text", "ocr")
    assert contract.required_fields == ("lang", "src")
    assert contract.allowed_values == {"lang": ("ko", "en")}
    assert contract.fields["score"].type == "decimal(9,2)"
    assert answer.json["contract"]["record_type"] == "ocr"


def test_options_are_not_asked_about(at_terminal: Run, lake: Lake):
    answer = at_terminal("config", "task", "create", "x", "--required", "lang", answers="")
    assert answer.code == 0, answer.err
    assert lake.registry.task("x").required_fields == ("lang",)


def test_a_task_is_shown_as_yaml_with_the_columns_that_it_will_have(typed: Run):
    typed(*CREATE)
    answer = typed("config", "task", "show", "kie")
    text, _, rest = answer.out.partition("\n\n")
    assert yaml.safe_load(text)["tasks"]["kie"]["allowed_values"]["lang"] == ["ko", "en"]
    assert "Nothing of it is in a table yet." in rest
    assert "annotation_id" in rest
    unknown = typed("config", "task", "show", "kei")
    assert unknown.code == 1
    assert "known: kie" in unknown.err


def test_no_tasks_is_said(typed: Run):
    answer = typed("config", "task", "list")
    assert (answer.code, answer.err) == (0, "")
    assert "No tasks yet" in answer.out


def test_annotations_go_all_the_way(process: Run, typed: Run, annotated: Path, lake: Lake):
    staged = typed("upload", "task", str(annotated), *UPLOAD, *META, "--tag", "one")
    assert staged.code == 0, staged.err
    (upload,) = lake.uploads(name=lake.uploads()[-1].name)
    told = ("dataset  shop/receipts", "task     kie", "variant  people",
            "meta     lang=en, src=real", "1 file, ", f"--job {upload.id} --wait")  # fmt: skip
    assert [text for text in told if text not in staged.out] == []
    assert upload.manifest.tags == ("one",)
    assert "task      kie" in "".join(typed("process", "status", upload.id).out)
    document = typed("process", "status", upload.id, "--json").json
    assert (document["dataset"], document["task"], document["variant"], document["meta"]) == (
        "shop/receipts", "kie", "people", {"lang": "en", "src": "real"},
    )  # fmt: skip
    done = process("process", "start", "--wait", "--json")
    assert done.code == 0, done.err
    (run,) = done.json["runs"]
    assert (run["dataset"], run["task"], run["variant"]) == ("shop/receipts", "kie", "people")
    assert (run["outcomes"][0]["accepted"], run["outcomes"][0]["rejected"]) == (1, 1)

    listed = typed("catalog", "list", "--json").json["datasets"]
    assert [(row["task"], row["variant"], row["rows"]) for row in listed] == [
        ("raw", "", listed[0]["rows"]), ("kie", "people", 1),
    ]  # fmt: skip
    head, first, second = typed("catalog", "list").out.splitlines()
    assert head.split()[:4] == ["dataset", "task", "variant", "rows"]
    assert first.split()[:2] == ["shop/receipts", "raw"]
    assert second.split()[:4] == ["shop/receipts", "kie", "people", "1"]

    shown = typed("catalog", "show", "shop/receipts", "--json").json
    assert [row["variant"] for row in shown["annotations"]] == ["people"]
    assert "people" in typed("catalog", "show", "shop/receipts").out
    variant = typed("catalog", "show", NAME, "--json").json
    assert (variant["rows"], variant["quarantined"], len(variant["uploads"])) == (1, 1, 1)
    assert {column["name"] for column in variant["columns"]} >= {"lang", "src", "field", "value"}
    assert "variant        people" in typed("catalog", "show", NAME).out

    (task,) = typed("config", "task", "list", "--json").json["tasks"]
    assert (task["task"], task["variants"], task["rows"]) == ("kie", ["people"], 1)
    assert "people" in typed("config", "task", "list").out
    columns = {c["name"] for c in typed("config", "task", "show", "kie", "--json").json["columns"]}
    assert {"_record_id", "lang", "value"} <= columns


def test_checks_tell_of_a_contract_that_became_stricter(typed: Run, annotated: Path, lake: Lake):
    staged = typed("upload", "task", str(annotated), *UPLOAD, *META, "--json")
    lake.ingest(staged.json["upload_id"])
    passed = typed("check", "--json")
    assert passed.code == 0
    assert {row["variant"] for row in passed.json["checks"]} == {"", "people"}
    update_registry(
        lake.stores.layout.registry_file,
        lambda known: known.without_task("kie").with_task(
            "kie", known.task("kie").model_copy(update={"allowed_values": {"lang": ("ko",)}})
        ),
    )
    failed = typed("check", "--dataset", "shop/receipts")
    assert failed.code == 1
    (line,) = (text for text in failed.out.splitlines() if "failed" in text)
    assert line.split()[:2] == [NAME, "fields_hold_allowed_values"]
    assert "lang of 1 records" in line


def test_one_variant_is_rebuilt_alone_and_in_the_background_too(
    process: Run, typed: Run, annotated: Path, lake: Lake
):
    upload_id = typed("upload", "task", str(annotated), *UPLOAD, *META, "--json").json["upload_id"]
    lake.ingest(upload_id)
    done = process("process", "start", "--wait", "--rebuild", "--dataset", NAME, "--json")
    assert done.code == 0, done.err
    assert [run["variant"] for run in done.json["runs"]] == ["people"]
    assert done.json["runs"][0]["outcomes"][0]["accepted"] == 1
    assert process("process", "start", "--dataset", f"{NAME}s", "--wait").out == (
        "Nothing is pending\n"
    )
    unknown = typed("process", "start", "--dataset", "shop/receipts/ocr/x", "--wait")
    assert unknown.code == 1
    assert "unknown task 'ocr'" in unknown.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--meta", "lang"), 2, "--meta 'lang' is not NAME=VALUE"),
        (("--meta", "lang=en", "--meta", "lang=ko"), 2, "--meta says two things of lang"),
        (("--meta", "lang=fr"), 1, "src is missing (one of real, synthetic); lang is 'fr'"),
        ((), 1, "lang is missing (one of ko, en); src is missing"),
    ],
)
def test_metadata_that_is_wrong_stages_nothing(
    typed: Run, annotated: Path, lake: Lake, words: tuple[str, ...], code: int, said: str
):
    before = lake.uploads()
    answer = typed("upload", "task", str(annotated), *UPLOAD, *words)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert lake.uploads() == before


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--provider", "nobody", "unknown provider 'nobody'"),
        ("--dataset", "slips", "unknown dataset shop/slips"),
        ("--task", "ocr", "unknown task 'ocr' (known: kie)"),
        ("--variant", "My Own", "variant name 'My Own' must be"),
    ],
)
def test_a_place_that_is_not_there_is_told(
    typed: Run, annotated: Path, option: str, value: str, said: str
):
    words = list(UPLOAD)
    words[words.index(option) + 1] = value
    answer = typed("upload", "task", str(annotated), *words, *META)
    assert answer.code == 1
    assert said in answer.err
    assert "--create" not in answer.err


def test_a_missing_option_is_an_error_that_names_it(typed: Run, annotated: Path):
    for option in ("--provider", "--dataset", "--task", "--variant"):
        at = UPLOAD.index(option)
        answer = typed("upload", "task", str(annotated), *UPLOAD[:at], *UPLOAD[at + 2 :], *META)
        assert answer.code == 2
        assert f"Missing option '{option}'" in answer.err


def test_a_person_is_asked_for_what_was_left_out(at_terminal: Run, annotated: Path, lake: Lake):
    answers = "shop\nreceipts\nkie\npeople\nen\nreal\n"
    answer = at_terminal("upload", "task", str(annotated), "--json", answers=answers)
    assert answer.code == 0, answer.err
    assert "Known: ko, en" in answer.err
    assert answer.json["meta"] == {"lang": "en", "src": "real"}
    assert str(lake.uploads()[-1].name) == NAME


def test_a_task_is_not_deleted_while_uploads_for_it_wait(typed: Run, annotated: Path, lake: Lake):
    upload_id = typed("upload", "task", str(annotated), *UPLOAD, *META, "--json").json["upload_id"]
    refused = typed("config", "task", "delete", "kie", "--yes")
    assert refused.code == 1
    assert upload_id in refused.err
    assert "kie" in lake.registry.tasks


def test_a_deleted_task_leaves_its_rows(typed: Run, annotated: Path, lake: Lake):
    upload_id = typed("upload", "task", str(annotated), *UPLOAD, *META, "--json").json["upload_id"]
    lake.ingest(upload_id)
    asked = typed("config", "task", "delete", "kie")
    assert asked.code == 2
    assert "--yes" in asked.err
    answer = typed("config", "task", "delete", "kie", "--yes")
    assert answer.code == 0, answer.err
    assert "1 row stay" in answer.out
    assert "select * from tasks.kie" in answer.out
    assert lake.registry.tasks == {}
    assert lake.sql("select count(*) from tasks.kie").fetchall() == [(1,)]
    assert typed("check").code == 0
    assert typed("catalog", "list").code == 0
    assert typed("catalog", "show", "shop/receipts").code == 0
    assert typed("config", "task", "delete", "kie", "--yes").code == 1


def test_a_person_may_keep_a_task(at_terminal: Run, typed: Run, lake: Lake):
    typed(*CREATE)
    assert at_terminal("config", "task", "delete", "kie", answers="n\n").code == 1
    assert "kie" in lake.registry.tasks
    assert at_terminal("config", "task", "delete", "kie", answers="y\n").code == 0
    assert lake.registry.tasks == {}


def test_what_a_task_that_is_gone_left_does_not_stop_the_rest(
    process: Run, typed: Run, annotated: Path, lake: Lake
):
    lake.ingest(typed("upload", "task", str(annotated), *UPLOAD, *META, "--json").json["upload_id"])
    pending = typed("upload", "task", str(annotated), *UPLOAD, *META, "--json").json["upload_id"]
    update_registry(lake.stores.layout.registry_file, lambda known: known.without_task("kie"))
    answer = process("process", "start", "--wait")
    assert answer.code == 1
    assert "unknown task 'kie'" in answer.err
    assert "Traceback" not in answer.err
    assert lake.status(pending).upload.state == "pending"
