"""What stands on a receipt, top to bottom, and how each block is drawn.

Every block knows its height before it is drawn, so that the paper is as long as its text.
All lengths are pixels at ``body_px``, the size of ordinary text; everything scales with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal, Protocol

from PIL import Image, ImageDraw, ImageFont

from lake_assets.samples.receipts import Receipt

INK, BARE = 0, 255
"""Grey levels of print and of blank paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The strip of paper that blocks are drawn on."""

    draw: ImageDraw.ImageDraw
    width_px: int
    body_px: int

    @property
    def margin_px(self) -> int:
        """Blank paper on either side."""
        return 2 * self.body_px


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """Text on the paper."""

    text: str
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of its ink, in pixels."""


class Block(Protocol):
    """A piece of a receipt, as wide as the paper."""

    def height_px(self, body_px: int) -> int:
        """How much of the paper's length it takes."""

    def draw_on(self, sheet: Sheet, top: int) -> list[Printed]:
        """Print it with its upper edge at ``top``, and return its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A line of text: left and right parts, or one part in the middle."""

    left: str = ""
    middle: str = ""
    right: str = ""
    scale: float = 1.0
    bold: bool = False
    inverted: bool = False
    """White on a black band."""

    def height_px(self, body_px: int) -> int:
        """One line with its spacing; a band needs air above and below."""
        return round(body_px * self.scale * (2.1 if self.inverted else 1.45))

    def draw_on(self, sheet: Sheet, top: int) -> list[Printed]:
        """Print its parts, each at its own edge."""
        height, edge = self.height_px(sheet.body_px), sheet.margin_px
        if self.inverted:
            sheet.draw.rectangle((edge, top, sheet.width_px - edge, top + height), fill=INK)
        y = top + height // 2
        places = {
            "lm": (edge, self.left),
            "mm": (sheet.width_px // 2, self.middle),
            "rm": (sheet.width_px - edge, self.right),
        }
        return [
            self._print(sheet, (x, y), text, anchor) for anchor, (x, text) in places.items() if text
        ]

    def _print(self, sheet: Sheet, at: tuple[int, int], text: str, anchor: str) -> Printed:
        font = _font(round(sheet.body_px * self.scale))
        # The bundled font has one weight.
        stroke = 1 if self.bold else 0
        fill = BARE if self.inverted else INK
        sheet.draw.text(at, text, fill=fill, font=font, anchor=anchor, stroke_width=stroke)
        box = sheet.draw.textbbox(at, text, font=font, anchor=anchor, stroke_width=stroke)
        return Printed(text=text, box=box)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A line across the paper, or just some air."""

    style: Literal["dashes", "line", "double", "none"]

    def height_px(self, body_px: int) -> int:
        """As much as a line of text."""
        return body_px

    def draw_on(self, sheet: Sheet, top: int) -> list[Printed]:
        """Draw it in the middle of its height."""
        y, edge = top + sheet.body_px // 2, sheet.margin_px
        start, stop = edge, sheet.width_px - edge
        if self.style == "dashes":
            for x in range(start, stop, sheet.body_px):
                sheet.draw.line((x, y, min(x + sheet.body_px // 2, stop), y), fill=INK, width=2)
        elif self.style != "none":
            sheet.draw.line((start, y, stop, y), fill=INK, width=2)
        if self.style == "double":
            sheet.draw.line((start, y + 5, stop, y + 5), fill=INK, width=2)
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Barcode:
    """A strip of bars that looks like a barcode and encodes nothing."""

    text: str

    def height_px(self, body_px: int) -> int:
        """About three lines of text."""
        return 4 * body_px

    def draw_on(self, sheet: Sheet, top: int) -> list[Printed]:
        """Draw bars of one to four units, the same for the same text."""
        rng, unit = Random(self.text), max(2, sheet.body_px // 9)
        x, stop = 3 * sheet.margin_px, sheet.width_px - 3 * sheet.margin_px
        bottom = top + self.height_px(sheet.body_px)
        while x < stop:
            bar = unit * rng.choice((1, 1, 2, 3))
            sheet.draw.rectangle((x, top, x + bar - 1, bottom), fill=INK)
            x += bar + unit * rng.choice((1, 1, 2, 4))
        return []


def print_receipt(
    receipt: Receipt, *, width_px: int, body_px: int
) -> tuple[Image.Image, list[Printed]]:
    """The receipt as clean black on white (mode ``L``), as long as it needs to be, and its text."""
    blocks = _blocks(receipt)
    heights = [block.height_px(body_px) for block in blocks]
    paper = Image.new("L", (width_px, sum(heights) + 4 * body_px), BARE)
    sheet = Sheet(draw=ImageDraw.Draw(paper), width_px=width_px, body_px=body_px)
    top = 2 * body_px
    printed: list[Printed] = []
    for block, height in zip(blocks, heights, strict=True):
        printed += block.draw_on(sheet, top)
        top += height
    return paper, printed


def _blocks(receipt: Receipt) -> list[Block]:
    rule = Rule(style=receipt.shop.rule)
    air = Rule(style="none")
    return [
        *_header(receipt),
        rule,
        *(Text(left=item.name, right=_money(item.price_cents)) for item in receipt.items),
        rule,
        *_sums(receipt),
        rule,
        Text(middle=receipt.shop.farewell),
        air,
        Barcode(text=receipt.receipt_id),
        Text(middle=" ".join(receipt.receipt_id), scale=0.8),
    ]


def _header(receipt: Receipt) -> list[Block]:
    shop, when = receipt.shop, receipt.bought_at
    if shop.header == "left":
        head = [
            Text(left=shop.company, scale=1.4, bold=True),
            Text(left=shop.address, scale=0.85),
            Text(left=shop.phone, scale=0.85),
        ]
    else:
        head = [
            Text(middle=shop.company, scale=1.6, bold=True, inverted=shop.header == "banner"),
            Text(middle=shop.address, scale=0.85),
            Text(middle=shop.phone, scale=0.85),
        ]
    day, clock = when.strftime(shop.date_format), when.strftime("%H:%M")
    return [
        *head,
        Rule(style="none"),
        Text(left=f"{day}  {clock}", right=f"No. {receipt.receipt_id}", scale=0.9),
    ]


def _sums(receipt: Receipt) -> list[Block]:
    total = receipt.total_cents
    # Prices include the tax, as in most of the world: the total stays the sum of the items.
    tax = round(total * 10 / 110)
    return [
        Text(left=f"{len(receipt.items)} items", right=f"incl. 10% tax {_money(tax)}", scale=0.85),
        Text(left="TOTAL", right=_money(total), scale=1.7, bold=True),
        *_payment(total, by_card=total % 2 == 0),
    ]


def _payment(total_cents: int, *, by_card: bool) -> list[Block]:
    if by_card:
        return [Text(left="CARD **** 4217", right=_money(total_cents))]
    handed = -(-total_cents // 1000) * 1000
    return [
        Text(left="CASH", right=_money(handed)),
        Text(left="CHANGE", right=_money(handed - total_cents)),
    ]


def _money(cents: int) -> str:
    return f"{cents / 100:.2f}"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # Cached: Pillow decodes the bundled font anew at every call, which costs more than a receipt.
    return ImageFont.load_default(size)
