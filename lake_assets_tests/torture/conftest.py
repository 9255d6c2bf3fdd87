from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake_assets_tests.torture.server import Server, Task


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process that forks, with all imported that ingestion imports."""
    root = tmp_path_factory.mktemp("warm")
    place = {"scenario": "images with rows", "folder": str(root / "d"), "home": str(root / "lake")}
    (root / "d").mkdir()
    with Server() as running:
        running.warm(Task(name="prepare", arguments=place))
        running.warm(Task(name="heal_and_look", arguments=place))
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
