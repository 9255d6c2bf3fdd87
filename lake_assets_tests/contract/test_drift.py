"""What becomes of a table when an upload brings other columns and types: the rules, one by one."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName
from lake_assets.contracts.registry import update_registry
from lake_assets.errors import InvalidRegistry, UploadsFailed
from lake_assets.lake import Lake
from lake_assets.schema_diffs import schema_diff
from lake_assets.upkeep.checks import schema_has_not_drifted

NAME = DatasetName("acme", "d")
INT, LONG, FLOAT, DOUBLE, TEXT = pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string()
WALL = pa.timestamp("us")


def struct(**fields):
    return pa.struct(list(fields.items()))


@pytest.fixture
def lake(tmp_path):
    with Lake.init(tmp_path / "lake") as lake:
        lake.create_provider("acme")
        yield lake


def promise(lake, **contract):
    made = DatasetContract.model_validate(contract)
    path = lake.stores.layout.registry_file
    update_registry(path, lambda registry: registry.with_dataset(NAME, made))


def deliver(lake, source):
    """Ingest a delivery and return its (accepted, rejected)."""
    upload = lake.upload_raw_data(source, provider="acme", dataset="d")
    outcome = lake.ingest(upload.id).outcomes[-1]
    return outcome.accepted, outcome.rejected


def column(values, kind):
    return pa.table({"n": pa.array(range(len(values))), "k": pa.array(values, kind)})


def own(row):
    """The delivery's own part of a record, without what is null."""
    return plain({name: value for name, value in row.items() if not name.startswith("_")})


def plain(value):
    if isinstance(value, dict):
        return {name: plain(value[name]) for name in sorted(value) if value[name] is not None}
    return [plain(item) for item in value] if isinstance(value, list) else value


def records(lake):
    return sorted((own(row) for row in lake.records(NAME)), key=str)


def changes(lake):
    if not lake.stores.tables.exists("lake.schema_changes"):
        return []
    return lake.sql(
        "SELECT path, change, old_type, new_type, rows_affected FROM lake.schema_changes "
        "ORDER BY changed_at, path"
    ).fetchall()


def types(lake):
    """Name → type of the table's own columns."""
    schema = lake.stores.tables.schema(NAME.table)
    return {field.name: field.type for field in schema if not field.name.startswith("_")}


CASES = [
    pytest.param(
        column([1], LONG),
        pa.table({"n": [1], "new": ["a"]}),
        [("new", "added", None, "string", 1)],
        id="new field",
    ),
    pytest.param(
        column([{"x": 1}], struct(x=LONG)),
        column([{"x": 2, "y": "b"}], struct(x=LONG, y=TEXT)),
        [("k.y", "added", None, "string", 1)],
        id="new field in a struct",
    ),
    pytest.param(
        column([[{"x": 1}]], pa.list_(struct(x=LONG))),
        column(
            [[{"x": 2, "y": struct_}] for struct_ in ({"z": 1}, None)],
            pa.list_(struct(x=LONG, y=struct(z=LONG))),
        ),
        [("k[].y", "added", None, "struct<z: long>", 1)],
        id="new field in a list",
    ),
    pytest.param(column([1], LONG), pa.table({"n": [1, 2]}), [], id="missing field"),
    pytest.param(
        column([1], INT),
        column([2**40, None], LONG),
        [("k", "widened", "int", "long", 1)],
        id="int to long",
    ),
    pytest.param(
        column([1.5], FLOAT),
        column([1e300], DOUBLE),
        [("k", "widened", "float", "double", 1)],
        id="float to double",
    ),
    pytest.param(
        column([Decimal("1.5")], pa.decimal128(3, 1)),
        column([Decimal("12345.5")], pa.decimal128(9, 1)),
        [("k", "widened", "decimal(3, 1)", "decimal(9, 1)", 1)],
        id="decimal to more digits",
    ),
    pytest.param(
        column([[{"x": 1}]], pa.list_(struct(x=INT))),
        column([[{"x": 2**40}], []], pa.list_(struct(x=LONG))),
        [("k[].x", "widened", "int", "long", 1)],
        id="int to long in a list",
    ),
    pytest.param(
        column([datetime(2026, 1, 2, 3)], WALL),
        column([date(2026, 1, 2)], pa.date32()),
        [],
        id="date for a timestamp",
    ),
    pytest.param(
        column([date(2026, 1, 2)], pa.date32()),
        column([datetime(2026, 1, 2, 3)], WALL),
        [("k", "rewritten", "date", "timestamp", 1)],
        id="timestamp for a date",
    ),
    pytest.param(
        column(["a"], TEXT),
        column([1, None], LONG),
        [("k__variant", "variant", None, "string", 1)],
        id="string to number",
    ),
    pytest.param(
        column([1], LONG),
        column(["a", "2"], TEXT),
        [("k__variant", "variant", None, "string", 2)],
        id="number to string",
    ),
    pytest.param(
        column([1], LONG),
        column([True], pa.bool_()),
        [("k__variant", "variant", None, "string", 1)],
        id="number to bool",
    ),
    pytest.param(
        column([True], pa.bool_()),
        column([[True]], pa.list_(pa.bool_())),
        [("k__variant", "variant", None, "string", 1)],
        id="bool to list",
    ),
    pytest.param(
        column([[1]], pa.list_(LONG)),
        column([{"x": 1}], struct(x=LONG)),
        [("k__variant", "variant", None, "string", 1)],
        id="list to struct",
    ),
    pytest.param(
        column([{"x": 1}], struct(x=LONG)),
        column(["x"], TEXT),
        [("k__variant", "variant", None, "string", 1)],
        id="struct to string",
    ),
    pytest.param(
        column([{"x": 1}], struct(x=LONG)),
        column([{"x": "q"}], struct(x=TEXT)),
        [("k.x__variant", "variant", None, "string", 1)],
        id="inside a struct",
    ),
    pytest.param(
        column([[{"x": 1}]], pa.list_(struct(x=LONG))),
        column([[{"x": "q"}, {"x": None}]], pa.list_(struct(x=TEXT))),
        [("k[].x__variant", "variant", None, "string", 1)],
        id="inside a list",
    ),
    pytest.param(
        column([1], LONG),
        column([1.5], DOUBLE),
        [("k", "rewritten", "long", "double", 1)],
        id="double for a long",
    ),
    pytest.param(
        column([1.5], DOUBLE),
        column([2**53, 2**53 + 1], LONG),
        [("k__variant", "variant", None, "string", 1)],
        id="long beyond 2^53",
    ),
    pytest.param(
        column([1], LONG),
        column([2**64 - 1], pa.uint64()),
        [("k__variant", "variant", None, "string", 1)],
        id="integer beyond int64",
    ),
    pytest.param(
        column([None], LONG),
        column([1], LONG),
        [("k", "added", None, "long", 1)],
        id="only null until now",
    ),
    pytest.param(
        column([[]], pa.list_(LONG)),
        column([[1]], pa.list_(LONG)),
        [("k", "added", None, "list<long>", 1)],
        id="only empty until now",
    ),
    pytest.param(
        pa.table({"n": [1], "Name": ["a"]}),
        pa.table({"n": [1], "NAME": ["b"]}),
        [],
        id="another case",
    ),
]


@pytest.mark.parametrize(("first", "second", "expected"), CASES)
def test_a_change_is_absorbed_and_told(lake, first, second, expected):
    deliver(lake, first)
    assert changes(lake) == []  # to make the table is no change
    before = types(lake)
    assert deliver(lake, second) == (second.num_rows, 0)
    assert changes(lake) == expected
    assert before.keys() <= types(lake).keys()
    given = [*first.to_pylist(), *second.to_pylist()]
    lower = [{name.lower(): value for name, value in row.items()} for row in given]
    found = [{name.lower(): value for name, value in row.items()} for row in records(lake)]
    assert sorted(map(said, found), key=str) == sorted(map(said, map(own, lower)), key=str)


def said(value):
    """A value as a variant says it, so that both forms compare."""
    if isinstance(value, dict):
        return {name: said(item) for name, item in value.items()}
    if isinstance(value, list):
        return [said(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return f"{value.isoformat()}T00:00:00.000000" if isinstance(value, date) else value


@pytest.mark.parametrize("mode", ["freeze", "quarantine"])
@pytest.mark.parametrize(("first", "second", "expected"), CASES)
def test_a_table_that_must_not_change_does_not(lake, mode, first, second, expected):
    promise(lake, drift=mode)
    deliver(lake, first)
    before, rows = types(lake), records(lake)
    affected = max((change[-1] for change in expected), default=0)
    if not expected:
        assert deliver(lake, second) == (second.num_rows, 0)
    elif mode == "quarantine":
        assert deliver(lake, second) == (second.num_rows - affected, affected)
        rules = lake.sql("SELECT DISTINCT rule FROM lake.quarantine").fetchall()
        assert rules == [("row_fits_the_schema",)]
    else:
        with pytest.raises(UploadsFailed, match="drift: freeze") as failed:
            deliver(lake, second)
        assert expected[0][0].removesuffix("__variant") in failed.value.message
        assert records(lake) == rows
    assert types(lake) == before
    assert changes(lake) == []


def test_the_message_of_a_frozen_table_names_all_changes(lake):
    promise(lake, drift="freeze")
    deliver(lake, pa.table({"a": [1], "b": pa.array([1], INT)}))
    with pytest.raises(UploadsFailed) as failed:
        deliver(lake, pa.table({"a": ["x", None], "b": [1, 2**40], "c": [None, "new"]}))
    message = failed.value.message
    assert '~ a: long does not hold 1 row, as "x"' in message
    assert "~ b: int does not hold 1 row, as 1099511627776" in message
    assert '+ c: string (1 row, as "new")' in message
    assert "drift: evolve" in message


def test_a_rejected_row_says_what_it_needs_and_is_whole(lake):
    promise(lake, drift="quarantine")
    deliver(lake, pa.table({"a": [1], "s": [{"x": 1}]}))
    assert deliver(lake, pa.table({"a": ["x", None], "s": [{"x": "y"}, {"x": None}]})) == (1, 1)
    (found,) = lake.sql("SELECT path, expected, actual, row_json FROM lake.quarantine").fetchall()
    assert found[:3] == ("a", "long", '"x"')
    assert json.loads(found[3]) == {"a": "x", "s": {"x": "y"}}


@pytest.mark.parametrize("mode", ["evolv", "off", None])
def test_a_mode_that_there_is_not_is_refused(lake, mode):
    path = lake.stores.layout.registry_file
    path.write_text(f"providers: [acme]\ndatasets: {{acme/d: {{drift: {json.dumps(mode)}}}}}\n")
    with pytest.raises(InvalidRegistry, match=r"acme/d.drift: should be 'evolve', 'freeze' or"):
        _ = lake.registry


def test_the_check_warns_of_the_latest_upload_alone(lake):
    deliver(lake, column([1], LONG))
    assert schema_has_not_drifted(lake.stores, [NAME])[NAME].passed
    deliver(lake, column(["a"], TEXT))
    result = schema_has_not_drifted(lake.stores, [NAME])[NAME]
    assert not result.passed
    assert "k__variant (variant)" in result.summary
    deliver(lake, column(["b"], TEXT))
    assert schema_has_not_drifted(lake.stores, [NAME])[NAME].passed


def test_a_rebuild_keeps_what_was_told_of_the_uploads(lake):
    deliver(lake, column([1], INT))
    deliver(lake, column([2**40], LONG))
    deliver(lake, column(["a"], TEXT))
    before, rows = changes(lake), records(lake)
    lake.rebuild(NAME)
    lake.rebuild(NAME)
    assert (changes(lake), records(lake)) == (before, rows)


def test_a_rebuild_tells_what_it_changes_itself(lake):
    promise(lake, drift="quarantine")
    deliver(lake, column([1], LONG))
    deliver(lake, column(["a"], TEXT))
    promise(lake, drift="evolve")
    lake.rebuild(NAME)
    lake.rebuild(NAME)
    assert changes(lake) == [("k__variant", "variant", None, "string", 1)]
    assert records(lake) == [{"n": 0, "k": "a"}, {"n": 0, "k": 1}]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_files_of_one_upload_may_have_different_columns(lake, tmp_path, order):
    tables = [
        pa.table({"id": [1, 2], "a": pa.array([1, 2], INT)}),
        pa.table({"id": [3], "b": [{"x": 1}]}),
        pa.table({"id": [4], "a": [2**40], "b": [{"x": 2, "y": "z"}]}),
    ]
    folder = tmp_path / "files"
    folder.mkdir()
    for number, place in enumerate(order):
        pq.write_table(tables[place], folder / f"{number}.parquet")
    assert deliver(lake, folder) == (4, 0)
    assert changes(lake) == []
    assert types(lake)["a"] == LONG
    assert records(lake) == sorted(
        (own(row) for table in tables for row in table.to_pylist()), key=str
    )


VALUES = [
    pa.table({"id": [1, 2, 3], "k": pa.array(["a", "b", None]), "s": [{"x": 1}, None, {"x": 2}]}),
    pa.table({"id": [4, 5], "k": pa.array([7, None]), "s": [{"x": "q"}, {"x": None}]}),
    pa.table({"id": [6], "K": pa.array([[True]]), "s": [{"y": [1.5]}]}),
    pa.table({"id": range(10, 20), "k": pa.nulls(10, LONG)}),
    pa.table({"id": [20, 21], "e": pa.array([[], [None]], pa.list_(pa.null()))}),
    pa.table({"id": [22], "e": pa.array([[1]])}),
]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (3, 1, 0, 2, 5, 4)])
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_the_order_of_files_changes_neither_types_nor_values(lake, tmp_path, order, kind):
    folder = tmp_path / "files"
    folder.mkdir()
    for number, place in enumerate(order):
        path = folder / f"{number}.{kind}"
        if kind == "parquet":
            pq.write_table(VALUES[place], path)
        else:
            with pa.ipc.new_file(path, VALUES[place].schema) as writer:
                writer.write_table(VALUES[place])
    assert deliver(lake, folder) == (19, 0)
    found = types(lake)
    assert set(found) == {"id", "K", "K__variant", "s", "e"}
    assert found["K"] == TEXT
    assert {field.name: field.type for field in found["s"]} == {
        "x": LONG, "x__variant": TEXT, "y": pa.list_(DOUBLE),
    }  # fmt: skip
    given = [{name.upper() if name == "k" else name: value for name, value in row.items()}
             for table in VALUES for row in table.to_pylist()]  # fmt: skip
    assert records(lake) == sorted(map(own, given), key=str)


@pytest.mark.parametrize("write", [pq.write_table, feather.write_feather])
def test_columns_after_a_map_vote_for_themselves(lake, tmp_path, write):
    pair = struct(x=LONG, y=LONG)
    maps = pa.array([[("a", {"x": 1})], [("b", {"x": 2})]], pa.map_(TEXT, pair))
    folder = tmp_path / "both"
    folder.mkdir()
    write(pa.table({"m": maps, "k": [1, 2]}), folder / "a.arrow")
    (folder / "b.jsonl").write_text('{"k": "text"}\n')
    assert deliver(lake, folder) == (3, 0)
    assert types(lake)["k"] == LONG


def test_two_thousand_columns(lake):
    names = [f"c{number}" for number in range(2_000)]
    deliver(lake, pa.table({name: [1] for name in names[:1_000]}))
    second = pa.table(
        {name: ["x"] if number % 100 == 0 else [2] for number, name in enumerate(names)}
    )
    assert deliver(lake, second) == (1, 0)
    found = changes(lake)
    assert len([change for change in found if change[1] == "added"]) == 1_000
    assert len([change for change in found if change[1] == "variant"]) == 10
    assert second.to_pylist()[0] in records(lake)


def test_the_diff_of_a_file_changes_nothing(lake, tmp_path):
    deliver(lake, column([1, 2], LONG))
    path = tmp_path / "next.parquet"
    pq.write_table(column(["a", None, "b"], TEXT), path)
    found = schema_diff(lake.stores, NAME, path)
    assert [(change.path, change.rows_affected) for change in found.changes] == [("k__variant", 2)]
    assert (found.rows, found.rejected, found.is_new) == (3, 2, False)
    assert found.needs == ('~ k: long does not hold 2 rows, as "a"',)
    assert set(types(lake)) == {"n", "k"}
    upload = lake.upload_raw_data(path, provider="acme", dataset="d")
    assert schema_diff(lake.stores, NAME, upload) == found


def test_a_key_is_the_same_wherever_its_value_stands(lake):
    promise(lake, unique_by=["k"])
    deliver(lake, pa.table({"k": ["a", "b"]}))
    upload = lake.upload_raw_data(pa.table({"k": [1, 1, 2]}), provider="acme", dataset="d")
    outcome = lake.ingest(upload.id).outcomes[-1]
    assert (outcome.accepted, outcome.duplicate, outcome.rejected) == (2, 1, 0)
    upload = lake.upload_raw_data(pa.table({"k": [2, 3]}), provider="acme", dataset="d")
    outcome = lake.ingest(upload.id).outcomes[-1]
    assert (outcome.accepted, outcome.duplicate) == (1, 1)


DIGITS = "7" * 5000


def test_a_number_of_thousands_of_digits_may_be_a_key_and_be_rejected(lake, tmp_path):
    promise(lake, unique_by=["k"])
    (tmp_path / "a.jsonl").write_text(f'{{"k": {DIGITS}}}\n{{"k": 1}}\n{{"k": {DIGITS}}}\n')
    assert deliver(lake, tmp_path / "a.jsonl") == (2, 0)
    assert {row["k"] for row in records(lake)} == {1, Decimal(DIGITS)}
    promise(lake, drift="quarantine")
    (tmp_path / "b.jsonl").write_text(f'{{"k": 2, "n": {DIGITS}}}\n')
    assert deliver(lake, tmp_path / "b.jsonl") == (0, 1)
    assert DIGITS in lake.sql("SELECT row_json FROM lake.quarantine").fetchone()[0]


def test_a_number_that_nothing_can_hold_is_rejected(lake, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"k": 1e9999999999999999999}\n{"k": 1e99999}\n{"k": 1}\n')
    assert deliver(lake, tmp_path / "a.jsonl") == (2, 1)
    assert records(lake) == [{"k": 1}, {"k": Decimal("1e99999")}]
    rule = lake.sql("SELECT rule, actual FROM lake.quarantine").fetchone()
    assert rule == ("numbers_have_a_value", "1e9999999999999999999")


@pytest.mark.parametrize("digits", [20, 5000])
def test_a_key_of_which_no_value_has_a_type_is_one_all_the_same(lake, tmp_path, digits):
    promise(lake, unique_by=["k"])
    (tmp_path / "a.jsonl").write_text(
        "".join(f'{{"k": {"9" * digits}{n % 2}}}\n' for n in range(3))
    )
    assert deliver(lake, tmp_path / "a.jsonl") == (2, 0)


def test_sql_and_records_read_both_columns_as_one(lake):
    for k in ("abc", ["def", "ghi"], 200):
        deliver(lake, pa.table({"k": [k]}))
    rows = lake.sql("SELECT either(k, k__variant) FROM acme.d").fetchall()
    assert {text for (text,) in rows} == {'"abc"', '["def", "ghi"]', "200"}
    assert records(lake) == [{"k": "abc"}, {"k": 200}, {"k": ["def", "ghi"]}]
    (found,) = lake.records("acme/d", where="k = ?", parameters=["abc"])
    assert found["k"] == "abc"
    assert len(list(lake.records(NAME, limit=2))) == 2


@pytest.mark.parametrize("mode", ["evolve", "freeze", "quarantine"])
def test_an_upload_of_which_nothing_was_taken_in_decides_no_column(lake, tmp_path, mode):
    promise(lake, drift=mode)
    for name, text, wanted in (
        ("no.jsonl", "{", (0, 1)),
        ("yes.jsonl", '{"n": 1}', (1, 0)),
        ("on.jsonl", '{"n": 2}', (1, 0)),
    ):
        (tmp_path / name).write_text(f"{text}\n")
        assert deliver(lake, tmp_path / name) == wanted
    assert changes(lake) == []
