"""Manifests come back as they were written, or say what is wrong with them."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import InvalidManifest, StorageUnavailable
from lake_assets.intake.manifest import Manifest, format_files, parse_files, parse_manifest
from lake_assets.intake.model import ReadOptions, RefusedFile, StagedFile

TEXT = st.text(st.characters(codec="utf-8"))
ODD = st.sampled_from(["a\u2028b", "a\u0085b", 'q"uote', "new\nline", "\\", "é", "\x1f", "\ufeff"])
NAMES = TEXT | ODD

MANIFESTS = st.builds(
    Manifest,
    upload_id=st.just("01J00000000000000000000000"),
    name=st.just(DatasetName("icdar", "sroie")),
    created_at=st.datetimes(timezones=st.just(UTC)),
    created_by=NAMES,
    source=NAMES,
    file_count=st.integers(0),
    byte_count=st.integers(0),
    description=NAMES,
    variant=NAMES,
    tags=st.lists(NAMES).map(tuple),
    options=st.builds(
        ReadOptions,
        image_column=st.none() | NAMES,
        label_from_folders=st.booleans(),
        header=st.booleans(),
        delimiter=st.none() | st.characters(codec="utf-8"),
    ),
    refused=st.lists(st.builds(RefusedFile, name=NAMES, rule=NAMES, actual=NAMES)).map(tuple),
    ignored=st.lists(NAMES).map(tuple),
)
FILES = st.lists(
    st.builds(
        StagedFile,
        name=NAMES,
        byte_count=st.integers(0, 2**63),
        sha256=st.from_regex("[0-9a-f]{64}", fullmatch=True),
        role=st.sampled_from(["data", "image", "other"]),
    )
).map(tuple)


def manifest(**changes):
    return Manifest(
        **{
            "upload_id": "01J00000000000000000000000",
            "name": DatasetName("icdar", "sroie"),
            "created_at": datetime(2026, 1, 1, tzinfo=UTC),
            "created_by": "me@here",
            "source": "/x",
            "file_count": 1,
            "byte_count": 2,
            **changes,
        }
    )


@given(MANIFESTS)
def test_a_manifest_comes_back_as_it_was(given_manifest):
    text = given_manifest.to_json().encode().decode()
    assert parse_manifest(text, where="here") == given_manifest


@given(FILES)
def test_a_list_of_files_comes_back_as_it_was(tmp_path_factory, files):
    path = tmp_path_factory.mktemp("list") / "files.jsonl"
    path.write_bytes(format_files(files).encode())
    assert parse_files(path) == files


def changed(**changes):
    """As an earlier version wrote it: without a seal."""
    plain = json.loads(manifest().to_json()) | {"seal": ..., **changes}
    return json.dumps({key: value for key, value in plain.items() if value is not ...})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut off"),
        pytest.param("[]", id="a list"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="no version"),
        pytest.param(changed(provider=...), id="no provider"),
        pytest.param(changed(tags=...), id="no tags"),
        pytest.param(changed(upload_id=...), id="no id"),
        pytest.param(changed(created_at="yesterday"), id="no instant"),
        pytest.param(changed(options={"colour": "red"}), id="unknown option"),
        pytest.param(changed(refused=[1]), id="refused is no mapping"),
    ],
)
def test_a_damaged_manifest_says_where_it_is(text):
    with pytest.raises(InvalidManifest, match="staging/x/manifest.json is damaged"):
        parse_manifest(text, where="staging/x/manifest.json")


def test_a_manifest_of_a_later_version_asks_for_an_upgrade():
    with pytest.raises(InvalidManifest, match="version 2, this package reads 1; upgrade"):
        parse_manifest(changed(version=2), where="here")


def test_a_key_that_this_version_does_not_know_is_left_out():
    assert parse_manifest(changed(colour="red"), where="here") == manifest()


@pytest.mark.parametrize("change", [("me@here", "he@here"), ("  ", "\t ")])
def test_a_manifest_that_was_changed_says_by_whom_that_may_be(change):
    text = manifest().to_json().replace(*change, 1)
    with pytest.raises(InvalidManifest, match='by hand. Deliver .* take the line of "seal" out'):
        parse_manifest(text, where="staging/x/manifest.json")


def test_a_list_that_is_not_the_one_of_its_manifest_is_damage(tmp_path):
    files = (StagedFile(name="a", byte_count=1, sha256="0", role="data"),)
    whole = manifest().listing(format_files(files))
    path = tmp_path / "files.jsonl"
    path.write_text(format_files(files))
    assert parse_files(path, sha256=whole.files_sha256) == files
    path.write_text(format_files(files).replace(": 1,", ": 2,"))
    with pytest.raises(InvalidManifest, match="not the one that its manifest tells of"):
        parse_files(path, sha256=whole.files_sha256)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param('{"name": "a"}\n', 1, id="a key is missing"),
        pytest.param("\n\nnonsense\n", 1, id="not JSON"),
        pytest.param(format_files([StagedFile(name="a", byte_count=1, sha256="0", role="data")])
                     + '{"name": "b', 2, id="cut off in the second"),
    ],
)  # fmt: skip
def test_a_damaged_list_says_which_line(tmp_path, text, line):
    path = tmp_path / "files.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidManifest, match=f"line {line}"):
        parse_files(path)


def test_a_missing_list_is_damage(tmp_path):
    with pytest.raises(InvalidManifest, match=r"files\.jsonl, the list .*, is missing; deliver"):
        parse_files(tmp_path / "files.jsonl")


def test_a_list_that_cannot_be_read_is_said_to_be_there(tmp_path):
    path = tmp_path / "files.jsonl"
    path.mkdir()
    with pytest.raises(InvalidManifest, match="cannot be read: Is a directory"):
        parse_files(path)


def test_the_list_of_an_upload_that_moved_on_may_be_found_later(tmp_path):
    with pytest.raises(StorageUnavailable, match="another process has taken"):
        parse_files(tmp_path / "gone" / "files.jsonl")
