from __future__ import annotations

from lake_assets_tests.torture.walk import IS_FULL, SEED


def pytest_report_header() -> str:
    how = "in full" if IS_FULL else "sampled (LAKE_TEST_FULL=1: in full)"
    return f"torture: {how}, LAKE_TEST_SEED={SEED}"
