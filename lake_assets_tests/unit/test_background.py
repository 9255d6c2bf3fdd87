"""Calls in the background: in order, few at a time, and no error of theirs is ever lost."""

import threading

import pytest

from lake_assets.storage.tables.background import (
    MOST_WAITING,
    THREAD_NAME,
    BackgroundCalls,
    BackgroundLanes,
)


@pytest.fixture
def calls():
    calls = BackgroundCalls()
    yield calls
    calls.stop()
    assert threads() == []


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


def fail():
    raise ValueError("it failed")


def test_calls_run_in_order_and_all_before_the_end(calls):
    seen = []
    for number in range(20):
        calls.submit(lambda number=number: seen.append(number))
    calls.finish()
    assert seen == list(range(20))


def test_calls_run_beside_the_caller(calls):
    names = []
    calls.submit(lambda: names.append(threading.current_thread().name))
    calls.finish()
    assert names[0].startswith(THREAD_NAME)


def test_no_call_needs_no_thread(calls):
    assert threads() == []
    calls.finish()


def test_it_goes_on_after_the_end(calls):
    seen = []
    for number in range(2):
        calls.submit(lambda number=number: seen.append(number))
        calls.finish()
        assert threads() == []
    assert seen == [0, 1]


def test_the_caller_waits_while_enough_calls_wait(calls):
    may_end, begun = threading.Event(), threading.Semaphore(0)
    held = [0]

    def hold():
        begun.release()
        may_end.wait(10)
        held[0] -= 1

    def submit():
        for _ in range(MOST_WAITING + 5):
            calls.submit(hold)
            held[0] += 1

    caller = threading.Thread(target=submit)
    caller.start()
    begun.acquire()
    caller.join(0.05)
    assert caller.is_alive()
    assert held[0] <= MOST_WAITING + 1
    may_end.set()
    caller.join()


def test_an_error_comes_out_at_the_end(calls):
    calls.submit(fail)
    with pytest.raises(ValueError, match="it failed"):
        calls.finish()


def test_an_error_comes_out_of_the_calls_after_it(calls):
    with pytest.raises(ValueError, match="it failed"):
        for _ in range(MOST_WAITING + 2):
            calls.submit(fail)


def test_after_an_error_nothing_is_finished(calls):
    calls.submit(fail)
    for attempt in (calls.finish, calls.finish, lambda: calls.submit(fail)):
        with pytest.raises(ValueError, match="it failed"):
            attempt()


def test_no_call_runs_after_one_that_failed(calls):
    may_fail, seen = threading.Event(), []

    def fail_later():
        may_fail.wait(10)
        fail()

    calls.submit(fail_later)
    calls.submit(lambda: seen.append("second"))
    may_fail.set()
    with pytest.raises(ValueError, match="it failed"):
        calls.finish()
    calls.stop()  # with `cancel_futures`, but the second may have begun by now
    assert seen == []


def test_stopping_drops_what_has_not_begun(calls):
    may_end, has_begun, seen = threading.Event(), threading.Event(), []

    def first():
        has_begun.set()
        may_end.wait(10)
        seen.append("first")

    calls.submit(first)
    calls.submit(lambda: seen.append("second"))
    has_begun.wait(10)
    threading.Timer(0.05, may_end.set).start()
    calls.stop()
    assert seen == ["first"]


def test_stopping_forgets_errors(calls):
    calls.submit(fail)
    calls.stop()
    calls.finish()


@pytest.fixture
def lanes():
    lanes = BackgroundLanes(2)
    yield lanes
    lanes.stop()
    assert threads() == []


def test_lanes_run_beside_each_other(lanes):
    both = threading.Barrier(2)
    for lane in range(2):
        lanes.submit(lane, lambda: both.wait(10))
    lanes.finish()
    assert not both.broken


def test_calls_of_a_lane_run_in_order(lanes):
    seen = [], []
    for number in range(20):
        lanes.submit(number % 2, lambda number=number: seen[number % 2].append(number))
    lanes.finish()
    assert seen == (list(range(0, 20, 2)), list(range(1, 20, 2)))


def test_the_error_of_a_lane_comes_out_of_the_others_calls(lanes):
    failed = threading.Event()

    def fail_and_say():
        failed.set()
        fail()

    lanes.submit(1, fail_and_say)
    failed.wait(10)
    with pytest.raises(ValueError, match="it failed"):
        while True:
            lanes.submit(0, lambda: None)


@pytest.mark.parametrize("lane", range(2))
def test_the_error_of_any_lane_comes_out_at_the_end(lanes, lane):
    lanes.submit(lane, fail)
    with pytest.raises(ValueError, match="it failed"):
        lanes.finish()
