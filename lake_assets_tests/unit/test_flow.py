"""Entries are worked on by threads and come out in order."""

import itertools
import threading

import pytest

from lake_assets.intake.flow import worked_on


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 2_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_each_entry_comes_out_once_in_order(count, threads):
    found = list(worked_on(range(count), lambda number: number * 2, threads=threads, ahead=256))
    assert found == [(number, number * 2) for number in range(count)]


def test_a_slow_entry_holds_its_place_while_others_go_on():
    may_end = threading.Event()

    def work(number):
        if number == 0:
            assert may_end.wait(60)
        elif number == 100:
            may_end.set()  # the other thread came that far
        return number

    found = list(worked_on(range(200), work, threads=2, ahead=256))
    assert [result for _, result in found] == list(range(200))


def test_what_work_raises_ends_it_all():
    begun = []

    def work(number):
        if number == 70:
            raise ValueError("no more")
        begun.append(number)

    with pytest.raises(ValueError, match="no more"):
        list(worked_on(itertools.count(), work, threads=2, ahead=256))
    assert set(range(60)) <= set(begun)


def test_what_entries_raise_ends_it_all():
    def entries():
        yield 1
        raise OSError("cannot list")

    with pytest.raises(OSError, match="cannot list"):
        list(worked_on(entries(), str, threads=2, ahead=256))


def test_whoever_stops_asking_stops_the_work():
    taken = []
    flow = worked_on(itertools.count(), taken.append, threads=2, ahead=256)
    next(flow)
    flow.close()
    assert len(taken) < 1_000, "without end, but for those that are asked for"
