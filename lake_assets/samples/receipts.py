"""Receipts that never were: who sold what, when and for how much.

Invariant: a receipt is a function of the seed and its number alone, and its total is the sum of
its items to the cent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from random import Random

from lake_assets.samples.shops import SHOPS, Product, Shop


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of a receipt."""

    name: str
    price_cents: int
    """For the whole line, not for one piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What one receipt says."""

    receipt_id: str
    shop: Shop
    bought_at: datetime
    """Naive: a receipt prints the shop's own clock."""
    items: tuple[Item, ...]

    @property
    def total_cents(self) -> int:
        """Sum of the items."""
        return sum(item.price_cents for item in self.items)

    @property
    def file_name(self) -> str:
        """POSIX path of its picture inside a delivery."""
        return f"{self.shop.folder}/{self.receipt_id.lower()}.jpg"

    @property
    def keys(self) -> dict[str, str]:
        """What a reader is to find on it, in the form of SROIE's keys."""
        return {
            "company": self.shop.company,
            "date": self.bought_at.strftime(self.shop.date_format),
            "address": self.shop.address,
            "total": f"{self.total_cents / 100:.2f}",
        }

    def metadata_line(self, file_name: str) -> str:
        """One line of ``metadata.jsonl``, without the line break, that names this picture."""
        row = {
            "file_name": file_name,
            "company": self.shop.company,
            "date": self.bought_at.date().isoformat(),
            "address": self.shop.address,
            "total": self.total_cents / 100,
            "items": [{"name": i.name, "price": i.price_cents / 100} for i in self.items],
            "receipt_id": self.receipt_id,
        }
        return json.dumps(row)


def make_receipt(number: int, *, seed: int, last_day: date, days: int) -> Receipt:
    """Receipt ``number`` of this seed, bought on one of the ``days`` that end with ``last_day``."""
    # One generator per receipt: asking for more receipts leaves the earlier ones as they were.
    rng = Random(f"receipt {seed} {number}")
    shop = rng.choice(SHOPS)
    day = last_day - timedelta(days=rng.randrange(days))
    clock = time(hour=rng.randint(8, 20), minute=rng.randrange(60))
    chosen = rng.sample(shop.products, k=rng.randint(4, 11))
    return Receipt(
        receipt_id=f"R{number:05d}",
        shop=shop,
        bought_at=datetime.combine(day, clock),
        items=tuple(_buy(product, rng) for product in chosen),
    )


def _buy(product: Product, rng: Random) -> Item:
    pieces = rng.choices((1, 2, 3), weights=(7, 2, 1))[0]
    name = product.name if pieces == 1 else f"{pieces} x {product.name}"
    return Item(name=name, price_cents=pieces * product.price_cents)
