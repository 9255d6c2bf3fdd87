"""Fields beyond the record type: neither the order of records nor the split into files matters."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations import batches as reading
from lake_assets.intake.annotations.batches import annotation_batches
from lake_assets.intake.annotations.extras import ExtrasSurvey
from lake_assets.intake.model import Batch, StagedFile
from lake_assets.intake.readers import Unreadable
from lake_assets_tests.contract.readers_harness import Result, without_nulls
from lake_assets_tests.contract.test_readers_drift import (
    RECORDS,
    TABLES,
    dealt,
    equal_rows,
    sorted_texts,
    spelled,
)

unlimited = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
BUILT_IN = {
    "kie": ("image", "reading_order", "annotation_id", "field", "value", "polygon", "box", "links"),
    "layout": (
        *("image", "reading_order", "annotation_id", "label", "polygon", "box", "confidence"),
        "category_id",
    ),
}


def staged(root: Path, name: str, content: str | bytes) -> StagedFile:
    raw = content.encode() if isinstance(content, str) else content
    (root / name).write_bytes(raw)
    digest = hashlib.sha256(raw).hexdigest()
    return StagedFile(name=name, byte_count=len(raw), sha256=digest, role="data")


def read(
    root: Path,
    files: Sequence[StagedFile],
    kind: str,
    *,
    expected: pa.Schema | None = None,
    unreadable: Unreadable | None = None,
) -> Result:
    found = {} if unreadable is None else unreadable
    batches = annotation_batches(
        root, files, kind, expected=expected, batch_rows=1000, unreadable=found
    )
    return Result(list(batches))


def as_lines(number: int, rows: list[dict[str, Any]]) -> tuple[str, str]:
    """Records of ``kie`` as JSON Lines, or as a list."""
    texts = [json.dumps({"image": "a", "field": "k", **row}) for row in rows]
    if number % 2:
        return f"{number}.json", f"[{', '.join(texts)}]"
    return f"{number}.jsonl", "\n".join(texts)


def as_coco(number: int, rows: list[dict[str, Any]]) -> tuple[str, str]:
    annotations = [{"image_id": 1, "category_id": 2, **row} for row in rows]
    lists = {"images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 2, "name": "k"}]}
    return f"{number}.json", json.dumps(lists | {"annotations": annotations})


WRITERS = {"kie": as_lines, "layout": as_coco}


def read_dealt(
    root: Path, seed: int, records: list[dict[str, Any]], kind: str, **more: Any
) -> Result:
    files = dealt(seed, records, most=4)
    named = [WRITERS[kind](n, rows) for n, rows in enumerate(files) if rows]
    return read(root, [staged(root, name, text) for name, text in named], kind, **more)


def extras_of(result: Result, kind: str) -> list[dict[str, Any]]:
    """What each record has beyond its record type, and what the format adds to that."""
    known = BUILT_IN[kind]
    return [{k: v for k, v in row.items() if k not in known} for row in result.records]


@unlimited
@given(
    records=RECORDS,
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    kind=st.sampled_from(sorted(WRITERS)),
    kept=st.sampled_from([0, 5_000, reading.KEPT_BYTES]),
)
def test_extras_come_back_whatever_their_order_and_files(
    monkeypatch, tmp_path_factory, records, seeds, kind, kept
):
    monkeypatch.setattr(reading, "KEPT_BYTES", kept)
    one, other = (
        read_dealt(tmp_path_factory.mktemp("extras"), seed, records, kind) for seed in seeds
    )
    assert one.rejected == other.rejected == []
    assert one.columns == other.columns
    assert [batch.rows.column_names for batch in one.batches[:1]] == [
        batch.rows.column_names for batch in other.batches[:1]
    ]
    assert sorted_texts(one.records) == sorted_texts(other.records)
    expected = [spelled(without_nulls(record)) for record in records]
    assert equal_rows([spelled(row) for row in extras_of(one, kind)], expected)


@unlimited
@given(
    records=RECORDS,
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    table=st.sampled_from(TABLES),
    kind=st.sampled_from(sorted(WRITERS)),
)
def test_extras_for_a_table_are_the_same_whatever_their_order_and_files(
    tmp_path_factory, records, seeds, table, kind
):
    one, other = (
        read_dealt(tmp_path_factory.mktemp("extras"), seed, records, kind, expected=table)
        for seed in seeds
    )
    assert one.rejected == other.rejected == []
    assert one.columns == other.columns
    assert sorted_texts(one.records) == sorted_texts(other.records)
    assert len(one.records) == len(records)


@unlimited
@given(parts=st.tuples(RECORDS, RECORDS, RECORDS), table=st.sampled_from(TABLES))
def test_surveys_of_extras_merge_in_any_order_and_grouping(parts, table):
    def survey(*seen: list[dict[str, Any]]) -> ExtrasSurvey:
        found = ExtrasSurvey()
        for records in seen:
            found.see(records)
        return found

    a, b, c = parts
    left, right, bc = survey(c), survey(a), survey(b)
    left.merge(survey(b))
    left.merge(survey(a))
    bc.merge(survey(c))
    right.merge(bc)
    right.merge(ExtrasSurvey())
    whole = list(survey(a, b, c).places(table).items())
    assert list(left.places(table).items()) == list(right.places(table).items()) == whole


def test_the_class_of_most_values_of_all_files_is_the_type(tmp_path):
    files = [
        staged(tmp_path, *as_lines(0, [{"k": 5, "n": 1}])),
        staged(tmp_path, *as_lines(2, [{"k": "x"}, {"k": "y", "n": 0.5}, {"v": []}])),
    ]
    result = read(tmp_path, files, "kie")
    wanted = {("k", "string"), ("k__variant", "string"), ("n", "double"), ("v__variant", "string")}
    found = {(name.removeprefix("."), kind) for name, kind in result.columns}
    assert {pair for pair in found if pair[0][0] in "knv" and pair[0] != "value"} == wanted
    assert [row["k__variant"] for row in result.rows] == ["5", None, None, None]


def test_a_table_decides_whatever_most_values_are(tmp_path):
    file = staged(tmp_path, *as_lines(0, [{"K": "x"}, {"k": "y"}, {"k": 5}]))
    table = pa.schema([("field", pa.string()), ("k", pa.int64())])
    result = read(tmp_path, [file], "kie", expected=table)
    assert [(row["k"], row["k__variant"]) for row in result.rows] == [
        (None, '"x"'), (None, '"y"'), (5, None),
    ]  # fmt: skip


def test_a_file_that_cannot_be_read_decides_nothing(tmp_path):
    unreadable: Unreadable = {}
    cut = as_lines(1, [{"k": "x"}, {"k": "y"}])[1][:-5]
    files = [
        staged(tmp_path, *as_lines(0, [{"k": 5}])),
        staged(tmp_path, "cut.json", cut),
    ]
    result = read(tmp_path, files, "kie", unreadable=unreadable)
    assert [row["k"] for row in result.rows if row] == [5]
    assert list(unreadable) == ["cut.json"]
    assert ".k__variant" not in dict(result.columns)


@pytest.mark.parametrize("kept", [0, reading.KEPT_BYTES])
def test_too_many_fields_make_their_file_unreadable(monkeypatch, tmp_path, kept):
    monkeypatch.setattr(reading, "KEPT_BYTES", kept)
    wide = staged(tmp_path, *as_lines(0, [{f"k{i}": i for i in range(5_001)}]))
    unreadable: Unreadable = {}
    good = staged(tmp_path, *as_lines(2, [{"k": 1}]))
    result = read(tmp_path, [wide, good], "kie", unreadable=unreadable)
    assert list(unreadable) == [wide.name]
    assert result.row_count == 1
    halves = [
        staged(tmp_path, *as_lines(n, [{f"k{n}_{i}": i for i in range(2_501 + n)}])) for n in (4, 6)
    ]
    with pytest.raises(UnreadableSource, match=r"6\.jsonl has 5,012 columns"):
        read(tmp_path, halves, "kie")


def test_a_file_that_changes_between_its_two_passes_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "KEPT_BYTES", 0)
    files = [staged(tmp_path, *as_lines(n, [{"k": 1}])) for n in (0, 2)]
    batches = annotation_batches(tmp_path, files, "kie", batch_rows=10, unreadable={})
    next(batches)
    staged(tmp_path, *as_lines(2, [{"other": 1}]))
    with pytest.raises(UnreadableSource, match=r"2\.jsonl changed while it was read"):
        next(batches)


def drifting(root: Path, count: int) -> list[StagedFile]:
    odd = ["x", [1], {"a": 1}, 0.5, None]
    rows = [{"k": odd[n % 5] if n % 7 == 0 else n, "deep": {"v": [n] * 3}} for n in range(count)]
    return [
        staged(root, *as_lines(n, rows[start : start + 5_000]))
        for n, start in enumerate(range(0, count, 5_000))
    ]


def peak_of(batches: Iterator[Batch]) -> tuple[int, int]:
    """How many rows there are, and the most that Python and Arrow held at once while they came."""
    arrow = pa.default_memory_pool()
    before, most = arrow.bytes_allocated(), 0
    tracemalloc.start()
    try:
        rows = 0
        for batch in batches:
            rows += batch.rows.num_rows
            most = max(most, arrow.bytes_allocated() - before)
        return rows, most + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_four_times_the_records_take_no_more_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "KEPT_BYTES", 2**15)
    held = {}
    for count in (5_000, 20_000):
        files = drifting(tmp_path, count)
        stream = annotation_batches(tmp_path, files, "kie", batch_rows=1000, unreadable={})
        rows, held[count] = peak_of(stream)
        assert rows == count
    assert held[20_000] < 1.3 * held[5_000]
