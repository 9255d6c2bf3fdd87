"""The process while an upload is ingested: set up for it, and then as before."""

import sys

import pyarrow as pa
import pytest

from lake_assets.ingest.tuning import MUCH_BYTES, TURN_S, tuned_for


@pytest.fixture(autouse=True)
def pool():
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.mimalloc_memory_pool())
    yield
    pa.set_memory_pool(before)


def backend():
    return pa.default_memory_pool().backend_name


def test_mimalloc_gives_way_in_the_block():
    with tuned_for(MUCH_BYTES):
        assert backend() == "system"
    assert backend() == "mimalloc"


@pytest.mark.parametrize("chosen_s", [0.005, 0.02])
def test_threads_take_shorter_turns_in_the_block(chosen_s):
    before = sys.getswitchinterval()
    sys.setswitchinterval(chosen_s)
    try:
        with tuned_for(MUCH_BYTES):
            assert sys.getswitchinterval() == pytest.approx(TURN_S)
        assert sys.getswitchinterval() == pytest.approx(chosen_s)
    finally:
        sys.setswitchinterval(before)


def test_it_comes_back_after_an_error():
    with pytest.raises(KeyboardInterrupt), tuned_for(MUCH_BYTES):
        raise KeyboardInterrupt
    assert backend() == "mimalloc"


def test_it_comes_back_after_the_last_of_several_blocks():
    first, second = tuned_for(MUCH_BYTES), tuned_for(MUCH_BYTES)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert backend() == "system"
    assert sys.getswitchinterval() == pytest.approx(TURN_S)
    second.__exit__(None, None, None)
    assert backend() == "mimalloc"
    assert sys.getswitchinterval() == pytest.approx(0.005)


def test_what_was_made_in_the_block_outlives_it():
    with tuned_for(MUCH_BYTES):
        values = pa.array(range(100_000))
    assert values.cast(pa.float64())[99_999].as_py() == 99_999


def test_another_choice_stays():
    pa.set_memory_pool(pa.jemalloc_memory_pool())
    with tuned_for(MUCH_BYTES):
        assert backend() == "jemalloc"
    assert backend() == "jemalloc"


def test_for_little_it_is_left_alone():
    with tuned_for(MUCH_BYTES - 1):
        assert backend() == "mimalloc"
