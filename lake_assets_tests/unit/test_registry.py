"""The registry: keeps what it does not know, and says which key is wrong."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.contracts import registry
from lake_assets.contracts.datasets import DatasetContract, ImagePolicy
from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import (
    Registry,
    load_registry,
    save_registry,
    update_registry,
)
from lake_assets.errors import AlreadyExists, InvalidRegistry, UnknownDataset, UnknownProvider

NAME = DatasetName("icdar", "sroie")
KEYS = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=8).map(
    lambda text: f"x_{text}"
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["C"])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)
EXTRAS = st.dictionaries(KEYS, VALUES, max_size=2)


@given(EXTRAS, EXTRAS, EXTRAS)
def test_a_round_trip_keeps_unknown_keys_at_each_level(
    tmp_path_factory, in_registry, in_contract, in_images
):
    plain = {
        "providers": ["icdar"],
        **in_registry,
        "datasets": {"icdar/sroie": {**in_contract, "images": {"store": "lossless", **in_images}}},
    }
    path = tmp_path_factory.mktemp("registry") / "schema.yaml"
    path.write_text(yaml.safe_dump(plain, allow_unicode=True), encoding="utf-8")
    save_registry(load_registry(path), path)
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == plain


def test_a_change_keeps_keys_that_this_version_does_not_know(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text("providers: [huggingface]\ntasks: {ocr: {tools: [text]}}\n")
    update_registry(path, lambda registry: registry.with_provider("icdar"))
    assert yaml.safe_load(path.read_text()) == {
        "providers": ["huggingface", "icdar"],
        "tasks": {"ocr": {"tools": ["text"]}},
    }


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "{}"])
def test_an_absent_or_empty_file_is_an_empty_registry(tmp_path, text):
    path = tmp_path / "schema.yaml"
    if text is not None:
        path.write_text(text)
    assert load_registry(path) == Registry()


def contract(text):
    return f"providers: [icdar]\ndatasets: {{icdar/sroie: {{{text}}}}}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("providers: [Icdar]", "providers.0", id="provider name"),
        pytest.param("providers: icdar", "providers", id="not a list"),
        pytest.param("- icdar", "file", id="not a mapping"),
        pytest.param("providers: [", "not valid YAML", id="not YAML"),
        pytest.param("datasets: {sroie: {}}", "datasets.sroie", id="no provider"),
        pytest.param("datasets: {icdar/sroie: {}}", "icdar is not listed", id="unlisted provider"),
        pytest.param(contract("unique_by: 7"), "datasets.icdar/sroie.unique_by", id="type"),
        pytest.param(contract("partition_by: [week(at)]"), "partition_by.0", id="transform"),
        pytest.param(contract("partition_by: [at]"), "day(at)", id="no transform"),
        pytest.param(contract("partition_by: ['day(at)', 'hour(at)']"), "at more", id="twice"),
        pytest.param(contract("images: {store: gif}"), "images: ", id="store"),
    ],
)
def test_an_error_names_file_and_key(tmp_path, text, said):
    path = tmp_path / "schema.yaml"
    path.write_text(text)
    with pytest.raises(InvalidRegistry) as error:
        load_registry(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("providerss: [a]", "'providerss' is no key of it; did you mean providers?",
                     id="at the top"),
        pytest.param("providers: [a]\ndatasets: {a/t: {uniqe_by: [x]}}",
                     "datasets.a/t: 'uniqe_by' is no key of it; did you mean unique_by?",
                     id="of a dataset"),
        pytest.param("providers: [a]\ndatasets: {a/t: {images: {Store: lossless}}}",
                     "datasets.a/t.images: 'Store' is no key of it; did you mean store?",
                     id="of images"),
        pytest.param("providers: [a]\ndatasets:\n  a/t: {}\n  a/u: {}\n  a/t: {}",
                     "line 5: 'a/t' is there twice", id="a dataset twice"),
        pytest.param("providers: [a]\nproviders: [b]", "line 2: 'providers' is there twice",
                     id="a key twice"),
        pytest.param("providers: a", ": providers: should be a list", id="no list"),
        pytest.param("providers: [1]", ": providers.0: should be text", id="no text"),
        pytest.param("datasets: [a/t]", ": datasets: should be keys with values", id="no mapping"),
        pytest.param("- a", "schema.yaml: should be keys with values", id="a list for a file"),
        pytest.param("providers: [a]\ndatasets: {a/t: {images: {store: lossless, "
                     "longest_side_px: 2}}}", "longest_side_px: should be at least 16", id="small"),
        pytest.param("datasets: {a/t: {}}", "schema.yaml: dataset a/t: provider a is not listed",
                     id="of the whole file"),
    ],
)  # fmt: skip
def test_an_error_is_said_in_plain_words(tmp_path, text, said):
    path = tmp_path / "schema.yaml"
    path.write_text(text)
    with pytest.raises(InvalidRegistry) as error:
        load_registry(path)
    assert said in error.value.message
    assert "Value error" not in error.value.message


def test_the_file_says_that_comments_are_lost(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text("# mine\nproviders: [a]\n")
    update_registry(path, lambda registry: registry.with_provider("b"))
    update_registry(path, lambda registry: registry.with_provider("c"))
    text = path.read_text()
    assert "# mine" not in text
    assert text.count("comments than these are lost") == 1


def test_a_merged_mapping_may_have_its_keys_again(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text(
        "providers: [a]\ndatasets:\n  a/t: &t {owner: x, unique_by: [k]}\n"
        "  a/u: {<<: *t, owner: y}\n"
    )
    contract = load_registry(path).datasets["a/u"]
    assert (contract.owner, contract.unique_by) == ("y", ("k",))


def test_an_unknown_provider_comes_with_those_known_and_the_command():
    registry = Registry().with_provider("icdar").with_provider("huggingface")
    with pytest.raises(UnknownProvider) as error:
        registry.require_provider("acme")
    assert "known: huggingface, icdar" in str(error.value)
    assert "`lake config provider create acme`" in str(error.value)


def test_an_unknown_dataset_comes_with_those_of_its_provider():
    registry = Registry().with_provider("icdar").with_dataset(NAME, DatasetContract())
    with pytest.raises(UnknownDataset, match="known of icdar: icdar/sroie"):
        registry.contract(DatasetName("icdar", "other"))


def test_a_provider_is_added_once():
    with pytest.raises(AlreadyExists):
        Registry().with_provider("icdar").with_provider("icdar")


def test_partition_fields_are_pairs():
    found = DatasetContract(partition_by=("day(at)", "identity(a b)")).partition_fields()
    assert found == (("day", "at"), ("identity", "a b"))


@pytest.mark.parametrize("store", ["original", "lossless", "jpeg:1", "jpeg:100", "webp:80"])
def test_store_policies_that_exist_are_accepted(store):
    assert ImagePolicy(store=store).store == store


@pytest.mark.parametrize("store", ["", "jpeg", "jpeg:0", "jpeg:101", "webp:080", "png:5", "JPEG:5"])
def test_other_store_policies_are_refused(store):
    with pytest.raises(ValueError, match="is none of original"):
        ImagePolicy(store=store)


@pytest.mark.parametrize(("store", "side"), [("original", 100), ("webp:80", 15)])
def test_a_size_that_cannot_be_kept_is_refused(store, side):
    with pytest.raises(ValueError, match="longest_side_px"):
        ImagePolicy(store=store, longest_side_px=side)


def test_a_smaller_size_goes_with_a_way_to_encode():
    assert ImagePolicy(store="webp:80", longest_side_px=1024).longest_side_px == 1024


def test_a_registry_that_breaks_its_rules_is_never_saved_over_a_good_one(tmp_path):
    path = tmp_path / "schema.yaml"
    save_registry(Registry().with_provider("icdar"), path)
    with pytest.raises(AlreadyExists):
        update_registry(path, lambda registry: registry.with_provider("icdar"))
    assert load_registry(path).providers == ("icdar",)


def test_a_change_is_seen_at_once(tmp_path):
    path = tmp_path / "schema.yaml"
    for provider in ("aa", "bb", "cc"):  # of one size, within a tick of the file system's clock
        path.write_text(f"providers: [{provider}]\n")
        assert load_registry(path).providers == (provider,)
        assert load_registry(path).providers == (provider,)


def test_what_did_not_change_for_a_while_is_parsed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_SETTLED_NS", -1)  # as if it had been written long ago
    path = tmp_path / "schema.yaml"
    save_registry(Registry(providers=("aa",)), path)
    first = load_registry(path)
    assert load_registry(path) is first
    save_registry(Registry(providers=("bb",)), path)  # another file of the same size
    assert load_registry(path).providers == ("bb",)
    path.unlink()
    assert load_registry(path) == Registry()
