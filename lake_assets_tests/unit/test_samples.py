"""The samples are what their facts say, and the same every time."""

from __future__ import annotations

import csv
import json
import re
from datetime import date, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import imagehash
import pytest
from PIL import Image, UnidentifiedImageError

from lake_assets.errors import InvalidRequest
from lake_assets.samples import DeliveryFacts, SampleFacts, write_samples
from lake_assets.samples.__main__ import main
from lake_assets.samples.receipts import Receipt, make_receipt
from lake_assets.samples.shops import SHOPS

RECEIPTS = 12


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> SampleFacts:
    return write_samples(tmp_path_factory.mktemp("samples"), receipts=RECEIPTS)


@pytest.fixture(params=["monday", "tuesday"])
def delivery(request: pytest.FixtureRequest, facts: SampleFacts) -> DeliveryFacts:
    return getattr(facts, request.param)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by POSIX path below ``folder``."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files
    }


def lines(delivery: DeliveryFacts) -> list[str]:
    return (delivery.folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()


def rows(delivery: DeliveryFacts) -> dict[str, dict[str, Any]]:
    """The readable rows by file name."""
    good = [line for n, line in enumerate(lines(delivery)) if n not in delivery.bad_lines]
    return {row["file_name"]: row for row in map(json.loads, good)}


def without_name(row: dict[str, Any]) -> dict[str, Any]:
    return {column: value for column, value in row.items() if column != "file_name"}


def test_equal_seeds_give_equal_bytes(facts: SampleFacts, tmp_path: Path) -> None:
    write_samples(tmp_path, receipts=RECEIPTS)
    assert hashes(tmp_path) == hashes(facts.folder)


def test_another_seed_gives_other_pictures_and_rows(facts: SampleFacts, tmp_path: Path) -> None:
    other = write_samples(tmp_path, seed=8, receipts=RECEIPTS)
    text = sha256((other.monday.folder / other.monday.not_an_image[0]).read_bytes()).hexdigest()
    shared = set(hashes(tmp_path).values()) & set(hashes(facts.folder).values())
    assert shared == {text}


def test_what_an_earlier_run_left_is_replaced_and_the_rest_kept(tmp_path: Path) -> None:
    write_samples(tmp_path, receipts=RECEIPTS)
    (tmp_path / "mine.txt").write_text("mine")
    stale = tmp_path / "receipts_monday" / "stale.jpg"
    stale.write_bytes(b"stale")
    linked = tmp_path / "linked.csv"
    linked.hardlink_to(tmp_path / "ticks.csv")
    before = linked.read_bytes()

    write_samples(tmp_path, seed=8, receipts=RECEIPTS)

    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not stale.exists()
    assert linked.read_bytes() == before != (tmp_path / "ticks.csv").read_bytes()


def test_too_few_receipts_are_refused_before_anything_is_removed(tmp_path: Path) -> None:
    (tmp_path / "ticks.csv").write_text("mine")
    with pytest.raises(InvalidRequest):
        write_samples(tmp_path, receipts=9)
    assert (tmp_path / "ticks.csv").read_text() == "mine"


def test_every_picture_has_one_row_and_every_row_its_picture(delivery: DeliveryFacts) -> None:
    pictures = {name for name in hashes(delivery.folder) if name.endswith(".jpg")}
    assert pictures == set(rows(delivery))
    assert len(pictures) == delivery.image_files
    assert len(lines(delivery)) == delivery.rows == delivery.image_files + len(delivery.bad_lines)


def test_pictures_decode_unless_the_facts_say_otherwise(delivery: DeliveryFacts) -> None:
    for name in set(rows(delivery)) - {*delivery.truncated, *delivery.not_an_image}:
        with Image.open(delivery.folder / name) as picture:
            picture.load()
            assert (picture.format, picture.mode) == ("JPEG", "RGB")


def test_a_truncated_jpeg_opens_and_then_breaks(facts: SampleFacts) -> None:
    (name,) = facts.monday.truncated
    with Image.open(facts.monday.folder / name) as picture, pytest.raises(OSError, match="trunc"):
        picture.load()


def test_a_truncated_jpeg_breaks_at_a_reduced_scale_too(facts: SampleFacts) -> None:
    (name,) = facts.monday.truncated
    with Image.open(facts.monday.folder / name) as picture:
        picture.draft("L", (256, 256))
        with pytest.raises(OSError, match="trunc"):
            picture.load()


def test_a_text_named_jpg_is_no_image(facts: SampleFacts) -> None:
    (name,) = facts.monday.not_an_image
    with pytest.raises(UnidentifiedImageError):
        Image.open(facts.monday.folder / name)


def test_a_bad_line_is_no_json_and_its_picture_is_missing(facts: SampleFacts) -> None:
    (number,) = facts.monday.bad_lines
    bad = lines(facts.monday)[number]
    with pytest.raises(json.JSONDecodeError):
        json.loads(bad)
    meant = re.match(r'{"file_name": "([^"]+)"', bad)
    assert meant
    assert not (facts.monday.folder / meant[1]).exists()


def test_distinct_images_are_counted_by_content(delivery: DeliveryFacts) -> None:
    broken = {*delivery.truncated, *delivery.not_an_image}
    found = hashes(delivery.folder)
    assert delivery.distinct_images == len({found[name] for name in set(rows(delivery)) - broken})


def test_distinct_images_of_both_deliveries_are_counted_once(facts: SampleFacts) -> None:
    broken = {*facts.monday.truncated, *facts.monday.not_an_image}
    contents = {
        digest
        for folder in (facts.monday.folder, facts.tuesday.folder)
        for name, digest in hashes(folder).items()
        if name.endswith(".jpg") and name not in broken
    }
    assert facts.distinct_images == len(contents)


def test_exact_copies_differ_in_name_only(facts: SampleFacts) -> None:
    assert facts.monday.exact_copies
    found, row_of = hashes(facts.monday.folder), rows(facts.monday)
    for twin in facts.monday.exact_copies:
        assert twin.name != twin.original
        assert found[twin.name] == found[twin.original]
        assert without_name(row_of[twin.name]) == without_name(row_of[twin.original])


def test_resized_copies_look_alike_to_a_phash(facts: SampleFacts) -> None:
    assert facts.monday.resized_copies
    for twin in facts.monday.resized_copies:
        with (
            Image.open(facts.monday.folder / twin.name) as small,
            Image.open(facts.monday.folder / twin.original) as large,
        ):
            assert small.width < large.width
            assert imagehash.phash(small) - imagehash.phash(large) <= 4


def test_repeated_rows_equal_mondays_in_every_column_and_the_picture(facts: SampleFacts) -> None:
    repeated = set(lines(facts.tuesday)) & set(lines(facts.monday))
    assert 0 < len(repeated) == facts.tuesday.repeated_rows < facts.tuesday.rows
    monday, tuesday = hashes(facts.monday.folder), hashes(facts.tuesday.folder)
    for name in (json.loads(line)["file_name"] for line in repeated):
        assert monday[name] == tuesday[name]


def test_new_rows_are_of_receipts_that_monday_never_saw(facts: SampleFacts) -> None:
    monday = {row["receipt_id"] for row in rows(facts.monday).values()}
    new = [row for row in rows(facts.tuesday).values() if row["receipt_id"] not in monday]
    assert len(new) == facts.tuesday.rows - facts.tuesday.repeated_rows


def test_totals_add_up_to_the_cent(delivery: DeliveryFacts) -> None:
    for row in rows(delivery).values():
        assert row["total"] == round(sum(item["price"] for item in row["items"]), 2)


def test_a_row_has_the_promised_columns(delivery: DeliveryFacts) -> None:
    columns = ["file_name", "company", "date", "address", "total", "items", "receipt_id"]
    for row in rows(delivery).values():
        assert list(row) == columns
        assert date.fromisoformat(row["date"]) <= date(2025, 1, 13)


def test_each_shop_has_a_sub_folder(facts: SampleFacts) -> None:
    folder_of = {shop.company: shop.folder for shop in SHOPS}
    for name, row in rows(facts.monday).items():
        assert name.split("/")[0] == folder_of[row["company"]]


def test_shops_print_only_what_the_bundled_font_has() -> None:
    assert all(str(shop).isascii() for shop in SHOPS)


def test_a_receipt_depends_on_its_number_and_seed_alone() -> None:
    def make(number: int, seed: int) -> Receipt:
        return make_receipt(number, seed=seed, last_day=date(2025, 1, 12), days=14)

    assert make(3, 7) == make(3, 7)
    assert make(3, 7) != make(3, 8)
    assert make(3, 7).items != make(4, 7).items


def test_ticks_are_ragged_and_repeated_where_the_facts_say(facts: SampleFacts) -> None:
    with facts.ticks.path.open(encoding="utf-8", newline="") as file:
        header, *ticks = csv.reader(file)
    assert header == ["symbol", "at", "price", "quantity"]
    assert len(ticks) == facts.ticks.rows
    assert tuple(n for n, tick in enumerate(ticks) if len(tick) != 4) == facts.ticks.ragged_rows
    assert sum(a == b for a, b in pairwise(ticks)) == facts.ticks.repeated_rows


def test_ticks_are_in_order_of_time_and_parse(facts: SampleFacts) -> None:
    with facts.ticks.path.open(encoding="utf-8", newline="") as file:
        good = [row for row in csv.DictReader(file) if None not in row]
    times = [datetime.fromisoformat(row["at"]) for row in good]
    assert times == sorted(times)
    assert all(
        at.utcoffset() == timedelta() and row["at"].endswith("Z")
        for at, row in zip(times, good, strict=True)
    )
    assert all(float(row["price"]) > 0 and int(row["quantity"]) > 0 for row in good)


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "new"), "--seed", "3", "--receipts", "10"]) == 0
    said = capsys.readouterr().out
    assert "receipts_monday/: 15 rows" in said
    assert "receipts_tuesday/: 3 rows" in said
    assert "ticks.csv: 2000 rows, 1 of them ragged" in said


def test_the_command_refuses_too_few_receipts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--receipts", "1"]) == 2
    assert "at least 10" in capsys.readouterr().err


def test_keys_are_what_is_printed_on_mondays_receipts(tmp_path):
    facts = write_samples(tmp_path, receipts=12)
    files = sorted(facts.keys.folder.iterdir())
    rows = (facts.monday.folder / "metadata.jsonl").read_text().splitlines()
    images = {path.stem for path in facts.monday.folder.rglob("*.jpg")}
    assert (facts.keys.files, facts.keys.fields) == (len(files), 4 * len(files)) == (12, 48)
    for path in files:
        keys = json.loads(path.read_text())
        assert path.stem in images
        (row,) = (json.loads(line) for line in rows if f"/{path.stem}.jpg" in line)
        assert (keys["company"], float(keys["total"])) == (row["company"], row["total"])


def test_boxes_lie_on_the_text_of_mondays_receipts(tmp_path):
    facts = write_samples(tmp_path, receipts=12)
    files = sorted(facts.boxes.folder.iterdir())
    assert (facts.boxes.files, len(files)) == (12, 12)
    texts = []
    for path in files:
        lines = [line.split(",", 8) for line in path.read_text().splitlines()]
        (picture,) = facts.monday.folder.rglob(f"{path.stem}.jpg")
        with Image.open(picture) as image:
            grey = image.convert("L")
        for *corners, text in lines:
            x, y = list(map(float, corners[::2])), list(map(float, corners[1::2]))
            assert 0 <= min(x) < max(x) <= grey.width
            assert 0 <= min(y) < max(y) <= grey.height
            assert x[0] < x[1] and y[0] < y[3]
            inside = grey.crop((round(min(x)), round(min(y)), round(max(x)), round(max(y))))
            darkest, lightest = inside.getextrema()
            assert lightest - darkest > 50, f"no ink where {path.stem} says {text!r}"
        texts.append([text for *_, text in lines])
        assert (
            json.loads((facts.keys.folder / f"{path.stem}.json").read_text())["total"] in texts[-1]
        )
    assert facts.boxes.lines == sum(map(len, texts))
