"""Small images of every format, ways to damage them, and images that are bombs."""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

SIZE = (20, 14)


def pixels(seed: int, mode: str = "RGB") -> Image.Image:
    """Return a small image that compresses badly, so that every byte of its file matters."""
    noise = random.Random(seed).randbytes(SIZE[0] * SIZE[1] * len(mode))
    return Image.frombytes(mode, SIZE, noise)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """Return an image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def samples() -> dict[str, bytes]:
    """Return one whole image for each way to write one that decoders treat differently."""
    frames = [pixels(seed).convert("P") for seed in (6, 7, 8)]
    more = {"save_all": True, "append_images": frames[1:], "duration": 50}
    return {
        "baseline.jpg": encoded(pixels(1), "JPEG", quality=80),
        "progressive.jpg": encoded(pixels(1), "JPEG", quality=80, progressive=True),
        "cmyk.jpg": encoded(pixels(2, "CMYK"), "JPEG"),
        "rgb.png": encoded(pixels(3), "PNG"),
        "palette.png": encoded(pixels(3).convert("P"), "PNG"),
        "lossy.webp": encoded(pixels(4), "WEBP"),
        "lossless.webp": encoded(pixels(4), "WEBP", lossless=True),
        "animated.webp": encoded(frames[0].convert("RGB"), "WEBP", save_all=True,
                                 append_images=[frames[1].convert("RGB")]),
        "raw.tiff": encoded(pixels(5), "TIFF"),
        "lzw.tiff": encoded(pixels(5), "TIFF", compression="tiff_lzw"),
        "deflate.tiff": encoded(pixels(5), "TIFF", compression="tiff_deflate"),
        "still.gif": encoded(frames[0], "GIF"),
        "animated.gif": encoded(frames[0], "GIF", **more),
    }  # fmt: skip


def truncated(data: bytes, step: int = 10) -> Iterator[tuple[int, bytes]]:
    """Yield every beginning of a file whose length is a multiple of ``step``, and that length."""
    for length in range(step, len(data), step):
        yield length, data[:length]


def flipped(data: bytes, place: int, mask: int) -> bytes:
    """Return a file with some bits of one byte the other way round."""
    place %= len(data)
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


@functools.cache
def bombs() -> dict[str, bytes]:
    """Return small files that claim, or really decode to, far more than they should."""
    white = Image.new("1", (20_000, 20_000), 1)
    return {
        "pixels_claimed.png": _png(60_000, 60_000, zlib.compress(b"\0" * 1000)),
        "pixels_real.png": encoded(white, "PNG"),
        "pixels.jpg": _jpeg_of_size(65_500, 65_500),
        "pixels.gif": _gif_of_size(65_535, 65_535),
        "pixels.tiff": _tiff(width=2**31 - 1, height=2**31 - 1),
        "strip.tiff": _tiff(strip_bytes=2**32 - 1),
        "directories.tiff": _tiff_loop(),
        "pixels.webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6 + b"VP8 \0\0\0\0",
        "pixels.bmp": _bmp(2**31 - 1, 2**31 - 1),
        "frames.gif": _gif_of_frames(50_000),
        "text.png": _png_with_text(70 * 2**20),
        "profile.png": _png_with_profile(70 * 2**20),
    }


def _png(width: int, height: int, data: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), extra, _chunk(b"IDAT", data), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_with_text(byte_count: int) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * byte_count, zip=True)
    return encoded(pixels(10), "PNG", pnginfo=info)


def _png_with_profile(byte_count: int) -> bytes:
    return encoded(pixels(11), "PNG", icc_profile=b"\0" * byte_count)


def _jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(encoded(pixels(12), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _gif_of_size(width: int, height: int) -> bytes:
    data = bytearray(encoded(pixels(13).convert("P"), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def _gif_of_frames(count: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0" + b"\x02\x02\x44\x01\0"
    return head + frame * count + b"\x3b"


def _bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def _tiff(*, width: int = 20, height: int = 14, strip_bytes: int = 0, next_ifd: int = 0) -> bytes:
    # TIFF 6.0: a tag is its number, its type (3: SHORT, 4: LONG), how many, and the value.
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, strip_bytes or 280),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_ifd)


def _tiff_loop() -> bytes:
    """Return a TIFF whose second directory is its first."""
    return _tiff(next_ifd=8) + b"\0" * 280
