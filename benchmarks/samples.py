"""What is delivered: a table of twelve columns, and many distinct images. Seeded, made here.

Runs in processes of its own, so that what making the data takes is in no figure.
"""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.probe import REPOSITORY

RECEIPTS = REPOSITORY.parent / "shared" / "data" / "receipts" / "images"
"""Scanned receipts, used where they lie beside the checkout."""
_SEED = 7
_DRIFTING = 0.05
_CHUNK_ROWS = 100_000
_DRAWN_RECEIPTS = 40
_SMALL_RECEIPTS = 100
_SOI = b"\xff\xd8"
_COMMENT = b"\xff\xfe"
_FORMAT_OPTIONS = {"csv": "FORMAT csv, HEADER", "jsonl": "FORMAT json"}


def write_table(path: str, rows: int, first: int = 0) -> dict[str, Any]:
    """Write ``rows`` rows as Parquet, CSV or JSON Lines, by the suffix of ``path``."""
    target = Path(path)
    if target.suffix == ".parquet":
        _write_parquet(target, rows, first)
    else:
        _write_text(target, rows, first)
    return {"byte_count": target.stat().st_size}


def write_tables(folder: str, count: int, rows: int) -> dict[str, Any]:
    """Write ``count`` Parquet files of ``rows`` rows each, no two alike."""
    place = Path(folder)
    place.mkdir()
    for number in range(count):
        _write_parquet(place / f"{number:04d}.parquet", rows, first=number * rows)
    return {"folder": folder}


def write_jsonl(path: str, byte_count: int) -> dict[str, Any]:
    """Write about ``byte_count`` bytes of JSON Lines, and return how many rows they are."""
    few = 1_000
    sample = Path(path).with_name("sample.jsonl")
    _write_text(sample, few, 0)
    rows = byte_count * few // sample.stat().st_size
    sample.unlink()
    _write_text(Path(path), rows, 0)
    return {"rows": rows, "byte_count": Path(path).stat().st_size}


def write_drifting(path: str, rows: int) -> dict[str, Any]:
    """Write ``rows`` records of 30 fields as JSON Lines, one in twenty of another shape.

    Of those a quarter each has text for a number, a number for text, a list for a number, or one of
    ten fields that the others have not.
    """
    pick = random.Random(_SEED)
    with Path(path).open("w") as file:
        for number in range(rows):
            record = _plain_record(pick, number)
            if pick.random() < _DRIFTING:
                record |= pick.choice(
                    ({"i0": "n/a"}, {"s0": 5}, {"f0": [1, 2]}, {f"new{pick.randrange(10)}": 1})
                )
            file.write(f"{json.dumps(record, separators=(',', ':'))}\n")
    return {"byte_count": Path(path).stat().st_size}


def _plain_record(pick: random.Random, number: int) -> dict[str, Any]:
    return {
        "id": number,
        **{f"i{k}": pick.randrange(100) for k in range(9)},
        **{f"f{k}": round(pick.random() * 10, 1) for k in range(6)},
        **{f"s{k}": f"v{pick.randrange(10)}" for k in range(9)},
        "b0": pick.random() < 0.5,
        "b1": pick.random() < 0.5,
        "u": {"x": pick.randrange(9), "y": "z"},
        "l": [1, 2],
        "t": "",
    }


def write_images(
    folder: str, count: int, first: int = 0, longest_side_px: int | None = None
) -> dict[str, Any]:
    """Write ``count`` distinct JPEG files: receipts, each with a comment of its own.

    Args:
        first: Number of the first; files of different numbers differ.
        longest_side_px: Make them smaller, where it is their count that matters.
    """
    place = Path(folder)
    place.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        sources = sorted(RECEIPTS.glob("*.jpg")) or _drawn_receipts(Path(scratch))
        if longest_side_px:
            sources = _smaller(sources[:_SMALL_RECEIPTS], Path(scratch), longest_side_px)
        numbers = range(first, first + count)
        for number, source in zip(numbers, itertools.cycle(sources), strict=False):
            target = place / f"{number:06d}.jpg"
            target.write_bytes(_with_comment(source.read_bytes(), f"copy {number}"))
    sizes = [file.stat().st_size for file in place.iterdir()]
    return {"images": len(sizes), "byte_count": sum(sizes), "of": len(sources)}


def _with_comment(jpeg: bytes, text: str) -> bytes:
    """Return the same picture with a COM segment behind SOI (ITU-T T.81, B.2.4.5)."""
    payload = text.encode()
    segment = _COMMENT + (len(payload) + 2).to_bytes(2) + payload
    return _SOI + segment + jpeg.removeprefix(_SOI)


def _smaller(sources: list[Path], folder: Path, longest_side_px: int) -> list[Path]:
    from PIL import Image

    made = []
    for source in sources:
        target = folder / f"small-{source.name}"
        with Image.open(source) as image:
            image.thumbnail((longest_side_px, longest_side_px))
            image.convert("RGB").save(target, "JPEG", quality=85)
        made.append(target)
    return made


def _drawn_receipts(folder: Path) -> list[Path]:
    from lake_assets.samples import write_samples

    monday = write_samples(folder, seed=_SEED, receipts=_DRAWN_RECEIPTS).folder / "receipts_monday"
    # The sample delivery has broken files too, on purpose.
    return [path for path in sorted(monday.rglob("*.jpg")) if _is_whole(path)]


def _is_whole(path: Path) -> bool:
    from lake_assets.errors import UnreadableMedia
    from lake_assets.media.inspect import inspect_image

    try:
        inspect_image(path.read_bytes(), name=path.name)
    except UnreadableMedia:
        return False
    return True


def _write_parquet(target: Path, rows: int, first: int) -> None:
    import pyarrow.parquet as pq

    chunks = _chunks(rows, first)
    head = next(chunks)
    with pq.ParquetWriter(target, head.schema, compression="snappy") as writer:
        for chunk in itertools.chain([head], chunks):
            writer.write_table(chunk)


def _write_text(target: Path, rows: int, first: int) -> None:
    import duckdb

    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        source = Path(scratch) / "rows.parquet"
        _write_parquet(source, rows, first)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(
                f"COPY (FROM read_parquet('{source}')) TO '{target}' "
                f"({_FORMAT_OPTIONS[target.suffix.removeprefix('.')]})"
            )


def _chunks(rows: int, first: int) -> Iterator[Any]:
    """Yield trades as ``pyarrow.Table``; a row depends on the seed and its number's chunk only."""
    for start in range(first, first + rows, _CHUNK_ROWS):
        yield _trades(start, min(_CHUNK_ROWS, first + rows - start))


def _trades(start: int, count: int) -> Any:
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng([_SEED, start])
    numbers = np.arange(start, start + count)
    words = np.array("paid late by card in the morning at a shop near home again".split())
    notes = words[rng.integers(0, len(words), (count, 7))]
    at_us = 1_736_760_600_000_000 + numbers * 250_000 + rng.integers(0, 250_000, count)
    price = np.round(rng.lognormal(4, 0.6, count), 2)
    quantity = rng.integers(1, 500, count)
    return pa.table(
        {
            "trade_id": pa.array(numbers),
            "at": pa.array(at_us, pa.timestamp("us", "UTC")),
            "day": pa.array(at_us // 86_400_000_000, pa.int32()).cast(pa.date32()),
            "symbol": np.char.add("SYM", rng.integers(0, 500, count).astype(str)),
            "venue": np.array(["NYC", "LDN", "TYO", "SEL"])[rng.integers(0, 4, count)],
            "account": np.char.add("acc-", rng.integers(10**9, 10**10, count).astype(str)),
            "price": price,
            "quantity": quantity,
            "total": np.round(price * quantity, 2),
            "is_buy": rng.random(count) < 0.5,
            "score": pa.array(rng.normal(size=count).round(6), mask=rng.random(count) < 0.1),
            "note": [" ".join(row) for row in notes],
        }
    )
