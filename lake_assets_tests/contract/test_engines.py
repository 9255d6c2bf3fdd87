"""What every engine does, and what only a pool of processes has to survive."""

import functools
import itertools
import operator
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lake_assets.errors import InvalidRequest, UnreadableMedia
from lake_assets.media.engines import (
    IN_FLIGHT_PER_WORKER,
    Engine,
    ProcessPoolEngine,
    SerialEngine,
    WorkerDied,
    open_engine,
)
from lake_assets.media.inspect import inspect_image


@pytest.fixture(params=["serial", "pool of 1", "pool of 2"], scope="module")
def engine(request):
    made: dict[str, Engine] = {
        "serial": SerialEngine(),
        "pool of 1": ProcessPoolEngine(1),
        "pool of 2": ProcessPoolEngine(2),
    }
    with made[request.param] as engine:
        yield engine


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolEngine(2) as engine:
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


# Both engines.


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


# The pool.


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


def test_workers_are_other_processes_and_stay_warm(pool):
    def pids() -> set[int]:
        return set(pool.map(operator.methodcaller("__call__"), [os.getpid] * 40))

    first = pids()
    assert os.getpid() not in first
    assert pids() <= first or len(first) < pool.workers


def test_a_number_of_workers_chooses_the_engine():
    assert isinstance(open_engine(1), SerialEngine)
    with open_engine(3) as engine:
        assert isinstance(engine, ProcessPoolEngine)
        assert engine.workers == 3


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
    import itertools, os, sys, time
    from lake_assets.media.engines import ProcessPoolEngine

    if __name__ == "__main__":
        with ProcessPoolEngine(2) as engine:
            print(next(engine.map(abs, [-1])), flush=True)
            pids = [process.pid for process in engine._pool._processes.values()]
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
    with ProcessPoolEngine(2) as engine:
        for _ in engine.map(square, itertools.count()):
            break
        watched = [watch(process.pid) for process in engine._pool._processes.values()]
    assert watched
    assert all(select.select([descriptor], [], [], 0)[0] for descriptor in watched)
    for descriptor in watched:
        os.close(descriptor)


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    body = """
        from lake_assets.errors import FatalError
        from lake_assets.media.engines import ProcessPoolEngine

        with ProcessPoolEngine(2) as engine:
            try:
                print(list(engine.map(abs, [-1, -2])))
            except FatalError as error:
                print("told:", error.message)
    """
    ended = subprocess.run(script(tmp_path, body), capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("told:")
    assert "__main__" in ended.stdout
