"""Files of five gigabytes in which there is nothing: refused in seconds, and without a copy."""

from __future__ import annotations

import os

import pytest

from lake_assets_tests.bad_input.image_corpus import encoded, pixels

FIVE_GB = 5 * 2**30
SUFFIXES = ("jpg", "csv", "parquet", "jsonl", "json", "arrow", "tar", "zip", "csv.gz")
HEADS = {
    "jpg": encoded(pixels(1), "JPEG"),
    "csv": b"a,b\n1,2\n",
    "jsonl": b'{"a": 1}\n',
    "parquet": b"PAR1" + bytes(100),
    "arrow": b"ARROW1\0\0" + bytes(100),
}


def sparse(bench, name, head=b"", byte_count=FIVE_GB):
    path = bench.file(name, head)
    os.truncate(path, byte_count)
    return path


def used_bytes(folder):
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_nothing_is_refused(bench, suffix):
    verdict = bench.deliver(sparse(bench, f"hole.{suffix}"))
    assert verdict.kind == "refused"


def test_beside_others_it_is_one_rejected_file(bench):
    folder = sparse(bench, "hole.jpg").parent
    (folder / "good.png").write_bytes(encoded(pixels(2), "PNG"))
    os.truncate(folder / "hole.jpg", FIVE_GB)
    verdict = bench.deliver(folder)
    assert (verdict.counts, verdict.rules) == ((2, 1, 1, 0), {"hole.jpg": "file_is_readable"})


@pytest.mark.parametrize("suffix", HEADS)
def test_a_file_that_begins_well_takes_no_room_and_is_refused(bench, suffix):
    before = used_bytes(bench.root / "lake")
    verdict = bench.deliver(sparse(bench, f"hole.{suffix}", HEADS[suffix]))
    assert verdict.kind == "refused"
    assert used_bytes(bench.root / "lake") - before < 2**24
