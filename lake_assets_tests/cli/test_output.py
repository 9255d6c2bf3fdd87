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
from lake_assets.cli.output import counted, size
from lake_assets.cli.progress import LogLines, Work, shown
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
