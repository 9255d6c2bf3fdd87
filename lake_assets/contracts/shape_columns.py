"""Columns of polygons and boxes: their Arrow types, and whether they lie in their images."""

from __future__ import annotations

import pyarrow as pa

POINT_TYPE = pa.struct([("x", pa.float64()), ("y", pa.float64())])
POLYGON_TYPE = pa.list_(POINT_TYPE)
BOX_TYPE = pa.struct([(name, pa.float64()) for name in ("x_min", "y_min", "x_max", "y_max")])
