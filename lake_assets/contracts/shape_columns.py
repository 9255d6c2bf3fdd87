"""Columns of polygons and boxes: their Arrow types, their normal form, and whether they fit images.

Invariant: a row comes out as ``geometry.shape_of_polygon`` or ``shape_of_corners`` has it. Plain
rows are done many at once with NumPy, all others by those functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.geometry import (
    NoShape,
    Shape,
    is_sure_of_area,
    shape_of_corners,
    shape_of_polygon,
)

BOX_NAMES = ("x_min", "y_min", "x_max", "y_max")
POINT_TYPE = pa.struct([("x", pa.float64()), ("y", pa.float64())])
POLYGON_TYPE = pa.list_(POINT_TYPE)
BOX_TYPE = pa.struct([(name, pa.float64()) for name in BOX_NAMES])

_Doubles = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Shapes of a column, in normal form."""

    polygons: Any
    """``pyarrow.ListArray`` of ``POLYGON_TYPE``; null where none was given or it has a problem."""
    boxes: Any
    """``pyarrow.StructArray`` of ``BOX_TYPE``, null in the same rows."""
    problems: dict[int, NoShape]
    """Why there is no shape, by row; rows where nothing was given are not among them."""


def normal_polygons(polygons: Any) -> Shapes:
    """Return a column of polygons in normal form, with their boxes.

    Args:
        polygons: ``pyarrow`` array of ``POLYGON_TYPE``, or of lists of structs with ``x`` and ``y``
            of any type that casts to it. A null coordinate counts as one that is no number.
    """
    column = _whole(polygons).cast(POLYGON_TYPE)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64)
    points = pc.list_flatten(column)
    x, y = (_doubles(pc.struct_field(points, name)) for name in ("x", "y"))
    order, is_plain = _plain_order(x, y, lengths)
    starts = np.cumsum(lengths) - lengths
    shapes: dict[int, Shape] = {}
    problems: dict[int, NoShape] = {}
    for row in np.flatnonzero(np.asarray(column.is_valid()) & ~is_plain).tolist():
        part = slice(starts[row], starts[row] + lengths[row])
        shape = shape_of_polygon(zip(x[part].tolist(), y[part].tolist(), strict=True))
        if isinstance(shape, Shape):
            shapes[row] = shape
        else:
            problems[row] = shape
    kept = lengths * is_plain
    kept[list(shapes)] = [len(shape.polygon) for shape in shapes.values()]
    ends = np.cumsum(kept)
    normal_x, normal_y = np.empty(kept.sum()), np.empty(kept.sum())
    plain_points = np.repeat(is_plain, kept)
    normal_x[plain_points], normal_y[plain_points] = x[order], y[order]
    for row, shape in shapes.items():
        part = slice(ends[row] - kept[row], ends[row])
        normal_x[part], normal_y[part] = np.array(shape.polygon).T
    return Shapes(
        polygons=_lists(normal_x, normal_y, ends, kept == 0),
        boxes=_bounds(normal_x, normal_y, ends - kept, kept == 0),
        problems=problems,
    )


def normal_boxes(boxes: Any) -> Shapes:
    """Return a column of boxes, ``BOX_TYPE`` or structs that cast to it, as shapes."""
    column = _whole(boxes).cast(BOX_TYPE)
    edges = [_doubles(pc.struct_field(column, name)) for name in BOX_NAMES]
    x0, y0, x1, y1 = edges
    with np.errstate(invalid="ignore"):
        good = np.isfinite(edges).all(axis=0) & (x1 > x0) & (y1 > y0)
    given = np.asarray(column.is_valid())
    problems = {}
    for row in np.flatnonzero(given & ~good).tolist():
        shape = shape_of_corners(*(float(edge[row]) for edge in edges))
        if isinstance(shape, NoShape):
            problems[row] = shape
    x = np.stack([x0, x1, x1, x0], axis=1)[good].ravel()
    y = np.stack([y0, y0, y1, y1], axis=1)[good].ravel()
    kept = np.where(good, 4, 0)
    return Shapes(
        polygons=_lists(x, y, np.cumsum(kept), ~good),
        boxes=_struct([np.where(good, edge, 0.0) for edge in edges], ~good),
        problems=problems,
    )


def outside_image(boxes: Any, widths: Any, heights: Any, *, tolerance_px: float = 0.0) -> Any:
    """Return for each box what of it lies outside its image.

    Args:
        boxes: ``pyarrow`` array of ``BOX_TYPE``.
        widths: Of the images, in pixels, one per box.
        heights: As ``widths``.
        tolerance_px: How far an edge may lie outside; at exactly 0 or the size it is inside.

    Returns:
        ``pyarrow.StringArray``, one per box, such as ``x_max 480 > width 467``. Null: it lies
        inside, or the box or the size of its image is not known.
    """
    column = _whole(boxes)
    x_min, y_min, x_max, y_max = (pc.struct_field(column, name) for name in BOX_NAMES)
    width, height = (_whole(size).cast(pa.float64()) for size in (widths, heights))
    # Asked the other way round, an edge that is no number would lie inside.
    wrong = [
        pc.invert(pc.greater_equal(x_min, -tolerance_px)),
        pc.invert(pc.greater_equal(y_min, -tolerance_px)),
        pc.invert(pc.less_equal(x_max, pc.add(width, tolerance_px))),
        pc.invert(pc.less_equal(y_max, pc.add(height, tolerance_px))),
    ]
    is_known = pc.and_(column.is_valid(), pc.and_(width.is_valid(), height.is_valid()))
    is_wrong = np.any([np.asarray(pc.fill_null(edge, False)) for edge in wrong], axis=0)
    texts: list[str | None] = [None] * len(column)
    for row in np.flatnonzero(is_wrong & np.asarray(is_known)).tolist():
        edges = (
            f"x_min {x_min[row].as_py():.15g} < 0",
            f"y_min {y_min[row].as_py():.15g} < 0",
            f"x_max {x_max[row].as_py():.15g} > width {width[row].as_py():.15g}",
            f"y_max {y_max[row].as_py():.15g} > height {height[row].as_py():.15g}",
        )
        texts[row] = ", ".join(
            edge for edge, bad in zip(edges, wrong, strict=True) if bad[row].as_py()
        )
    return pa.array(texts, pa.string())


def _plain_order(
    x: _Doubles, y: _Doubles, lengths: _Integers
) -> tuple[_Integers, npt.NDArray[np.bool_]]:
    """Return which points make up the normal form of plain polygons, and which polygons are plain.

    Args:
        x: Of the points of all polygons, one after the other.
        y: As ``x``.
        lengths: How many points each polygon has.
    """
    starts = np.cumsum(lengths) - lengths
    order = np.zeros(len(x), np.int64)
    is_plain = np.zeros(len(lengths), np.bool_)
    for count in np.unique(lengths[lengths > 2]).tolist():
        rows = np.flatnonzero(lengths == count)
        at = starts[rows][:, None] + np.arange(count)
        turned, sure = _turned(x[at], y[at])
        order[at[sure]] = np.take_along_axis(at, turned, axis=1)[sure]
        is_plain[rows[sure]] = True
    return order[np.repeat(is_plain, lengths)], is_plain


def _turned(x: _Doubles, y: _Doubles) -> tuple[_Integers, npt.NDArray[np.bool_]]:
    """Return the order of the points of rings of one length, and for which rings it is sure.

    Args:
        x: Shape (rings, points).
        y: As ``x``.
    """
    count = x.shape[1]
    with np.errstate(all="ignore"):
        sure = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
        sure &= ((x != np.roll(x, 1, axis=1)) | (y != np.roll(y, 1, axis=1))).all(axis=1)
        moved_x, moved_y = x - x[:, :1], y - y[:, :1]
        plus = moved_x * np.roll(moved_y, -1, axis=1)
        minus = np.roll(moved_x, -1, axis=1) * moved_y
        area = (plus - minus).sum(axis=1)
        sure &= is_sure_of_area(area, (np.abs(plus) + np.abs(minus)).sum(axis=1), count)
        right, down = x - x.min(axis=1, keepdims=True), y - y.min(axis=1, keepdims=True)
        nearness = right * right + down * down
    start = np.ones(x.shape, np.bool_)
    for values in (nearness, y, x):
        smallest = np.where(start, values, np.inf).min(axis=1, keepdims=True)
        start &= values == smallest
    sure &= start.sum(axis=1) == 1
    step = np.where(area > 0, 1, -1)[:, None]
    return (start.argmax(axis=1)[:, None] + step * np.arange(count)) % count, sure


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _doubles(values: Any) -> _Doubles:
    # Adding 0.0 makes 0.0 of -0.0.
    return np.asarray(pc.fill_null(values, np.nan), np.float64) + 0.0


def _lists(x: _Doubles, y: _Doubles, ends: _Integers, is_null: Any) -> Any:
    points = pa.StructArray.from_arrays([pa.array(x), pa.array(y)], fields=list(POINT_TYPE))
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, points, POLYGON_TYPE, mask=pa.array(is_null))


def _bounds(x: _Doubles, y: _Doubles, starts: _Integers, is_null: Any) -> Any:
    first = starts[~is_null]
    edges = [np.zeros(len(is_null)) for _ in BOX_NAMES]
    if len(first):
        found = (
            np.minimum.reduceat(x, first),
            np.minimum.reduceat(y, first),
            np.maximum.reduceat(x, first),
            np.maximum.reduceat(y, first),
        )
        for edge, values in zip(edges, found, strict=True):
            edge[~is_null] = values
    return _struct(edges, is_null)


def _struct(edges: Iterable[_Doubles], is_null: Any) -> Any:
    arrays = [pa.array(edge) for edge in edges]
    return pa.StructArray.from_arrays(arrays, fields=list(BOX_TYPE), mask=pa.array(is_null))
