"""Which column holds a table's images, and which file a row's path means."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.errors import InvalidRequest
from lake_assets.intake.formats import is_junk
from lake_assets.intake.image_columns import (
    ImageColumn,
    find_image_column,
    reference_candidates,
    referenced_name,
    resolve_reference,
)

PNG = b"\x89PNG\r\n\x1a\n"
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
WAV = b"RIFF\0\0\0\0WAVE"


def found(columns, *, named=None, existing=()):
    return find_image_column(pa.table(columns), named=named, exists=set(existing).__contains__)


FILES = [f"{i}.png" for i in range(10)]
CASES = {
    "bytes": ({"k": [1], "blob": [PNG]}, (), ("blob", "bytes")),
    "bytes_of_another_kind": ({"image": [b"\x93NUMPY"]}, (), None),
    "struct": ({"x": pa.array([{"bytes": PNG, "path": None}], STRUCT)}, (), ("x", "struct")),
    "struct_of_audio": ({"x": pa.array([{"bytes": WAV, "path": "a.wav"}], STRUCT)}, (), None),
    "struct_without_values": ({"image": pa.array([None], STRUCT)}, (), ("image", "struct")),
    "paths": ({"k": ["x"], "where": ["0.png"]}, FILES, ("where", "path")),
    "paths_without_suffix": ({"where": ["0001"]}, ["0001"], ("where", "path")),
    "paths_of_other_files": ({"where": ["a.json"]}, ["a.json"], None),
    "half_of_the_paths": ({"where": ["0.png", "no.png"]}, FILES, ("where", "path")),
    "few_of_the_paths": ({"where": ["0.png", *["no.png"] * 9]}, FILES, None),
    "few_but_called_so": ({"file_name": ["0.png", *["no.png"] * 9]}, FILES, ("file_name", "path")),
    "none_though_called_so": ({"image_path": ["s3://b/0.png"]}, FILES, None),
    "file_name_before_image": (
        {"image": ["0.png"], "file_name": ["1.png"]}, FILES, ("file_name", "path")),
    "image_before_others": ({"a": ["0.png"], "image": ["1.png"]}, FILES, ("image", "path")),
    "content_before_names": (
        {"file_name": ["0.png", "no.png", "nor.png"], "blob": [PNG] * 3}, FILES, ("blob", "bytes")),
    "text": ({"text": ["hello", "0.png is nice"]}, FILES, None),
    "nothing_but_nulls": ({"image": pa.array([None], pa.binary())}, (), None),
    "no_columns": ({}, (), None),
    "late": ({"image": [None] * 500 + ["0.png"]}, FILES, ("image", "path")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_content_decides_and_names_break_ties(case):
    columns, existing, expected = CASES[case]
    assert found(columns, existing=existing) == (expected and ImageColumn(*expected))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pa.array(["0.png", None]).dictionary_encode(), id="dictionary"),
        pytest.param(pa.array(["0.png", None], pa.large_string()), id="large_string"),
        pytest.param(pa.array(["0.png", None], pa.string_view()), id="string_view"),
        pytest.param(pa.array([PNG, None]).dictionary_encode(), id="dictionary_of_bytes"),
        pytest.param(pa.array([PNG, None], pa.large_binary()), id="large_binary"),
        pytest.param(pa.array([PNG, None], pa.binary_view()), id="binary_view"),
    ],
)
def test_every_spelling_of_a_type_works(values):
    column = found({"v": values}, existing=FILES)
    assert column is not None
    assert column == found({"v": values}, named="v")


@pytest.mark.parametrize(
    ("named", "message"), [("nope", "k, picture"), ("k", "int64")], ids=["absent", "integers"]
)
def test_a_named_column_must_be_able_to_hold_images(named, message):
    with pytest.raises(InvalidRequest, match=message):
        found({"k": [1], "picture": ["0.png"]}, named=named)


def test_a_named_column_is_taken_whatever_it_holds():
    assert found({"text": ["hello"]}, named="text") == ImageColumn("text", "path")


@given(st.text())
def test_a_referenced_name_is_safe_and_always_the_same(value):
    name = referenced_name(value)
    assert name == referenced_name(value)
    top, digest, base = name.split("/")
    assert (top, len(digest)) == ("referenced", 16)
    assert base.strip(". ")
    assert len(base.encode()) <= 100
    assert not any(unicodedata.category(char) == "Cc" or char == "\\" for char in base)
    assert not is_junk(name)


@pytest.mark.parametrize(
    ("value", "base"),
    [
        ("/data/a b.png", "a b.png"),
        ("C:\\images\\ä.JPG", "ä.JPG"),
        ("", "file"),
        ("..", "file"),
        ("/x/.hidden.png", "hidden.png"),
        ("a\nb\u202e.png", "ab.png"),
        ("\ud800.png", "png"),
        ("x" * 300 + ".jpeg", "x" * 95 + ".jpeg"),
        ("é" * 100, "é" * 50),
    ],
)
def test_a_referenced_name_shows_the_basename(value, base):
    assert referenced_name(value).split("/")[2] == base


@given(st.text(), st.sampled_from(["", "a", "a/b"]))
def test_no_candidate_leaves_the_root(value, folder):
    for name in reference_candidates(value, folder):
        assert name
        assert not name.startswith("/")
        assert ".." not in name.split("/")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "files"
    (root / "sub").mkdir(parents=True)
    for name in ("top.png", "both.png", "sub/both.png", "sub/in.png", "sub/caf\u00e9.png"):
        (root / name).write_bytes(PNG)
    (tmp_path / "outside.png").write_bytes(PNG)
    (root / "out.png").symlink_to(tmp_path / "outside.png")
    (root / "link.png").symlink_to(root / "top.png")
    return root


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("in.png", "sub/in.png"),
        ("./in.png", "sub/in.png"),
        ("both.png", "sub/both.png"),
        ("../both.png", "both.png"),
        ("top.png", "top.png"),
        ("sub/in.png", "sub/in.png"),
        ("sub\\in.png", "sub/in.png"),
        ("cafe\u0301.png", "sub/caf\u00e9.png"),
        ("link.png", "link.png"),
        ("out.png", None),
        ("../../outside.png", None),
        ("/etc/hostname", None),
        ("../sub", None),
        (".", None),
        ("", None),
        ("a\0b", None),
        ("x" * 5000, None),
        ("\ud800", None),
        ("nope.png", None),
    ],
)
def test_a_reference_is_looked_up_beside_the_table_then_from_the_root(root, value, expected):
    assert resolve_reference(value, root=root, folder="sub") == expected


def test_a_reference_from_elsewhere_is_found_by_its_value(root):
    name = referenced_name("/data/x.png")
    (root / name).parent.mkdir(parents=True)
    (root / name).write_bytes(PNG)
    assert resolve_reference("/data/x.png", root=root, folder="") == name
