import hashlib
import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from lake_assets.errors import InvalidRegistry, UnreadableMedia
from lake_assets.media.inspect import inspect_image
from lake_assets.media.reencode import StoredImage, StorePolicy, reencode

ORIENTATION = 0x0112
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]  # only its colour space is looked at
CMYK_PROFILE = SRGB[:16] + b"CMYK" + SRGB[20:]


def picture(width_px: int = 120, height_px: int = 80, mode: str = "RGB") -> Image.Image:
    ramp = np.linspace(20, 250, width_px * height_px).reshape(height_px, width_px)
    return Image.fromarray(ramp.astype(np.uint8)).convert(mode)


def noise(width_px: int = 120, height_px: int = 80) -> Image.Image:
    samples = np.random.default_rng(1).integers(0, 256, (height_px, width_px, 3), np.uint8)
    return Image.fromarray(samples)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def store(data: bytes, policy: str, max_side_px: int | None = None) -> StoredImage:
    facts = inspect_image(data, name="image")
    return reencode(data, facts, StorePolicy.parse(policy, max_side_px))


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


POLICIES = [("lossless", None), ("lossless", 50), ("jpeg:85", None), ("webp:80", None)]


@pytest.mark.parametrize(
    ("text", "form", "quality"),
    [
        ("original", "original", None),
        ("lossless", "lossless", None),
        ("jpeg:85", "jpeg", 85),
        ("jpeg:1", "jpeg", 1),
        ("webp:100", "webp", 100),
    ],
)
def test_a_policy_is_read_from_text(text, form, quality):
    assert StorePolicy.parse(text) == StorePolicy(form=form, quality=quality, max_side_px=None)


@pytest.mark.parametrize(
    "text",
    ["", "jpg:85", "jpeg", "jpeg:", "jpeg:0", "jpeg:101", "jpeg:085", "webp:-1", "jpeg:85\n",
     "original:1", "lossless:9", "JPEG:85", "png", "jpeg:8 5", "jpeg:٨"],
    ids=repr,
)  # fmt: skip
def test_other_text_is_refused_with_what_is_allowed(text):
    with pytest.raises(InvalidRegistry, match=r"original, lossless, jpeg:<quality>"):
        StorePolicy.parse(text)


@pytest.mark.parametrize("side_px", [15, 0, -1])
def test_a_side_below_16_px_is_refused(side_px):
    with pytest.raises(InvalidRegistry, match="16"):
        StorePolicy.parse("jpeg:85", side_px)
    assert StorePolicy.parse("jpeg:85", 16).max_side_px == 16


def test_original_bytes_cannot_be_scaled():
    with pytest.raises(InvalidRegistry, match="original"):
        StorePolicy.parse("original", 1024)


def test_original_is_the_same_bytes():
    data = encoded(picture(), "BMP")
    stored = store(data, "original")
    assert (stored.data, stored.extension, stored.mime_type) == (data, "bmp", "image/bmp")
    assert (stored.width_px, stored.height_px) == (120, 80)


@pytest.mark.parametrize(("policy", "side_px"), POLICIES)
def test_the_same_input_gives_the_same_bytes(policy, side_px):
    data = encoded(picture(), "BMP")
    first, second = store(data, policy, side_px), store(data, policy, side_px)
    assert first == second
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()


def see_through() -> Image.Image:
    image = picture(mode="RGBA")
    image.putalpha(picture(mode="L").point(lambda level: 0 if level < 128 else level))
    return image


def colour_keyed_png() -> bytes:
    return encoded(picture(), "PNG", transparency=(100, 100, 100))


LOSSLESS = {
    "1-bit": encoded(picture(mode="1"), "BMP"),
    "grey": encoded(picture(mode="L"), "BMP"),
    "grey with profile": encoded(picture(mode="L"), "TIFF", icc_profile=GREY_PROFILE),
    "grey and alpha": encoded(see_through().convert("LA"), "TIFF"),
    "palette": encoded(picture(mode="P"), "BMP"),
    "palette with transparency": encoded(picture(mode="P"), "PNG", transparency=3),
    "colour key": colour_keyed_png(),
    "RGB": encoded(picture(), "BMP"),
    "RGBA": encoded(see_through(), "TIFF"),
}


@pytest.mark.parametrize("data", LOSSLESS.values(), ids=LOSSLESS)
def test_lossless_keeps_every_pixel(data):
    stored = store(data, "lossless")
    assert len(stored.data) <= len(data)
    before, after = (np.asarray(opened(each).convert("RGBA")) for each in (data, stored.data))
    assert np.array_equal(before, after)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_lossless_keeps_16_bits_of_grey_as_png(dtype):
    samples = np.linspace(0, 65535, 120 * 80).reshape(80, 120).astype(dtype)
    stored = store(encoded(Image.fromarray(samples), "TIFF"), "lossless")
    assert stored.mime_type == "image/png"
    assert np.array_equal(np.asarray(opened(stored.data)), samples)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bits_of_grey_are_scaled_down_as_such(dtype):
    samples = np.linspace(0, 65535, 120 * 80).reshape(80, 120).astype(dtype)
    stored = store(encoded(Image.fromarray(samples), "TIFF"), "lossless", 60)
    after = np.asarray(opened(stored.data)).astype(int)
    assert after.shape == (40, 60)
    assert np.abs(after - samples[::2, ::2].astype(int)).max() < 1500


def png_of_16_bit_colour() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + crc

    rows = b"".join(b"\0" + bytes([1, 2] * 3 * 60) for _ in range(60))
    header = struct.pack(">IIBBBBB", 60, 60, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


AS_DELIVERED = {
    "JPEG": encoded(picture(), "JPEG"),
    "16-bit grey in a PNG as small as ours": encoded(picture(mode="I;16"), "PNG", optimize=True),
    "lossless WebP": encoded(picture(), "WEBP", lossless=True),
    "CMYK": encoded(picture(mode="CMYK"), "TIFF"),
    "floats": encoded(picture(mode="F"), "TIFF"),
    "32 bits": encoded(picture(mode="I"), "TIFF"),
    "16-bit colour": png_of_16_bit_colour(),
}


@pytest.mark.parametrize("data", AS_DELIVERED.values(), ids=AS_DELIVERED)
def test_lossless_keeps_the_file_where_nothing_is_won_or_something_lost(data):
    assert store(data, "lossless") == store(data, "original")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
@pytest.mark.parametrize(("policy", "side_px"), POLICIES)
def test_no_policy_drops_a_frame_or_page(kind, policy, side_px):
    data = encoded(picture(), kind, save_all=True, append_images=[noise()])
    assert store(data, policy, side_px).data == data


def test_lossy_files_in_the_wanted_format_do_not_grow():
    data = encoded(noise(), "JPEG", quality=30)
    assert store(data, "jpeg:95").data == data


@pytest.mark.parametrize(
    ("policy", "mime_type", "extension"),
    [("jpeg:85", "image/jpeg", "jpg"), ("webp:80", "image/webp", "webp")],
)
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "F", "I", "LAB"])
def test_every_mode_becomes_the_format_asked_for(policy, mime_type, extension, mode):
    stored = store(encoded(picture(mode=mode), "TIFF"), policy)
    assert (stored.mime_type, stored.extension) == (mime_type, extension)
    assert opened(stored.data).size == (stored.width_px, stored.height_px) == (120, 80)


def test_jpeg_lays_transparency_on_white_and_webp_keeps_it():
    clear = picture(mode="RGBA")
    clear.putalpha(0)
    data = encoded(clear, "PNG")
    assert opened(store(data, "jpeg:95").data).getpixel((5, 5)) == (255, 255, 255)
    assert opened(store(data, "webp:95").data).getpixel((5, 5))[3] == 0


@pytest.mark.parametrize(
    ("size_px", "side_px", "expected_px"),
    [((120, 80), 60, (60, 40)), ((80, 120), 60, (40, 60)), ((120, 80), 120, (120, 80)),
     ((120, 80), 500, (120, 80)), ((2000, 1), 16, (16, 1))],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("policy", ["lossless", "jpeg:85", "webp:80"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_longer_side_is_scaled_down(kind, policy, size_px, side_px, expected_px):
    stored = store(encoded(picture(*size_px), kind), policy, side_px)
    assert opened(stored.data).size == (stored.width_px, stored.height_px) == expected_px


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("policy", ["webp:100", "jpeg:95", "lossless"])
def test_orientation_is_baked_in(kind, orientation, policy):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(picture(320, 240), kind, exif=exif, lossless=True)
    stored = store(data, policy, 100)
    upright = ImageOps.exif_transpose(opened(data)).convert("L")
    after = opened(stored.data)
    assert after.getexif().get(ORIENTATION, 1) == 1
    assert after.size == (stored.width_px, stored.height_px)
    expected = np.asarray(upright.resize(after.size, Image.Resampling.LANCZOS), dtype=int)
    assert np.abs(np.asarray(after.convert("L"), dtype=int) - expected).mean() < 4


def camera_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[ExifTags.Base.Make] = "Lake"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 400
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("policy", "side_px"), [("jpeg:85", 50), ("webp:80", 50), ("lossless", 50)]
)
def test_profile_and_other_exif_survive(kind, policy, side_px):
    data = encoded(picture(), kind, exif=camera_exif().tobytes(), icc_profile=SRGB)
    after = opened(store(data, policy, side_px).data)
    assert after.info["icc_profile"] == SRGB
    assert after.getexif()[ExifTags.Base.Make] == "Lake"
    assert after.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400


def test_a_profile_of_other_colours_is_dropped():
    data = encoded(picture(mode="CMYK"), "TIFF", icc_profile=CMYK_PROFILE)
    assert "icc_profile" not in opened(store(data, "jpeg:85").data).info


def test_a_grey_profile_stays_with_grey_pixels():
    data = encoded(picture(mode="L"), "TIFF", icc_profile=GREY_PROFILE)
    assert opened(store(data, "jpeg:85").data).info["icc_profile"] == GREY_PROFILE
    assert "icc_profile" not in opened(store(data, "webp:80").data).info
    assert store(data, "lossless").mime_type == "image/png"


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0garbage", b"Exif\0\0", camera_exif().tobytes()[:20], b"Exif\0\0II*\0\xff\0\0\0"],
    ids=repr,
)
@pytest.mark.parametrize(("policy", "side_px"), [("jpeg:85", 50), ("webp:80", 50)])
def test_damaged_exif_is_left_behind(exif, policy, side_px):
    stored = store(encoded(picture(), "PNG", exif=exif), policy, side_px)
    assert "exif" not in opened(stored.data).info


def test_exif_too_long_for_jpeg_is_left_behind():
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    data = encoded(picture(), "PNG", exif=exif)
    assert "exif" not in opened(store(data, "jpeg:85").data).info
    assert "exif" in opened(store(data, "webp:80").data).info


def test_an_image_too_long_for_webp_is_kept():
    data = encoded(Image.new("L", (16_384, 1)), "BMP")
    assert store(data, "webp:80").data == data
    assert store(data, "lossless").mime_type == "image/png"


def test_damage_that_only_a_full_decode_shows_is_a_rejection():
    data = encoded(noise(), "PNG")
    facts = inspect_image(data, name="good")
    with pytest.raises(UnreadableMedia) as caught:
        reencode(data[: len(data) // 2], facts, StorePolicy.parse("jpeg:85"))
    assert caught.value.context["name"] == facts.sha256


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP"])
def test_fuzzed_files_that_have_facts_are_stored_or_rejected(kind):
    draw_from = random.Random(kind)
    good = encoded(picture(30, 20), kind)
    for _ in range(200):
        data = bytearray(good)
        data[draw_from.randrange(len(data))] ^= 0xFF
        try:
            stored = store(bytes(data), "webp:80", 16)
        except UnreadableMedia:
            continue
        assert stored.data
