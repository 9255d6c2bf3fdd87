"""Importing many modules at once.

Invariant: Python's collector of cycles is on again afterwards, if it was on before.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import what the block imports without looking for garbage in between.

    What modules make is kept, and the collector looks at all of it again and again: with pandas and
    PyArrow there already, it took a quarter of the time that PyIceberg and SQLAlchemy take.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
