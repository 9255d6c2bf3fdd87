"""Columns of lists: their items, which list each is of, and other items in their places.

Invariant: what lies beneath a null list is none of its items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def parents_of(lists: Any) -> Any:
    """Return the row of each of ``lists.flatten()``, as ``pyarrow.Int64Array``.

    Not ``list_parent_indices``: that also has rows for items beneath nulls, which Arrow files may
    have and ``flatten`` leaves out.
    """
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return pa.array(np.repeat(np.arange(len(lengths)), lengths), pa.int64())


def regrouped(lists: Any, items: Any, field: Any | None = None) -> Any:
    """Return lists of these items, as long as those of ``lists`` and null where they are.

    Args:
        lists: ``pyarrow`` array of lists of any type.
        items: One for each of ``lists.flatten()``.
        field: ``pyarrow.Field`` of the items; its type does not count.
    """
    lengths = pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
    kind = pa.list_(items.type if field is None else field.with_type(items.type))
    mask = lists.is_null() if lists.null_count else None
    return pa.ListArray.from_arrays(offsets, items, type=kind, mask=mask)
