"""Which keys are there: each is new once, and what a failed upload added is new again."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_assets.ingest.seen import SeenKeys


@pytest.fixture
def seen(tmp_path):
    keys = SeenKeys((), column="key", scratch=tmp_path, warehouse=tmp_path)
    yield keys
    keys.close()


def test_of_equal_keys_the_first_is_new_and_none_never_is(seen):
    assert seen.add_new(["a", "b", "a", None, "b", None], upload_id="u") == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    assert seen.add_new(["b", "c"], upload_id="v") == [False, True]


def test_no_keys_are_answered_with_none(seen):
    assert seen.add_new([], upload_id="u") == []


def test_what_an_upload_added_is_new_again_once_it_is_forgotten(seen):
    seen.add_new(["a"], upload_id="good")
    seen.add_new(["a", "b"], upload_id="bad")
    seen.forget("bad")
    assert seen.add_new(["a", "b"], upload_id="next") == [False, True]


def test_keys_that_were_dropped_are_new_again_and_the_others_are_not(seen):
    seen.add_new(["a", "b", "c'"], upload_id="u")
    seen.drop(["a", "c'", "none"])
    seen.drop([])
    assert seen.add_new(["a", "b", "c'"], upload_id="v") == [True, False, True]


def test_keys_in_files_are_there_already(tmp_path):
    first, second = tmp_path / "1.parquet", tmp_path / "2.parquet"
    pq.write_table(pa.table({"key": ["a"], "kind": ["x"]}), first)
    pq.write_table(pa.table({"other": [1, 2], "key": ["b", "c"], "kind": ["x", "y"]}), second)
    files = [str(first), str(second)]
    keys = SeenKeys(files, column="key", where="kind = 'x'", scratch=tmp_path, warehouse=tmp_path)
    assert keys.add_new(["a", "b", "c"], upload_id="u") == [False, False, True]
    keys.forget("u")
    assert keys.add_new(["a"], upload_id="v") == [False]
    keys.close()


def test_folders_that_look_like_partitions_are_no_columns(tmp_path):
    folder = tmp_path / "kind=y"
    folder.mkdir()
    pq.write_table(pa.table({"key": ["a"], "kind": ["x"]}), folder / "1.parquet")
    keys = SeenKeys(
        [str(folder / "1.parquet")],
        column="key",
        where="kind = 'x'",
        scratch=tmp_path,
        warehouse=tmp_path,
    )
    assert keys.add_new(["a"], upload_id="u") == [False]
    keys.close()


@settings(max_examples=25)
@given(st.lists(st.lists(st.none() | st.sampled_from("abcdé\0'"), max_size=6), max_size=5))
def test_it_answers_as_a_set_would(tmp_path_factory, batches):
    keys = SeenKeys(
        (),
        column="key",
        scratch=tmp_path_factory.getbasetemp(),
        warehouse=tmp_path_factory.getbasetemp(),
    )
    known: set[str | None] = {None}
    for batch in batches:
        wanted = []
        for key in batch:
            wanted.append(key not in known)
            known.add(key)
        assert keys.add_new(batch, upload_id="u") == wanted
    keys.close()


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=6),
    st.lists(st.lists(st.none() | st.sampled_from("abcdefgh"), max_size=3), max_size=6),
)
def test_files_answer_the_same_before_and_after_they_are_loaded(tmp_path_factory, there, batches):
    folder = tmp_path_factory.mktemp("files")
    files = [str(folder / "1.parquet"), str(folder / "2.parquet")]
    pq.write_table(pa.table({"key": pa.array(there[:3], pa.string())}), files[0])
    pq.write_table(pa.table({"key": pa.array(there[3:], pa.string())}), files[1])
    keys = SeenKeys(files, column="key", scratch=folder, warehouse=folder)
    known: set[str | None] = {None, *there}
    for number, batch in enumerate(batches):
        wanted = []
        for key in batch:
            wanted.append(key not in known)
            known.add(key)
        assert keys.add_new(batch, upload_id=f"u{number}") == wanted
    keys.close()
