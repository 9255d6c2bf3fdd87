"""Annotations on their way into their task's table: each record is there, or rejected with why."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake_assets.contracts.names import DatasetName, VariantName
from lake_assets.contracts.registry import update_registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.errors import FewerRows, UnknownTask, UploadsFailed
from lake_assets.ingest import Outcome
from lake_assets.lake import Lake

WIDTH, HEIGHT = 40, 30
SCANS, OTHERS = DatasetName("shop", "scans"), DatasetName("shop", "others")
BASE = VariantName(SCANS, "ocr", "base")
CONTRACT = TaskContract(
    record_type="ocr",
    required_fields=("lang",),
    allowed_values={"lang": ("ko", "en"), "level": ("word", "line")},
)
INGEST = """
import sys
from lake_assets.lake import Lake
with Lake.open(sys.argv[1]) as lake:
    lake.ingest(sys.argv[2])
"""


def scans(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = random.Random(name.removesuffix("_again.png")).randbytes(WIDTH * HEIGHT * 3)
        Image.frombytes("RGB", (WIDTH, HEIGHT), noise).save(path, "PNG")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A lake with five files of four images, one name twice among them, the task ``ocr``; a copy.

    Each test begins with the copy, in the place of the lake: tables know their place by heart.
    """
    folder = tmp_path_factory.mktemp("made")
    images = scans(
        folder / "scans", "one.png", "two.png", "a/same.png", "b/same.png", "one.png_again.png"
    )
    with Lake.init(folder / "lake") as opened:
        raw(opened, images)
        opened.create_task("ocr", CONTRACT)
    shutil.copytree(folder / "lake", folder / "copy")
    return folder / "lake", folder / "copy"


@pytest.fixture
def lake(made: tuple[Path, Path]) -> Iterator[Lake]:
    home, copy = made
    shutil.rmtree(home)
    shutil.copytree(copy, home)
    with Lake.open(home) as opened:
        yield opened


def raw(lake: Lake, source: object, name: DatasetName = SCANS) -> None:
    upload = lake.upload_raw_data(
        source, provider=name.provider, dataset=name.dataset, create_provider=True
    )
    lake.ingest(upload.id)


def word(image: str, text: str = "word", **more: object) -> dict[str, Any]:
    return {"image": image, "text": text, "box": [1, 2, 11, 12], **more}


def lines(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def stage(
    lake: Lake, source: object, name: VariantName = BASE, meta: Mapping[str, str] | None = None
) -> str:
    return lake.upload_task_data(
        source,
        provider=name.provider,
        dataset=name.dataset,
        task=name.task,
        variant=name.variant,
        meta={"lang": "en"} if meta is None else meta,
    ).id


def annotate(
    lake: Lake, source: object, name: VariantName = BASE, meta: Mapping[str, str] | None = None
) -> Outcome:
    """Ingest annotations and return the counts, which add up."""
    (outcome,) = lake.ingest(stage(lake, source, name, meta)).outcomes
    assert outcome.rows_in == outcome.accepted + outcome.rejected + outcome.duplicate
    assert outcome.rejected == sum(outcome.rejected_by_rule.values())
    return outcome


def counts(outcome: Outcome) -> tuple[int, int, int]:
    return (outcome.accepted, outcome.rejected, outcome.duplicate)


def rows(lake: Lake, columns: str, name: VariantName = BASE) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = lake.sql(
        f"select {columns} from {name.table} where provider = ? and dataset = ? and variant = ? "
        "order by all",
        (name.provider, name.dataset, name.variant),
    ).fetchall()
    return found


def rejected(lake: Lake, columns: str = "rule, path, expected, actual") -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = lake.sql(
        f"select {columns} from lake.quarantine where task != 'raw' order by all"
    ).fetchall()
    return found


def failed_checks(lake: Lake) -> list[str]:
    return [
        f"{name} {check.name}"
        for name, check, result in lake.check()
        if check.blocking and not result.passed
    ]


def sha_of(lake: Lake, name: str) -> str:
    (sha,) = lake.sql("select _image from shop.scans where file_name = ?", (name,)).fetchone()
    return str(sha)


# -- which image is meant


def test_records_refer_to_images_by_name_folder_stem_and_hash(lake: Lake, tmp_path: Path):
    sha = sha_of(lake, "two.png")
    names = ["one.png", "one", "scans/one.jpg", "a/same.png", sha, "one.png_again.png"]
    outcome = annotate(lake, lines(tmp_path / "x.jsonl", [word(name) for name in names]))
    assert counts(outcome) == (6, 0, 0)
    one, same = sha_of(lake, "one.png"), sha_of(lake, "a/same.png")
    meant = {"one.png": one, "one": one, "scans/one.jpg": one, "a/same.png": same, sha: sha,
             "one.png_again.png": one}  # fmt: skip
    assert dict(rows(lake, "image, _image")) == meant
    assert failed_checks(lake) == []


def test_a_name_that_several_images_have_is_not_guessed(lake: Lake, tmp_path: Path):
    outcome = annotate(lake, lines(tmp_path / "x.jsonl", [word("same.png"), word("one")]))
    assert counts(outcome) == (1, 1, 0)
    ((rule, path, _, actual),) = rejected(lake)
    assert (rule, path) == ("records_refer_to_known_images", "image")
    assert actual.startswith("2 images of shop/scans have this name: ")


def test_an_image_that_the_dataset_lacks_is_told(lake: Lake, tmp_path: Path):
    raw(lake, scans(tmp_path / "others", "three.png"), OTHERS)
    outcome = annotate(lake, lines(tmp_path / "x.jsonl", [word("three.png"), word("one")]))
    assert counts(outcome) == (1, 1, 0)
    assert rejected(lake) == [
        ("records_refer_to_known_images", "image", "an image of its dataset",
         "no image of shop/scans called 'three.png'")
    ]  # fmt: skip
    assert json.loads(rejected(lake, "row_json")[0][0])["image"] == "three.png"


@pytest.mark.parametrize("by", ["sha256", "record_id"])
def test_records_refer_to_images_as_the_contract_says(lake: Lake, tmp_path: Path, by: str):
    lake.create_task("regions", TaskContract(record_type="layout", image_by=by))
    column = {"sha256": "_image", "record_id": "_record_id"}[by]
    (key,) = lake.sql(
        f"select {column} from shop.scans where file_name = 'two.png'"
    ).fetchone()  # fmt: skip
    name = VariantName(SCANS, "regions", "base")
    source = lines(
        tmp_path / "x.jsonl", [{"image": key, "label": "a"}, {"image": "two.png", "label": "b"}]
    )
    assert counts(annotate(lake, source, name, {})) == (1, 1, 0)
    assert rows(lake, "label, _image", name) == [("a", sha_of(lake, "two.png"))]
    ((rule, path, _, _),) = rejected(lake)
    assert (rule, path) == ("records_refer_to_known_images", "image")


def test_a_field_of_its_own_may_refer_to_the_image(lake: Lake, tmp_path: Path):
    lake.create_task("scores", TaskContract(image_field="scan"))
    name = VariantName(SCANS, "scores", "base")
    source = lines(
        tmp_path / "x.jsonl",
        [{"scan": "one", "score": 1}, {"scan": ["two"], "score": 2}, {"scan": 7, "score": 3}],
    )
    assert counts(annotate(lake, source, name, {})) == (1, 2, 0)
    assert rows(lake, "score, _image", name) == [(1, sha_of(lake, "one.png"))]
    assert {item[:3] for item in rejected(lake)} == {("fields_hold_their_types", "scan", "string")}


# -- what records hold


def test_a_box_outside_its_image_is_rejected(lake: Lake, tmp_path: Path):
    source = lines(
        tmp_path / "x.jsonl",
        [
            word("one", "edge", box=[0, 0, WIDTH, HEIGHT]),
            word("one", "right", box=[0, 0, WIDTH + 1, 5]),
            word("one", "above", box=[0, -2, 5, 5]),
            {"image": "one", "text": "nowhere"},
        ],
    )
    assert counts(annotate(lake, source)) == (2, 2, 0)
    assert rows(lake, "text") == [("edge",), ("nowhere",)]
    told = rejected(lake, "rule, path, expected, row_json")
    assert {item[:3] for item in told} == {
        ("boxes_lie_inside_their_images", "box", "within 40 x 30 px")
    }
    assert {json.loads(item[3])["text"] for item in told} == {"right", "above"}
    assert failed_checks(lake) == []


def test_a_required_field_that_is_empty_is_rejected(lake: Lake, tmp_path: Path):
    lake.create_task("questions", TaskContract(record_type="vqa"))
    name = VariantName(SCANS, "questions", "base")
    source = lines(
        tmp_path / "x.jsonl",
        [
            {"image": "one", "question": "what?", "answers": ["x"]},
            {"image": "one", "question": " ", "answers": ["x"]},
            {"image": "one", "question": "why?", "answers": []},
        ],
    )
    assert counts(annotate(lake, source, name, {})) == (1, 2, 0)
    assert {(rule, path) for rule, path, *_ in rejected(lake)} == {
        ("required_fields_are_present", "question"),
        ("required_fields_are_present", "answers"),
    }


def test_a_value_that_is_not_allowed_is_rejected(lake: Lake, tmp_path: Path):
    source = lines(
        tmp_path / "x.jsonl", [word("one", "a", level="line"), word("one", "b", level="block")]
    )
    assert counts(annotate(lake, source)) == (1, 1, 0)
    assert rejected(lake) == [
        ("fields_hold_allowed_values", "level", "one of word, line", "'block'")
    ]


def test_what_a_record_says_beats_what_is_said_of_its_upload(lake: Lake, tmp_path: Path):
    source = lines(
        tmp_path / "x.jsonl",
        [word("one", "a", lang="ko"), word("one", "b"), word("one", "c", lang="fr")],
    )
    assert counts(annotate(lake, source, meta={"lang": "en"})) == (2, 1, 0)
    assert rows(lake, "text, lang") == [("a", "ko"), ("b", "en")]
    assert rejected(lake, "rule, actual") == [("fields_hold_allowed_values", "'fr'")]


@pytest.mark.parametrize("record_type", [None, "layout"])
def test_a_field_of_which_the_type_is_promised_has_it(
    lake: Lake, tmp_path: Path, record_type: str | None
):
    contract = {"fields": {"score": "double", "votes": {"type": "int", "required": True}}}
    lake.create_task("rated", TaskContract.model_validate({**contract, "record_type": record_type}))
    name = VariantName(SCANS, "rated", "base")
    wanted = [{"score": 1, "votes": 3}, {"score": 0.5, "votes": 2}]
    wrong = [{"score": "high", "votes": 3}, {"score": 1.5, "votes": 2**40}, {"score": 1.5}]
    source = lines(
        tmp_path / "x.jsonl",
        [{"image": "one", "label": "x", **record} for record in wanted + wrong],
    )
    assert counts(annotate(lake, source, name, {})) == (2, 3, 0)
    assert rows(lake, "score, votes", name) == [(0.5, 2), (1.0, 3)]
    assert rejected(lake) == [
        ("fields_hold_their_types", "score", "double", '"high"'),
        ("fields_hold_their_types", "votes", "int", str(2**40)),
        ("required_fields_are_present", "votes", "a value", "none"),
    ]
    assert failed_checks(lake) == []


# -- what is there already


KEYED = TaskContract(record_type="kie", unique_by=("image", "field"))
KEYS = VariantName(SCANS, "keys", "base")


def test_fields_that_differ_only_in_case_are_one(lake: Lake, tmp_path: Path):
    records = [word("one.png", "a", Extra=1, more={"x": 1}),
               word("one.png", "b", extra="two", more={"X": "b"})]  # fmt: skip
    assert counts(annotate(lake, lines(tmp_path / "a.jsonl", records))) == (2, 0, 0)
    assert counts(annotate(lake, lines(tmp_path / "b.jsonl", [word("one.png", "c", EXTRA=3)]))) == (
        1, 0, 0,
    )  # fmt: skip
    found = sorted(lake.records(BASE), key=lambda row: row["text"])
    own = [{name.lower(): value for name, value in row.items()} for row in found]
    assert [row["extra"] for row in own] == [1, "two", 3]
    assert [row["more"] for row in found] == [{"X": 1}, {"X": "b"}, None]


def test_of_records_with_one_key_equal_ones_are_duplicates_and_others_rejected(
    lake: Lake, tmp_path: Path
):
    lake.create_task("keys", KEYED)
    total = {"image": "one", "field": "total", "value": "7.00"}
    first = lines(tmp_path / "1.jsonl", [total, total, {**total, "value": "8.00"}])
    assert counts(annotate(lake, first, KEYS, {})) == (1, 1, 1)
    second = lines(
        tmp_path / "2.jsonl", [total, {**total, "value": "9"}, {**total, "image": "two"}]
    )
    assert counts(annotate(lake, second, KEYS, {})) == (1, 1, 1)
    assert rows(lake, "value, _image = (select _image from shop.scans where file_name = 'one.png')",
                KEYS) == [("7.00", False), ("7.00", True)]  # fmt: skip
    assert {rule for rule, *_ in rejected(lake)} == {"keys_are_unique"}
    assert failed_checks(lake) == []


def test_the_same_file_again_is_a_duplicate(lake: Lake, tmp_path: Path):
    source = lines(tmp_path / "x.jsonl", [word("one"), word("two")])
    assert counts(annotate(lake, source)) == (2, 0, 0)
    assert counts(annotate(lake, source)) == (0, 0, 2)
    renamed = source.rename(tmp_path / "y.jsonl")
    assert counts(annotate(lake, renamed)) == (0, 0, 2)
    assert len(rows(lake, "text")) == 2


def test_equal_files_that_are_named_for_different_images_are_no_duplicates(
    lake: Lake, tmp_path: Path
):
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    for name in ("one", "two"):
        (boxes / f"{name}.csv").write_text("1,1,9,1,9,9,1,9,TOTAL\n")
    assert counts(annotate(lake, boxes)) == (2, 0, 0)
    assert counts(annotate(lake, boxes)) == (0, 0, 2)
    assert {sha for (sha,) in rows(lake, "_image")} == {
        sha_of(lake, "one.png"), sha_of(lake, "two.png"),
    }  # fmt: skip


# -- fields beyond the record type


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_all_files_of_an_upload_decide_what_a_field_is(
    lake: Lake, tmp_path: Path, names: tuple[str, str]
):
    few, many = names
    lines(tmp_path / "f" / f"{few}.jsonl", [word("one", "1", k=5, deep={"v": [1]})])
    lines(tmp_path / "f" / f"{many}.jsonl", [word("one", "2", k="x"), word("two", "3", K="y")])
    assert counts(annotate(lake, tmp_path / "f")) == (3, 0, 0)
    assert rows(lake, "text, k, k__variant, deep.v") == [
        ("1", None, "5", [1]), ("2", "x", None, None), ("3", "y", None, None),
    ]  # fmt: skip
    later = lines(tmp_path / "x.jsonl", [word("two", "4", k=7), word("two", "5", deep=1)])
    assert counts(annotate(lake, later)) == (2, 0, 0)
    assert rows(lake, "text, k__variant, deep__variant")[3:] == [("4", "7", None), ("5", None, "1")]
    assert failed_checks(lake) == []


def test_results_of_coco_mean_images_by_their_ids(lake: Lake, tmp_path: Path):
    lake.create_task("regions", TaskContract(record_type="layout"))
    name = VariantName(SCANS, "regions", "base")
    result = {"category_id": 3, "bbox": [1, 2, 10, 10], "score": 0.5}
    ids = ["one", sha_of(lake, "two.png"), 42]
    source = tmp_path / "results.json"
    source.write_text(json.dumps([{"image_id": image, **result} for image in ids]))
    assert counts(annotate(lake, source, name, {})) == (2, 1, 0)
    assert rows(lake, "label, category_id, confidence", name) == [("3", 3, 0.5)] * 2
    assert rejected(lake) == [
        ("records_refer_to_known_images", "image", "an image of its dataset",
         "no image of shop/scans called '42'")
    ]  # fmt: skip


# -- files that are none


def test_images_among_annotations_are_rejected(lake: Lake, tmp_path: Path):
    folder = scans(tmp_path / "mixed", "one.png")
    lines(folder / "x.jsonl", [word("one")])
    assert counts(annotate(lake, folder)) == (1, 1, 0)
    ((rule, _, _, actual),) = rejected(lake)
    assert rule == "file_holds_annotations"
    assert "lake upload raw" in actual


def test_a_broken_file_costs_one_rejected_row(lake: Lake, tmp_path: Path):
    folder = tmp_path / "some"
    lines(folder / "a.jsonl", [word("one")])
    (folder / "b.json").write_text('{"form": [')
    lines(folder / "c.jsonl", [word("two")])
    (folder / "d").mkdir()
    (folder / "d" / "e.csv.gz").write_bytes(gzip.compress(b"1,1,9,1,9,9,1,9,x")[:12])
    assert counts(annotate(lake, folder)) == (2, 2, 0)
    assert rejected(lake, "file") == [("b.json",), ("d/e.csv.gz",)]


def test_a_column_of_the_lake_itself_rejects_its_record(lake: Lake, tmp_path: Path):
    source = lines(tmp_path / "x.jsonl", [word("one", Variant="mine"), word("two")])
    assert counts(annotate(lake, source)) == (1, 1, 0)
    assert rejected(lake, "rule, path, actual") == [
        ("keys_are_not_the_lakes_own", "Variant", "Variant")
    ]


def test_tables_with_columns_of_the_lake_itself_are_refused(lake: Lake, tmp_path: Path):
    lake.create_task("scores", TaskContract(image_field="scan"))
    source = lines(tmp_path / "x.jsonl", [{"scan": "one", "variant": "mine"}])
    upload_id = stage(lake, source, VariantName(SCANS, "scores", "base"), {})
    with pytest.raises(UploadsFailed, match="variant .*rename"):
        lake.ingest(upload_id)
    assert not lake.stores.tables.exists("tasks.scores")


def test_a_contract_that_became_stricter_since_it_was_staged_counts(lake: Lake, tmp_path: Path):
    upload_id = stage(lake, lines(tmp_path / "x.jsonl", [word("one")]))
    change_contract(lake, "ocr", required_fields=("lang", "src"))
    with pytest.raises(UploadsFailed, match="src is missing"):
        lake.ingest(upload_id)
    change_contract(lake, "ocr", required_fields=("lang",))
    lake.retry(upload_id)
    lake.ingest(upload_id)
    assert len(rows(lake, "text")) == 1


def test_a_contract_that_spells_a_column_otherwise_than_its_table_is_told_so(
    lake: Lake, tmp_path: Path
):
    lake.create_task("scores", TaskContract.model_validate({"fields": {"score": "long"}}))
    name = VariantName(SCANS, "scores", "base")
    lake.ingest(stage(lake, lines(tmp_path / "a.jsonl", [{"score": 1}]), name, {}))
    respelled = TaskContract.model_validate({"fields": {"Score": "long"}})
    change_contract(lake, "scores", fields=respelled.fields)
    upload_id = stage(lake, lines(tmp_path / "b.jsonl", [{"score": 2}]), name, {})
    with pytest.raises(UploadsFailed, match=r"Score \(the table has score\).*process retry"):
        lake.ingest(upload_id)
    change_contract(lake, "scores", fields={"score": respelled.fields["Score"]})
    lake.retry(upload_id)
    lake.ingest(upload_id)
    assert sorted(rows(lake, "score", name)) == [(1,), (2,)]


def test_annotations_of_a_task_that_was_deleted_since_stay_pending(lake: Lake, tmp_path: Path):
    upload_id = stage(lake, lines(tmp_path / "x.jsonl", [word("one")]))
    update_registry(lake.stores.layout.registry_file, lambda registry: registry.without_task("ocr"))
    with pytest.raises(UnknownTask, match="unknown task 'ocr'"):
        lake.ingest(upload_id)
    assert lake.status(upload_id).upload.state == "pending"


def change_contract(lake: Lake, task: str, **changes: object) -> None:
    update_registry(
        lake.stores.layout.registry_file,
        lambda known: known.without_task(task).with_task(
            task, known.task(task).model_copy(update=changes)
        ),
    )


# -- tasks of their own


def write_csv(path: Path, columns: Mapping[str, list[Any]]) -> Path:
    table = [
        ",".join(columns),
        *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True)),
    ]
    path.write_text("\n".join(table) + "\n")
    return path


def write_jsonl(path: Path, columns: Mapping[str, list[Any]]) -> Path:
    return lines(
        path, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    )


def write_parquet(path: Path, columns: Mapping[str, list[Any]]) -> Path:
    pq.write_table(pa.table(dict(columns)), path)
    return path


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet])
def test_a_task_without_a_record_type_takes_tables(
    lake: Lake, tmp_path: Path, write: Callable[..., Path]
):
    contract = {
        "fields": {"score": "double", "verdict": {"type": "string", "allowed": ["good", "bad"]}},
        "image_field": "scan",
    }
    lake.create_task("quality", TaskContract.model_validate(contract))
    name = VariantName(SCANS, "quality", "people")
    columns = {"scan": ["one", "two", "none"], "score": [1, 2, 3],
               "verdict": ["good", "soso", "bad"], "note": ["x", "y", "z"]}  # fmt: skip
    source = write(tmp_path / f"x.{write.__name__.removeprefix('write_')}", columns)
    assert counts(annotate(lake, source, name, {})) == (1, 2, 0)
    assert rows(lake, "score, typeof(score), verdict, note, _image", name) == [
        (1.0, "DOUBLE", "good", "x", sha_of(lake, "one.png"))
    ]
    assert {rule for rule, *_ in rejected(lake)} == {
        "fields_hold_allowed_values", "records_refer_to_known_images",
    }  # fmt: skip
    assert failed_checks(lake) == []


# -- variants


def test_two_variants_of_one_task_are_apart(lake: Lake, tmp_path: Path):
    other = VariantName(SCANS, "ocr", "other")
    source = lines(tmp_path / "x.jsonl", [word("one"), word("two")])
    assert counts(annotate(lake, source)) == (2, 0, 0)
    assert counts(annotate(lake, source, other)) == (2, 0, 0), "no duplicates of another variant's"
    assert lake.variants() == lake.variants([str(SCANS)]) == (BASE, other)
    assert lake.uploads(name=str(other)) == lake.uploads(name=other) != ()
    assert lake.check([str(SCANS)]) == lake.check([SCANS])
    assert [(r["task"], r["variant"], r["rows"]) for r in lake.catalog()] == [
        ("raw", "", 5), ("ocr", "base", 2), ("ocr", "other", 2),
    ]  # fmt: skip


def test_a_rebuild_leaves_other_variants_alone(lake: Lake, tmp_path: Path):
    other = VariantName(SCANS, "ocr", "other")
    annotate(lake, lines(tmp_path / "x.jsonl", [word("one", "a"), word("two", "b", level="word")]))
    annotate(lake, lines(tmp_path / "y.jsonl", [word("one", "c", level="word")]), other)
    before = rows(lake, "*", other)
    change_contract(lake, "ocr", allowed_values={"lang": ("ko", "en"), "level": ("line",)})
    assert "shop/scans/ocr/base fields_hold_allowed_values" in failed_checks(lake)
    with pytest.raises(
        FewerRows, match=r"1 of 2 accepted rows \(1 rejected by fields_hold_allowed"
    ):
        lake.rebuild(BASE)
    assert rows(lake, "text") == [("a",), ("b",)]
    lake.rebuild(BASE, accepts_fewer_rows=True)
    assert rows(lake, "text") == [("a",)]
    assert rows(lake, "*", other) == before
    assert failed_checks(lake).count("shop/scans/ocr/base fields_hold_allowed_values") == 0
    change_contract(lake, "ocr", allowed_values={"lang": ("ko", "en")})
    lake.rebuild(BASE)
    assert rows(lake, "text") == [("a",), ("b",)]


def test_two_processes_annotate_two_datasets_at_once(lake: Lake, tmp_path: Path):
    raw(lake, scans(tmp_path / "others", "one.png", "three.png"), OTHERS)
    there = VariantName(OTHERS, "ocr", "base")
    ids = [
        stage(lake, lines(tmp_path / "x.jsonl", [word("one", "here", page=1)])),
        stage(lake, lines(tmp_path / "y.jsonl", [word("three", "there", angle=0.5)]), there),
    ]
    running = [
        subprocess.Popen([sys.executable, "-c", INGEST, str(lake.home), upload_id])
        for upload_id in ids
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert rows(lake, "text, page, angle") == [("here", 1, None)]
    assert rows(lake, "text, page, angle", there) == [("there", None, 0.5)]
    assert failed_checks(lake) == []
