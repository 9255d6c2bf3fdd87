"""Values of annotations, taken as they are or refused: nothing is coerced silently.

Each function takes the path of the value, for the rejection, and raises ``Flaw``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from lake_assets.contracts.geometry import (
    NoShape,
    Point,
    Shape,
    shape_of_corners,
    shape_of_polygon,
    shape_of_size,
)
from lake_assets.intake.annotations.model import Flaw
from lake_assets.intake.readers.variant_text import Number

# Python's float() also takes "1_000", "nan" and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LARGEST_EXACT = 2**53
_LONGEST_NUMBER = 300
MAX_POINTS = 100_000
"""Most points of a polygon; as a record they take 25 MB."""

T = TypeVar("T")


def number(value: Any, path: str) -> float:
    """Return a JSON number as a double; text, true and false are none."""
    # Of most polygons this takes most of the time.
    kind = type(value)
    if kind is float:
        return float(value)
    # Written with more digits than a double has, as by printf("%.17g"): rounded, as everywhere.
    if kind is Number and math.isfinite(value):
        return float(value)
    if kind is not int:
        raise Flaw("coordinates_are_numbers", path=path, expected="a number", actual=value)
    if abs(value) > _LARGEST_EXACT:
        raise Flaw("coordinates_are_exact", path=path, expected="at most 2^53", actual=value)
    return float(value)


def number_in(text: str, path: str) -> float:
    """Return the number that a piece of text is, spaces around it aside."""
    digits = text.strip(" \t")
    if len(digits) > _LONGEST_NUMBER or not _NUMBER.fullmatch(digits):
        raise Flaw("coordinates_are_numbers", path=path, expected="a number", actual=text)
    is_whole = digits.lstrip("+-").isdigit()
    return number(int(digits) if is_whole else float(digits), path)


def share(value: float, path: str, *, whole: float = 1.0) -> float:
    """Return a confidence as a share, 0 to 1.

    Args:
        value: The confidence.
        path: Where it stands.
        whole: What stands for certainty: 1, or 100 for percents.
    """
    if not 0 <= value <= whole:
        raise Flaw(
            "confidence_is_a_share", path=path, expected=f"0 to {whole:g}", actual=f"{value:g}"
        )
    return value / whole


def text(value: Any, path: str) -> str | None:
    """Return a JSON string, or None for null."""
    if value is not None and not isinstance(value, str):
        raise Flaw("value_fits_its_column", path=path, expected="string", actual=value)
    return value


def identifier(value: Any, path: str) -> str | None:
    """Return an id as text; formats number their annotations as often as they name them."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value, path)


def items(value: Any, path: str, take: Callable[[Any, str], T]) -> list[T]:
    """Return a list, each of its items taken by ``take``."""
    if not isinstance(value, list):
        raise Flaw("value_fits_its_column", path=path, expected="list", actual=value)
    try:
        return [take(item, path) for item in value]
    except Flaw:  # only now it matters which one it is
        return [take(item, f"{path}[{i}]") for i, item in enumerate(value)]


def point(value: Any, path: str) -> Point:
    """Return ``[x, y]`` or ``{"x": x, "y": y}`` as a point."""
    if isinstance(value, dict) and value.keys() == {"x", "y"}:
        value = [value["x"], value["y"]]
    if not isinstance(value, list) or len(value) != 2:
        raise Flaw("points_have_two_coordinates", path=path, expected="[x, y]", actual=value)
    return number(value[0], path), number(value[1], path)


def points(value: Any, path: str) -> list[Point]:
    """Return a list of points, or of their coordinates in turn, as points."""
    if isinstance(value, list) and value and not isinstance(value[0], list | dict):
        flat = items(value, path, number)
        if len(flat) % 2:
            raise Flaw("points_have_two_coordinates", path=path, expected="pairs", actual=value)
        return list(zip(flat[::2], flat[1::2], strict=True))
    return items(value, path, point)


def four(value: Any, path: str) -> tuple[float, float, float, float]:
    """Return a list of exactly four numbers."""
    numbers = items(value, path, number)
    if len(numbers) != 4:
        raise Flaw("boxes_have_four_numbers", path=path, expected="4 numbers", actual=value)
    return numbers[0], numbers[1], numbers[2], numbers[3]


def polygon(ring: list[Point], path: str) -> Shape:
    """Return the shape of a ring of points; a longer one than any outline would fill memory."""
    if len(ring) > MAX_POINTS:
        raise Flaw(
            "polygon_has_few_points",
            path=path,
            expected=f"at most {MAX_POINTS:,} points",
            actual=f"{len(ring):,}",
        )
    return _shape(shape_of_polygon(ring), path)


def corners(box: tuple[float, float, float, float], path: str) -> Shape:
    """Return the shape of a box given as x_min, y_min, x_max, y_max."""
    return _shape(shape_of_corners(*box), path)


def sized(box: tuple[float, float, float, float], path: str) -> Shape:
    """Return the shape of a box given as x, y, width, height."""
    return _shape(shape_of_size(*box), path)


def _shape(shape: Shape | NoShape, path: str) -> Shape:
    if isinstance(shape, NoShape):
        raise Flaw(shape.rule, path=path, expected=shape.expected, actual=shape.actual)
    return shape


def placed(outline: Shape | None, box: Shape | None) -> dict[str, Any]:
    """Return the columns that say where an annotation lies.

    ``box`` is always that around ``polygon``. One that the format gives besides its polygon, and
    that is another, is kept as ``delivered_box``.
    """
    shape = outline or box
    if shape is None:
        return {}
    columns = shape.columns()
    if box is not None and box.box != shape.box:
        columns["delivered_box"] = box.columns()["box"]
    return columns
