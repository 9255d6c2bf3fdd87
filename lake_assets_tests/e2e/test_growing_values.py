"""Whatever types a column's values come in, in any order: they come back, and sums are right."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lake_assets_tests.e2e.test_drift_of_values import by_id, empty, ingested

__all__ = ["empty"]
EXAMPLES = 20
WHOLE = st.integers(-1_000, 1_000) | st.sampled_from([2**53, -(2**53), 2**31])
HUGE = st.sampled_from([2**53 + 1, 2**63 - 1])
FRACTIONS = st.integers(-10_000, 10_000).map(lambda number: number / 8)
DAYS = st.dates(date(1990, 1, 1), date(2030, 1, 1))
TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)).map(
    lambda at: at.replace(microsecond=0)
)
NONE = st.none()


@dataclass(frozen=True)
class Kind:
    """Values of one sort, and the formats that have them."""

    values: st.SearchStrategy[Any]
    formats: tuple[str, ...] = ("csv", "jsonl", "parquet")
    type: pa.DataType | None = None


def decimals(scale: int) -> Kind:
    values = st.integers(-(10**6), 10**6).map(lambda number: Decimal(number).scaleb(-scale))
    return Kind(values, ("parquet",), pa.decimal128(9, scale))


KINDS = [
    Kind(WHOLE, type=pa.int64()),
    Kind(HUGE, type=pa.int64()),
    Kind(FRACTIONS, type=pa.float64()),
    Kind(WHOLE | FRACTIONS, ("csv", "jsonl")),
    decimals(2),
    decimals(4),
    Kind(DAYS, ("csv", "parquet"), pa.date32()),
    Kind(TIMES, ("csv", "parquet"), pa.timestamp("us")),
    Kind(st.just(""), type=pa.string()),
    Kind(st.sampled_from(["abc", "12x"]), type=pa.string()),
    Kind(WHOLE.map(str) | FRACTIONS.map(str), ("jsonl",)),
    Kind(st.lists(WHOLE, min_size=1, max_size=2), ("jsonl",), pa.list_(pa.int64())),
    Kind(st.lists(WHOLE | FRACTIONS, max_size=2), ("jsonl",)),
    Kind(st.fixed_dictionaries({"x": WHOLE | NONE}), ("jsonl",)),
    Kind(st.fixed_dictionaries({"x": FRACTIONS | st.just("")}), ("jsonl",)),
    Kind(
        st.fixed_dictionaries({"x": DAYS}), ("parquet",), pa.struct([("x", pa.date32())])
    ),
    Kind(
        st.fixed_dictionaries({"x": TIMES}), ("parquet",), pa.struct([("x", pa.timestamp("us"))])
    ),
    Kind(NONE, type=pa.null()),
]  # fmt: skip
FEW_DIGITS = st.integers(-(10**6), 10**6)
NUMBERS = [
    Kind(FEW_DIGITS, type=pa.int64()),
    Kind(FRACTIONS, type=pa.float64()),
    Kind(FEW_DIGITS | FRACTIONS, ("csv", "jsonl")),
]


@dataclass(frozen=True)
class Delivery:
    """The values of one upload, by the ids of their rows."""

    format: str
    type: pa.DataType | None
    rows: dict[int, Any]

    def write(self, folder: Path, number: int) -> Path:
        path = folder / f"{number}.{self.format}"
        if self.format == "csv":
            lines = [f"{row},{_as_csv(value)}" for row, value in self.rows.items()]
            path.write_text("\n".join(["id,k", *lines, ""]))
        elif self.format == "jsonl":
            records = ({"id": row, "k": value} for row, value in self.rows.items())
            path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
        else:
            schema = pa.schema([("id", pa.int64()), ("k", self.type)])
            columns = [list(self.rows), list(self.rows.values())]
            pq.write_table(pa.table(columns, schema=schema), path)
        return path


def _as_csv(value: Any) -> str:
    if value is None:
        return ""
    return '""' if value == "" else str(value)


@st.composite
def deliveries(draw: st.DrawFn, kinds: Sequence[Kind] = KINDS) -> list[Delivery]:
    found: list[Delivery] = []
    for number in range(draw(st.integers(2, 4))):
        kind = draw(st.sampled_from(kinds))
        values = draw(st.lists(kind.values | NONE, min_size=1, max_size=3))
        rows = {10 * number + n: value for n, value in enumerate(values)}
        formats = [name for name in kind.formats if name != "parquet" or kind.type is not None]
        found.append(Delivery(draw(st.sampled_from(formats)), kind.type, rows))
    return found


def plain(value: Any) -> Any:
    """A value as exact numbers and text, a day as its midnight."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return value


def is_said(found: Any, wanted: Any, *, is_text: bool) -> bool:
    """Whether ``found`` is the value ``wanted``; times are text in a variant, as all is in CSV."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        left, right = ({k: v for k, v in item.items() if v is not None} for item in (found, wanted))
        return left.keys() == right.keys() and all(
            is_said(left[name], right[name], is_text=is_text) for name in left
        )
    if isinstance(found, str) and isinstance(wanted, date):
        return bool(plain(datetime.fromisoformat(found)) == plain(wanted))
    if is_text and isinstance(found, str):
        return found == ("" if wanted is None else str(wanted))
    return bool(plain(found) == plain(wanted))


rarely = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@rarely
@given(deliveries())
def test_values_of_any_type_come_back(empty: Path, given_: list[Delivery]):
    with tempfile.TemporaryDirectory() as name:
        paths = [item.write(Path(name), number) for number, item in enumerate(given_)]
        for lake in ingested(empty, paths):
            found = {number: row.get("k") for number, row in by_id(lake).items()}
            assert found.keys() == {row for item in given_ for row in item.rows}
            for item in given_:
                for row, value in item.rows.items():
                    is_same = is_said(found[row], value, is_text=item.format == "csv")
                    assert is_same, (row, value, found[row])


@rarely
@given(deliveries(NUMBERS))
@example([Delivery("csv", None, {1: 10, 2: 20}), Delivery("csv", None, {3: 30, 4: 40.5})])
def test_sums_of_numbers_are_right(empty: Path, given_: list[Delivery]):
    with tempfile.TemporaryDirectory() as name:
        paths = [item.write(Path(name), number) for number, item in enumerate(given_)]
        numbers = [value for item in given_ for value in item.rows.values() if value is not None]
        for lake in ingested(empty, paths):
            if not numbers:
                continue
            (total,) = lake.sql("SELECT sum(k) FROM acme.d").fetchone()
            assert math.isclose(total, math.fsum(numbers), abs_tol=1e-6)
            assert "k__variant" not in lake.stores.tables.schema("acme.d").names
