"""`lake upload undo` and `redo`, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets_tests.cli.conftest import Run


@pytest.fixture
def wrong(lake: Lake, tmp_path: Path) -> str:
    """Two uploads are in; return the id of the second, which has fractions."""
    for name, text in (("june", "id,amount\n1,10\n2,20\n"), ("july", "id,amount\n3,40.5\n")):
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        upload = lake.upload_raw_data(path, provider="shop", dataset="sales", create_provider=True)
        lake.ingest(upload.id)
    return upload.id


def test_a_plan_is_shown_and_nothing_is_changed(typed: Run, lake: Lake, wrong: str):
    told = typed("upload", "undo", wrong, "--dry-run").out
    assert f"Taking out {wrong} of shop/sales" in told
    assert "rows: 3 now, 2 then" in told
    assert "column amount: double becomes long" in told
    assert lake.sql("select count(*) from shop.sales").fetchall() == [(3,)]


def test_without_a_terminal_it_asks_to_be_told_yes(typed: Run, lake: Lake, wrong: str):
    result = typed("upload", "undo", wrong)
    assert result.code == 2
    assert "--yes" in result.err
    assert lake.sql("select count(*) from shop.sales").fetchall() == [(3,)]


def test_it_goes_and_comes_back(typed: Run, lake: Lake, wrong: str):
    assert "lake" in typed("upload", "undo", wrong, "--yes").out
    assert lake.sql("select sum(amount) from shop.sales").fetchall() == [(30,)]
    assert lake.status(wrong).upload.state is State.REMOVED
    told = typed("process", "status", wrong).out
    assert f"upload redo {wrong}" in told
    assert "accepted" not in told
    assert typed("process", "start", "--wait", "--job", wrong).code == 1
    done = typed("upload", "redo", wrong, "--yes", "--json").json
    assert (done["upload_id"], done["is_undo"], done["is_done"]) == (wrong, False, True)
    assert lake.sql("select sum(amount) from shop.sales").fetchall() == [(70.5,)]


def test_an_id_that_is_none_is_told(typed: Run, lake: Lake):
    result = typed("upload", "undo", "nothing", "--yes")
    assert result.code == 1
    assert "is not an upload id" in result.err
