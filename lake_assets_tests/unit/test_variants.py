"""Variants back in their places."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lake_assets.contracts.variants import (
    is_variant,
    main_name,
    merged_rows,
    variant_name,
    variant_value,
)

STRUCT = pa.struct([("a", pa.int64()), ("a__variant", pa.string()), ("b__variant", pa.string())])


@pytest.mark.parametrize(
    ("name", "main"),
    [
        pytest.param("k__variant", "k", id="lower_case"),
        pytest.param("K__Variant", "K", id="mixed_case"),
        pytest.param("k__variant__variant", "k__variant", id="twice"),
    ],
)
def test_a_variant_is_known_by_its_name(name, main):
    assert is_variant(name)
    assert main_name(name) == main
    assert not is_variant("variant")
    assert main_name("variant") == "variant"
    assert variant_name("k") == "k__variant"


CASES = {
    "main_alone": ({"k": [1, None]}, [{"k": 1}, {"k": None}]),
    "either": (
        {"k": [1, None, None], "k__variant": [None, '"x"', None]},
        [{"k": 1}, {"k": "x"}, {"k": None}],
    ),
    "variant_alone": ({"k__variant": ["[]", None]}, [{"k": []}, {"k": None}]),
    "other_case": ({"K": [None], "k__variant": ["5"]}, [{"K": 5}]),
    "large_integer": ({"k__variant": ["9" * 5000]}, [{"k": 10**5000 - 1}]),
    "in_a_struct": (
        {"s": pa.array([{"a": 1, "b__variant": "{}"}, {"a__variant": "1.5"}, None], STRUCT)},
        [{"s": {"a": 1, "b": {}}}, {"s": {"a": 1.5, "b": None}}, {"s": None}],
    ),
    "in_a_list": (
        {"s": pa.array([[{"a__variant": "true"}, None], None], pa.list_(STRUCT))},
        [{"s": [{"a": True, "b": None}, None]}, {"s": None}],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_variants_are_put_back_at_every_depth(case):
    columns, rows = CASES[case]
    assert merged_rows(pa.table(columns)) == rows


def test_text_that_is_no_json_is_no_variant():
    with pytest.raises(ValueError, match="Expecting"):
        variant_value("x")
