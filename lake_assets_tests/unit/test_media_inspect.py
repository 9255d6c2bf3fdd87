import hashlib
import io
import os
import random
import threading
import warnings
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from lake_assets.errors import UnreadableMedia
from lake_assets.media.inspect import MediaLimits, inspect_image, perceptual_hash

ORIENTATION = 0x0112
REPOSITORY = Path(__file__).resolve().parents[2]
RECEIPTS = Path(
    os.environ.get(
        "LAKE_TEST_RECEIPTS", REPOSITORY.parent / "shared" / "data" / "receipts" / "images"
    )
)
RULES = {
    "file_is_not_empty",
    "file_is_an_image",
    "image_is_within_pixel_limit",
    "image_is_complete",
    "image_is_readable",
}


def picture(width_px: int = 60, height_px: int = 40, mode: str = "RGB", seed: int = 1):
    """Some text-like boxes on a shaded ground: no two seeds look alike."""
    draw_from = random.Random(seed)
    ramp = np.linspace(120, 250, width_px * height_px).reshape(height_px, width_px)
    image = Image.fromarray(ramp.astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        left, top = draw_from.randrange(width_px), draw_from.randrange(height_px)
        right, bottom = left + width_px // 6, top + height_px // 12
        colour = tuple(draw_from.randrange(256) for _ in range(3))
        draw.rectangle((left, top, right, bottom), fill=colour)
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif_of(orientation: object) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def distance(one: int, other: int) -> int:
    return ((one ^ other) & (2**64 - 1)).bit_count()


def reference_hash(image: Image.Image) -> int:
    return int(str(imagehash.phash(image)), 16)


FORMATS = {
    "jpeg": ("JPEG", "image/jpeg", "jpg"),
    "png": ("PNG", "image/png", "png"),
    "webp": ("WEBP", "image/webp", "webp"),
    "gif": ("GIF", "image/gif", "gif"),
    "bmp": ("BMP", "image/bmp", "bmp"),
    "tiff": ("TIFF", "image/tiff", "tiff"),
    "avif": ("AVIF", "image/avif", "avif"),
}


@pytest.mark.parametrize(("kind", "mime_type", "extension"), FORMATS.values(), ids=FORMATS)
def test_the_format_is_known_by_content_and_not_by_name(kind, mime_type, extension):
    data = encoded(picture(), kind)
    facts = inspect_image(data, name="liar.txt")
    assert (facts.mime_type, facts.extension) == (mime_type, extension)
    assert (facts.width_px, facts.height_px, facts.orientation) == (60, 40, 1)
    assert facts.byte_count == len(data)
    assert facts.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_seen_as_its_orientation_says(kind, orientation):
    data = encoded(picture(600, 400), kind, exif=exif_of(orientation))
    facts = inspect_image(data, name="turned")
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
    assert facts.orientation == orientation
    assert (facts.width_px, facts.height_px) == upright.size
    thumbnail = Image.open(io.BytesIO(facts.thumbnail))
    assert (thumbnail.width > thumbnail.height) == (upright.width > upright.height)
    assert distance(facts.phash, reference_hash(upright)) <= 4


BAD_ORIENTATIONS = {
    "zero": exif_of(0).tobytes(),
    "nine": exif_of(9).tobytes(),
    "text": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\3\0\0\0up\0\0\0\0\0\0",
    "no TIFF header": b"Exif\0\0garbage",
    "cut": exif_of(6).tobytes()[:17],
    "endless": b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", BAD_ORIENTATIONS.values(), ids=BAD_ORIENTATIONS)
def test_bad_exif_does_not_reject_a_good_image(kind, exif):
    facts = inspect_image(encoded(picture(), kind, exif=exif), name="odd")
    assert (facts.orientation, facts.width_px, facts.height_px) == (1, 60, 40)


def deep(dtype: str) -> Image.Image:
    ramp = np.linspace(0, 1, 60 * 40).reshape(40, 60)
    scale = 1.0 if dtype == "float32" else 65535
    return Image.fromarray((ramp * scale).astype(dtype))


MODES = {
    "1-bit": (picture(mode="1"), "PNG"),
    "1-bit fax": (picture(mode="1"), "TIFF"),
    "grey": (picture(mode="L"), "JPEG"),
    "grey and alpha": (picture(mode="LA"), "PNG"),
    "palette": (picture(mode="P"), "PNG"),
    "RGBA": (picture(mode="RGBA"), "WEBP"),
    "CMYK JPEG": (picture(mode="CMYK"), "JPEG"),
    "CMYK TIFF": (picture(mode="CMYK"), "TIFF"),
    "LAB": (picture(mode="LAB"), "TIFF"),
    "YCbCr": (picture(mode="YCbCr"), "TIFF"),
    "16-bit PNG": (deep("uint16"), "PNG"),
    "16-bit TIFF": (deep("uint16"), "TIFF"),
    "16-bit big-endian TIFF": (deep(">u2"), "TIFF"),
    "32-bit TIFF": (deep("int32"), "TIFF"),
    "float TIFF": (deep("float32"), "TIFF"),
}


@pytest.mark.parametrize(("image", "kind"), MODES.values(), ids=MODES)
def test_every_colour_mode_gives_facts(image, kind):
    facts = inspect_image(encoded(image, kind), name="mode")
    assert (facts.width_px, facts.height_px) == (60, 40)
    assert 0.2 < facts.brightness < 0.95
    assert Image.open(io.BytesIO(facts.thumbnail)).size == (60, 40)


@pytest.mark.parametrize("dtype", ["uint16", ">u2", "int32", "float32"])
def test_deep_samples_keep_their_shades(dtype):
    facts = inspect_image(encoded(deep(dtype), "TIFF"), name="deep")
    assert facts.brightness == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38], ids=str)
def test_odd_floats_are_readable(value):
    samples = np.full((20, 20), value, dtype=np.float32)
    samples[:5] = -3e38
    assert 0 <= inspect_image(encoded(Image.fromarray(samples), "TIFF"), name="f").brightness <= 1


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_only_the_first_frame_or_page_counts(kind):
    first, second = Image.new("RGB", (50, 30), "white"), Image.new("RGB", (50, 30), "black")
    data = encoded(first, kind, save_all=True, append_images=[second])
    assert inspect_image(data, name="pages").brightness > 0.99


def test_a_phone_picture_with_a_preview_behind_it_is_a_jpeg():
    data = encoded(picture(600, 400), "MPO", save_all=True, append_images=[picture(60, 40)])
    facts = inspect_image(data, name="mpo")
    assert (facts.mime_type, facts.width_px, facts.height_px) == ("image/jpeg", 600, 400)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_seen_on_white(kind):
    ink = picture(300, 200, mode="RGBA")
    ink.putalpha(0)
    facts = inspect_image(encoded(ink, kind), name="clear")
    assert facts.brightness == pytest.approx(1)


@pytest.mark.parametrize(
    ("size_px", "expected_px"),
    [
        ((1000, 500), (256, 128)),
        ((500, 1000), (128, 256)),
        ((100, 50), (100, 50)),
        ((256, 256), (256, 256)),
        ((257, 1), (256, 1)),
        ((5000, 2), (256, 1)),
        ((1, 1), (1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_thumbnail_has_at_most_256_px_and_is_never_enlarged(kind, size_px, expected_px):
    facts = inspect_image(encoded(Image.new("RGB", size_px, "red"), kind), name="t")
    thumbnail = Image.open(io.BytesIO(facts.thumbnail))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", expected_px)
    assert (facts.width_px, facts.height_px) == size_px


COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.mark.parametrize("options", [{}, {"keep_rgb": True}], ids=["YCbCr", "RGB"])
@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
def test_the_thumbnail_keeps_colours(colour, options):
    data = encoded(Image.new("RGB", (900, 700), colour), "JPEG", quality=95, **options)
    thumbnail = Image.open(io.BytesIO(inspect_image(data, name="c").thumbnail))
    assert np.abs(np.asarray(thumbnail, dtype=int) - colour).max() < 12


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("RGB", "PNG"), ("L", "JPEG")])
def test_a_small_image_has_exactly_the_hash_of_imagehash(mode, kind):
    data = encoded(picture(300, 280, mode=mode), kind)
    with Image.open(io.BytesIO(data)) as image:
        assert inspect_image(data, name="h").phash & (2**64 - 1) == reference_hash(image)


@pytest.mark.parametrize(("kind", "images"), [("JPEG", 30), ("PNG", 10)])
def test_hashes_are_within_2_bits_of_a_full_decode(kind, images):
    distances = []
    for seed in range(images):
        data = encoded(picture(600 + 5 * seed, 1200 - 5 * seed, seed=seed), kind)
        with Image.open(io.BytesIO(data)) as image:
            full = reference_hash(image)
        distances.append(distance(inspect_image(data, name="h").phash, full))
    assert max(distances) <= 2


def test_receipt_hashes_are_within_2_bits_of_a_full_decode():
    if not RECEIPTS.is_dir():
        pytest.skip(f"no receipts at {RECEIPTS}; set LAKE_TEST_RECEIPTS to the folder of images")
    distances = []
    for path in sorted(RECEIPTS.glob("*.jpg"))[::5]:
        with Image.open(path) as image:
            full = reference_hash(image)
        distances.append(distance(inspect_image(path.read_bytes(), name=path.name).phash, full))
    assert max(distances) <= 2


@given(seed=st.integers(0, 2**32))
def test_the_signed_hash_has_the_bits_of_imagehash(seed):
    grey = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32), np.uint8))
    signed = perceptual_hash(grey)
    assert -(2**63) <= signed < 2**63
    assert f"{signed & (2**64 - 1):016x}" == str(imagehash.phash(grey))


def test_a_blurred_image_is_less_sharp():
    sharp = picture(200, 200)
    blurred = sharp.resize((20, 20)).resize((200, 200))
    of_sharp, of_blurred = (inspect_image(encoded(i, "PNG"), name="s") for i in (sharp, blurred))
    assert of_sharp.sharpness > of_blurred.sharpness > 0


def test_sharpness_is_the_variance_of_the_laplacian():
    grey = np.zeros((3, 4), dtype=np.uint8)
    grey[1, 1] = 10  # Laplacian: -40 there, 10 beside it
    facts = inspect_image(encoded(Image.fromarray(grey), "PNG"), name="s")
    assert facts.sharpness == pytest.approx(np.var([-40, 10]))


@pytest.mark.parametrize(("level", "expected"), [(0, 0.0), (51, 0.2), (255, 1.0)])
def test_brightness_is_the_mean_luma(level, expected):
    facts = inspect_image(encoded(Image.new("L", (20, 20), level), "PNG"), name="b")
    assert facts.brightness == pytest.approx(expected)


NOT_IMAGES = {
    "text": (b"hello, world\n", "text: 'hello, world"),
    "text like a bitmap": (b"BM is short for bitmap, and this is prose", "text"),
    "UTF-8 text": (("영수증 " * 99).encode(), "text: '영수증"),
    "PDF": (b"%PDF-1.7\n\x80\x81", "PDF"),
    "ZIP": (b"PK\x03\x04\x14\0\0\0", "ZIP"),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="x"></svg>', "SVG"),
    "HTML": (b"<!DOCTYPE html><html></html>", "HTML"),
    "bytes": (bytes(range(20)), "bytes 00 01 02 03"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "one byte": (b"\xff", "bytes ff"),
}


@pytest.mark.parametrize(("data", "look"), NOT_IMAGES.values(), ids=NOT_IMAGES)
def test_what_is_no_image_is_rejected_by_what_it_looks_like(data, look):
    with pytest.raises(UnreadableMedia) as caught:
        inspect_image(data, name="a.jpg")
    assert caught.value.context["rule"] == "file_is_an_image"
    assert str(caught.value.context["actual"]).startswith(look)
    assert "a.jpg" in caught.value.message


def test_an_empty_file_is_rejected():
    with pytest.raises(UnreadableMedia) as caught:
        inspect_image(b"", name="empty.png")
    assert caught.value.context["rule"] == "file_is_not_empty"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_a_truncated_image_is_rejected(kind):
    data = encoded(picture(900, 900), kind)
    with pytest.raises(UnreadableMedia) as caught:
        inspect_image(data[: len(data) // 2], name="half")
    assert caught.value.context["rule"] in ("image_is_complete", "image_is_readable")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_an_image_over_the_pixel_limit_is_rejected(kind):
    data = encoded(Image.new("L", (101, 100)), kind)
    limits = MediaLimits(pixel_limit=10_000)
    with pytest.raises(UnreadableMedia) as caught:
        inspect_image(data, name="bomb", limits=limits)
    assert caught.value.context["rule"] == "image_is_within_pixel_limit"
    assert inspect_image(encoded(Image.new("L", (100, 100)), kind), name="fits", limits=limits)


def test_the_pixel_limit_is_checked_before_decoding():
    header = encoded(Image.new("1", (1, 1)), "BMP")
    bomb = header[:18] + (30_000).to_bytes(4, "little") * 2 + header[26:]  # no pixels behind it
    with pytest.raises(UnreadableMedia) as caught:
        inspect_image(bomb, name="bomb.bmp")
    assert caught.value.context["rule"] == "image_is_within_pixel_limit"


def test_pillows_own_limit_is_left_as_it_was():
    before = Image.MAX_IMAGE_PIXELS
    inspect_image(encoded(picture(), "PNG"), name="ok")
    with pytest.raises(UnreadableMedia):
        inspect_image(b"\xff", name="bad")
    assert before == Image.MAX_IMAGE_PIXELS


def damaged(data: bytes):
    """Every 10th byte: the file up to it, and the file with it flipped."""
    for place in range(0, len(data), 10):
        yield data[:place]
        yield data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


FUZZED = {
    "jpeg": encoded(picture(), "JPEG", exif=exif_of(6)),
    "progressive jpeg": encoded(picture(), "JPEG", progressive=True),
    "cmyk jpeg": encoded(picture(mode="CMYK"), "JPEG"),
    "png": encoded(picture(), "PNG", exif=exif_of(6)),
    "palette png": encoded(picture(mode="P"), "PNG", transparency=3),
    "webp": encoded(picture(), "WEBP", exif=exif_of(6)),
    "lossless webp": encoded(picture(mode="RGBA"), "WEBP", lossless=True),
    "tiff": encoded(picture(30, 20), "TIFF", exif=exif_of(6)),
    "lzw tiff": encoded(picture(), "TIFF", compression="tiff_lzw"),
    "gif": encoded(picture(), "GIF"),
    "bmp": encoded(picture(30, 20), "BMP"),
    "avif": encoded(picture(30, 20), "AVIF"),
}


@pytest.mark.parametrize("data", FUZZED.values(), ids=FUZZED)
def test_damage_gives_facts_or_a_rejection_and_nothing_else(data):
    for case in damaged(data):
        try:
            inspect_image(case, name="fuzz", limits=MediaLimits(pixel_limit=4_000_000))
        except UnreadableMedia as error:
            assert error.context["rule"] in RULES
            assert error.context["name"] == "fuzz"


def test_threads_leave_the_warning_filters_as_they_were():
    before = list(warnings.filters)
    data = encoded(picture(), "JPEG")
    threads = [
        threading.Thread(target=lambda: [inspect_image(data, name="t") for _ in range(5)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
