"""Which files are images: by what is in them, never by their names."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFormat:
    """What a format is called outside Pillow."""

    mime_type: str
    extension: str
    """Without a dot."""


_JPEG = MediaFormat(mime_type="image/jpeg", extension="jpg")
FORMATS = {
    "JPEG": _JPEG,
    "MPO": _JPEG,  # a JPEG with previews or depth maps behind it; phones write them
    "PNG": MediaFormat(mime_type="image/png", extension="png"),
    "WEBP": MediaFormat(mime_type="image/webp", extension="webp"),
    "GIF": MediaFormat(mime_type="image/gif", extension="gif"),
    "BMP": MediaFormat(mime_type="image/bmp", extension="bmp"),
    "TIFF": MediaFormat(mime_type="image/tiff", extension="tiff"),
    "AVIF": MediaFormat(mime_type="image/avif", extension="avif"),
    "HEIF": MediaFormat(mime_type="image/heic", extension="heic"),  # with pillow-heif registered
}

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


def readable_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that this installation of it can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def known_extensions() -> tuple[str, ...]:
    """Return the extensions of all formats, sorted."""
    return tuple(sorted({item.extension for item in FORMATS.values()}))


def claimed_format(data: bytes) -> str | None:
    """Return the image format whose signature ``data`` starts with; None: that of none."""
    for signature, kind in _IMAGE_SIGNATURES:
        if signature.match(data):
            return kind
    return None


def describe(data: bytes) -> str:
    """Say what ``data`` (not empty) looks like, in a few words."""
    for signature, kind in _OTHER_SIGNATURES:
        if signature.match(data):
            return kind
    if is_text(data):
        return f"text: {data[:40].decode('utf-8', errors='replace')!r}"
    return f"bytes {data[:8].hex(' ')}"


def is_text(data: bytes) -> bool:
    """Tell whether the first bytes are printable; those of every image format here are not."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        start = decoder.decode(data[:256], final=len(data) <= 256)  # may cut a character in two
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char.isspace() for char in start)
