"""Folders of receipts as providers send them: pictures in sub-folders and a ``metadata.jsonl``.

Invariant: every picture file has one row, and every row but the unreadable one has its file.
Pictures are made, written and forgotten one by one, so memory does not grow with the delivery.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Literal

from lake_assets.samples.facts import BoxFacts, DeliveryFacts, KeyFacts, Twin
from lake_assets.samples.photo import Line, photograph, shrink
from lake_assets.samples.receipts import Receipt, make_receipt

_SUNDAY = date(2025, 1, 12)
_MONDAY = date(2025, 1, 13)
_NOT_AN_IMAGE = b"The scanner was out of paper. Please ask the office for this receipt.\n"

Kind = Literal["fresh", "exact copy", "resized copy", "truncated", "not an image", "repeated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One picture file, and the receipt that its row speaks of."""

    kind: Kind
    receipt: Receipt
    name: str
    """The row's ``file_name``."""
    content: bytes
    lines: tuple[Line, ...] = ()
    """What is printed on it; of a first photo alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    kind: Kind
    name: str
    original: str
    sha256: str


def write_monday(
    folder: Path, boxes: Path, *, seed: int, receipts: int
) -> tuple[DeliveryFacts, BoxFacts]:
    """Write a first delivery: this many good receipts, some of them twice, and three bad rows.

    Args:
        boxes: Where to write the text of the good ones with its place: a file for each, in the
            form of SROIE (x1,y1,x2,y2,x3,y3,x4,y4,text).
    """
    boxes.mkdir(parents=True)
    counts: list[int] = []
    bad = _earlier(receipts + 3, seed)
    bad_line = bad.metadata_line(bad.file_name)
    scans = _with_boxes(_monday(seed, receipts), boxes, counts)
    facts = _write(folder, scans, bad_line=bad_line[: len(bad_line) // 2])
    return facts, BoxFacts(folder=boxes, files=len(counts), lines=sum(counts))


def write_tuesday(folder: Path, *, monday: Path, seed: int, receipts: int) -> DeliveryFacts:
    """Write a second delivery: the last fifth of Monday's good receipts again, and a tenth new."""
    return _write(folder, _tuesday(monday, seed, receipts))


def write_keys(folder: Path, *, seed: int, receipts: int) -> KeyFacts:
    """Write what is printed on Monday's good receipts, a JSON file for each."""
    folder.mkdir(parents=True)
    fields = 0
    for number in range(1, receipts + 1):
        receipt = _earlier(number, seed)
        text = json.dumps(receipt.keys, indent=2) + "\n"
        path = folder / f"{receipt.receipt_id.lower()}.json"
        path.write_text(text, encoding="utf-8", newline="\n")
        fields += len(receipt.keys)
    return KeyFacts(folder=folder, files=receipts, fields=fields)


def _with_boxes(scans: Iterable[Scan], folder: Path, counts: list[int]) -> Iterator[Scan]:
    """Write the lines of each first photo on its way through, and note how many they are."""
    for scan in scans:
        if scan.kind == "fresh":
            lines = [f"{_corners(line)},{line.text}\n" for line in scan.lines]
            path = folder / f"{scan.receipt.receipt_id.lower()}.txt"
            path.write_text("".join(lines), encoding="utf-8", newline="\n")
            counts.append(len(lines))
        yield scan


def _corners(line: Line) -> str:
    return ",".join(f"{number:g}" for point in line.polygon for number in point)


def _monday(seed: int, receipts: int) -> Iterator[Scan]:
    exact, resized = max(1, receipts * 3 // 100), max(1, receipts // 40)
    chosen = Random(f"copies {seed}").sample(range(1, receipts + 1), exact + resized)
    for number in range(1, receipts + 1):
        scan = _scan(_earlier(number, seed), seed)
        yield scan
        if number in chosen[:exact]:
            yield replace(scan, kind="exact copy", name=_renamed(scan.name, "copy"))
        elif number in chosen[exact:]:
            yield _resized(scan)
    yield _truncated(_scan(_earlier(receipts + 1, seed), seed))
    text = _earlier(receipts + 2, seed)
    yield Scan(kind="not an image", receipt=text, name=text.file_name, content=_NOT_AN_IMAGE)


def _tuesday(monday: Path, seed: int, receipts: int) -> Iterator[Scan]:
    for number in range(receipts - receipts // 5 + 1, receipts + 1):
        receipt = _earlier(number, seed)
        content = (monday / receipt.file_name).read_bytes()
        yield Scan(kind="repeated", receipt=receipt, name=receipt.file_name, content=content)
    # The three numbers after Monday's good receipts belong to its broken ones.
    first = receipts + 4
    for number in range(first, first + receipts // 10):
        yield _scan(make_receipt(number, seed=seed, last_day=_MONDAY, days=1), seed)


def _earlier(number: int, seed: int) -> Receipt:
    """A receipt of the two weeks before Monday."""
    return make_receipt(number, seed=seed, last_day=_SUNDAY, days=14)


def _scan(receipt: Receipt, seed: int) -> Scan:
    photo = photograph(receipt, seed=seed)
    return Scan(
        kind="fresh",
        receipt=receipt,
        name=receipt.file_name,
        content=photo.jpeg,
        lines=photo.lines,
    )


def _resized(scan: Scan) -> Scan:
    content = shrink(scan.content, share=0.6)
    return replace(scan, kind="resized copy", name=_renamed(scan.name, "small"), content=content)


def _truncated(scan: Scan) -> Scan:
    # Past the header, so that only a decoder that reads on to the end notices.
    return replace(scan, kind="truncated", content=scan.content[: len(scan.content) * 6 // 10])


def _renamed(name: str, suffix: str) -> str:
    return f"{name.removesuffix('.jpg')}_{suffix}.jpg"


def _write(folder: Path, scans: Iterable[Scan], *, bad_line: str | None = None) -> DeliveryFacts:
    """Write every picture and the rows; a bad line goes into the middle of them."""
    written, lines = [], []
    for scan in scans:
        written.append(_write_picture(folder, scan))
        lines.append(scan.receipt.metadata_line(scan.name))
    bad_lines: tuple[int, ...] = ()
    if bad_line is not None:
        bad_lines = (len(lines) // 2,)
        lines.insert(bad_lines[0], bad_line)
    metadata = "".join(f"{line}\n" for line in lines)
    (folder / "metadata.jsonl").write_text(metadata, encoding="utf-8", newline="\n")
    return _facts(folder, written, bad_lines)


def _write_picture(folder: Path, scan: Scan) -> _Written:
    path = folder / scan.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(scan.content)
    return _Written(
        kind=scan.kind,
        name=scan.name,
        original=scan.receipt.file_name,
        sha256=sha256(scan.content).hexdigest(),
    )


def _facts(folder: Path, written: list[_Written], bad_lines: tuple[int, ...]) -> DeliveryFacts:
    def twins(kind: Kind) -> tuple[Twin, ...]:
        return tuple(Twin(name=w.name, original=w.original) for w in written if w.kind == kind)

    def names(kind: Kind) -> tuple[str, ...]:
        return tuple(w.name for w in written if w.kind == kind)

    broken = {*names("truncated"), *names("not an image")}
    return DeliveryFacts(
        folder=folder,
        rows=len(written) + len(bad_lines),
        image_files=len(written),
        distinct_images=len({w.sha256 for w in written if w.name not in broken}),
        exact_copies=twins("exact copy"),
        resized_copies=twins("resized copy"),
        truncated=names("truncated"),
        not_an_image=names("not an image"),
        bad_lines=bad_lines,
        repeated_rows=len(names("repeated")),
    )
