"""Values, progress and log lines as people and programs get them."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lake_assets.cli.context import log_lines
from lake_assets.cli.output import counted, print_facts, size
from lake_assets.cli.progress import LogLines, Work, shown
from lake_assets.cli.tables import Column, column_widths
from lake_assets.cli.values import csv_value, json_value, text_value, visible

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.decimals() | st.datetimes() | st.dates() | st.times() | st.timedeltas() | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)  # fmt: skip


@given(VALUES)
def test_every_value_has_a_form(value: object):
    json.dumps(json_value(value), allow_nan=False)
    csv_value(value)
    assert "\n" not in text_value(value)
    assert "\x1b" not in text_value(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"), ("", ""), (1.0, "1.0"), (float("nan"), "nan"), (Decimal("1.50"), "1.50"),
        (b"\x00" * 1500, "<1.5 kB>"), ([1, None], "[1, null]"), (True, "true"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02 03:04:05+00:00"),
        (timedelta(days=1, seconds=1), "1 day, 0:00:01"), ("a\tb", r"a\tb"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"), ("\u202eabc", r"\u202eabc"),
        ("日本\u3000語", "日本\u3000語"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_as_text(value: object, text: str):
    assert text_value(value) == text


def test_long_text_is_cut_where_that_is_asked_for():
    assert text_value("x" * 100, longest=10) == "x" * 9 + "…"
    assert text_value("x" * 10, longest=10) == "x" * 10


ID, SIZE, TEXT = Column("id", is_whole=True), Column("size", is_number=True), Column("text")


@pytest.mark.parametrize(
    ("available", "widths"),
    [
        (200, [26, 5, 60]), (100, [26, 5, 60]), (80, [26, 5, 43]), (49, [26, 5, 12]), (48, None),
        (20, None),
    ],
)  # fmt: skip
def test_only_texts_fold_and_only_as_far_as_they_can_be_read(
    available: int, widths: list[int] | None
):
    cells = [["x" * 26, "12345", "y" * 60]]
    assert column_widths([ID, SIZE, TEXT], cells, available=available) == widths


def test_a_table_of_whole_values_fits_or_not():
    cells = [["x" * 26, "12345"]]
    assert column_widths([ID, SIZE], cells, available=35) == [26, 5]
    assert column_widths([ID, SIZE], cells, available=34) is None


def test_a_short_text_leaves_its_room_to_a_long_one():
    cells = [["abc", "y" * 60]]
    assert column_widths([TEXT, TEXT], cells, available=50) == [4, 42]


def test_further_lines_of_a_fact_stand_below_its_first(capsys: pytest.CaptureFixture[str]):
    print_facts([("state", "failed"), ("error", "it needs:\n  + venue: string"), ("tags", "")])
    assert capsys.readouterr().out == "state  failed\nerror  it needs:\n         + venue: string\n"


def test_a_lone_surrogate_can_be_printed():
    visible("caf\udce9").encode()


def test_counts_and_sizes_read_well():
    assert (counted(1, "duplicate"), counted(120, "duplicate")) == ("1 duplicate", "120 duplicates")
    assert (size(1_500_000), size(-1_500_000), size(0)) == ("1.5 MB", "-1.5 MB", "0 bytes")


def test_off_a_terminal_progress_is_a_line_now_and_then(caplog: pytest.LogCaptureFixture):
    seconds = iter([0.0, 1.0, 6.0, 7.0, 20.0])
    lines = LogLines(Work(what="ingesting", unit="rows", total=4000), lambda: next(seconds))
    with caplog.at_level(logging.INFO):
        for done in (100, 600, 700, 2000):
            lines(done)
    assert caplog.messages == [
        "ingesting: 600 of 4,000 rows, 100 rows/s, 34 s left",
        "ingesting: 2,000 of 4,000 rows, 100 rows/s, 20 s left",
    ]


@pytest.mark.parametrize("total", [None, 2_000_000])
def test_on_a_terminal_progress_is_a_bar(total: int | None):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with shown(console, Work(what="staging", unit="bytes", total=total)) as report:
        report(1_000_000)
    assert "staging" in screen.getvalue()
    assert ("1.0 MB of 2.0 MB" if total else "1.0 MB") in screen.getvalue()


def test_log_lines_are_plain_and_libraries_quiet():
    stream = io.StringIO()
    console = Console(file=stream, width=1000, markup=False, highlight=False)
    with log_lines(console, level="info"):
        logging.getLogger("lake_assets.x").info("[bold]rows")
        logging.getLogger("lake_assets.x").debug("hidden")
        logging.getLogger("pyiceberg.x").info("hidden")
    logging.getLogger("lake_assets.x").info("too late")
    line = stream.getvalue()
    assert line[2] == line[5] == ":"
    assert line[8:] == " INFO [bold]rows\n"
