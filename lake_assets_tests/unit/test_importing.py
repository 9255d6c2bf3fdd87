"""Imports of many modules: the collector of cycles is off meanwhile, and then as before."""

import gc

import pytest

from lake_assets.imports import uncollected


@pytest.fixture(autouse=True)
def collector():
    yield
    gc.enable()


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_collector_is_off_in_the_block_and_then_as_before(was_enabled):
    (gc.enable if was_enabled else gc.disable)()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() == was_enabled


def test_an_import_that_fails_leaves_the_collector_on():
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()
