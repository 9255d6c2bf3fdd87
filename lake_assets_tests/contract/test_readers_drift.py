"""Within one upload neither the order of rows nor the split into files changes types or values."""

from __future__ import annotations

import csv
import io
import json
import random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_assets.intake.readers import json_plain
from lake_assets.intake.readers.places import places_of
from lake_assets.intake.readers.survey import Survey, Witness
from lake_assets_tests.contract.readers_harness import Staged, without_nulls

unlimited = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**30])
    | st.sampled_from([0.5, 2.0, -0.0, 0.1, 1e300, 9007199254740992.0, 3e9, 5e-324])
    | st.sampled_from(["", "x", "100", "true", "2024-01-01", "2024-01-01T00:00:00Z", "é", "1.50"])
)
KEYS = st.sampled_from(["a", "b", "c", "A", "É", "é"])


def objects(values):
    """Objects no two keys of which differ only in case."""
    return st.dictionaries(KEYS, values, max_size=3).filter(
        lambda found: len({key.lower() for key in found}) == len(found)
    )


VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | objects(inner), max_leaves=5
)
RECORDS = st.lists(objects(VALUES), min_size=1, max_size=12)
TABLES = [
    None,
    pa.schema([("a", pa.int32()), ("b", pa.float32()), ("b__variant", pa.string())]),
    pa.schema([("A", pa.int64()), ("b", pa.decimal128(9, 2)), ("c__variant", pa.string())]),
    pa.schema([("a", pa.string()), ("b", pa.timestamp("us", "UTC")), ("c", pa.date32())]),
    pa.schema(
        [
            ("a", pa.struct([("a", pa.float64()), ("a__variant", pa.string())])),
            ("b", pa.list_(pa.struct([("b", pa.int32()), ("c", pa.list_(pa.bool_()))]))),
            ("c", pa.map_(pa.string(), pa.int64())),
        ]
    ),
]


def dealt(seed, rows, most):
    """The rows in another order and in some files."""
    pick = random.Random(seed)
    shuffled = pick.sample(rows, len(rows))
    files = [[] for _ in range(pick.randint(1, most))]
    for row in shuffled:
        pick.choice(files).append(row)
    return files


def sorted_texts(rows):
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)


def read_dealt(root, seed, records, **more):
    staged = Staged(root)
    for number, rows in enumerate(dealt(seed, records, most=4)):
        texts = [json.dumps(row, ensure_ascii=bool(seed % 2)) for row in rows]
        name, content = f"{number}.jsonl", "\n".join(texts)
        if (seed + number) % 3 == 0:
            name, content = f"{number}.json", f"[{', '.join(texts)}]"
        staged.add(name, content.encode(), role="data")
    return staged.read(**more)


def spelled(value):
    """The value with its keys in lower case: the upload has one spelling for each."""
    if isinstance(value, dict):
        return {key.lower(): spelled(inner) for key, inner in value.items()}
    return [spelled(inner) for inner in value] if isinstance(value, list) else value


@unlimited
@given(
    records=RECORDS,
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    batch_rows=st.sampled_from([1, 3, 1000]),
    eager=st.booleans(),
)
def test_json_comes_back_whatever_its_order_and_files(
    monkeypatch, tmp_path_factory, records, seeds, batch_rows, eager
):
    monkeypatch.setattr(json_plain, "_FEWEST_LINES", 1 if eager else 32)
    one, other = (
        read_dealt(tmp_path_factory.mktemp("drift"), seed, records, batch_rows=batch_rows)
        for seed in seeds
    )
    assert one.rejected == other.rejected == []
    assert one.columns == other.columns
    assert sorted_texts(one.records) == sorted_texts(other.records)
    expected = [spelled(without_nulls(record)) for record in records]
    assert equal_rows([spelled(record) for record in one.records], expected)


def equal_rows(found, expected):
    """Whether the rows are the same, numbers compared as numbers, in any order."""
    left = list(expected)
    for row in found:
        if row not in left:
            return False
        left.remove(row)
    return not left


@unlimited
@given(
    records=RECORDS,
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    table=st.sampled_from(TABLES),
    eager=st.booleans(),
)
def test_json_for_a_table_is_the_same_whatever_its_order_and_files(
    monkeypatch, tmp_path_factory, records, seeds, table, eager
):
    monkeypatch.setattr(json_plain, "_FEWEST_LINES", 1 if eager else 32)
    one, other = (
        read_dealt(tmp_path_factory.mktemp("drift"), seed, records, expected=table)
        for seed in seeds
    )
    assert one.rejected == other.rejected == []
    assert one.columns == other.columns
    assert sorted_texts(one.records) == sorted_texts(other.records)
    assert len(one.records) == len(records)


TEXTS = st.sampled_from(
    ["", "5", "-20", "2.5", "007", "x", "true", "FALSE", "2024-01-01", "2024-02-30", "1e999"]
    + ["2024-01-01T10:00", "9007199254740993", "9223372036854775808", "3000000000", '"', "a,b"]
)
CSV_TABLES = [None, pa.schema([("a", pa.int32()), ("b", pa.float64()), ("c", pa.date32())])]


@unlimited
@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["5", "7", ""])), min_size=1, max_size=9),
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    table=st.sampled_from(CSV_TABLES),
)
def test_csv_is_the_same_whatever_its_order_and_files(tmp_path_factory, rows, seeds, table):
    results = []
    for seed in seeds:
        staged = Staged(tmp_path_factory.mktemp("drift"))
        for number, some in enumerate(dealt(seed, rows, most=3)):
            text = io.StringIO(newline="")
            csv.writer(text).writerows([["a", "b", "c"], *some])
            staged.add(f"{number}.csv", text.getvalue().encode())
        results.append(staged.read(expected=table))
    one, other = results
    assert one.rejected == other.rejected == []
    assert one.columns == other.columns
    assert sorted_texts(one.records) == sorted_texts(other.records)
    assert len(one.records) == len(rows)


def survey_of(records):
    survey = Survey()
    for record in records:
        survey.shape.see(record)
        text = json.dumps(record).encode()
        survey.witness = survey.witness.or_better(Witness(len(record), text))
    return survey


def decided(survey, table):
    order = survey.witness.order()
    return list(places_of(survey.shape, table, order, is_certain=True).items())


@unlimited
@given(
    parts=st.tuples(RECORDS, RECORDS, RECORDS),
    table=st.sampled_from(TABLES),
)
def test_surveys_merge_in_any_order_and_grouping(parts, table):
    a, b, c = parts
    left, right, swapped, bc = (survey_of(part) for part in (a, a, c, b))
    left.merge(survey_of(b))
    left.merge(survey_of(c))
    bc.merge(survey_of(c))
    right.merge(bc)
    swapped.merge(survey_of(b))
    swapped.merge(survey_of(a))
    swapped.merge(Survey())
    whole = decided(survey_of([*a, *b, *c]), table)
    assert decided(left, table) == decided(right, table) == decided(swapped, table) == whole


@pytest.mark.parametrize("seed", range(3))
def test_large_files_of_drifting_records_are_the_same_in_any_order(tmp_path, seed):
    pick = random.Random(seed)
    odd = {
        "i": ["n/a", [1], 2**70, 0.5, {"x": 1}],
        "s": [5, True, ["x"], None],
        "u": [7, {"x": "y"}, []],
        "l": [[1, "x"], "x", [[1]], []],
        "new": [1, "x"],
    }
    records = []
    for number in range(3000):
        record = {"n": number, "i": 1, "s": "x", "u": {"x": 1}, "l": [1]}
        if pick.random() < 0.1:
            name = pick.choice(list(odd))
            record[name] = pick.choice(odd[name])
        records.append(record)
    results = []
    for place, rows in (("one", records), ("other", pick.sample(records, len(records)))):
        staged = Staged(tmp_path / place)
        (tmp_path / place).mkdir()
        half = len(rows) // 2 if place == "other" else len(rows)
        for name, some in (("a.jsonl", rows[:half]), ("b.jsonl", rows[half:])):
            staged.add(name, "\n".join(map(json.dumps, some)).encode(), role="data")
        results.append(staged.read(batch_rows=700))
    one, other = results
    assert {batch.rows.schema for r in results for batch in r.batches} == {
        one.batches[0].rows.schema
    }
    assert sorted_texts(one.rows) == sorted_texts(other.rows)
    assert one.records == [without_nulls(record) for record in records]
