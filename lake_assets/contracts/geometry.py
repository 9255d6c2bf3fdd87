"""Where annotations lie: one normal form of outlines and boxes, and whether they fit their image.

Coordinates are pixels as doubles, x to the right and y down from the image's top left corner; edges
lie between pixels, so an image spans 0 to its width and 0 to its height.

Normal form of a polygon:

1. A point that repeats the one before it, or closes the ring, is dropped.
2. The points run clockwise as people see the image.
3. They begin with the vertex nearest to the top left corner of the bounding box; of those equally
   near the one with the smaller y, then the smaller x. (A ring that passes there twice begins where
   the points that follow are smaller, compared in the same way.)

Invariant: the normal form does not depend on where the ring began or which way it ran, is its own
normal form, and has every coordinate exactly as given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Point = tuple[float, float]
"""x and y."""

# A sum of products of doubles is off by less than a few units in the last place of their sizes;
# nearer to zero than this share of them, the sign is found with exact numbers.
_UNSURE = 1e-12
_TINY = 1e-250


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True, slots=True)
class Shape:
    """Where an annotation lies, in normal form."""

    polygon: tuple[Point, ...]
    box: Box

    def columns(self) -> dict[str, Any]:
        """Return the values of the columns ``polygon`` and ``box`` of a record."""
        box = self.box
        return {
            "polygon": [{"x": x, "y": y} for x, y in self.polygon],
            "box": {"x_min": box.x_min, "y_min": box.y_min, "x_max": box.x_max, "y_max": box.y_max},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NoShape:
    """Why some coordinates are no shape."""

    rule: str
    """The sentence that they break, in snake_case."""
    expected: str
    actual: str


def shape_of_polygon(points: Iterable[Point]) -> Shape | NoShape:
    """Return the normal form of a ring of points in either direction, closed or not.

    A ring that crosses itself is taken as it is, unless what runs clockwise and what runs against
    it cancel out: its direction is not known then.
    """
    # Adding 0.0 makes 0.0 of -0.0.
    given = [(x + 0.0, y + 0.0) for x, y in points]
    problem = _problem(given)
    if problem is not None:
        return problem
    ring = _without_repeats(given)
    sign = _direction(ring)
    if sign == 0:
        return NoShape(
            rule="polygon_has_an_area",
            expected="a polygon with an area",
            actual=f"none: {_shown(ring)}",
        )
    xs, ys = [x for x, _ in ring], [y for _, y in ring]
    box = Box(min(xs), min(ys), max(xs), max(ys))
    return Shape(_from_top_left(ring if sign > 0 else ring[::-1], box), box)


def shape_of_corners(x_min: float, y_min: float, x_max: float, y_max: float) -> Shape | NoShape:
    """Return the shape of a box given by its top left and bottom right corner."""
    edges = (x_min + 0.0, y_min + 0.0, x_max + 0.0, y_max + 0.0)
    if not all(map(math.isfinite, edges)):
        return _not_finite(edges)
    x0, y0, x1, y1 = edges
    if x1 <= x0 or y1 <= y0:
        return _no_area(f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}")
    return Shape(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), Box(x0, y0, x1, y1))


def shape_of_size(x: float, y: float, width: float, height: float) -> Shape | NoShape:
    """Return the shape of a box given by its top left corner and its size.

    The far edges are sums of doubles: exact for whole pixels, else right to the last place.
    """
    if not all(map(math.isfinite, (x, y, width, height))):
        return _not_finite((x, y, width, height))
    if width <= 0 or height <= 0:
        return _no_area(f"width {width:g}, height {height:g}")
    return shape_of_corners(x, y, x + width, y + height)


def in_pixels(
    points: Iterable[Point], *, width_px: int, height_px: int, whole: float = 1.0
) -> list[Point]:
    """Return points given as shares of their image's size in pixels.

    Args:
        points: Any number.
        width_px: Size of the image.
        height_px: Size of the image.
        whole: What stands for the full size: 1 for 0..1, 1000 for 0..1000 as LayoutLM has them
            (https://huggingface.co/docs/transformers/model_doc/layoutlm).
    """
    return [(x * width_px / whole, y * height_px / whole) for x, y in points]


def _without_repeats(points: Sequence[Point]) -> list[Point]:
    # The point before the first is the last: that drops the one that closes the ring, too.
    return [point for i, point in enumerate(points) if point != points[i - 1]]


def _problem(ring: Sequence[Point]) -> NoShape | None:
    if not all(math.isfinite(x) and math.isfinite(y) for x, y in ring):
        return _not_finite([value for point in ring for value in point])
    if len(set(ring)) < 3:
        return NoShape(
            rule="polygon_has_three_points",
            expected="at least 3 different points",
            actual=f"{len(set(ring))}: {_shown(ring)}",
        )
    return None


def _not_finite(values: Iterable[float]) -> NoShape:
    bad = [value for value in values if not math.isfinite(value)]
    return NoShape(
        rule="coordinates_are_finite", expected="finite numbers", actual=f"{bad[0]} in {len(bad)}"
    )


def _no_area(actual: str) -> NoShape:
    return NoShape(rule="box_has_an_area", expected="width and height above 0", actual=actual)


def _shown(ring: Sequence[Point]) -> str:
    text = " ".join(f"{x:g},{y:g}" for x, y in ring[:8])
    return f"{text} …" if len(ring) > 8 else text


def _direction(ring: Sequence[Point]) -> int:
    """Return 1 if the ring runs clockwise on the screen, -1 if against, 0 if it has no area."""
    # Shoelace formula; with y down, positive means clockwise. Relative to the first point, so that
    # a small ring far from the origin keeps its digits.
    x0, y0 = ring[0]
    moved = [(x - x0, y - y0) for x, y in ring]
    terms = [(a[0] * b[1], b[0] * a[1]) for a, b in zip(moved, [*moved[1:], moved[0]], strict=True)]
    total = sum(plus - minus for plus, minus in terms)
    size = sum(abs(plus) + abs(minus) for plus, minus in terms)
    if is_sure_of_area(total, size, len(ring)):
        return 1 if total > 0 else -1
    area = _exact_double_area(ring)
    return (area > 0) - (area < 0)


def is_sure_of_area(total: Any, size: Any, count: int) -> Any:
    """Return whether a sum of products, as a double, has the sign of the exact sum.

    Args:
        total: The sum; a number or a NumPy array.
        size: The sum of the products' sizes.
        count: How many points the products are of.
    """
    return (size > _TINY) & (size < math.inf) & (abs(total) > _UNSURE * size * count)


def _exact_double_area(ring: Sequence[Point]) -> Fraction:
    exact = [(Fraction(x), Fraction(y)) for x, y in ring]
    pairs = zip(exact, [*exact[1:], exact[0]], strict=True)
    return sum((a[0] * b[1] - b[0] * a[1] for a, b in pairs), Fraction())


def _from_top_left(ring: Sequence[Point], box: Box) -> tuple[Point, ...]:
    def nearness(point: Point) -> tuple[float, float, float]:
        x, y = point
        right, down = x - box.x_min, y - box.y_min
        return (right * right + down * down, y, x)

    nearest = min(ring, key=nearness)
    starts = [i for i, point in enumerate(ring) if point == nearest]
    turned = [(*ring[i:], *ring[:i]) for i in starts]
    return min(turned, key=lambda points: [(y, x) for x, y in points])
