"""Large files of annotations are read piece by piece: what is held does not grow with the file."""

import json
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest

from lake_assets.contracts.record_types import record_type
from lake_assets.intake.annotations import AnnotationFormat
from lake_assets.intake.annotations.json_text import members
from lake_assets.intake.annotations.model import BLOCK_BYTES, AnnotationFile
from lake_assets.intake.annotations.values import MAX_POINTS
from lake_assets.intake.annotations.xml_text import events
from lake_assets_tests.contract.annotations_harness import Folder

OBJECT = json.dumps({"id": 1, "bbox": [1.5] * 40})
LINE = '<TextLine id="l"><Coords points="1,1 2,1 2,2"/></TextLine>'


def objects(folder: Folder, count: int) -> Iterable[object]:
    path = folder.write("c.json", f'{{"a": 1, "annotations": [{", ".join([OBJECT] * count)}]}}')
    return members(described(path, "layout", AnnotationFormat.COCO))


def lines(folder: Folder, count: int) -> Iterable[object]:
    path = folder.write("p.xml", f"<PcGts><Page>{LINE * count}</Page></PcGts>")
    file = described(path, "ocr", AnnotationFormat.PAGE_XML)
    return events(file, "PcGts", frozenset({"TextLine"}))


def described(path: Path, kind: str, form: AnnotationFormat) -> AnnotationFile:
    return AnnotationFile(path=path, name=path.name, kind=record_type(kind), format=form)


def peak_bytes(pieces: Iterable[object]) -> tuple[int, int]:
    """How many pieces there are, and the most that was held at once while they came."""
    tracemalloc.start()
    try:
        return sum(1 for _ in pieces), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.mark.parametrize(
    ("pieces", "count"),
    # Each count fills what is read at once: a mebibyte of JSON, 64 KiB of XML.
    [pytest.param(objects, 10_000, id="json"), pytest.param(lines, 3_000, id="xml")],
)
def test_four_times_the_file_takes_no_more_memory(folder, pieces, count):
    few, held_for_few = peak_bytes(pieces(folder, count))
    many, held_for_many = peak_bytes(pieces(folder, 4 * count))
    assert many - few == 3 * count
    assert held_for_many < 1.5 * held_for_few


def test_long_outlines_make_short_blocks(folder):
    ring = [[i, i * i] for i in range(50_000)]
    line = json.dumps({"image": "a", "label": "x", "polygon": ring})
    result = folder.read("a.jsonl", "\n".join([line] * 8), "layout")
    assert BLOCK_BYTES == 64 * 2**20
    assert [len(block.records) for block in result.blocks] == [6, 2]


def test_an_outline_that_is_too_long_is_rejected(folder):
    ring = [[i % 7, i] for i in range(MAX_POINTS + 1)]
    line = json.dumps({"image": "a", "label": "x", "polygon": ring})
    assert folder.read("a.jsonl", line, "layout").rules == [
        (0, "polygon_has_few_points", "polygon")
    ]
