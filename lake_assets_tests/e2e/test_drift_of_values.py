"""Whatever records say, in whatever order and uploads: what is read back is what went in."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_assets.contracts.names import DatasetName
from lake_assets.lake import Lake

NAME = DatasetName("acme", "d")
EXAMPLES = 15

KEYS = st.sampled_from(["k1", "k2", "K2", "deep", "list"])
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 0, 1, -1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1.0, -0.0, 1e300, 5e-324, 1e22]),
)
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=4),
    st.sampled_from(["100", "true", "2024-01-01", "null", '{"a": 1}', ""]),
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(
        KEYS,
        values,
        max_size=3,
    ).filter(lambda one: len({key.lower() for key in one}) == len(one))


VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | objects(inner), max_leaves=6
)
RECORDS = st.lists(objects(VALUES), min_size=1, max_size=8)


@st.composite
def uploads(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Records, shared out among uploads in any order."""
    records = draw(RECORDS)
    count = draw(st.integers(1, 3))
    shared: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for number, record in enumerate(draw(st.permutations(records))):
        shared[draw(st.integers(0, count - 1))].append({"id": number, **record})
    return [group for group in shared if group]


def equal(given_: Any, found: Any) -> bool:
    """Whether two values are one: numbers as numbers, null fields left out, case of keys aside."""
    if isinstance(given_, dict) and isinstance(found, dict):
        left, right = ({k.lower(): v for k, v in one.items() if v is not None}
                       for one in (given_, found))  # fmt: skip
        return left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    if isinstance(given_, list) and isinstance(found, list):
        return len(given_) == len(found) and all(map(equal, given_, found))
    if isinstance(given_, bool) or isinstance(found, bool):
        return given_ is found
    if isinstance(given_, float) and isinstance(found, float) and math.isnan(given_):
        return math.isnan(found)
    return bool(given_ == found)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake without a dataset; copied, because making one takes longer."""
    home = tmp_path_factory.mktemp("drift") / "lake"
    with Lake.init(home) as lake:
        lake.create_provider("acme")
    return home


def ingested(empty: Path, sources: Sequence[Path]) -> Iterator[Lake]:
    with tempfile.TemporaryDirectory(dir=empty.parent) as folder:
        home = Path(shutil.copytree(empty, Path(folder) / "lake"))
        with Lake.open(home) as lake:
            for source in sources:
                upload = lake.upload_raw_data(source, provider="acme", dataset="d")
                outcome = lake.ingest(upload.id).outcomes[-1]
                assert outcome.rejected == 0
            yield lake


def by_id(lake: Lake) -> dict[int, dict[str, Any]]:
    rows = lake.records(NAME)
    return {row["id"]: {k: v for k, v in row.items() if not k.startswith("_")} for row in rows}


def assert_same(groups: Sequence[Sequence[dict[str, Any]]], found: dict[int, Any]) -> None:
    given_ = {record["id"]: record for group in groups for record in group}
    assert given_.keys() == found.keys()
    for number, record in given_.items():
        assert equal(record, found[number]), (record, found[number])


once = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@once
@given(uploads())
def test_json_comes_back_whatever_upload_it_was_in(empty: Path, groups: list[list[dict[str, Any]]]):
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.jsonl" for number in range(len(groups))]
        for path, group in zip(paths, groups, strict=True):
            path.write_text("".join(f"{json.dumps(record)}\n" for record in group))
        for lake in ingested(empty, paths):
            assert_same(groups, by_id(lake))


TYPED = st.one_of(
    st.tuples(st.just(pa.int64()), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(pa.int32()), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just(pa.float64()), st.floats(allow_nan=False, allow_infinity=False)),
    st.tuples(st.just(pa.string()), TEXTS),
    st.tuples(st.just(pa.bool_()), st.booleans()),
    st.tuples(st.just(pa.list_(pa.int64())), st.lists(st.integers(-(2**40), 2**40), max_size=3)),
    st.tuples(
        st.just(pa.struct([("x", pa.float64()), ("y", pa.list_(pa.string()))])),
        st.fixed_dictionaries(
            {"x": st.none() | st.floats(allow_nan=False, allow_infinity=False),
             "y": st.none() | st.lists(TEXTS, max_size=2)}
        ),
    ),
)  # fmt: skip


@once
@given(st.lists(TYPED, min_size=1, max_size=6), st.booleans())
def test_typed_files_come_back_in_one_upload_or_in_many(
    empty: Path, columns: list[tuple[pa.DataType, Any]], is_one: bool
):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        groups = [[{"id": number, "k": value}] for number, (_, value) in enumerate(columns)]
        paths = []
        for (kind, _), group in zip(columns, groups, strict=True):
            schema = pa.schema([("id", pa.int64()), ("k", kind)])
            paths.append(folder / f"{len(paths)}.parquet")
            pq.write_table(pa.Table.from_pylist(group, schema=schema), paths[-1])
        for lake in ingested(empty, [folder] if is_one else paths):
            assert_same(groups, by_id(lake))


def test_three_records_as_three_uploads_come_back(empty: Path, tmp_path: Path):
    groups = [
        [{"id": 0, "k1": "abc", "k2": True}],
        [{"id": 1, "k2": True, "k3": "100"}],
        [{"id": 2, "k1": ["def", "ghi"], "k2": False, "k3": 200}],
    ]
    paths = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for path, (record,) in zip(paths, groups, strict=True):
        path.write_text(json.dumps(record))
    for lake in ingested(empty, paths):
        assert_same(groups, by_id(lake))
        rows = lake.sql("SELECT k1, k3, either(k1, k1__variant)::VARCHAR FROM acme.d ORDER BY id")
        assert [(k1, k3, k and json.loads(k)) for k1, k3, k in rows.fetchall()] == [
            ("abc", None, "abc"),
            (None, "100", None),
            (None, None, ["def", "ghi"]),
        ]
