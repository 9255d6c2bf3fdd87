"""Which runs pending uploads ask for: one per dataset, one key per set of uploads."""

import itertools

from lake_assets.contracts.names import DatasetName
from lake_assets.defs.ingestion.arrivals import Waiting, plan_runs

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
