"""The boxes and keys of the real receipts, through the commands as a person types them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lake_assets_tests.e2e.real_lake import failed_checks, leftovers, ok

_CHECKOUT = Path(__file__).parents[2]
RECEIPTS = Path(
    os.environ.get("LAKE_TEST_RECEIPTS", _CHECKOUT.parent / "shared/data/receipts/images")
)
BOXES, KEYS = RECEIPTS.parent / "boxes", RECEIPTS.parent / "keys"

pytestmark = pytest.mark.skipif(
    not (RECEIPTS.is_dir() and BOXES.is_dir() and KEYS.is_dir()),
    reason=f"THE ANNOTATIONS OF THE REAL RECEIPTS ARE NOT TESTED: no folders {RECEIPTS}, {BOXES} "
    f"and {KEYS}; set LAKE_TEST_RECEIPTS",
)

META = ("--meta", "lang=en", "--meta", "src=real")
OF = ("--provider", "icdar", "--dataset", "sroie")
LINES = ("upload", "task", str(BOXES), *OF, "--task", "ocr", "--variant", "sroie_lines", *META)
FIELDS = ("upload", "task", str(KEYS), *OF, "--task", "kie", "--variant", "sroie_keys", *META)
CONTRACT = ("--required", "lang", "--required", "src", "--allow", "lang=ko,en,ja,multi",
            "--allow", "src=real,synthetic")  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake with the receipts and both kinds of annotations."""
    place = tmp_path_factory.mktemp("receipts") / "lake"
    ok(place, "init")
    for task in ("ocr", "kie"):
        ok(place, "config", "task", "create", task, "--record-type", task, *CONTRACT)
    ok(place, "upload", "raw", str(RECEIPTS), *OF, "--create")
    ok(place, *LINES)
    ok(place, *FIELDS)
    told = ok(place, "process", "start", "--wait").out
    for kind in ("icdar/sroie", "icdar/sroie/kie/sroie_keys", "icdar/sroie/ocr/sroie_lines"):
        assert f"{kind}: done" in told
    return place


def texts_by_receipt() -> dict[str, list[str]]:
    """The text of each line, counted here without the lake's readers."""
    lines = {path.stem: path.read_bytes().splitlines() for path in BOXES.glob("*.csv")}
    return {
        image: sorted(line.split(b",", 8)[8].decode() for line in found if line.strip())
        for image, found in lines.items()
    }  # fmt: skip


def keys_by_receipt() -> dict[str, dict[str, str]]:
    return {path.stem: json.loads(path.read_bytes()) for path in KEYS.glob("*.json")}


def rows(home: Path, sql: str) -> list[list[object]]:
    found: list[list[object]] = ok(home, "sql", "--json", sql).json["rows"]
    return found


def test_every_line_is_there_with_its_text_and_its_receipt(home: Path):
    found: dict[str, list[str]] = {}
    for image, text in rows(home, "select image, text from tasks.ocr"):
        found.setdefault(str(image), []).append(str(text))
    assert {image: sorted(texts) for image, texts in found.items()} == texts_by_receipt()
    assert rows(home, "select lang, src, count(*) from tasks.ocr group by all") == [
        ["en", "real", sum(map(len, texts_by_receipt().values()))]
    ]


def test_every_key_is_there_with_its_value(home: Path):
    found: dict[str, dict[str, object]] = {}
    for image, field, value in rows(home, "select image, field, value from tasks.kie"):
        found.setdefault(str(image), {})[str(field)] = value
    assert found == keys_by_receipt()


def test_rows_join_the_images_and_lie_in_them(home: Path):
    joined = """
        select count(*), count(distinct o.image), count(distinct i.sha256),
            count(*) filter (o.box.x_min < 0 or o.box.y_min < 0
                or o.box.x_max > i.width_px or o.box.y_max > i.height_px)
        from tasks.ocr o join lake.images i
            on o._image = i.sha256 and (o.provider, o.dataset) = (i.provider, i.dataset)
    """
    lines = sum(map(len, texts_by_receipt().values()))
    # Two receipts were scanned twice: each file's lines are kept, and refer to the one image.
    assert rows(home, joined) == [[lines, 120, 118, 0]]
    assert rows(home, "select count(*) from lake.quarantine") == [[0]]


def test_the_same_annotations_again_add_nothing(home: Path):
    before = rows(home, "select count(*) from tasks.ocr")
    ok(home, *LINES)
    ok(home, "process", "start", "--wait")
    assert rows(home, "select count(*) from tasks.ocr") == before
    (last,) = rows(
        home,
        "select rows_in, accepted, duplicate from lake.uploads where task = 'ocr' "
        "order by upload_id desc limit 1",
    )
    assert last == [before[0][0], 0, before[0][0]]


def test_every_check_passes_and_nothing_is_left(home: Path):
    assert failed_checks(home) == []
    checks = ok(home, "check", "--json").json["checks"]
    assert {check["outcome"] for check in checks} == {"passed"}
    assert {check["task"] for check in checks} == {"raw", "ocr", "kie"}
    assert leftovers(home) == []
