"""What is stored of an image: the bytes as delivered, or the same picture in fewer bytes.

Invariants: the same bytes and policy give the same stored bytes. A policy never drops a frame or a
page, and never keeps less of a picture than it says: what the target format cannot hold is
stored as delivered.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
from dataclasses import dataclass
from typing import Any, Literal, Self

from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from lake_assets.errors import InvalidRegistry
from lake_assets.media.inspect import (
    DECODER_ERRORS,
    ImageFacts,
    MediaLimits,
    decoder_errors_reject,
    flattened,
    load_upright,
    opened,
)

Form = Literal["original", "lossless", "jpeg", "webp"]

MIN_SIDE_PX = 16
_ALLOWED = "original, lossless, jpeg:<quality> or webp:<quality> with a quality of 1 to 100"
_PLAIN: dict[str, Form] = {"original": "original", "lossless": "lossless"}
_LOSSY: dict[str, Form] = {"jpeg": "jpeg", "webp": "webp"}
_LOSSY_TEXT = re.compile(r"(jpeg|webp):([1-9][0-9]?|100)")

_PNG_BIT_DEPTH_AT = 24  # IHDR is the first chunk: W3C PNG, 11.2.1
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_SHORT = 3
_EXIF_PREFIX = b"Exif\0\0"

# Of a TIFF's tags, those about the picture. The rest lay out the file itself.
_DESCRIPTIVE_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
_EXIF_PARTS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePolicy:
    """How images of a dataset are stored. Make it with `parse`, which checks it."""

    form: Form
    quality: int | None = None
    """1–100, for jpeg and webp; as libjpeg and libwebp understand it."""
    max_side_px: int | None = None
    """Images with a longer side are scaled down to it; None: as they are."""

    @classmethod
    def parse(cls, text: str, max_side_px: int | None = None) -> Self:
        """Return the policy that a contract spells ``text``, e.g. ``jpeg:85``.

        Raises:
            InvalidRegistry: for any other text, a side below 16 px, or ``original`` with a side.
        """
        if max_side_px is not None and max_side_px < MIN_SIDE_PX:
            raise InvalidRegistry(
                f"max_side_px is {max_side_px}; allowed is {MIN_SIDE_PX} or more",
                max_side_px=max_side_px,
            )
        if text == "original" and max_side_px is not None:
            raise InvalidRegistry(
                "store: original keeps the bytes, so max_side_px cannot be met;"
                " drop it, or store as lossless, jpeg or webp",
                max_side_px=max_side_px,
            )
        if form := _PLAIN.get(text):
            return cls(form=form, max_side_px=max_side_px)
        if match := _LOSSY_TEXT.fullmatch(text):
            form = _LOSSY[match[1]]
            return cls(form=form, quality=int(match[2]), max_side_px=max_side_px)
        raise InvalidRegistry(f"store: {text!r} is unknown; allowed are {_ALLOWED}", store=text)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    """One of Pillow's encoders and what fits into its files."""

    pillow_name: str
    mime_type: str
    extension: str
    max_side_px: int
    max_exif_bytes: int = 2**31 - 1


_JPEG = _Encoder(
    pillow_name="JPEG",
    mime_type="image/jpeg",
    extension="jpg",
    max_side_px=65_500,  # JPEG_MAX_DIMENSION of libjpeg
    max_exif_bytes=65_533,  # one marker segment: ITU-T T.81, B.1.1.4
)
_PNG = _Encoder(pillow_name="PNG", mime_type="image/png", extension="png", max_side_px=2**31 - 1)
_WEBP = _Encoder(
    pillow_name="WEBP",
    mime_type="image/webp",
    extension="webp",
    max_side_px=16_383,  # 14 bits: RFC 6386, 9.1
)

_COMPACT_FORMATS = ("JPEG", "MPO", "AVIF", "HEIF", "WEBP")
"""Formats whose files lossless WebP does not make smaller."""

_EXACT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")


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
    exif, icc_profile = _exif(image), upright.info.get("icc_profile", b"")
    with decoder_errors_reject(facts.sha256):
        pixels = _pixels_for(policy.form, upright)
    encoder = _encoder_for(policy.form, pixels, size_px)
    if max(size_px) > encoder.max_side_px:
        return None
    if pixels.size != size_px:
        pixels = pixels.resize(size_px, Image.Resampling.LANCZOS)
    pixels.info = {}  # or else some encoders write comments and colour keys from it
    return _stored(
        _saved(pixels, encoder, policy, exif=exif, icc_profile=icc_profile), encoder, size_px
    )


def _pixels_for(form: Form, image: Image.Image) -> Image.Image:
    """Return ``image`` in a mode that the encoder of ``form`` takes: I;16, L, LA, RGB or RGBA."""
    if form == "jpeg":
        return flattened(image)
    if form == "lossless" and image.mode.startswith("I;16"):
        # By way of 32 bits into this machine's byte order: Pillow 13 resizes I;16B to noise.
        return image.convert("I").convert("I;16")
    if image.has_transparency_data and not image.mode.startswith("I"):
        return image.convert("LA" if _is_grey(image) else "RGBA")
    return flattened(image)


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA") or image.mode.startswith("I;16")


def _encoder_for(form: Form, pixels: Image.Image, size_px: tuple[int, int]) -> _Encoder:
    if form == "jpeg":
        return _JPEG
    if form == "webp":
        return _WEBP
    # WebP has no grey: no 16 bits of it, and no place for its profile.
    has_grey_profile = _is_grey(pixels) and "icc_profile" in pixels.info
    if has_grey_profile or pixels.mode.startswith("I;16") or max(size_px) > _WEBP.max_side_px:
        return _PNG
    return _WEBP


def _saved(
    pixels: Image.Image, encoder: _Encoder, policy: StorePolicy, *, exif: bytes, icc_profile: bytes
) -> bytes:
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


def _stored(data: bytes, encoder: _Encoder, size_px: tuple[int, int]) -> StoredImage:
    return StoredImage(
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        extension=encoder.extension,
        mime_type=encoder.mime_type,
        width_px=size_px[0],
        height_px=size_px[1],
    )


def _exif(image: Image.Image) -> bytes:
    """Return the EXIF of a decoded image for a file that is upright; empty: none, or damaged."""
    try:
        if isinstance(image, TiffImageFile):
            return _exif_of_tiff(image)
        return _without_turn(image.info.get("exif", b""))
    except DECODER_ERRORS:
        # As in inspect: a broken camera tag is no reason to lose the pixels.
        return b""


def _exif_of_tiff(image: TiffImageFile) -> bytes:
    delivered, kept = image.getexif(), Image.Exif()
    tags = {int(tag): delivered[tag] for tag in _DESCRIPTIVE_TAGS if tag in delivered}
    parts = {part: delivered.get_ifd(part) for part in _EXIF_PARTS}
    kept.update(tags)
    for part, values in parts.items():
        if values:
            kept.get_ifd(part).update(values)
    return kept.tobytes() if tags or any(parts.values()) else b""


def _without_turn(exif: bytes) -> bytes:
    """Return ``exif`` with its orientation set to 1, and otherwise byte for byte.

    Patched in place, because rewriting EXIF moves what maker notes point to. TIFF 6.0, section 2:
    a header with the byte order and the place of the first directory; 12 bytes an entry.

    Raises:
        struct.error: the directory runs past the end.
        KeyError: there is no byte order.
    """
    if not exif:
        return b""
    tiff = bytearray(exif.removeprefix(_EXIF_PREFIX))
    order = {b"II": "<", b"MM": ">"}[bytes(tiff[:2])]
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(f"{order}H", tiff, entry)
        if tag == ExifTags.Base.Orientation:
            struct.pack_into(f"{order}HHIHH", tiff, entry, tag, _TIFF_SHORT, 1, 1, 0)
    return _EXIF_PREFIX + bytes(tiff)
