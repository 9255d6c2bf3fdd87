"""A contact sheet: many thumbnails in one small picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

CELL_PX = 96
GAP_PX = 4
COLUMNS = 8
_BACKGROUND = (245, 245, 245)


def contact_sheet(thumbnails: Sequence[Path], *, limit_bytes: int) -> bytes | None:
    """Return a JPEG with the thumbnails in rows of eight, of at most ``limit_bytes``.

    Args:
        thumbnails: Image files; one that is missing is left blank.
        limit_bytes: Quality is lowered, and at last the size halved, until the sheet fits.

    Returns:
        None for no thumbnails.
    """
    if not thumbnails:
        return None
    sheet = _draw(thumbnails)
    while True:
        for quality in (75, 60, 45, 30):
            data = _jpeg(sheet, quality)
            if len(data) <= limit_bytes:
                return data
        sheet = sheet.reduce(2)


def _draw(thumbnails: Sequence[Path]) -> Image.Image:
    columns = min(COLUMNS, len(thumbnails))
    rows = math.ceil(len(thumbnails) / columns)
    step = CELL_PX + GAP_PX
    sheet = Image.new("RGB", (columns * step + GAP_PX, rows * step + GAP_PX), _BACKGROUND)
    for number, path in enumerate(thumbnails):
        if not path.exists():
            continue
        with Image.open(path) as thumbnail:
            fitted = _fitted(thumbnail.convert("RGB"))
        left = GAP_PX + number % columns * step + (CELL_PX - fitted.width) // 2
        top = GAP_PX + number // columns * step + (CELL_PX - fitted.height) // 2
        sheet.paste(fitted, (left, top))
    return sheet


def _fitted(image: Image.Image) -> Image.Image:
    # Not `ImageOps.contain`: it makes a strip of 256 x 1 px zero pixels high, and fails.
    scale = CELL_PX / max(image.size)
    return image.resize([max(1, round(side * scale)) for side in image.size])


def _jpeg(sheet: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
