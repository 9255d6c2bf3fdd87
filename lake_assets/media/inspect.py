"""What one image is: bytes become facts in a single decode.

Invariant: for any bytes at all, `inspect_image` either returns facts or raises `UnreadableMedia`
with the sentence that the file breaks. Nothing else gets out: no other exception of the decoder, no
warning, and no change to Pillow's settings.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from lake_assets.errors import UnreadableMedia

THUMBNAIL_SIDE_PX = 256
THUMBNAIL_QUALITY = 80

SCALED_SIDE_PX = 256
"""The shorter side of a reduced decode. On 120 receipts the pHash is then within 2 bits of that of
a full decode for 100 % of the images; with 256 px on the longer side it is for 92 % only."""

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

# Pillow's plugins parse hostile bytes with plain Python, and let through what that raises: these
# types are documented, came up in fuzzing the formats below, or follow from how the plugins are
# written. The first group mostly says that bytes are missing or wrong, the second that Pillow
# cannot cope. They are caught around Pillow's calls only, never around our own.
_DAMAGE = (OSError, EOFError, SyntaxError, struct.error, zlib.error, IndexError)
_CONFUSION = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    Image.DecompressionBombError,
)
DECODER_ERRORS = _DAMAGE + _CONFUSION


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """What an image may cost to decode."""

    pixel_limit: int = 300_000_000
    """Width times height, from the header. 300 megapixels are at most 1.2 GB once decoded."""


DEFAULT_LIMITS = MediaLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What is known of one image. All of it follows from the bytes alone."""

    sha256: str
    """64 lower-case hex digits, of the bytes as delivered."""
    byte_count: int
    mime_type: str
    """By content, never by name, e.g. ``image/jpeg``."""
    extension: str
    """The usual one for ``mime_type``, without a dot, e.g. ``jpg``."""
    width_px: int
    """Of the full image, after ``orientation`` is applied; of the first frame or page."""
    height_px: int
    orientation: int
    """EXIF orientation as delivered, 1–8; 1 where it is absent or senseless."""
    phash: int
    """64-bit pHash, the bits of ``imagehash.phash`` read as a signed integer."""
    thumbnail: bytes
    """JPEG, upright, longest side at most 256 px, never enlarged, transparency on white."""
    sharpness: float
    """Variance of the Laplacian of the grey thumbnail, ≥ 0, in squared grey levels of 0–255.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000. Compare images
    with each other, not with thresholds for full-size images. 0 below 3 px a side.
    """
    brightness: float
    """Mean luma (ITU-R BT.601) of the thumbnail, from 0 (black) to 1 (white)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    mime_type: str
    extension: str


_JPEG = _Format(mime_type="image/jpeg", extension="jpg")
_FORMATS = {
    "JPEG": _JPEG,
    "MPO": _JPEG,  # a JPEG with previews or depth maps behind it; phones write them
    "PNG": _Format(mime_type="image/png", extension="png"),
    "WEBP": _Format(mime_type="image/webp", extension="webp"),
    "GIF": _Format(mime_type="image/gif", extension="gif"),
    "BMP": _Format(mime_type="image/bmp", extension="bmp"),
    "TIFF": _Format(mime_type="image/tiff", extension="tiff"),
    "AVIF": _Format(mime_type="image/avif", extension="avif"),
    "HEIF": _Format(mime_type="image/heic", extension="heic"),  # with pillow-heif registered
}

_AVERAGEABLE_MODES = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F")  # by Image.reduce

_IMAGE_SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WebP"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]"), "TIFF"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "AVIF"),
)
_OTHER_SIGNATURES = (
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"PK\x03\x04"), "ZIP archive (or an Office document)"),
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"....ftyp(hei[cxms]|hev[cx]|mif1)", re.DOTALL), "HEIC (needs pillow-heif)"),
    (re.compile(rb"....ftyp", re.DOTALL), "MP4 video"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"8BPS"), "Photoshop"),
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?<svg", re.IGNORECASE), "SVG"),
    (re.compile(rb"\s*<(!doctype )?html", re.IGNORECASE), "HTML"),
)


def inspect_image(data: bytes, *, name: str, limits: MediaLimits = DEFAULT_LIMITS) -> ImageFacts:
    """Return the facts about the image in ``data``, of its first frame or page.

    JPEGs are decoded at a reduced scale, which reads the whole file all the same, so truncated ones
    are found. Several threads may call this, but they take turns: see `_quiet_pillow`. For speed
    use processes (`lake_assets.media.engines`).

    Args:
        data: The file's content.
        name: What the delivery calls it; only for messages, it decides nothing.
        limits: What the image may cost.

    Raises:
        UnreadableMedia: with ``rule`` (``file_is_not_empty``, ``file_is_an_image``,
            ``image_is_within_pixel_limit``, ``image_is_complete`` or ``image_is_readable``),
            ``name``, ``expected`` and ``actual`` as context.
    """
    with opened(data, name=name, limits=limits) as image:
        file_format = _FORMATS[image.format or ""]
        header_size_px = image.size
        is_reduced = _ask_for_less(image)
        upright = load_upright(image, name=name)
        width_px, height_px = upright.pixels.size
        if is_reduced:
            width_px, height_px = upright.turned(header_size_px)
        with decoder_errors_reject(name):
            visible = _visible_at_scale(upright.pixels)
        small = _thumbnail(visible)
        grey = _luma(small)
        return ImageFacts(
            sha256=hashlib.sha256(data).hexdigest(),
            byte_count=len(data),
            mime_type=file_format.mime_type,
            extension=file_format.extension,
            width_px=width_px,
            height_px=height_px,
            orientation=upright.orientation,
            phash=perceptual_hash(_luma(visible)),
            thumbnail=_jpeg(small),
            sharpness=_sharpness(grey),
            brightness=float(np.asarray(grey).mean()) / 255,
        )


@contextmanager
def opened(data: bytes, *, name: str, limits: MediaLimits) -> Iterator[Image.Image]:
    """Open ``data`` with its header parsed and checked, and no pixel decoded.

    Pillow is quiet and within ``limits`` inside the block.

    Raises:
        UnreadableMedia: as `inspect_image` does, save for what only decoding shows.
    """
    if not data:
        raise _rejection("file_is_not_empty", name, expected="an image", actual="0 bytes")
    with _quiet_pillow(limits):
        if _is_text(data):
            raise _not_an_image(data, name)  # "BM…" would pass for a bitmap
        with decoder_errors_reject(name, data):
            image = Image.open(io.BytesIO(data), formats=_readable_formats())
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


def flattened(image: Image.Image) -> Image.Image:
    """Return a decoded ``image`` in 8 bits, without transparency: mode L, RGB or YCbCr.

    Transparency is laid on white, as a page would show it: dropping it instead turns dark text on a
    transparent ground into one black area. Samples of 16 bits keep their 8 high bits. Those
    of 32 bits and floats have no agreed range: their own minimum becomes 0 and their maximum 255,
    also for NaN and infinities.

    Raises:
        ValueError: for a mode that Pillow cannot convert.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode in ("L", "RGB", "YCbCr"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def perceptual_hash(grey: Image.Image) -> int:
    """Return the 64 bits of ``imagehash.phash(grey)`` as a signed integer.

    The first bit of the hash is the sign, so that the number fits the ``long`` of a table and
    ``phash & (2**64 - 1)`` printed as hexadecimal is what imagehash prints.
    """
    unsigned = int(str(imagehash.phash(grey)), 16)
    return unsigned - 2**64 if unsigned >= 2**63 else unsigned


@contextmanager
def decoder_errors_reject(name: str, data: bytes = b"") -> Iterator[None]:
    """Turn what Pillow raises inside the block into `UnreadableMedia`; the only place that does.

    Args:
        name: What the delivery calls the image.
        data: The file, where the block finds out what it is.
    """
    try:
        yield
    except UnidentifiedImageError as error:
        raise _unidentified(data, name) from error
    except Image.DecompressionBombError as error:
        raise _rejection(
            "image_is_within_pixel_limit", name, expected="a smaller image", actual=str(error)
        ) from error
    except _DAMAGE as error:
        raise _rejection(
            "image_is_complete", name, expected="a whole, undamaged image", actual=_words(error)
        ) from error
    except _CONFUSION as error:
        raise _rejection(
            "image_is_readable", name, expected="an image Pillow can decode", actual=_words(error)
        ) from error


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


def _readable_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _check_pixel_limit(size_px: tuple[int, int], name: str, limits: MediaLimits) -> None:
    width_px, height_px = size_px
    if width_px * height_px > limits.pixel_limit:
        raise _rejection(
            "image_is_within_pixel_limit",
            name,
            expected=f"at most {limits.pixel_limit} pixels",
            actual=f"{width_px} × {height_px} = {width_px * height_px} pixels",
        )


def _ask_for_less(image: Image.Image) -> bool:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8; return whether ``image`` is a JPEG."""
    if not isinstance(image, JpegImageFile):
        return False
    # YCbCr is what a JPEG holds: its Y is the grey image, and the thumbnail is saved from it as it
    # is. Neither needs RGB. libjpeg converts no other colour space to YCbCr, though.
    mode = "YCbCr" if _holds_ycbcr(image) else None
    image.draft(mode, (SCALED_SIDE_PX, SCALED_SIDE_PX))
    return True


def _holds_ycbcr(image: JpegImageFile) -> bool:
    """Tell whether libjpeg will take the samples for YCbCr (jdapimin.c, default_decompress_parms).

    Where this says no, the image may be YCbCr all the same, and takes the way through RGB.
    """
    if image.mode != "RGB":
        return False
    if "jfif" in image.info:
        return True
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 1)
    return [component[0] for component in image.layer] == [1, 2, 3]


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or 1 where there is none or EXIF is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except DECODER_ERRORS:
        # The pixels are good. A broken camera tag is no reason to lose them.
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _visible_at_scale(image: Image.Image) -> Image.Image:
    """Return ``image`` flattened, its shorter side reduced to 256–511 px where it was longer."""
    if image.mode in _AVERAGEABLE_MODES and "transparency" not in image.info:
        return flattened(_reduced(image))  # converting few pixels is cheaper
    return _reduced(flattened(image))


def _reduced(image: Image.Image) -> Image.Image:
    factor = min(image.size) // SCALED_SIDE_PX
    return image.reduce(factor) if factor > 1 else image


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8))
    # In place and in 32 bits, as a copy of 300 megapixels takes 1.2 GB.
    levels = values.astype(np.float32)
    is_finite = np.isfinite(levels)
    low = float(levels.min(where=is_finite, initial=np.inf))
    high = float(levels.max(where=is_finite, initial=-np.inf))
    scale = 255 / (high - low) if high > low else 0.0
    np.nan_to_num(levels, copy=False, nan=low, posinf=high, neginf=low)
    levels *= scale
    levels -= low * scale
    return Image.fromarray(levels.clip(0, 255, out=levels).astype(np.uint8))


def _luma(image: Image.Image) -> Image.Image:
    return image.getchannel("Y") if image.mode == "YCbCr" else image.convert("L")


def _thumbnail(image: Image.Image) -> Image.Image:
    longest_px = max(image.size)
    if longest_px <= THUMBNAIL_SIDE_PX:
        return image
    width_px, height_px = (
        max(1, round(side_px * THUMBNAIL_SIDE_PX / longest_px)) for side_px in image.size
    )
    return image.resize((width_px, height_px), Image.Resampling.HAMMING, reducing_gap=1.0)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()


def _sharpness(grey: Image.Image) -> float:
    levels = np.asarray(grey, dtype=np.float32)
    if min(levels.shape) < 3:
        return 0.0
    above, below = levels[:-2, 1:-1], levels[2:, 1:-1]
    left, right = levels[1:-1, :-2], levels[1:-1, 2:]
    return float((above + below + left + right - 4 * levels[1:-1, 1:-1]).var())


def _unidentified(data: bytes, name: str) -> UnreadableMedia:
    for signature, kind in _IMAGE_SIGNATURES:
        if signature.match(data):
            return _rejection(
                "image_is_readable",
                name,
                expected=f"a {kind} header that parses",
                actual=f"{kind} signature, then nothing that Pillow knows",
            )
    return _not_an_image(data, name)


def _not_an_image(data: bytes, name: str) -> UnreadableMedia:
    known = ", ".join(sorted({item.extension for item in _FORMATS.values()}))
    return _rejection("file_is_an_image", name, expected=f"one of {known}", actual=_look(data))


def _look(data: bytes) -> str:
    """Say what ``data`` (not empty) looks like, in a few words."""
    for signature, kind in _OTHER_SIGNATURES:
        if signature.match(data):
            return kind
    if _is_text(data):
        return f"text: {data[:40].decode('utf-8', errors='replace')!r}"
    return f"bytes {data[:8].hex(' ')}"


def _is_text(data: bytes) -> bool:
    """Tell whether the first bytes are printable; those of every image format here are not."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        start = decoder.decode(data[:256], final=len(data) <= 256)  # may cut a character in two
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char.isspace() for char in start)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _rejection(rule: str, name: str, *, expected: str, actual: str) -> UnreadableMedia:
    return UnreadableMedia(
        f"{name}: expected {expected}, found {actual}. Deliver the file again, or leave it out.",
        rule=rule,
        name=name,
        expected=expected,
        actual=actual,
    )
