import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake_assets.media.contact_sheet import CELL_PX, COLUMNS, GAP_PX, contact_sheet

ROOMY = 1_000_000
STEP_PX = CELL_PX + GAP_PX


def thumbnail(folder: Path, name: str, image: Image.Image) -> Path:
    path = folder / name
    image.save(path, "PNG")
    return path


def reds(folder: Path, count: int) -> list[Path]:
    return [
        thumbnail(folder, f"{number}.png", Image.new("RGB", (96, 96), "red"))
        for number in range(count)
    ]


def opened(data: bytes | None) -> Image.Image:
    assert data is not None
    sheet = Image.open(io.BytesIO(data))
    assert sheet.format == "JPEG"
    return sheet


def cell(sheet: Image.Image, number: int) -> np.ndarray:
    """The middle of one cell: JPEG blurs over blocks of 16 px."""
    left = GAP_PX + number % COLUMNS * STEP_PX
    top = GAP_PX + number // COLUMNS * STEP_PX
    inner = sheet.crop((left + 16, top + 16, left + CELL_PX - 16, top + CELL_PX - 16))
    return np.asarray(inner, dtype=int)


def is_red(pixels: np.ndarray) -> bool:
    return bool(np.abs(pixels - (254, 0, 0)).max() < 12)


def is_blank(pixels: np.ndarray) -> bool:
    return bool(pixels.min() > 225)


def test_no_thumbnails_make_no_sheet():
    assert contact_sheet([], limit_bytes=ROOMY) is None


@pytest.mark.parametrize(
    ("count", "columns", "rows"),
    [(1, 1, 1), (7, 7, 1), (8, 8, 1), (9, 8, 2), (17, 8, 3)],
    ids=str,
)
def test_thumbnails_lie_in_rows_of_eight(tmp_path, count, columns, rows):
    sheet = opened(contact_sheet(reds(tmp_path, count), limit_bytes=ROOMY))
    assert sheet.size == (columns * STEP_PX + GAP_PX, rows * STEP_PX + GAP_PX)
    shown = [is_red(cell(sheet, number)) for number in range(columns * rows)]
    assert shown == [number < count for number in range(columns * rows)]


def test_one_that_is_missing_leaves_its_cell_blank(tmp_path):
    paths = reds(tmp_path, 3)
    paths[1].unlink()
    sheet = opened(contact_sheet(paths, limit_bytes=ROOMY))
    assert [is_red(cell(sheet, number)) for number in range(3)] == [True, False, True]
    assert is_blank(cell(sheet, 1))


@pytest.mark.parametrize("size_px", [(256, 64), (64, 256), (96, 96), (20, 10)], ids=str)
def test_a_thumbnail_keeps_its_proportions_and_is_centred(tmp_path, size_px):
    path = thumbnail(tmp_path, "long.png", Image.new("RGB", size_px, "black"))
    sheet = opened(contact_sheet([path], limit_bytes=ROOMY))
    dark = np.argwhere(np.asarray(sheet.convert("L")) < 128)
    height_px, width_px = dark.max(axis=0) - dark.min(axis=0) + 1
    longest_px = max(size_px)
    assert width_px == pytest.approx(size_px[0] * CELL_PX / longest_px, abs=2)
    assert height_px == pytest.approx(size_px[1] * CELL_PX / longest_px, abs=2)
    assert dark.mean(axis=0) == pytest.approx(np.array(sheet.size[::-1]) / 2, abs=2)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_every_mode_of_thumbnail_is_drawn(tmp_path, mode):
    path = tmp_path / "thumbnail"
    Image.new("RGB", (96, 96), "black").convert(mode).save(path, "TIFF")
    sheet = opened(contact_sheet([path], limit_bytes=ROOMY))
    assert cell(sheet, 0).max() < 60


@pytest.mark.parametrize("limit_bytes", [200_000, 60_000, 20_000, 3_000])
def test_the_sheet_is_within_the_limit(tmp_path, limit_bytes):
    noise = np.random.default_rng(1)
    paths = [
        thumbnail(
            tmp_path,
            f"{number}.png",
            Image.fromarray(noise.integers(0, 256, (96, 96, 3), np.uint8)),
        )
        for number in range(24)
    ]
    data = contact_sheet(paths, limit_bytes=limit_bytes)
    assert opened(data).getbbox() is not None
    assert len(data or b"") <= limit_bytes


def test_the_same_thumbnails_give_the_same_bytes(tmp_path):
    paths = reds(tmp_path, 5)
    first, second = (contact_sheet(paths, limit_bytes=ROOMY) for _ in range(2))
    assert first == second
