"""Bytes become upright pixels, safely.

Invariant: for any bytes at all, there are pixels within the limit or there is `UnreadableMedia`. No
warning of Pillow gets out, and its settings are afterwards as they were before.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from lake_assets.media.formats import is_text, readable_formats
from lake_assets.media.rejection import (
    DECODER_ERRORS,
    decoder_errors_reject,
    not_an_image,
    rejection,
)

_ORIENTATION_TAG = 0x0112  # EXIF 2.3, table 4
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """What an image may cost to decode."""

    pixel_limit: int = 300_000_000
    """Width times height, from the header. 300 megapixels are at most 1.2 GB once decoded."""


@contextmanager
def opened(data: bytes, *, name: str, limits: MediaLimits) -> Iterator[Image.Image]:
    """Open ``data`` with its header parsed and checked, and no pixel decoded.

    Pillow is quiet and within ``limits`` inside the block, for one thread at a time.

    Raises:
        UnreadableMedia: as `inspect_image` does, save for what only decoding shows.
    """
    if not data:
        raise rejection("file_is_not_empty", name, expected="an image", actual="0 bytes")
    with _quiet_pillow(limits):
        if is_text(data):
            raise not_an_image(data, name)  # "BM…" would pass for a bitmap
        with decoder_errors_reject(name, data):
            image = Image.open(io.BytesIO(data), formats=readable_formats())
        with image:
            _check_pixel_limit(image.size, name, limits)
            yield image


@dataclass(frozen=True, slots=True, kw_only=True)
class Upright:
    """A decoded image as a person sees it."""

    pixels: Image.Image
    orientation: int
    """EXIF orientation before it was turned, 1–8."""

    def turned(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Return ``size_px`` (width, height) after the same turn."""
        return (size_px[1], size_px[0]) if self.orientation >= 5 else size_px


def load_upright(image: Image.Image, *, name: str) -> Upright:
    """Decode ``image`` and turn it upright.

    Raises:
        UnreadableMedia: ``image_is_complete`` or ``image_is_readable``.
    """
    if image.format == "TIFF":
        # Pillow itself turns TIFFs while it loads them, and forgets the tag.
        orientation = _orientation(image)
        with decoder_errors_reject(name):
            image.load()
        return Upright(pixels=image, orientation=orientation)
    with decoder_errors_reject(name):
        image.load()
    # Only now: a PNG may keep its EXIF behind the pixels.
    orientation = _orientation(image)
    turn = _TURNS.get(orientation)
    return Upright(pixels=image if turn is None else image.transpose(turn), orientation=orientation)


# One at a time: warning filters and Pillow's limit belong to the process, not to a thread.
_pillow_settings = threading.Lock()


@contextmanager
def _quiet_pillow(limits: MediaLimits) -> Iterator[None]:
    """Keep Pillow's warnings (odd EXIF, odd palettes) in, and its own pixel limit out of the way.

    Pillow refuses above twice its limit and only warns below; our check does the exact part.
    """
    with _pillow_settings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limits.pixel_limit
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _check_pixel_limit(size_px: tuple[int, int], name: str, limits: MediaLimits) -> None:
    width_px, height_px = size_px
    if width_px * height_px > limits.pixel_limit:
        raise rejection(
            "image_is_within_pixel_limit",
            name,
            expected=f"at most {limits.pixel_limit} pixels",
            actual=f"{width_px} × {height_px} = {width_px * height_px} pixels",
        )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or 1 where there is none or EXIF is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except DECODER_ERRORS:
        # The pixels are good. A broken camera tag is no reason to lose them.
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1
