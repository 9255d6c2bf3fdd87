"""Large files that are not worth a copy: sparse ones, and images that no worker could hold.

Invariant: what is refused here would be refused later too, only after gigabytes were copied.
"""

from __future__ import annotations

from pathlib import Path

from lake_assets.errors import UnreadableSource
from lake_assets.intake.formats import data_format, image_extension_of, looks_like_image_name
from lake_assets.storage.files import source_errors

LARGE_BYTES = 32 * 2**20
"""From this size on a file is looked at before it is copied; opening smaller ones costs more."""
MAX_IMAGE_BYTES = 2**30
"""Largest image: a worker reads it whole. 300 megapixels, the limit by default, are 0.9 GB as
uncompressed RGB."""
_ZEROS_BYTES = 2**20


def refuse_hopeless(source: Path) -> None:
    """Raise if a file of ``LARGE_BYTES`` or more can be neither a table nor an image of the lake.

    Raises:
        UnreadableSource: It begins with a mebibyte of zeros, as a sparse file or a download that
            never began, or it is an image of more than ``MAX_IMAGE_BYTES``.
    """
    with source_errors(source), source.open("rb") as file:
        byte_count = source.stat().st_size
        head = file.read(_ZEROS_BYTES)
        is_image = image_extension_of(head) is not None or looks_like_image_name(source.name)
        is_data = data_format(source) is not None
    if byte_count >= _ZEROS_BYTES and head.count(0) == len(head):
        raise UnreadableSource(
            f"{source} begins with {_ZEROS_BYTES:,} bytes of zeros, so nothing was ever written to "
            "it. Deliver it again once it is complete.",
            path=str(source),
        )
    if byte_count > MAX_IMAGE_BYTES and is_image and not is_data:
        raise UnreadableSource(
            f"{source} is an image of {byte_count:,} bytes, and at most {MAX_IMAGE_BYTES:,} can be "
            "decoded. Deliver it in tiles, or compressed.",
            path=str(source),
        )
