"""One form of outlines and boxes: independent of how they were written, and exact."""

import math
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lake_assets.contracts.geometry import (
    Box,
    NoShape,
    Shape,
    in_pixels,
    shape_of_corners,
    shape_of_polygon,
    shape_of_size,
)
from lake_assets.contracts.shape_columns import (
    BOX_TYPE,
    POLYGON_TYPE,
    normal_boxes,
    normal_polygons,
    outside_image,
)

NAN, INF = math.nan, math.inf
SQUARE = ((0.0, 0.0), (4.0, 0.0), (4.0, 3.0), (0.0, 3.0))

ANY = st.floats(width=64)
FEW = st.integers(-3, 3).map(float)
"""So few that points repeat, lie on one line and tie."""
COORDINATES = st.one_of(FEW, st.floats(-1e4, 1e4), st.floats(allow_nan=False, allow_infinity=False))
RINGS = st.one_of(
    st.lists(st.tuples(FEW, FEW), min_size=3, max_size=8),
    st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=6),
)


def double_area(ring):
    """Exactly twice the area, positive if clockwise on the screen."""
    exact = [(Fraction(x), Fraction(y)) for x, y in ring]
    return sum(
        exact[i - 1][0] * exact[i][1] - exact[i][0] * exact[i - 1][1] for i in range(len(exact))
    )


def shaped(ring) -> Shape:
    shape = shape_of_polygon(ring)
    assume(isinstance(shape, Shape))
    return shape


def rule(shape) -> str:
    assert isinstance(shape, NoShape)
    return shape.rule


@pytest.mark.parametrize(
    ("ring", "normal"),
    [
        pytest.param(SQUARE, SQUARE, id="as it is"),
        pytest.param(SQUARE[2:] + SQUARE[:2], SQUARE, id="from another corner"),
        pytest.param(SQUARE[::-1], SQUARE, id="against the clock"),
        pytest.param((*SQUARE, SQUARE[0]), SQUARE, id="closed"),
        pytest.param((SQUARE[0], *SQUARE), SQUARE, id="a point twice in a row"),
        pytest.param(
            ((5, 0), (10, 5), (5, 10), (0, 5)), ((5, 0), (10, 5), (5, 10), (0, 5)),
            id="two equally near: the upper one first",
        ),
        pytest.param(
            ((2, 1), (9, 3), (8, 9), (1, 6)), ((2, 1), (9, 3), (8, 9), (1, 6)), id="tilted"
        ),
        pytest.param(
            # Through (0, 0) twice.
            ((0, 0), (2, 1), (2, 2), (0, 0), (1, 3), (0, 3)),
            ((0, 0), (2, 1), (2, 2), (0, 0), (1, 3), (0, 3)),
            id="passes its first point twice",
        ),
        pytest.param(((-0.0, -0.0), (1, 0), (0, 1)), ((0, 0), (1, 0), (0, 1)), id="minus zero"),
    ],
)  # fmt: skip
def test_a_polygon_has_one_normal_form(ring, normal):
    shape = shape_of_polygon(ring)
    assert isinstance(shape, Shape)
    assert shape.polygon == tuple((float(x), float(y)) for x, y in normal)
    assert "-0.0" not in repr(shape)


@pytest.mark.parametrize(
    ("ring", "broken"),
    [
        pytest.param((), "polygon_has_three_points", id="no points"),
        pytest.param(((1, 1),) * 4, "polygon_has_three_points", id="one point"),
        pytest.param(((0, 0), (5, 5), (0, 0)), "polygon_has_three_points", id="a line and back"),
        pytest.param(((0, 0), (1, 1), (2, 2)), "polygon_has_an_area", id="on one line"),
        pytest.param(
            ((0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.7, 0.7)),
            "polygon_has_an_area",
            id="on one line, in doubles",
        ),
        pytest.param(((0, 0), (2, 2), (2, 0), (0, 2)), "polygon_has_an_area", id="bow tie"),
        pytest.param(
            # A bow tie whose area is 32 in doubles, as the products are too large for them.
            ((0, 0), (255512575, 140040410), (397236329, 509011111), (652748904, 649051521)),
            "polygon_has_an_area",
            id="bow tie that only exact numbers see",
        ),
        pytest.param(((0, 0), (NAN, 1), (2, 2)), "coordinates_are_finite", id="nan"),
        pytest.param(((0, 0), (INF, 1), (2, 2)), "coordinates_are_finite", id="infinite"),
    ],
)
def test_what_is_no_polygon_has_a_reason(ring, broken):
    shape = shape_of_polygon(ring)
    assert rule(shape) == broken
    assert shape.expected
    assert shape.actual
    assert normal_polygons(polygons_of([ring])).problems == {0: shape}


@given(RINGS, st.integers(0, 10), st.booleans())
def test_the_normal_form_depends_neither_on_the_first_point_nor_on_the_direction(ring, turn, back):
    turn %= len(ring)
    other = ring[turn:] + ring[:turn]
    assert shape_of_polygon(other[::-1] if back else other) == shape_of_polygon(ring) or (
        # What is wrong may be told from another point on.
        rule(shape_of_polygon(other)) == rule(shape_of_polygon(ring))
    )


@given(RINGS)
def test_the_normal_form_is_its_own(ring):
    shape = shaped(ring)
    assert shape_of_polygon(shape.polygon) == shape


@given(RINGS)
def test_the_area_is_kept_and_clockwise(ring):
    shape = shaped(ring)
    assert double_area(shape.polygon) == abs(double_area(ring))


@given(RINGS)
def test_the_box_is_around_all_points_and_no_larger(ring):
    shape = shaped(ring)
    xs, ys = [x for x, _ in ring], [y for _, y in ring]
    assert shape.box == Box(min(xs), min(ys), max(xs), max(ys))
    assert set(shape.polygon) == set(ring)


@given(st.lists(st.tuples(ANY, ANY), max_size=6))
def test_no_points_make_an_error(ring):
    shape = shape_of_polygon(ring)
    assert isinstance(shape, Shape) == (
        all(math.isfinite(x) and math.isfinite(y) for x, y in ring)
        and len(set(ring)) > 2
        and double_area(ring) != 0
    )


def test_a_box_by_its_corners_or_its_size_is_a_rectangle_from_the_top_left():
    by_corners = shape_of_corners(1, 2, 4, 6)
    assert by_corners == shape_of_size(1, 2, 3, 4)
    assert by_corners == Shape(((1, 2), (4, 2), (4, 6), (1, 6)), Box(1, 2, 4, 6))
    assert shape_of_polygon(by_corners.polygon) == by_corners


@pytest.mark.parametrize(
    ("shape", "broken"),
    [
        pytest.param(shape_of_size(0, 0, -1, 2), "box_has_an_area", id="negative width"),
        pytest.param(shape_of_size(0, 0, 0, 2), "box_has_an_area", id="no width"),
        pytest.param(shape_of_size(1e300, 0, 1, 2), "box_has_an_area", id="width lost in rounding"),
        pytest.param(shape_of_size(0, 0, NAN, 2), "coordinates_are_finite", id="nan"),
        pytest.param(shape_of_size(1e308, 0, 1e308, 2), "coordinates_are_finite", id="overflow"),
        pytest.param(shape_of_corners(5, 0, 5, 2), "box_has_an_area", id="corners on one line"),
        pytest.param(shape_of_corners(5, 0, 4, 2), "box_has_an_area", id="corners swapped"),
        pytest.param(shape_of_corners(0, 0, INF, 2), "coordinates_are_finite", id="infinite"),
    ],
)
def test_what_is_no_box_has_a_reason(shape, broken):
    assert rule(shape) == broken


@pytest.mark.parametrize(
    ("points", "whole", "pixels"),
    [
        ([(0.5, 0.25), (1, 1)], 1, [(100, 25), (200, 100)]),
        ([(500, 250), (1000, 0)], 1000, [(100, 25), (200, 0)]),
    ],
)
def test_shares_of_an_image_become_pixels(points, whole, pixels):
    assert in_pixels(points, width_px=200, height_px=100, whole=whole) == pixels


def test_a_shape_is_what_the_columns_hold():
    columns = shape_of_corners(1, 2, 4, 6).columns()
    assert pa.array([columns["polygon"]], POLYGON_TYPE)[0].as_py() == columns["polygon"]
    assert columns["polygon"][0] == {"x": 1, "y": 2}
    assert columns["box"] == {"x_min": 1, "y_min": 2, "x_max": 4, "y_max": 6}


# Columns


def polygons_of(rings):
    return pa.array(
        [None if ring is None else [{"x": x, "y": y} for x, y in ring] for ring in rings],
        POLYGON_TYPE,
    )


@given(st.lists(st.one_of(st.none(), RINGS, st.lists(st.tuples(ANY, ANY), max_size=5)), max_size=8))
def test_a_column_of_polygons_is_as_each_of_them(rings):
    rings = [ring or None for ring in rings]
    shapes = normal_polygons(polygons_of(rings))
    each = [ring and shape_of_polygon(ring) for ring in rings]
    columns = [shape.columns() if isinstance(shape, Shape) else None for shape in each]
    assert shapes.polygons.to_pylist() == [found and found["polygon"] for found in columns]
    assert shapes.boxes.to_pylist() == [found and found["box"] for found in columns]
    assert list(shapes.problems) == [i for i, s in enumerate(each) if isinstance(s, NoShape)]
    assert [p.rule for p in shapes.problems.values()] == [
        shape.rule for shape in each if isinstance(shape, NoShape)
    ]


def test_a_slice_of_chunks_is_a_column_too():
    column = pa.chunked_array([polygons_of([SQUARE, None]), polygons_of([SQUARE[::-1]])])
    shapes = normal_polygons(column.slice(1))
    assert shapes.polygons.to_pylist() == [None, [{"x": x, "y": y} for x, y in SQUARE]]


def test_a_coordinate_that_is_missing_is_a_problem():
    column = pa.array([[{"x": 1, "y": None}, {"x": 2, "y": 2}, {"x": 3, "y": 0}]], POLYGON_TYPE)
    assert normal_polygons(column).problems[0].rule == "coordinates_are_finite"


def test_an_empty_polygon_is_a_problem_and_none_is_not():
    shapes = normal_polygons(pa.array([[], None], POLYGON_TYPE))
    assert shapes.polygons.to_pylist() == [None, None]
    assert {row: p.rule for row, p in shapes.problems.items()} == {0: "polygon_has_three_points"}


@given(st.lists(st.one_of(st.none(), st.tuples(*[st.one_of(FEW, ANY)] * 4)), max_size=8))
def test_a_column_of_boxes_is_as_each_of_them(boxes):
    names = ("x_min", "y_min", "x_max", "y_max")
    column = pa.array([box and dict(zip(names, box, strict=True)) for box in boxes], BOX_TYPE)
    shapes = normal_boxes(column)
    each = [box and shape_of_corners(*box) for box in boxes]
    columns = [shape.columns() if isinstance(shape, Shape) else None for shape in each]
    assert shapes.polygons.to_pylist() == [found and found["polygon"] for found in columns]
    assert shapes.boxes.to_pylist() == [found and found["box"] for found in columns]
    assert list(shapes.problems) == [i for i, s in enumerate(each) if isinstance(s, NoShape)]


@pytest.mark.parametrize(
    ("box", "size", "tolerance_px", "wrong"),
    [
        pytest.param((0, 0, 10, 20), (10, 20), 0, None, id="exactly the image"),
        pytest.param((0, 0, 10.5, 20), (10, 20), 0, "x_max 10.5 > width 10", id="half a pixel"),
        pytest.param((0, 0, 10.5, 20), (10, 20), 0.5, None, id="half a pixel is tolerated"),
        pytest.param((-1, 0, 5, 5), (10, 20), 0, "x_min -1 < 0", id="left"),
        pytest.param((0, -2, 5, 5), (10, 20), 1, "y_min -2 < 0", id="above, by too much"),
        pytest.param(
            (-1, -1, 11, 21), (10, 20), 0,
            "x_min -1 < 0, y_min -1 < 0, x_max 11 > width 10, y_max 21 > height 20",
            id="on all sides",
        ),
        pytest.param((0, 0, NAN, 5), (10, 20), 0, "x_max nan > width 10", id="nan"),
        pytest.param((0, 0, 99, 99), (None, 20), 0, None, id="size not known"),
        pytest.param(None, (10, 20), 0, None, id="no box"),
    ],
)  # fmt: skip
def test_a_box_outside_its_image_is_told(box, size, tolerance_px, wrong):
    names = ("x_min", "y_min", "x_max", "y_max")
    inside = {"x_min": 0, "y_min": 0, "x_max": 1, "y_max": 1}
    boxes = pa.array([inside, box and dict(zip(names, box, strict=True))], BOX_TYPE)
    widths, heights = pa.array([5, size[0]], pa.int32()), pa.array([5, size[1]], pa.int32())
    found = outside_image(boxes, widths, heights, tolerance_px=tolerance_px)
    assert found.to_pylist() == [None, wrong]
