"""A plain table of trades, for a dataset without images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from lake_assets.samples.facts import TickFacts

_OPENING = datetime(2025, 1, 13, 9, 30, tzinfo=UTC)
_OPENING_CENTS = {"AURA": 4210, "BRIO": 18795, "CYAN": 120450, "DELT": 960, "EMBR": 7333}
_ROWS = 2_000
_RAGGED_ROW = 1_207
_REPEATED_ROW = 640


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tick:
    symbol: str
    at: datetime
    price_cents: int
    quantity: int

    def csv_line(self, *, thousands: str = "") -> str:
        at = self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        price = format(self.price_cents / 100, f"{thousands}.2f")
        return f"{self.symbol},{at},{price},{self.quantity}"


def write_ticks(path: Path, *, seed: int) -> TickFacts:
    """Write about 2,000 trades as CSV; one row is ragged, one says the same as the row before."""
    ticks = _make_ticks(seed)
    lines = [tick.csv_line() for tick in ticks]
    lines[_REPEATED_ROW] = lines[_REPEATED_ROW - 1]
    # The classic: a thousands separator that nobody quoted makes five fields of four.
    dear = replace(ticks[_RAGGED_ROW], symbol="CYAN", price_cents=120_450)
    lines[_RAGGED_ROW] = dear.csv_line(thousands=",")
    text = "\n".join(["symbol,at,price,quantity", *lines, ""])
    path.write_text(text, encoding="utf-8", newline="\n")
    return TickFacts(path=path, rows=_ROWS, ragged_rows=(_RAGGED_ROW,), repeated_rows=1)


def _make_ticks(seed: int) -> list[_Tick]:
    """Random walks, one per symbol, in order of time."""
    rng, at, prices = Random(f"ticks {seed}"), _OPENING, dict(_OPENING_CENTS)
    ticks = []
    for _ in range(_ROWS):
        # Never zero, so that no two ticks are equal but the two that are meant to be.
        at += timedelta(milliseconds=rng.randint(1, 7_000))
        symbol = rng.choice(list(prices))
        prices[symbol] = round(prices[symbol] * rng.uniform(0.998, 1.002))
        quantity = rng.choice((1, 5, 10, 25, 100))
        ticks.append(_Tick(symbol=symbol, at=at, price_cents=prices[symbol], quantity=quantity))
    return ticks
