"""Benches for bad input, and the seed that its random choices came from."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from lake_assets_tests.bad_input.bench import FULL, SEED, Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One lake per module: each delivery goes into a dataset of its own."""
    made = Bench(root=tmp_path_factory.mktemp("bad"))
    yield made
    made.close()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random choices that depend on the seed and the test alone."""
    return random.Random(f"{SEED} {request.node.name}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    size = "full" if FULL else "sampled"
    terminalreporter.write_line(f"bad input: {size}; again with LAKE_TEST_SEED={SEED}")
