from __future__ import annotations

import hypothesis

from lake_assets_tests.torture.walk import IS_FULL, SEED

# A busy machine takes as long as it takes: no test is timed.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


def pytest_report_header() -> str:
    how = "in full" if IS_FULL else "sampled (LAKE_TEST_FULL=1: in full)"
    return f"torture: {how}, LAKE_TEST_SEED={SEED}"
