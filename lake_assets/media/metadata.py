"""The EXIF that goes with an image into its new file.

Invariant: what is kept says that the image is upright, as the new pixels are.
"""

from __future__ import annotations

import struct

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from lake_assets.media.rejection import DECODER_ERRORS

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


def upright_exif(image: Image.Image) -> bytes:
    """Return the EXIF of a decoded image for a file that is upright; empty: none, or damaged."""
    try:
        if isinstance(image, TiffImageFile):
            return _exif_of_tiff(image)
        return _without_turn(image.info.get("exif", b""))
    except DECODER_ERRORS:
        # A broken camera tag is no reason to lose the pixels.
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
