"""What an engine does, and what its worker processes have to survive."""

import functools
import itertools
import operator
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lake_assets.errors import InvalidRequest, UnreadableMedia
from lake_assets.media.engines import IN_FLIGHT_PER_WORKER, Engine, WorkerDied, open_engine
from lake_assets.media.inspect import inspect_image
from lake_assets.media.worker_processes import WorkerLimits, memory_limit_bytes


@pytest.fixture(params=[1, 2], ids=["1 worker", "2 workers"], scope="module")
def engine(request):
    with Engine(request.param) as engine:
        yield engine


@pytest.fixture(scope="module")
def pool():
    with Engine(2) as engine:
        yield engine


@pytest.fixture
def impatient():
    """Two workers that give an item a second."""
    with Engine(2, WorkerLimits(item_timeout_s=1)) as engine:
        yield engine


# Worker functions. Those with effects are given what they need as an item.


def square(number: int) -> int:
    return number * number


def die_over_negatives(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), -number)
    return number * number


def exit_over_zero(number: int) -> int:
    if number == 0:
        os._exit(7)
    return number


def die_once(marker: Path) -> str:
    """Die the first time that ``marker`` is met; an out-of-memory kill that passes."""
    if marker.exists():
        return marker.name
    marker.touch()
    os._exit(1)


def size_unless_empty(data: bytes) -> int:
    if not data:
        os._exit(1)
    return len(data)


def echo_back(data: bytes) -> bytes:
    return data


def test_results_come_in_the_order_of_the_items(engine):
    assert list(engine.map(square, range(50))) == [number * number for number in range(50)]


def test_nothing_in_gives_nothing_out(engine):
    assert list(engine.map(square, [])) == []


def test_results_may_be_false(engine):
    assert list(engine.map(operator.not_, [1, 0, 2])) == [False, True, False]
    assert list(engine.map(operator.pos, [0, 0])) == [0, 0]


def test_an_endless_input_is_taken_as_results_are_asked_for(engine):
    taken = []

    def numbers():
        for number in itertools.count():
            taken.append(number)
            yield number

    results = engine.map(square, numbers())
    assert list(itertools.islice(results, 10)) == [number * number for number in range(10)]
    results.close()
    assert len(taken) <= 10 + engine.workers * IN_FLIGHT_PER_WORKER


def test_nothing_is_taken_before_the_first_result_is_asked_for(engine):
    items = iter([1, 2])
    engine.map(square, items)
    assert next(items) == 1


def test_what_the_function_raises_reaches_the_caller_after_the_results_before(engine):
    results = engine.map(functools.partial(operator.floordiv, 12), [3, 4, 0, 6])
    assert [next(results), next(results)] == [4, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_our_errors_keep_their_context_across_processes(engine):
    with pytest.raises(UnreadableMedia) as caught:
        list(engine.map(functools.partial(inspect_image, name="a.png"), [b""]))
    assert caught.value.context["rule"] == "file_is_not_empty"


def test_what_the_input_raises_reaches_the_caller(engine):
    def broken():
        yield 2
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(engine.map(square, broken()))


def test_an_engine_works_again_after_an_error_and_after_closing(engine):
    with pytest.raises(TypeError):
        list(engine.map(square, [None]))
    assert list(engine.map(square, [3])) == [9]
    engine.close()
    engine.close()
    assert list(engine.map(square, [4])) == [16]


def test_large_items_pass(engine):
    blob = bytes(3_000_000)
    assert all(result == blob for result in engine.map(echo_back, [blob] * 20))


# Deaths.


@pytest.mark.parametrize("place", [0, 3, 29], ids=["first", "middle", "last"])
def test_a_dead_worker_costs_only_its_item(pool, place):
    items = list(range(30))
    items[place] = -signal.SIGKILL
    expected: list[object] = [number * number for number in items]
    expected[place] = WorkerDied(
        item_index=place, reason="worker process ended: signal SIGKILL, perhaps out of memory"
    )
    assert list(pool.map(die_over_negatives, items)) == expected


def test_several_deaths_are_several_lost_items(pool):
    items = [1, 0, 0, 2, *range(3, 30), 0]
    results = list(pool.map(exit_over_zero, items))
    lost = [index for index, result in enumerate(results) if isinstance(result, WorkerDied)]
    assert lost == [index for index, item in enumerate(items) if item == 0]
    assert [result for result in results if not isinstance(result, WorkerDied)] == [
        item for item in items if item
    ]
    assert all(results[index].item_index == index for index in lost)
    assert {results[index].reason for index in lost} == {"worker process ended: exit code 7"}


def test_an_item_whose_worker_died_by_chance_is_not_lost(pool, tmp_path):
    items = [tmp_path / name for name in "abcde"]
    for item in items[1:]:
        item.touch()
    assert list(pool.map(die_once, items)) == ["a", "b", "c", "d", "e"]


def test_a_death_among_large_items_does_not_hang(pool):
    blob = bytes(2_000_000)
    results = list(pool.map(size_unless_empty, [blob, b"", blob, blob, blob, b"", blob]))
    assert [isinstance(result, WorkerDied) for result in results] == [
        False, True, False, False, False, True, False,
    ]  # fmt: skip


def pids(engine):
    return set(engine.map(operator.methodcaller("__call__"), [os.getpid] * 40))


def test_workers_are_other_processes_and_stay_warm(pool):
    first = pids(pool)
    assert os.getpid() not in first
    assert pids(pool) <= first


def test_one_worker_is_another_process_too():
    with open_engine(1) as engine:
        assert os.getpid() not in pids(engine)


def test_no_worker_is_started_for_nothing():
    with Engine(2) as engine:
        assert list(engine.map(square, [])) == []
        assert engine.processes == []
        assert list(engine.map(square, [3])) == [9]
        assert len(engine.processes) == 1


def test_a_worker_that_died_between_two_maps_is_replaced(pool):
    before = pids(pool)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert list(pool.map(square, range(20))) == [number * number for number in range(20)]
    assert not pids(pool) & before


def test_an_error_says_where_in_the_worker_it_came_from(pool):
    with pytest.raises(TypeError) as caught:
        list(pool.map(square, [None]))
    assert "in square" in str(caught.value.__cause__)


# Items that hang, or take too much.


def hang_over_zero(number: int) -> int:
    """Loop without ever letting another thread of this process run."""
    if number == 0:
        re.match(r"(a|a)*b", "a" * 64)  # 2^64 steps, all in one call of C
    return number


def sleep_over_zero(number: int) -> int:
    while number == 0:
        time.sleep(3600)
    return number


def abort_over_zero(number: int) -> int:
    if number == 0:
        os.abort()
    return number


def hang_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        time.sleep(3600)
    return marker.name


def take_memory(byte_count: int) -> int:
    return len(bytearray(byte_count))


@pytest.mark.parametrize("function", [hang_over_zero, sleep_over_zero], ids=lambda f: f.__name__)
@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_that_hangs_is_ended_and_the_others_go_on(function, workers):
    with Engine(workers, WorkerLimits(item_timeout_s=1)) as engine:
        results = list(engine.map(function, [1, 2, 0, 3, 4]))
    assert results == [
        1, 2, WorkerDied(item_index=2, reason="still at work after 1 s", is_timeout=True), 3, 4,
    ]  # fmt: skip


def test_what_was_slow_by_chance_is_not_lost(impatient, tmp_path):
    items = [tmp_path / name for name in "abc"]
    assert list(impatient.map(hang_once, items)) == ["a", "b", "c"]


def test_time_is_counted_for_each_item_and_not_while_its_result_waits(impatient):
    results = impatient.map(time.sleep, [0.2] * 12)
    assert next(results) is None
    time.sleep(1.2)  # the caller is busy for longer than an item may take
    assert list(results) == [None] * 11


def test_an_abort_is_a_lost_item(pool):
    results = list(pool.map(abort_over_zero, [1, 0, 2]))
    assert results[1] == WorkerDied(
        item_index=1, reason="worker process ended: signal SIGABRT"
    )  # fmt: skip
    assert [results[0], results[2]] == [1, 2]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not hold a process to RLIMIT_AS")
def test_memory_beyond_the_limit_is_refused_to_the_item():
    with Engine(1, WorkerLimits(memory_bytes=2 * 2**30)) as engine:
        assert list(engine.map(take_memory, [2**20])) == [2**20]
        with pytest.raises(MemoryError):
            list(engine.map(take_memory, [4 * 2**30]))
        assert list(engine.map(take_memory, [2**20])) == [2**20]


def test_a_worker_may_take_its_share_of_the_memory_at_most():
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for workers in (1, 2, 64):
        limit = memory_limit_bytes(workers, 10**12)
        assert limit == max(2**30, machine // workers)
    assert memory_limit_bytes(1, 1_000) <= 2 * 2**30 + 24_000


@pytest.mark.parametrize("workers", [0, -1])
def test_fewer_than_one_worker_is_refused(workers):
    with pytest.raises(InvalidRequest, match="at least 1"):
        open_engine(workers)


# Whole processes: how they end.


def script(folder: Path, body: str) -> list[str]:
    path = folder / "use_engine.py"
    path.write_text(textwrap.dedent(body))
    return [sys.executable, str(path)]


def watch(pid: int) -> int:
    """Return a file descriptor that is readable once the process has ended."""
    return os.pidfd_open(pid)


def wait_until_gone(watched: list[int]) -> None:
    """Return when every process has ended; the limit keeps an orphan from hanging the suite."""
    for descriptor in watched:
        ended, _, _ = select.select([descriptor], [], [], 60)
        os.close(descriptor)
        assert ended, "a worker outlived its parent"


BUSY = """
    import itertools, os, signal, sys, time
    from lake_assets.media.engines import Engine

    if __name__ == "__main__":
        # The tests may run in the background of a shell, which has them ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with Engine(2) as engine:
            print(next(engine.map(abs, [-1])), flush=True)
            pids = [worker.pid for worker in engine.processes]
            print(*pids, flush=True)
            for _ in engine.map({function}, itertools.repeat({item})):
                pass
"""
needs_pidfd = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="waits for a pid as on Linux"
)


@needs_pidfd
@pytest.mark.parametrize(
    ("function", "item"), [("abs", "1"), ("time.sleep", "3600")], ids=["busy", "stuck"]
)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_no_worker_outlives_its_parent(tmp_path, how, function, item):
    command = script(tmp_path, BUSY.format(function=function, item=item))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        parent.stdout.readline()
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        watched = [watch(pid) for pid in pids]
        assert watched
        if how == signal.SIGKILL:
            parent.kill()
        else:
            os.killpg(parent.pid, how)  # as a terminal does: to the workers, too
        wait_until_gone(watched)
        errors = parent.stderr.read()
    assert "ForkServerProcess" not in errors  # workers are silent about Ctrl-C


@needs_pidfd
def test_leaving_a_map_half_way_leaves_no_process():
    with Engine(2) as engine:
        for _ in engine.map(square, itertools.count()):
            watched = [watch(worker.pid) for worker in engine.processes]
            break
    assert len(watched) == 2
    assert all(select.select([descriptor], [], [], 0)[0] for descriptor in watched)
    for descriptor in watched:
        os.close(descriptor)


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    body = """
        from lake_assets.errors import FatalError
        from lake_assets.media.engines import Engine

        with Engine(2) as engine:
            try:
                print(list(engine.map(abs, [-1, -2])))
            except FatalError as error:
                print("told:", error.message)
    """
    ended = subprocess.run(script(tmp_path, body), capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("told:")
    assert "__main__" in ended.stdout
