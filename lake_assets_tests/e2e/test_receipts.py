"""The real receipts, through the commands as a person types them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lake_assets_tests.e2e.real_lake import ok

_CHECKOUT = Path(__file__).parents[2]
RECEIPTS = Path(
    os.environ.get("LAKE_TEST_RECEIPTS", _CHECKOUT.parent / "shared/data/receipts/images")
)

pytestmark = pytest.mark.skipif(
    not RECEIPTS.is_dir(),
    reason=f"THE REAL RECEIPTS ARE NOT TESTED: no folder {RECEIPTS}; set LAKE_TEST_RECEIPTS",
)

UPLOAD = ("upload", "raw", str(RECEIPTS), "--provider", "icdar", "--dataset", "sroie", "--create")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake after the first delivery."""
    place = tmp_path_factory.mktemp("receipts") / "lake"
    ok(place, "init")
    ok(place, *UPLOAD)
    told = ok(place, "process", "start", "--wait").out
    assert "120 rows in = 120 accepted + 0 rejected + 0 duplicates; 118 images stored" in told
    return place


def test_120_receipts_of_which_two_are_copies_of_others(home: Path):
    answer = ok(
        home,
        "sql",
        "--json",
        "select (select count(*) from icdar.sroie) as rows, "
        "(select count(distinct _image) from icdar.sroie) as shown, "
        "(select count(*) from lake.images) as images, "
        "(select count(*) from lake.quarantine) as rejected, "
        "(select rows_in from lake.uploads order by upload_id limit 1) as rows_in, "
        "(select count(*) from icdar.sroie r join lake.images i on r._image = i.sha256) as joined",
    ).json
    assert answer["columns"] == ["rows", "shown", "images", "rejected", "rows_in", "joined"]
    assert answer["rows"] == [[120, 118, 118, 0, 120, 120]]
    assert len(list((home / "assets").rglob("*.jpg"))) == 118
    assert len(list((home / "thumbnails").rglob("*.jpg"))) == 118


def test_the_same_delivery_again_adds_nothing(home: Path):
    ok(home, *UPLOAD)
    told = ok(home, "process", "start", "--wait").out
    assert "120 rows in = 0 accepted + 0 rejected + 120 duplicates; 0 images stored" in told
    counts = "select count(*), count(distinct _image) from icdar.sroie"
    assert ok(home, "sql", "--json", counts).json["rows"] == [[120, 118]]
    assert ok(home, "sql", "--json", "select count(*) from lake.images").json["rows"] == [[118]]


def test_every_check_passes(home: Path):
    checks = ok(home, "check", "--json").json["checks"]
    assert {check["outcome"] for check in checks} == {"passed"}
    assert len(checks) == 7
