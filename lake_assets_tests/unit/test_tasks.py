"""Contracts of tasks: as people write them, what is wrong with them, and what they ask for."""

from __future__ import annotations

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.cli.config_task import DriftMode, ImageBy, TypeName
from lake_assets.contracts.column_types import field_type
from lake_assets.contracts.names import DatasetName, VariantName
from lake_assets.contracts.record_types import RECORD_TYPES
from lake_assets.contracts.registry import Registry, load_registry, save_registry
from lake_assets.contracts.tasks import (
    TaskContract,
    metadata_problems,
    require_metadata,
    task_contract,
)
from lake_assets.errors import (
    AlreadyExists,
    InvalidMetadata,
    InvalidRegistry,
    InvalidRequest,
    UnknownTask,
)

AS_IN_THE_ISSUE = """\
providers: [huggingface, aihub, inhouse]
tasks:
  ocr:
    required_fields: [lang, src]
    allowed_values: {lang: [ko, en, ja, multi], src: [real, synthetic]}
"""
OCR = TaskContract(
    required_fields=("lang", "src"),
    allowed_values={"lang": ("ko", "en"), "src": ("real", "synthetic")},
)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("provider", "dataset", "variant", "raw")
)
WORD = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5)
WORDS = st.lists(WORD, max_size=3)
TYPES = st.sampled_from(
    ["string", "int", "long", "float", "double", "boolean", "date", "timestamp", "timestamptz",
     "binary", "decimal(9,2)", "list<string>", "list<list<double>>"]
)  # fmt: skip
RULES = (
    TYPES
    | st.fixed_dictionaries({"type": TYPES, "required": st.booleans()})
    | (st.fixed_dictionaries({"type": TYPES, "allowed": WORDS}))
)
CONTRACTS = st.fixed_dictionaries(
    {},
    optional={
        "description": st.text(st.characters(exclude_categories=["C", "Z"]), max_size=9),
        "record_type": st.sampled_from(sorted(RECORD_TYPES)),
        "required_fields": st.lists(NAMES, max_size=3, unique=True),
        "allowed_values": st.dictionaries(
            NAMES, st.lists(WORD, min_size=1, max_size=3), max_size=2
        ),
        "fields": st.dictionaries(NAMES.map(lambda name: f"x_{name}"), RULES, max_size=3),
        "image_field": NAMES,
        "image_by": st.sampled_from([str(item) for item in ImageBy]),
        "unique_by": st.lists(NAMES, max_size=2),
        "drift": st.sampled_from(["evolve", "freeze", "quarantine"]),
    },
)


def loaded(tmp_path, text):
    path = tmp_path / "schema.yaml"
    path.write_text(text, encoding="utf-8")
    return load_registry(path)


def test_the_form_of_the_issue_is_read_and_written(tmp_path):
    registry = loaded(tmp_path, AS_IN_THE_ISSUE)
    contract = registry.task("ocr")
    assert registry.providers == ("huggingface", "aihub", "inhouse")
    assert contract.required_fields == ("lang", "src")
    assert contract.allowed_values["lang"] == ("ko", "en", "ja", "multi")
    assert (contract.record_type, contract.key, contract.refers_by) == (None, (), None)
    save_registry(registry, tmp_path / "again.yaml")
    again = (tmp_path / "again.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(again) == yaml.safe_load(AS_IN_THE_ISSUE)


@given(st.dictionaries(NAMES, CONTRACTS, max_size=2))
def test_a_round_trip_keeps_a_task_as_it_was_written(tmp_path_factory, tasks):
    text = yaml.safe_dump({"providers": ["p"], "tasks": tasks}, allow_unicode=True)
    path = tmp_path_factory.mktemp("registry") / "schema.yaml"
    path.write_text(text, encoding="utf-8")
    registry = load_registry(path)
    save_registry(registry, path)
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == yaml.safe_load(_shortest(text))
    assert load_registry(path) == registry


def _shortest(text):
    """Return the file with each rule that is only a type written as that type."""
    plain = yaml.safe_load(text)
    for task in plain["tasks"].values():
        for name, rule in task.get("fields", {}).items():
            if isinstance(rule, dict) and set(rule) == {"type"}:
                task["fields"][name] = rule["type"]
    return yaml.safe_dump(plain, allow_unicode=True)


def test_a_rule_may_be_its_type_alone():
    short = task_contract({"fields": {"score": "double"}})
    long = task_contract({"fields": {"score": {"type": "double"}}})
    assert short == long
    assert not short.fields["score"].required


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("long", pa.int64()),
        ("timestamptz", pa.timestamp("us", tz="UTC")),
        ("timestamp", pa.timestamp("us")),
        ("decimal(9,2)", pa.decimal128(9, 2)),
        ("decimal(9, 2)", pa.decimal128(9, 2)),
        ("list<list<string>>", pa.list_(pa.list_(pa.string()))),
    ],
)
def test_a_type_is_called_as_iceberg_calls_it(text, kind):
    assert field_type(text) == kind


@pytest.mark.parametrize("text", ["", "int64", "decimal(2,9)", "decimal(39,1)", "list<>", "map"])
def test_an_unknown_type_is_told_with_those_there_are(text):
    with pytest.raises(InvalidRequest, match="there are string, int, long"):
        task_contract({"fields": {"score": text}})


@pytest.mark.parametrize(
    ("task", "said"),
    [
        pytest.param("{requierd_fields: [a]}", "did you mean required_fields?", id="misspelt"),
        pytest.param("{fields: {a: {type: long, requird: true}}}", "did you mean required?",
                     id="misspelt in a field"),
        pytest.param("{record_type: ocrr}", "unknown record type 'ocrr' (known: kie, layout, ocr, "
                     "vqa)", id="record type"),
        pytest.param("{image_by: file}", "image_by: should be 'name', 'sha256' or 'record_id'",
                     id="image_by"),
        pytest.param("{required_fields: lang}", "required_fields: should be a list", id="no list"),
        pytest.param("{allowed_values: {lang: [no]}}", "should be text; put it in quotes",
                     id="a word that YAML takes for false"),
        pytest.param("{fields: {variant: string}}", "a column that the lake fills in itself",
                     id="a column of the lake"),
        pytest.param("{required_fields: [_image]}", "a column that the lake fills in itself",
                     id="another"),
        pytest.param("{record_type: ocr, fields: {text: string}}",
                     "text are those of the record type already", id="a built-in column"),
        pytest.param("{fields: {Variant: string}}", "a column that the lake fills in itself",
                     id="a column of the lake in another case"),
        pytest.param("{record_type: ocr, fields: {Text: string}}", "text and Text are one column",
                     id="a built-in column in another case"),
        pytest.param("{required_fields: [lang], fields: {Lang: string}}",
                     "lang and Lang are one column", id="two spellings"),
        pytest.param("{record_type: kie, image_field: Image}", "image and Image are one column",
                     id="the image in another case"),
        pytest.param("{fields: {a__variant: string}}", "ends in __variant", id="a variant"),
        pytest.param("{required_fields: [' ']}", "a field has no name", id="no name"),
        pytest.param("{unique_by: ['']}", "a field has no name", id="a key without a name"),
        pytest.param("{allowed_values: {lang: []}}", "no value would be allowed", id="none"),
        pytest.param("[a]", "tasks.ocr: should be keys with values", id="no mapping"),
    ],
)  # fmt: skip
def test_an_error_names_the_task_and_what_is_wrong(tmp_path, task, said):
    with pytest.raises(InvalidRegistry) as error:
        loaded(tmp_path, f"providers: [p]\ntasks: {{ocr: {task}}}")
    assert "tasks.ocr" in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "text", ["tasks:", "tasks: {ocr: }", "tasks: {ocr: {required_fields: , owner: , fields: }}"]
)
def test_a_key_without_a_value_says_nothing(tmp_path, text):
    registry = loaded(tmp_path, f"providers:\ndatasets:\n{text}")
    assert all(contract == TaskContract() for contract in registry.tasks.values())
    assert [*registry.tasks] == ["ocr"] * ("ocr" in text)
    save_registry(registry, tmp_path / "again.yaml")
    assert load_registry(tmp_path / "again.yaml") == registry


def test_a_task_cannot_be_called_raw(tmp_path):
    with pytest.raises(InvalidRegistry, match="'raw' is reserved"):
        loaded(tmp_path, "tasks: {raw: {}}")


def test_all_problems_of_metadata_are_told_at_once():
    meta = {"lang": "fr", "scr": "real", "note": "x"}
    with pytest.raises(InvalidMetadata) as error:
        require_metadata("ocr", OCR, meta)
    said = error.value.message
    for part in ("src is missing (one of real, synthetic)", "lang is 'fr', allowed are ko, en",
                 "'scr' is no field of it; did you mean src?"):  # fmt: skip
        assert part in said
    assert "note" not in said
    assert len(error.value.context["problems"]) == 3


@pytest.mark.parametrize(
    ("meta", "problems"),
    [
        ({"lang": "ko", "src": "real"}, 0),
        ({"lang": "ko", "src": "real", "batch": "7"}, 0),
        ({"lang": "ko", "src": " "}, 1),
        ({}, 2),
        ({"lang": "KO", "src": "real"}, 1),
        ({"lang": "ko", "src": "real", "Lang": "en"}, 1),
    ],
)
def test_metadata_has_what_the_contract_asks_for(meta, problems):
    assert len(list(metadata_problems(OCR, meta))) == problems


@pytest.mark.parametrize("value", [5, None, ["ko"], "k\udcff"])
def test_metadata_is_text(value):
    with pytest.raises(InvalidMetadata) as error:
        require_metadata("ocr", OCR, {"lang": value, "src": "real", 7: "x"})
    problems = [f"lang is {value!r}, and should be text", "7 is 'x', and should be text"]
    assert error.value.context["problems"] == problems


def test_a_table_has_what_is_said_what_is_built_in_and_what_is_its_own():
    contract = task_contract(
        {"record_type": "vqa", "required_fields": ["lang"], "allowed_values": {"src": ["a"]},
         "fields": {"score": "double"}}
    )  # fmt: skip
    names = contract.promised_columns().names
    assert names == ["lang", "src", *RECORD_TYPES["vqa"].columns, "score"]
    assert contract.key == ("image", "question")
    assert contract.required_in_records() == ("image", "question", "answers")


def test_a_field_that_refers_to_images_is_text():
    contract = task_contract({"image_field": "scan"})
    assert contract.promised_columns() == pa.schema([("scan", pa.string())])
    assert contract.required_in_records() == ("scan",)


def test_a_task_is_there_once():
    registry = Registry().with_task("ocr", OCR)
    with pytest.raises(AlreadyExists):
        registry.with_task("ocr", OCR)
    assert registry.without_task("ocr") == Registry(tasks={})
    with pytest.raises(UnknownTask, match=r"known: ocr\)"):
        registry.without_task("ocrr")


def test_annotations_need_their_dataset_and_their_task():
    name = VariantName(DatasetName("p", "d"), "ocr", "base")
    registry = Registry(providers=("p",), datasets={"p/d": {}}, tasks={"ocr": OCR})
    registry = Registry.model_validate(registry.model_dump())
    assert registry.promise(name) == OCR
    with pytest.raises(UnknownTask, match="lake config task create kie"):
        registry.promise(VariantName(name.of, "kie", "base"))


def test_the_command_line_knows_all_words_of_contracts():
    assert {str(item) for item in TypeName} == set(RECORD_TYPES)
    for key, words in (("image_by", ImageBy), ("drift", DriftMode)):
        for word in words:
            assert getattr(task_contract({key: str(word)}), key) == word
        with pytest.raises(InvalidRequest) as error:
            task_contract({key: "else"})
        assert error.value.message.count("'") == 2 * len(words)
