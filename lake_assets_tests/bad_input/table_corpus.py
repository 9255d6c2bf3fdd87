"""Parquet and Arrow files of every encoding, and ways to damage them."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

ROWS = 120


@cache
def table() -> pa.Table:
    """Return a table with a column of every type that files have."""
    rng = random.Random(1)
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=n) for n in range(ROWS)]
    return pa.table(
        {
            "long": pa.array(range(ROWS), pa.int64()),
            "byte": pa.array([n % 100 if n % 7 else None for n in range(ROWS)], pa.int8()),
            "double": pa.array([rng.random() for _ in range(ROWS)]),
            "name": pa.array([f"name{n % 13}" if n % 5 else None for n in range(ROWS)]),
            "text": pa.array(["x" * (n % 30) + "é" for n in range(ROWS)]),
            "bytes": pa.array([rng.randbytes(n % 20) for n in range(ROWS)]),
            "flag": pa.array([n % 3 == 0 for n in range(ROWS)]),
            "list": pa.array([[1] * (n % 4) if n % 6 else None for n in range(ROWS)]),
            "struct": pa.array([{"a": n, "b": [str(n)] * (n % 3)} for n in range(ROWS)]),
            "instant": pa.array([dt.datetime(2020, 1, 1)] * ROWS, pa.timestamp("us", tz="UTC")),
            "day": pa.array(days),
            "price": pa.array(
                [decimal.Decimal(n) / 100 for n in range(ROWS)], pa.decimal128(20, 2)
            ),
            "label": pa.array([f"k{n % 4}" for n in range(ROWS)]).dictionary_encode(),
            "map": pa.array([[("k", n)] for n in range(ROWS)], pa.map_(pa.string(), pa.int64())),
            "nothing": pa.nulls(ROWS),
        }
    )


@cache
def parquets() -> dict[str, bytes]:
    """Return the table as Parquet in the ways in which writers differ."""
    deltas = {
        "long": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY", "double": "BYTE_STREAM_SPLIT",
        "bytes": "DELTA_LENGTH_BYTE_ARRAY",
    }  # fmt: skip
    return {
        "groups": _parquet(row_group_size=40),
        "plain": _parquet(compression="none", use_dictionary=False),
        "pages-v2": _parquet(compression="zstd", data_page_version="2.0", write_page_index=True),
        "small-pages": _parquet(compression="gzip", data_page_size=200),
        "deltas": _parquet(compression="none", use_dictionary=False, column_encoding=deltas),
        "no-schema": _parquet(compression="lz4", store_schema=False),
    }


@cache
def arrows() -> dict[str, bytes]:
    """Return the table, and one of views, as Arrow files and streams."""
    views = pa.table(
        {
            "text": table()["text"].cast(pa.string_view()),
            "large": table()["text"].cast(pa.large_string()),
            "runs": pa.RunEndEncodedArray.from_arrays(pa.array([60, ROWS], pa.int32()), [1, 2]),
            "lists": pa.array([[n] for n in range(ROWS)], pa.large_list(pa.int32())),
        }
    )
    return {
        "file": _arrow(ipc.new_file),
        "stream": _arrow(ipc.new_stream),
        "zstd": _arrow(ipc.new_file, compression="zstd"),
        "lz4": _arrow(ipc.new_stream, compression="lz4"),
        "views": _arrow(ipc.new_file, rows=views),
    }


def mutated(data: bytes, choose: Callable[[int], int]) -> bytes:
    """Return a file with up to four places changed, most often in its footer.

    Args:
        data: The file.
        choose: Returns a number from 0 to below its argument.
    """
    damaged = bytearray(data)
    tail = min(len(data), 2_000)
    for _ in range(1 + choose(4)):
        behind_the_end = 1 + choose(tail if choose(2) else len(data))
        _damage(damaged, max(0, len(damaged) - behind_the_end), choose)
    return bytes(damaged)


def footer_lies(data: bytes, claimed: int) -> bytes:
    """Return a Parquet file whose footer claims another number of rows, everywhere.

    Args:
        data: A Parquet file of ``ROWS`` rows in one group.
        claimed: The number, of as many bytes as a varint.
    """
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    true, lie = (_varint(2 * count) for count in (ROWS, claimed))  # thrift: zigzag
    return data[:start] + data[start:-8].replace(b"\x16" + true, b"\x16" + lie) + data[-8:]


def write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write files and return where they are."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def _damage(data: bytearray, place: int, choose: Callable[[int], int]) -> None:
    large = (0, 2**24, 2**30, 2**31 - 1, 2**32 - 1)
    match choose(5):
        case 0:
            data[place] ^= 1 << choose(8)
        case 1:
            data[place] = choose(256)
        case 2:
            data[place : place + 4] = large[choose(5)].to_bytes(4, "little")
        case 3:
            data[place : place + 8] = (large[choose(5)] << choose(33)).to_bytes(8, "little")
        case _:
            del data[place : place + 1 + choose(20)]


def _varint(number: int) -> bytes:
    low = [number >> shift & 0x7F for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(part | 0x80 for part in low[:-1]), low[-1]])


def _parquet(**options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table(), buffer, **options)
    return buffer.getvalue()


def _arrow(new: Callable[..., object], rows: pa.Table | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    rows = rows or table()
    with new(buffer, rows.schema, options=ipc.IpcWriteOptions(**options)) as writer:  # type: ignore[attr-defined]
        writer.write_table(rows, max_chunksize=50)
    return buffer.getvalue()
