"""What is stored of an image: the bytes as delivered, or the same picture in fewer bytes.

Invariants: the same bytes and policy give the same stored bytes. A policy never drops a frame or a
page, and never keeps less of a picture than it says: what the target format cannot hold is
stored as delivered.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from lake_assets.media.decode import MediaLimits, load_upright, opened
from lake_assets.media.encoders import Encoder, encode, encoder_for, pixels_for
from lake_assets.media.inspect import ImageFacts
from lake_assets.media.metadata import upright_exif
from lake_assets.media.rejection import decoder_errors_reject
from lake_assets.media.store_policy import StorePolicy

__all__ = ["StorePolicy", "StoredImage", "reencode"]

_PNG_BIT_DEPTH_AT = 24  # IHDR is the first chunk: W3C PNG, 11.2.1
_TIFF_BITS_PER_SAMPLE = 258
_COMPACT_FORMATS = ("JPEG", "MPO", "AVIF", "HEIF", "WEBP")
"""Formats whose files lossless WebP does not make smaller."""

_EXACT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image as it goes into the shard store."""

    data: bytes
    sha256: str
    """64 lower-case hex digits, of ``data``."""
    extension: str
    mime_type: str
    width_px: int
    """After EXIF orientation, as in `ImageFacts`."""
    height_px: int


def reencode(data: bytes, facts: ImageFacts, policy: StorePolicy) -> StoredImage:
    """Return what ``policy`` stores of the image ``data``, of which ``facts`` were found.

    * original: the bytes, untouched.
    * lossless: WebP, or PNG where WebP cannot hold the pixels (16-bit grey, a grey ICC profile, a
      side above 16,383 px). Kept as delivered where that is not smaller, or where the file is lossy
      already or holds more than both (more bits, CMYK, floats).
    * jpeg, webp: 8 bits a channel; jpeg with transparency on white. Kept as delivered where that
      has the format asked for and is no larger.

    Files of several frames or pages are kept as delivered under any policy. New files are upright:
    orientation is baked into the pixels and the EXIF tag says 1. The ICC profile is kept where it
    fits the colours of the new file, the other EXIF byte for byte where the format has room.

    Raises:
        UnreadableMedia: the image cannot be decoded in full; ``name`` is its SHA-256.
    """
    if policy.form == "original":
        return _as_delivered(data, facts)
    limits = MediaLimits(pixel_limit=facts.width_px * facts.height_px)  # as accepted before
    size_px = _target_size(facts, policy)
    is_scaled = size_px != (facts.width_px, facts.height_px)
    with opened(data, name=facts.sha256, limits=limits) as image:
        if _stays(image, data, policy, name=facts.sha256, is_scaled=is_scaled):
            return _as_delivered(data, facts)
        encoded = _encode(image, facts, policy, size_px)
    if encoded is None:
        return _as_delivered(data, facts)
    should_shrink = policy.form == "lossless" or encoded.mime_type == facts.mime_type
    if should_shrink and not is_scaled and len(encoded.data) >= len(data):
        return _as_delivered(data, facts)
    return encoded


def _as_delivered(data: bytes, facts: ImageFacts) -> StoredImage:
    return StoredImage(
        data=data,
        sha256=facts.sha256,
        extension=facts.extension,
        mime_type=facts.mime_type,
        width_px=facts.width_px,
        height_px=facts.height_px,
    )


def _target_size(facts: ImageFacts, policy: StorePolicy) -> tuple[int, int]:
    longest_px = max(facts.width_px, facts.height_px)
    if policy.max_side_px is None or longest_px <= policy.max_side_px:
        return facts.width_px, facts.height_px
    scale = policy.max_side_px / longest_px
    return max(1, round(facts.width_px * scale)), max(1, round(facts.height_px * scale))


def _stays(
    image: Image.Image, data: bytes, policy: StorePolicy, *, name: str, is_scaled: bool
) -> bool:
    """Tell whether the file is to be kept whatever an encoder would make of it."""
    with decoder_errors_reject(name):
        frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # an MPO is one picture with previews of it
        return True
    if policy.form != "lossless":
        return False
    return _holds_more_than_targets(image, data) or (
        not is_scaled and image.format in _COMPACT_FORMATS
    )


def _holds_more_than_targets(image: Image.Image, data: bytes) -> bool:
    """Tell whether neither WebP nor PNG, as Pillow writes them, takes all that the file holds."""
    if image.mode.startswith("I;16"):
        return False
    if image.mode not in _EXACT_MODES:
        return True
    # Pillow reads colour of 16 bits a channel, but keeps 8 of them.
    if isinstance(image, PngImageFile):
        return data[_PNG_BIT_DEPTH_AT] > 8
    if isinstance(image, TiffImageFile):
        return bool(max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (1,))) > 8)
    return False


def _encode(
    image: Image.Image, facts: ImageFacts, policy: StorePolicy, size_px: tuple[int, int]
) -> StoredImage | None:
    """Return the image in the policy's format, or None where that cannot hold its sides."""
    if isinstance(image, JpegImageFile):
        # Decodes no more than is needed; square, as the image may still lie on its side.
        image.draft(None, (max(size_px), max(size_px)))
    upright = load_upright(image, name=facts.sha256).pixels
    exif, icc_profile = upright_exif(image), upright.info.get("icc_profile", b"")
    with decoder_errors_reject(facts.sha256):
        pixels = pixels_for(policy.form, upright)
    encoder = encoder_for(policy.form, pixels, size_px)
    if max(size_px) > encoder.max_side_px:
        return None
    if pixels.size != size_px:
        pixels = pixels.resize(size_px, Image.Resampling.LANCZOS)
    pixels.info = {}  # or else some encoders write comments and colour keys from it
    return _stored(
        encode(pixels, encoder, policy, exif=exif, icc_profile=icc_profile), encoder, size_px
    )


def _stored(data: bytes, encoder: Encoder, size_px: tuple[int, int]) -> StoredImage:
    return StoredImage(
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        extension=encoder.extension,
        mime_type=encoder.mime_type,
        width_px=size_px[0],
        height_px=size_px[1],
    )
