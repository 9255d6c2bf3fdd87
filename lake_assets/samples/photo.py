"""A clean print made to look photographed: tinted paper on a desk, lit unevenly, a bit askew.

Every effect is a few Pillow calls on whole pictures, mostly in one channel. Random detail comes as
a few bytes scaled up to the picture: 200 photos take seconds, and equal seeds give equal pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from lake_assets.samples.layout import Printed, print_receipt
from lake_assets.samples.receipts import Receipt
from lake_assets.samples.shops import Colour

_DESKS: tuple[tuple[Colour, Colour], ...] = (
    ((92, 64, 44), (134, 98, 68)),
    ((58, 50, 46), (92, 80, 72)),
    ((150, 122, 92), (188, 160, 126)),
    ((74, 84, 92), (104, 114, 122)),
)
"""Darkest and lightest tone of the desks that receipts lie on."""

_COASTERS: tuple[Colour, ...] = ((196, 72, 58), (44, 92, 108), (222, 214, 200), (38, 36, 40))


Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Text in a photo."""

    text: str
    polygon: tuple[Point, Point, Point, Point]
    """Corners in pixels, origin top left, clockwise from where the text begins, above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A picture of a receipt."""

    jpeg: bytes
    lines: tuple[Line, ...]
    """What is printed on it, top to bottom."""


def photograph(receipt: Receipt, *, seed: int) -> Photo:
    """A photo of this receipt, about 600 px wide; more items make it longer."""
    rng = Random(f"photo {seed} {receipt.receipt_id}")
    width_px = rng.randint(480, 560)
    flat, printed = print_receipt(
        receipt, width_px=width_px, body_px=round(width_px / rng.uniform(22, 26))
    )
    paper = ImageChops.multiply(flat, _clouds(flat.size, rng))
    angle = rng.uniform(-3.5, 3.5)
    # Bilinear and nearest: bicubic for both would double the time of the whole photo.
    mask = _torn_outline(paper.size, rng).rotate(angle, Image.Resampling.NEAREST, expand=True)
    paper = _with_grain(paper.rotate(angle, Image.Resampling.BILINEAR, expand=True), rng)
    tinted = _tinted(paper, dark=_faded(receipt.shop.ink, rng), light=receipt.shop.paper)
    picture, corner = _on_desk(tinted, mask, rng)
    askew = _Askew(before=flat.size, angle=angle, after=mask.size, corner=corner)
    return Photo(jpeg=encode_jpeg(picture), lines=tuple(map(askew.line, printed)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Askew:
    """Where the paper went: turned about its middle, then laid on the desk."""

    before: tuple[int, int]
    angle: float
    """Degrees, against the clock."""
    after: tuple[int, int]
    """Size of the turned paper, which has the same middle."""
    corner: tuple[int, int]
    """Where its top left corner lies in the photo."""

    def line(self, printed: Printed) -> Line:
        """The text where it is in the photo."""
        left, top, right, bottom = printed.box
        corners = (left, top), (right, top), (right, bottom), (left, bottom)
        first, second, third, fourth = map(self._point, corners)
        return Line(text=printed.text, polygon=(first, second, third, fourth))

    def _point(self, point: Point) -> Point:
        x, y = point[0] - self.before[0] / 2, point[1] - self.before[1] / 2
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        return (
            round(self.corner[0] + self.after[0] / 2 + x * cosine + y * sine, 1),
            round(self.corner[1] + self.after[1] / 2 - x * sine + y * cosine, 1),
        )


def encode_jpeg(picture: Image.Image) -> bytes:
    """The picture as a JPEG of middling quality, without metadata."""
    buffer = BytesIO()
    picture.save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()


def shrink(jpeg: bytes, *, share: float) -> bytes:
    """The same photo with its sides scaled by ``share`` (0-1), as a messenger app would send it."""
    with Image.open(BytesIO(jpeg)) as picture:
        size = (round(picture.width * share), round(picture.height * share))
        return encode_jpeg(picture.resize(size, Image.Resampling.LANCZOS))


def _clouds(size: tuple[int, int], rng: Random) -> Image.Image:
    """Soft light and shadow: a handful of random grey levels, scaled up to ``size``."""
    levels = bytes(rng.randint(215, 255) for _ in range(4 * 6))
    return Image.frombytes("L", (4, 6), levels).resize(size, Image.Resampling.BICUBIC)


def _torn_outline(size: tuple[int, int], rng: Random) -> Image.Image:
    """Mask of the paper: straight sides, saw teeth where the printer cut it."""
    width, height = size
    tooth = rng.randint(7, 11)
    across = range(0, width + tooth, tooth)
    upper = [(x, 5 * (n % 2)) for n, x in enumerate(across)]
    lower = [(x, height - 1 - 5 * (n % 2)) for n, x in enumerate(across)]
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).polygon([*upper, *reversed(lower)], fill=255)
    return mask


def _tinted(picture: Image.Image, *, dark: Colour, light: Colour) -> Image.Image:
    """Black becomes ``dark``, white ``light``. Three times as fast as ``ImageOps.colorize``."""
    channels = (
        picture.point([low + (high - low) * level // 255 for level in range(256)])
        for low, high in zip(dark, light, strict=True)
    )
    return Image.merge("RGB", tuple(channels))


def _faded(ink: Colour, rng: Random) -> Colour:
    """Thermal print pales with age."""
    age = rng.randint(0, 45)
    red, green, blue = ink
    return red + age, green + age, blue + age


def _on_desk(
    paper: Image.Image, mask: Image.Image, rng: Random
) -> tuple[Image.Image, tuple[int, int]]:
    """The photo, and where in it the paper's top left corner lies."""
    left, top, right, bottom = (rng.randint(8, 70) for _ in range(4))
    desk = _desk((paper.width + left + right, paper.height + top + bottom), rng)
    _lay_down_coaster(desk, rng)
    desk.paste((12, 10, 8), (left + 7, top + 9), _shadow(mask))
    desk.paste(paper, (left, top), mask)
    return desk, (left, top)


def _desk(size: tuple[int, int], rng: Random) -> Image.Image:
    """Wood grain: random bytes drawn out along one side."""
    dark, light = rng.choice(_DESKS)
    grain = Image.frombytes("L", (3, 90), rng.randbytes(3 * 90))
    if rng.random() < 0.5:
        grain = grain.transpose(Image.Transpose.ROTATE_90)
    return _tinted(grain, dark=dark, light=light).resize(size, Image.Resampling.BILINEAR)


def _lay_down_coaster(desk: Image.Image, rng: Random) -> None:
    """Something round and dark or light near an edge, mostly covered by the paper."""
    radius = rng.randint(60, 150)
    x = rng.choice((0, desk.width)) + rng.randint(-40, 40)
    y = rng.randrange(desk.height)
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(desk).ellipse(box, fill=rng.choice(_COASTERS), outline=(30, 28, 26), width=3)


def _shadow(mask: Image.Image) -> Image.Image:
    # Blurred at an eighth of the size: nobody sees the difference, and it costs a sixtieth.
    small = mask.reduce(8).filter(ImageFilter.GaussianBlur(1.2))
    return small.point([level * 6 // 10 for level in range(256)]).resize(
        mask.size, Image.Resampling.BILINEAR
    )


def _with_grain(paper: Image.Image, rng: Random) -> Image.Image:
    """Coarse fibres: noise at half the resolution."""
    width, height = paper.width // 2, paper.height // 2
    noise = Image.frombytes("L", (width, height), rng.randbytes(width * height))
    noise = noise.point([level // 18 for level in range(256)])
    return ImageChops.subtract(paper, noise.resize(paper.size, Image.Resampling.BILINEAR))
