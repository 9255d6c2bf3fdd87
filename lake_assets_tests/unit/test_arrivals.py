"""Which runs pending uploads ask for: one per dataset, one key per set of uploads."""

import itertools

import pytest

from lake_assets.contracts.names import DatasetName
from lake_assets.defs.ingestion.arrivals import Waiting, back_off_s, next_runs, plan_runs

A, B = DatasetName("icdar", "sroie"), DatasetName("huggingface", "coco")


def waiting(upload_id, name=A, version="1"):
    return Waiting(name=name, upload_id=upload_id, version=version)


def test_nothing_waiting_asks_for_nothing():
    assert plan_runs([]) == ()


def test_each_dataset_gets_one_run_with_all_of_its_uploads():
    planned = plan_runs([waiting("2"), waiting("3", B), waiting("1")])
    assert [(run.name, run.upload_ids) for run in planned] == [(B, ("3",)), (A, ("1", "2"))]


def test_the_same_set_has_the_same_key_in_any_order():
    uploads = [waiting("1"), waiting("2"), waiting("3", B)]
    plans = {plan_runs(order) for order in itertools.permutations(uploads)}
    assert len(plans) == 1


def test_a_set_that_grew_has_another_key():
    (before,), (after,) = plan_runs([waiting("1")]), plan_runs([waiting("1"), waiting("2")])
    assert before.run_key != after.run_key


def test_an_upload_that_is_pending_anew_has_another_key():
    (before,), (after,) = plan_runs([waiting("1")]), plan_runs([waiting("1", version="2")])
    assert before.run_key != after.run_key


def test_equal_uploads_of_two_datasets_have_two_keys():
    first, second = plan_runs([waiting("1", A), waiting("1", B)])
    assert first.run_key != second.run_key


def test_runs_that_are_not_due_leave_their_places_to_others():
    planned = plan_runs([waiting("1", A), waiting("2", B)])
    due = next_runs(planned, busy=(), most=1, is_due=lambda run: run.name != A)
    assert [run.name for run in due] == [B]


@pytest.mark.parametrize(
    ("tries", "expected_s"), [(0, 0), (1, 0), (2, 20), (3, 40), (6, 320), (7, 600), (5000, 600)]
)
def test_each_try_that_was_no_use_makes_the_next_one_wait_longer(tries, expected_s):
    assert back_off_s(tries) == expected_s


def test_runs_wait_for_the_newest_upload_whenever_it_was_given_back():
    (first,), (again,) = (plan_runs([waiting("1"), waiting("2", version=v)]) for v in "12")
    assert first.waits_for == again.waits_for == f"{A}:2"
