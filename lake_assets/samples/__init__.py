"""Sample deliveries for `make demo` and for tests: seeded, made here, nothing to download.

Invariant: the same seed, size and versions of this package and Pillow give the same bytes, and
the facts that come back are what a lake has to find by itself.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lake_assets.errors import InvalidRequest
from lake_assets.samples.deliveries import write_keys, write_monday, write_tuesday
from lake_assets.samples.facts import (
    BoxFacts,
    DeliveryFacts,
    KeyFacts,
    SampleFacts,
    TickFacts,
    Twin,
)
from lake_assets.samples.ticks import write_ticks

__all__ = [
    "BoxFacts",
    "DeliveryFacts",
    "KeyFacts",
    "SampleFacts",
    "TickFacts",
    "Twin",
    "write_samples",
]

_FEWEST_RECEIPTS = 10
"""Below this, Tuesday would have nothing new to deliver."""


def write_samples(folder: Path, *, seed: int = 7, receipts: int = 200) -> SampleFacts:
    """Write two folders of receipts, annotations of the first, and ticks into ``folder``.

    They are ``receipts_monday/``, ``receipts_tuesday/``, ``receipts_monday_keys/``,
    ``receipts_monday_boxes/`` and ``ticks.csv``. Whatever stands there under these names is
    replaced; nothing else is touched.

    Args:
        folder: Made if it is missing.
        seed: Another seed gives other receipts, prices and photos.
        receipts: Good, distinct receipts in Monday's delivery, at least 10. Copies and broken
            files come on top.

    Raises:
        InvalidRequest: Fewer than 10 receipts.
    """
    if receipts < _FEWEST_RECEIPTS:
        raise InvalidRequest(f"Ask for at least {_FEWEST_RECEIPTS} receipts.", receipts=receipts)
    names = ("receipts_monday", "receipts_tuesday", "ticks.csv", "receipts_monday_keys",
             "receipts_monday_boxes")  # fmt: skip
    monday, tuesday, ticks, keys, boxes = (_vacant(folder / name) for name in names)
    folder.mkdir(parents=True, exist_ok=True)
    delivery, lines = write_monday(monday, boxes, seed=seed, receipts=receipts)
    return SampleFacts(
        folder=folder,
        monday=delivery,
        tuesday=write_tuesday(tuesday, monday=monday, seed=seed, receipts=receipts),
        ticks=write_ticks(ticks, seed=seed),
        keys=write_keys(keys, seed=seed, receipts=receipts),
        boxes=lines,
    )


def _vacant(path: Path) -> Path:
    # Removed rather than overwritten: staging may hold hard links to the files of an earlier run.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path
