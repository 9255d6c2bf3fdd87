"""Entries are worked on by threads and come out in order."""

import itertools
import threading

import pytest

from lake_assets.intake.flow import in_turn


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 2_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_each_entry_comes_out_once_in_order(count, threads):
    found = list(in_turn(range(count), lambda number: number * 2, threads=threads))
    assert found == [(number, number * 2) for number in range(count)]


def test_a_slow_entry_holds_its_place_while_others_go_on():
    may_end = threading.Event()

    def work(number):
        if number == 0:
            assert may_end.wait(60)
        elif number == 100:
            may_end.set()  # the other thread came that far
        return number

    found = list(in_turn(range(200), work, threads=2))
    assert [result for _, result in found] == list(range(200))


def test_what_work_raises_ends_it_all():
    worked_on = []

    def work(number):
        if number == 70:
            raise ValueError("no more")
        worked_on.append(number)

    with pytest.raises(ValueError, match="no more"):
        list(in_turn(itertools.count(), work, threads=2))
    assert set(range(60)) <= set(worked_on)


def test_what_entries_raise_ends_it_all():
    def entries():
        yield 1
        raise OSError("cannot list")

    with pytest.raises(OSError, match="cannot list"):
        list(in_turn(entries(), str, threads=2))


def test_whoever_stops_asking_stops_the_work():
    taken = []
    flow = in_turn(itertools.count(), taken.append, threads=2)
    next(flow)
    flow.close()
    assert len(taken) < 1_000, "without end, but for those that are asked for"
