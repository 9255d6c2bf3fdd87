"""Pixels become a JPEG, PNG or WebP file: which of them, in which mode, with what beside them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lake_assets.media.flatten import flattened
from lake_assets.media.store_policy import Form, StorePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """One of Pillow's encoders and what fits into its files."""

    pillow_name: str
    mime_type: str
    extension: str
    max_side_px: int
    max_exif_bytes: int = 2**31 - 1


_JPEG = Encoder(
    pillow_name="JPEG",
    mime_type="image/jpeg",
    extension="jpg",
    max_side_px=65_500,  # JPEG_MAX_DIMENSION of libjpeg
    max_exif_bytes=65_533,  # one marker segment: ITU-T T.81, B.1.1.4
)

_PNG = Encoder(pillow_name="PNG", mime_type="image/png", extension="png", max_side_px=2**31 - 1)
_WEBP = Encoder(
    pillow_name="WEBP",
    mime_type="image/webp",
    extension="webp",
    max_side_px=16_383,  # 14 bits: RFC 6386, 9.1
)


def encoder_for(form: Form, pixels: Image.Image, size_px: tuple[int, int]) -> Encoder:
    """Return the encoder for ``pixels`` of ``size_px`` (width, height) that ``form`` asks for.

    Only for lossless is there a choice. Whether the sides fit is for the caller to see.
    """
    if form == "jpeg":
        return _JPEG
    if form == "webp":
        return _WEBP
    # WebP has no grey: no 16 bits of it, and no place for its profile.
    has_grey_profile = _is_grey(pixels) and "icc_profile" in pixels.info
    if has_grey_profile or pixels.mode.startswith("I;16") or max(size_px) > _WEBP.max_side_px:
        return _PNG
    return _WEBP


def pixels_for(form: Form, image: Image.Image) -> Image.Image:
    """Return ``image`` in a mode that the encoder of ``form`` takes: I;16, L, LA, RGB or RGBA."""
    if form == "jpeg":
        return flattened(image)
    if form == "lossless" and image.mode.startswith("I;16"):
        # By way of 32 bits into this machine's byte order: Pillow 13 resizes I;16B to noise.
        return image.convert("I").convert("I;16")
    if image.has_transparency_data and not image.mode.startswith("I"):
        return image.convert("LA" if _is_grey(image) else "RGBA")
    return flattened(image)


def encode(
    pixels: Image.Image, encoder: Encoder, policy: StorePolicy, *, exif: bytes, icc_profile: bytes
) -> bytes:
    """Return the file of ``pixels``, which are in a mode of `pixels_for`.

    EXIF is left out where the format has no room for it, and an ICC profile where it is not for the
    colours of the new file. Either may be empty.
    """
    options: dict[str, Any] = {}
    if policy.form == "lossless":
        options = {"lossless": True, "exact": True}  # exact: colours below full transparency too
    elif policy.quality is not None:
        options = {"quality": policy.quality}
    if exif and len(exif) <= encoder.max_exif_bytes:
        options["exif"] = exif
    # ICC.1:2022, 7.2.8: bytes 16–19 name the colour space. WebP's pixels are always RGB.
    is_grey = _is_grey(pixels) and encoder is not _WEBP
    if icc_profile[16:20] == (b"GRAY" if is_grey else b"RGB "):
        options["icc_profile"] = icc_profile
    buffer = io.BytesIO()
    pixels.save(buffer, encoder.pillow_name, **options)
    return buffer.getvalue()


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA") or image.mode.startswith("I;16")
