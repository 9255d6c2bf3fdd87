"""How a contract wants the images of a dataset to be stored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Self

from lake_assets.errors import InvalidRegistry

Form = Literal["original", "lossless", "jpeg", "webp"]

MIN_SIDE_PX = 16
_ALLOWED = "original, lossless, jpeg:<quality> or webp:<quality> with a quality of 1 to 100"
_PLAIN: dict[str, Form] = {"original": "original", "lossless": "lossless"}
_LOSSY: dict[str, Form] = {"jpeg": "jpeg", "webp": "webp"}
_LOSSY_TEXT = re.compile(r"(jpeg|webp):([1-9][0-9]?|100)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePolicy:
    """How images of a dataset are stored. Make it with `parse`, which checks it."""

    form: Form
    quality: int | None = None
    """1–100, for jpeg and webp; as libjpeg and libwebp understand it."""
    max_side_px: int | None = None
    """Images with a longer side are scaled down to it; None: as they are."""

    @classmethod
    def parse(cls, text: str, max_side_px: int | None = None) -> Self:
        """Return the policy that a contract spells ``text``, e.g. ``jpeg:85``.

        Raises:
            InvalidRegistry: for any other text, a side below 16 px, or ``original`` with a side.
        """
        if max_side_px is not None and max_side_px < MIN_SIDE_PX:
            raise InvalidRegistry(
                f"max_side_px is {max_side_px}; allowed is {MIN_SIDE_PX} or more",
                max_side_px=max_side_px,
            )
        if text == "original" and max_side_px is not None:
            raise InvalidRegistry(
                "store: original keeps the bytes, so max_side_px cannot be met;"
                " drop it, or store as lossless, jpeg or webp",
                max_side_px=max_side_px,
            )
        if form := _PLAIN.get(text):
            return cls(form=form, max_side_px=max_side_px)
        if match := _LOSSY_TEXT.fullmatch(text):
            form = _LOSSY[match[1]]
            return cls(form=form, quality=int(match[2]), max_side_px=max_side_px)
        raise InvalidRegistry(f"store: {text!r} is unknown; allowed are {_ALLOWED}", store=text)
