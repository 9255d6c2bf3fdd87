"""Arrow's memory pool: another one while an upload is ingested, and then the one from before."""

import pyarrow as pa
import pytest

from lake_assets.ingest.memory import MUCH_BYTES, reused_memory


@pytest.fixture(autouse=True)
def pool():
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.mimalloc_memory_pool())
    yield
    pa.set_memory_pool(before)


def backend():
    return pa.default_memory_pool().backend_name


def test_mimalloc_gives_way_in_the_block():
    with reused_memory(MUCH_BYTES):
        assert backend() == "system"
    assert backend() == "mimalloc"


def test_it_comes_back_after_an_error():
    with pytest.raises(KeyboardInterrupt), reused_memory(MUCH_BYTES):
        raise KeyboardInterrupt
    assert backend() == "mimalloc"


def test_it_comes_back_after_the_last_of_several_blocks():
    first, second = reused_memory(MUCH_BYTES), reused_memory(MUCH_BYTES)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert backend() == "system"
    second.__exit__(None, None, None)
    assert backend() == "mimalloc"


def test_what_was_made_in_the_block_outlives_it():
    with reused_memory(MUCH_BYTES):
        values = pa.array(range(100_000))
    assert values.cast(pa.float64())[99_999].as_py() == 99_999


def test_another_choice_stays():
    pa.set_memory_pool(pa.jemalloc_memory_pool())
    with reused_memory(MUCH_BYTES):
        assert backend() == "jemalloc"
    assert backend() == "jemalloc"


def test_for_little_it_is_left_alone():
    with reused_memory(MUCH_BYTES - 1):
        assert backend() == "mimalloc"
