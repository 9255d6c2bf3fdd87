"""Any picture, as a page would show it: 8 bits a channel, and no transparency."""

from __future__ import annotations

import numpy as np
from PIL import Image


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
