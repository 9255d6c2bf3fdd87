"""What a file is: tabular data of some format, an image, or litter that an operating system left.

Invariant: content decides where it has a signature; the name decides only where it has none.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path, PurePosixPath

METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Names that a folder of images gives the file which describes them (Hugging Face ImageFolder)."""

MAX_RECORD_CHARS = 64 * 1024 * 1024
"""Longest line or record of a text file; a longer one means that this is not such a file."""


class DataFormat(StrEnum):
    """A form of tabular data that the readers know."""

    PARQUET = "parquet"
    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    JSON = "json"
    ARROW = "arrow"


_FORMAT_OF_SUFFIX = {
    ".parquet": DataFormat.PARQUET,
    ".pq": DataFormat.PARQUET,
    ".csv": DataFormat.CSV,
    ".tsv": DataFormat.TSV,
    ".jsonl": DataFormat.JSONL,
    ".ndjson": DataFormat.JSONL,
    ".json": DataFormat.JSON,
    ".arrow": DataFormat.ARROW,
    ".arrows": DataFormat.ARROW,
    ".feather": DataFormat.ARROW,
}
_TEXT_FORMATS = frozenset({DataFormat.CSV, DataFormat.TSV, DataFormat.JSONL, DataFormat.JSON})
_COMPRESSION_SUFFIXES = frozenset({".gz", ".zst"})
_IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .dib .tif .tiff .avif .heic .heif".split()
)
_JUNK_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "$recycle.bin"})

# Arrow's IPC stream has no name in it: a continuation marker, then the schema message's length.
# https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
_IPC_CONTINUATION = b"\xff\xff\xff\xff"
# Sizes that a bitmap's second header may have; "BM" alone also begins ordinary text.
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_SIGNATURES = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
)


def data_format(path: Path) -> DataFormat | None:
    """Return the tabular format of a file, or None if it is not tabular data.

    Args:
        path: An existing file; its first 32 bytes are read.
    """
    with path.open("rb") as file:
        head = file.read(32)
    return data_format_of(head, path.name)


def data_format_of(head: bytes, name: str) -> DataFormat | None:
    """Return the tabular format of a file, or None if it is not tabular data.

    Args:
        head: Its first 32 bytes or more.
        name: What it is called, with or without folders.
    """
    return _format_by_content(head) or _format_by_name(name)


def compression_of(name: str) -> str | None:
    """Return ``gzip`` or ``zstd`` as pyarrow calls them, by the name's last suffix, or None."""
    return {".gz": "gzip", ".zst": "zstd"}.get(_suffix(name))


def image_extension_of(head: bytes) -> str | None:
    """Return the usual extension (no dot) of an image by its first bytes, or None.

    Args:
        head: The first 32 bytes or more; fewer bytes recognise fewer formats.
    """
    for signature, extension in _SIGNATURES:
        if head.startswith(signature):
            return extension
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    return _heif_extension(head) if head[4:8] == b"ftyp" else None


def looks_like_image_name(name: str) -> bool:
    """Return whether a name or path ends in an image's extension, in any case."""
    return _suffix(name) in _IMAGE_SUFFIXES


def is_junk(name: str) -> bool:
    """Return whether a path is litter: hidden, or left behind by macOS or Windows.

    Args:
        name: Relative path as delivered, with ``/`` or ``\\`` between its parts.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return any(part.startswith(".") or part.lower() in _JUNK_NAMES for part in parts)


def _format_by_content(head: bytes) -> DataFormat | None:
    if head.startswith(b"PAR1"):
        return DataFormat.PARQUET
    if head.startswith(b"ARROW1") or (head.startswith(_IPC_CONTINUATION) and len(head) > 8):
        return DataFormat.ARROW
    return None


def _format_by_name(name: str) -> DataFormat | None:
    suffix = _suffix(name)
    if suffix not in _COMPRESSION_SUFFIXES:
        return _FORMAT_OF_SUFFIX.get(suffix)
    inner = _FORMAT_OF_SUFFIX.get(_suffix(name[: -len(suffix)]))
    return inner if inner in _TEXT_FORMATS else None


def _heif_extension(head: bytes) -> str | None:
    # An AVIF may give the general brand mif1 first and its own among the compatible ones.
    brand, compatible = head[8:12], head[16:32]
    if brand in (b"avif", b"avis") or (brand == b"mif1" and b"avif" in compatible):
        return "avif"
    return "heic" if brand in _HEIC_BRANDS else None


def _suffix(name: str) -> str:
    last = name.replace("\\", "/").rpartition("/")[2]
    dot = last.rfind(".")
    if 0 < dot < len(last) - 1:  # what pathlib means by a suffix, in a tenth of its time
        return last[dot:].lower()
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()
