"""Large files that are not worth a copy: sparse ones, and images that no worker could hold.

Invariant: what is refused here would be refused later too, only after gigabytes were copied.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

from lake_assets.errors import UnreadableSource
from lake_assets.intake.formats import (
    DataFormat,
    compression_of,
    data_format,
    image_extension_of,
    looks_like_image_name,
)
from lake_assets.intake.readers.text import MAX_RECORD_CHARS
from lake_assets.storage.files import source_errors

LARGE_BYTES = 32 * 2**20
"""From this size on a file is looked at before it is copied; opening smaller ones costs more."""
MAX_IMAGE_BYTES = 2**30
"""Largest image: a worker reads it whole. 300 megapixels, the limit by default, are 0.9 GB as
uncompressed RGB."""
_ZEROS_BYTES = 2**20


_TEXT = frozenset({DataFormat.CSV, DataFormat.TSV, DataFormat.JSON, DataFormat.JSONL})
_LAST_BYTES = {DataFormat.PARQUET: b"PAR1", DataFormat.ARROW: b"ARROW1"}
# A hole is NUL bytes, two of which may be a character of UTF-16.
_HOPELESS_HOLE_BYTES = 2 * MAX_RECORD_CHARS + 1


def refuse_hopeless(source: Path) -> None:
    """Raise if a file of ``LARGE_BYTES`` or more can be neither a table nor an image of the lake.

    Raises:
        UnreadableSource: It begins with a mebibyte of zeros, as a file that was never written; it
            is text with a hole that is longer than any record; it lacks the end that its format
            has; or it is an image of more than ``MAX_IMAGE_BYTES``.
    """
    with source_errors(source), source.open("rb") as file:
        reason = _hopeless_because(source, file)
    if reason is not None:
        raise UnreadableSource(f"{source} {reason}.", path=str(source))


def _hopeless_because(source: Path, file: BinaryIO) -> str | None:
    byte_count = os.fstat(file.fileno()).st_size
    head = file.read(_ZEROS_BYTES)
    if len(head) == _ZEROS_BYTES and head.count(0) == _ZEROS_BYTES:
        return "begins with a mebibyte of zeros: nothing was ever written there. Deliver it again"
    kind = data_format(source)
    if kind is not None:
        return _no_table_because(file, kind, head, byte_count)
    is_image = image_extension_of(head) is not None or looks_like_image_name(source.name)
    if is_image and byte_count > MAX_IMAGE_BYTES:
        return (
            f"is an image of {byte_count:,} bytes, and at most {MAX_IMAGE_BYTES:,} can be decoded. "
            "Deliver it in tiles, or compressed"
        )
    return None


def _no_table_because(file: BinaryIO, kind: DataFormat, head: bytes, byte_count: int) -> str | None:
    is_text = kind in _TEXT and compression_of(file.name) is None
    if is_text and _longest_hole(file, byte_count) >= _HOPELESS_HOLE_BYTES:
        return (
            f"is {kind} with a hole of more than {_HOPELESS_HOLE_BYTES - 1:,} bytes, where nothing "
            "was ever written. Deliver it again"
        )
    last = _LAST_BYTES.get(kind, b"")
    # An Arrow stream begins otherwise, and has no end that must be there.
    if last and head.startswith(last):
        file.seek(-len(last), os.SEEK_END)
        if file.read(len(last)) != last:
            return f"does not end as {kind} does: it is cut short. Deliver it again"
    return None


def _longest_hole(file: BinaryIO, byte_count: int) -> int:
    """Return how many bytes in a row a file system has no room for; 0 where it cannot tell."""
    longest = end = 0
    while end < byte_count:
        start = os.lseek(file.fileno(), end, os.SEEK_HOLE)
        try:
            end = os.lseek(file.fileno(), start, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data up to the end
                raise
            end = byte_count
        longest = max(longest, end - start)
    return longest
