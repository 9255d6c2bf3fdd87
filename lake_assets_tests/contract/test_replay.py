"""Rows of the quarantine tried again: which go in, which stay, and that nothing comes twice.

The harness looks at the counts and the checks after each replay, and at every file at the end.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lake_assets.contracts.names import DatasetName, VariantName
from lake_assets.errors import LakeError, UnreadableSource
from lake_assets.intake.readers.upload_types import OpenFile
from lake_assets_tests.contract.replay_harness import DATA, NOTES, Replays
from lake_assets_tests.contract.small_lake import png

ROWS = [{"n": n, "k": "text" if n % 2 else n} for n in range(6)]
"""Every second one needs a column of another type than the first one gives it."""


@pytest.fixture
def lake(tmp_path):
    made = Replays(tmp_path / "lake", tmp_path / "deliveries")
    yield made
    made.adds_up()
    made.is_whole()


@pytest.fixture
def twin(tmp_path):
    """A lake where the contracts always were as they should be."""
    return Replays(tmp_path / "twin", tmp_path / "deliveries")


@pytest.fixture
def broken(monkeypatch):
    """Names of files that no reader understands, until they are taken out; True: at their end."""
    files: dict[str, bool] = {}
    chunks = OpenFile.chunks

    def read(self, types):
        name = self.file.name
        if name in files and not files[name]:
            raise UnreadableSource(f"{name} cannot be read", file=name)
        yield from chunks(self, types)
        if name in files:
            raise UnreadableSource(f"{name} cannot be read to its end", file=name)

    monkeypatch.setattr(OpenFile, "chunks", read)
    return files


def counts(outcome):
    return outcome.rows_in, outcome.accepted, outcome.rejected, outcome.duplicate


def picture(seed, side=40):
    return png(seed, side)


def reject_texts(lake, *names):
    """Deliver numbers, then files of which every second row does not fit; then let them in."""
    lake.promise(drift="quarantine")
    lake.deliver(lake.jsonl("first.jsonl", {"n": -1, "k": 1}))
    for name in names:
        lake.deliver(lake.jsonl(name, *ROWS))
    lake.promise(drift="evolve")


# -- rows of datasets


def test_rows_that_did_not_fit_their_table_go_in_once_it_may_change(lake, twin):
    reject_texts(lake, "rows.jsonl")
    assert lake.open_rules() == ["row_fits_the_schema"] * 3
    trial = lake.try_replay()
    assert (trial.passed, trial.rejected_by_rule, trial.left) == (3, {}, {})
    assert lake.states() == {"open": 3}, "a trial changes nothing"
    outcome = lake.replay()
    assert counts(outcome) == (3, 3, 0, 0)
    assert [change.change for change in outcome.schema_changes] == ["variant"]
    assert lake.states() == {"replayed": 3}
    (by,) = {row["replayed_by"] for row in lake.quarantine()}
    assert by == outcome.upload_id
    twin.promise()
    twin.deliver(lake.scratch / "first.jsonl")
    twin.deliver(lake.scratch / "rows.jsonl")
    assert lake.record_places() == twin.record_places()
    assert [r["k__variant"] for r in lake.records()] == [r["k__variant"] for r in twin.records()]


def test_a_second_replay_finds_nothing_new(lake):
    reject_texts(lake, "rows.jsonl")
    lake.replay()
    before = lake.records()
    assert lake.stage_replays() == []
    assert lake.records() == before


def test_two_replays_that_wait_take_each_row_once(lake):
    reject_texts(lake, "rows.jsonl")
    (first,) = lake.stage_replays()
    assert lake.stage_replays() == [first], "one that is to do the same is enough"
    (second,) = lake.stage_replays(rule="row_fits_the_schema")
    assert second != first
    assert [counts(outcome) for outcome in lake.ingest()] == [(3, 3, 0, 0), (0, 0, 0, 0)]
    assert len(lake.records()) == 7


def test_a_row_that_is_rejected_again_stays_with_its_new_reason(lake):
    lake.promise(drift="quarantine", unique_by=["n"])
    lake.deliver(lake.jsonl("first.jsonl", {"n": 0, "k": 1}))
    lake.deliver(lake.jsonl("rows.jsonl", {"n": None, "k": "x"}, {"n": 2, "k": "y"}))
    (before, _) = lake.quarantine()
    lake.promise(drift="evolve", unique_by=["n"])
    outcome = lake.replay()
    assert counts(outcome) == (1, 1, 0, 0)
    assert outcome.stayed == {"unique_key_is_present": 1}
    after, gone = lake.quarantine()
    assert (after["state"], gone["state"]) == ("open", "replayed")
    assert (before["rule"], after["rule"]) == ("row_fits_the_schema", "unique_key_is_present")
    kept = ("quarantine_id", "row_json", "rejected_at", "file", "row", "rejected_by")
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert after["replayed_at"] is not None


def test_a_line_that_is_no_json_stays_and_a_csv_row_with_it(lake):
    lake.promise(drift="quarantine")
    lake.deliver(lake.write("first.csv", "n,k\n1,1\n"))
    lake.deliver(lake.write("more.csv", "n,k\n2,x\n3,4,5\n6,7\n"))
    lake.promise()
    outcome = lake.replay()
    assert counts(outcome) == (1, 1, 0, 0)
    assert lake.states() == {"open": 1, "replayed": 1}
    assert len(lake.records()) == 3
    lake.deliver(lake.jsonl("lines.jsonl", "{", {"n": 9}))
    assert counts(lake.replay()) == (0, 0, 0, 0)


def test_replays_by_rule_one_after_the_other_take_all(lake):
    lake.promise(drift="quarantine", unique_by=["n"])
    lake.deliver(lake.jsonl("first.jsonl", {"n": 0, "k": 1}))
    lake.deliver(lake.jsonl("rows.jsonl", {"n": None, "k": 2}, {"n": 2, "k": "y"}))
    lake.promise()
    first = lake.replay(rule="unique_key_is_present")
    assert counts(first) == (1, 1, 0, 0)
    second = lake.replay(rule="row_fits_the_schema")
    assert counts(second) == (1, 1, 0, 0)
    assert lake.states() == {"replayed": 2}
    assert len(lake.records()) == 3


def test_single_rows_can_be_replayed(lake):
    reject_texts(lake, "rows.jsonl")
    wanted = lake.quarantine()[1]
    assert counts(lake.replay(ids=(wanted["quarantine_id"],))) == (1, 1, 0, 0)
    assert [row["row"] for row in lake.quarantine(state="replayed")] == [wanted["row"]]
    assert {r["n"] for r in lake.records()} == {-1, 0, 2, 4, wanted["row"]}


def test_several_uploads_go_in_with_one_replay(lake):
    reject_texts(lake, "one.jsonl")
    lake.promise(drift="quarantine")
    lake.deliver(lake.jsonl("two.jsonl", *ROWS, {"n": 7, "k": "seven"}))
    lake.promise()
    assert counts(lake.replay()) == (7, 7, 0, 0)
    assert len(lake.records()) == 1 + 6 + 7


def test_rows_of_an_upload_alone_can_be_replayed(lake):
    reject_texts(lake, "one.jsonl")
    lake.promise(drift="quarantine")
    second = lake.deliver(lake.jsonl("two.jsonl", *ROWS, {"n": 7, "k": "seven"}))
    lake.promise()
    assert counts(lake.replay(upload_id=second.upload_id)) == (4, 4, 0, 0)
    assert lake.states() == {"replayed": 4, "open": 3}


# -- images


def test_images_that_were_too_large_go_in_once_they_are_not(lake, twin):
    folder = lake.scratch / "pictures"
    sides = {"a": 40, "b": 90, "c": 40, "d": 91}
    for name, side in sides.items():
        lake.write(f"pictures/{name}.png", picture(name, side))
    lake.set(max_image_pixels=2000)
    assert counts(lake.deliver(folder)) == (4, 2, 2, 0)
    lake.set(max_image_pixels=10_000)
    last = next(row for row in lake.quarantine() if "d.png" in row["row_json"])
    one = lake.replay(ids=(last["quarantine_id"],))
    assert counts(one) == (1, 1, 0, 0)
    assert (one.images_in, one.images_stored) == (1, 1)
    assert [row["file_name"] for row in lake.records()].count("d.png") == 1
    assert counts(lake.replay()) == (1, 1, 0, 0)
    twin.deliver(folder)
    assert lake.records() == twin.records()
    assert counts(lake.deliver(folder)) == (4, 0, 0, 4)


def test_images_that_no_table_named_are_settled_by_the_rows_that_name_them_now(lake, broken):
    for name in "abc":
        lake.write(f"mixed/{name}.png", picture(name, 90 if name == "b" else 40))
    lake.jsonl("mixed/metadata.jsonl", *({"file_name": f"{name}.png"} for name in "ab"))
    lake.jsonl("mixed/other.jsonl", {"n": 1})
    lake.set(max_image_pixels=2000)
    broken["metadata.jsonl"] = False
    assert counts(lake.deliver(lake.scratch / "mixed")) == (5, 1, 4, 0)
    broken.clear()
    outcome = lake.replay()
    assert counts(outcome) == (4, 1, 1, 2)
    assert outcome.stayed == {"image_is_listed_in_metadata": 1}
    assert sorted(lake.open_rules()) == [
        "image_is_listed_in_metadata",
        "image_is_within_pixel_limit",
    ]
    lake.set(max_image_pixels=10_000)
    assert counts(lake.replay()) == (1, 1, 0, 0)
    assert [row["file_name"] for row in lake.records()].count("b.png") == 1


def test_an_image_is_found_by_its_name_where_its_number_is_another_by_now(lake, monkeypatch):
    for name in "abc":
        lake.write(f"some/{name}.png", picture(name, 90 if name == "a" else 40))
    lake.set(max_image_pixels=2000)
    lake.deliver(lake.scratch / "some")
    lake.set(max_image_pixels=10_000)
    from lake_assets.intake.readers import upload

    def reversed_batches(root, images, options, *, batch_rows):
        return image_batches(root, images[::-1], options, batch_rows=batch_rows)

    image_batches = upload.image_batches
    monkeypatch.setattr(upload, "image_batches", reversed_batches)
    (row,) = lake.quarantine()
    assert row["row"] == 0
    assert counts(lake.replay()) == (1, 1, 0, 0)
    assert sorted(row["file_name"] for row in lake.records()) == ["a.png", "b.png", "c.png"]


def test_a_row_whose_image_is_too_large_keeps_its_table(lake, twin):
    for name in "ab":
        lake.write(f"listed/{name}.png", picture(name, 90 if name == "b" else 40))
    rows = [{"file_name": f"{name}.png", "label": name} for name in "ab"]
    lake.jsonl("listed/metadata.jsonl", *rows)
    lake.set(max_image_pixels=2000)
    assert counts(lake.deliver(lake.scratch / "listed")) == (2, 1, 1, 0)
    lake.set(max_image_pixels=10_000)
    assert counts(lake.replay()) == (1, 1, 0, 0)
    twin.deliver(lake.scratch / "listed")
    assert lake.records() == twin.records()


def test_an_image_that_is_broken_in_a_redelivery_is_taken_from_the_first(lake):
    """Its table came again byte for byte, so the rows of one are those of the other."""
    for name in "ab":
        lake.write(f"one/{name}.png", picture(name, 90 if name == "b" else 40))
        lake.write(f"two/{name}.png", picture(name)[: 100 if name == "b" else None])
    table = [{"file_name": f"{name}.png", "label": name} for name in "ab"]
    for folder in ("one", "two"):
        lake.jsonl(f"{folder}/metadata.jsonl", *table)
    lake.set(max_image_pixels=2000)
    lake.deliver(lake.scratch / "one")
    assert counts(lake.deliver(lake.scratch / "two")) == (2, 0, 1, 1)
    lake.set(max_image_pixels=10_000)
    outcome = lake.replay()
    assert (outcome.accepted, outcome.images_stored) == (1, 1)
    assert [row["label"] for row in lake.records()] == ["a", "b"]
    assert lake.states() == {"open": 1, "replayed": 1}


# -- whole files


@pytest.mark.parametrize("at_the_end", [False, True], ids=["at once", "at its end"])
def test_a_file_that_could_not_be_read_goes_in_once_it_can(lake, twin, broken, at_the_end):
    for name in ("a", "b"):
        lake.jsonl(f"files/{name}.jsonl", *({"n": n, "of": name} for n in range(3)))
    broken["b.jsonl"] = at_the_end
    assert counts(lake.deliver(lake.scratch / "files")) == (4, 3, 1, 0)
    assert counts(lake.replay()) == (0, 0, 0, 0)
    broken.clear()
    assert counts(lake.replay()) == (3, 3, 0, 0)
    assert lake.states() == {"replayed": 1}
    twin.deliver(lake.scratch / "files")
    assert lake.record_places() == twin.record_places()
    assert counts(lake.deliver(lake.scratch / "files")) == (6, 0, 0, 6)


def test_rows_of_a_file_that_can_be_read_now_may_be_rejected_for_the_first_time(lake, broken):
    lake.jsonl("files/a.jsonl", {"n": 1, "k": 1})
    lake.jsonl("files/b.jsonl", *ROWS, "{")
    broken["b.jsonl"] = False
    lake.deliver(lake.scratch / "files")
    broken.clear()
    lake.promise(drift="quarantine")
    trial = lake.try_replay()
    outcome = lake.replay()
    assert counts(outcome) == counts(trial.outcome) == (7, 3, 4, 0)
    assert lake.states() == {"replayed": 1, "open": 4}
    assert {row["row"] for row in lake.quarantine(state="open")} == {1, 3, 5, 6}
    assert counts(lake.replay()) == (0, 0, 0, 0)
    lake.promise()
    assert counts(lake.replay()) == (3, 3, 0, 0)
    assert len(lake.records()) == 7
    assert lake.open_rules() == ["line_is_valid_json"]


def test_a_file_that_is_damaged_by_now_leaves_its_rows(lake, broken):
    reject_texts(lake, "rows.jsonl")
    broken["rows.jsonl"] = True
    outcome = lake.replay()
    assert counts(outcome) == (0, 0, 0, 0)
    assert outcome.stayed == {"file_is_readable": 3}
    assert len(lake.records()) == 4
    broken.clear()
    assert counts(lake.replay()) == (3, 3, 0, 0)


def test_damage_met_late_takes_back_what_other_uploads_gave(lake, broken):
    """The replay is begun anew without the file; what came before is not counted twice."""
    reject_texts(lake, "one.jsonl")
    lake.promise(drift="quarantine")
    lake.deliver(lake.jsonl("two.jsonl", *ROWS, {"n": 7, "k": "seven", "new": [1]}))
    lake.promise()
    broken["two.jsonl"] = True
    outcome = lake.replay()
    assert counts(outcome) == (3, 3, 0, 0)
    assert [(change.path, change.rows_affected) for change in outcome.schema_changes] == [
        ("k__variant", 3)
    ]
    broken.clear()
    assert counts(lake.replay()) == (4, 4, 0, 0)


def test_copies_of_a_file_bring_its_rows_once(lake, broken):
    lake.jsonl("files/a.jsonl", {"n": 1})
    for name in ("b", "c"):
        lake.jsonl(f"files/{name}.jsonl", {"n": 2}, {"n": 3})
        broken[f"{name}.jsonl"] = False
    assert counts(lake.deliver(lake.scratch / "files")) == (3, 1, 2, 0)
    broken.clear()
    assert counts(lake.replay()) == (3, 2, 0, 1)
    assert [row["n"] for row in lake.records()] == [1, 2, 3]
    assert lake.states() == {"replayed": 2}


def test_what_was_never_stored_stays(lake):
    with tarfile.open(lake.scratch / "some.tar", "w") as archive:
        for name in ("a.csv", "../b.csv"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"n\n1\n"))
    lake.deliver(lake.scratch / "some.tar")
    (rule,) = lake.open_rules()
    outcome = lake.replay()
    assert outcome.stayed == {rule: 1}
    assert lake.open_rules() == [rule]


# -- deliveries that come again


def test_a_file_that_was_delivered_again_meanwhile_comes_once(lake):
    lake.promise(drift="quarantine")
    lake.deliver(lake.jsonl("first.jsonl", {"n": -1, "k": 1}))
    wrong = lake.jsonl("wrong.jsonl", {"n": 1, "k": "a"}, {"n": 1, "k": "a"})
    assert counts(lake.deliver(wrong)) == (2, 0, 2, 0)
    lake.promise()
    assert counts(lake.deliver(wrong)) == (2, 2, 0, 0)
    assert counts(lake.replay()) == (2, 0, 0, 2)
    assert lake.states() == {"replayed": 2}
    assert len(lake.records()) == 3


def test_a_wholly_rejected_file_that_comes_after_its_replay_is_a_duplicate(lake):
    lake.promise(drift="quarantine", unique_by=[])
    lake.deliver(lake.jsonl("first.jsonl", {"n": -1, "k": 1}))
    wrong = lake.jsonl("wrong.jsonl", {"n": 1, "k": "a"}, "{", {"n": 1, "k": "a"})
    assert counts(lake.deliver(wrong)) == (3, 0, 3, 0)
    lake.promise()
    assert counts(lake.replay(rule="row_fits_the_schema")) == (2, 2, 0, 0)
    assert counts(lake.deliver(wrong)) == (3, 0, 0, 3)
    assert len(lake.records()) == 3


@pytest.mark.parametrize("by_upload", [False, True], ids=["at once", "the second one first"])
def test_two_deliveries_of_a_file_that_were_rejected_bring_its_rows_once(lake, by_upload):
    lake.promise(drift="quarantine")
    lake.deliver(lake.jsonl("first.jsonl", {"n": -1, "k": 1}))
    wrong = lake.jsonl("wrong.jsonl", {"n": 1, "k": "a"}, {"n": 1, "k": "a"})
    lake.deliver(wrong)
    second = lake.deliver(wrong)
    assert len(lake.quarantine()) == 4
    lake.promise()
    if by_upload:
        assert counts(lake.replay(upload_id=second.upload_id)) == (2, 2, 0, 0)
        assert counts(lake.replay()) == (2, 0, 0, 2)
    else:
        assert counts(lake.replay()) == (4, 2, 0, 2)
    assert len(lake.records()) == 3
    assert lake.states() == {"replayed": 4}


def test_rows_of_one_delivery_go_in_bit_by_bit_and_those_of_the_other_never(lake):
    lake.promise(drift="quarantine")
    lake.deliver(lake.jsonl("first.jsonl", {"n": -1, "k": 1}))
    wrong = lake.jsonl("wrong.jsonl", {"n": 1, "k": "a"}, {"n": 1, "k": "a"})
    lake.deliver(wrong)
    lake.deliver(wrong)
    lake.promise()
    one, other, *twice = (row["quarantine_id"] for row in lake.quarantine())
    assert counts(lake.replay(ids=(one,))) == (1, 1, 0, 0)
    assert counts(lake.replay(ids=(twice[0],))) == (1, 0, 0, 1)
    assert counts(lake.replay()) == (2, 1, 0, 1)
    assert len(lake.records()) == 3
    assert other


def test_a_replay_waits_for_what_was_uploaded_before_it(lake):
    lake.promise(drift="quarantine")
    lake.deliver(lake.jsonl("first.jsonl", {"n": -1, "k": 1}))
    wrong = lake.jsonl("wrong.jsonl", {"n": 1, "k": "a"}, {"n": 1, "k": "a"})
    lake.deliver(wrong)
    lake.promise()
    before = lake.stage(lake.jsonl("before.jsonl", {"n": 5}))
    again = lake.stage(wrong)
    (replay,) = lake.stage_replays()
    after = lake.stage(lake.jsonl("after.jsonl", {"n": 6}))
    found = {outcome.upload_id: counts(outcome) for outcome in lake.ingest()}
    assert list(found) == [before, again, replay, after]
    assert found[again] == (2, 2, 0, 0)
    assert found[replay] == (2, 0, 0, 2)
    assert len(lake.records()) == 5


def test_a_replay_takes_what_an_upload_before_it_leaves_in_the_quarantine(lake):
    reject_texts(lake, "rows.jsonl")
    lake.stage_replays()
    assert lake.stage(lake.jsonl("bad.jsonl", "{", {"n": 8}))
    lake.ingest()
    assert lake.states() == {"replayed": 3, "open": 1}


# -- rebuilds


def test_a_rebuild_after_a_replay_has_the_same_rows_once(lake):
    reject_texts(lake, "rows.jsonl")
    lake.deliver(lake.jsonl("bad.jsonl", "{", {"n": 8}))
    lake.replay()
    before = lake.records()
    with lake.lake() as opened:
        done = opened.rebuild(DATA)
    assert lake.records() == before
    assert sorted(counts(o) for o in done.outcomes) == [(0,) * 4, (1, 1, 0, 0), (2, 1, 1, 0),
                                                        (6, 6, 0, 0)]  # fmt: skip
    assert lake.open_rules() == ["line_is_valid_json"]
    assert counts(lake.replay()) == (0, 0, 0, 0)


# -- annotations


@pytest.fixture
def annotated(lake):
    """A dataset with two images, and notes about them of which some are not allowed yet."""
    for name in "ab":
        lake.write(f"pictures/{name}.png", picture(name))
    lake.deliver(lake.scratch / "pictures")
    lake.write("later/c.png", picture("c"))
    return lake


NOTE = {"image_field": "image", "fields": {"image": "string", "lang": "string", "id": "long"}}


def note(image, lang, n):
    return {"image": f"{image}.png", "lang": lang, "id": n}


def test_notes_go_in_once_the_contract_allows_them(annotated):
    lake = annotated
    lake.promise_notes(**NOTE, allowed_values={"lang": ["en"]})
    notes = lake.jsonl("n.jsonl", note("a", "en", 1), note("b", "ko", 2), note("c", "en", 3))
    assert counts(lake.deliver(notes, NOTES)) == (3, 1, 2, 0)
    lake.promise_notes(**NOTE, allowed_values={"lang": ["en", "ko"]})
    outcome = lake.replay(task="notes")
    assert counts(outcome) == (1, 1, 0, 0)
    assert outcome.stayed == {"records_refer_to_known_images": 1}
    lake.deliver(lake.scratch / "later")
    assert counts(lake.replay(task="notes")) == (1, 1, 0, 0)
    assert [row["id"] for row in sorted(lake.records(NOTES), key=lambda r: r["id"])] == [1, 2, 3]
    assert all(row["_image"] for row in lake.records(NOTES))
    assert counts(lake.deliver(notes, NOTES)) == (3, 0, 0, 3)


def test_a_field_that_is_promised_another_type_by_now_keeps_that_of_its_table(annotated):
    lake = annotated
    lake.promise_notes(fields={"score": "string", "id": "long"})
    lake.deliver(lake.jsonl("one.jsonl", {"id": 1, "score": "good"}), NOTES)
    lake.promise_notes(fields={"score": "long", "id": "long"})
    assert counts(lake.deliver(lake.jsonl("two.jsonl", {"id": 2}), NOTES)) == (1, 1, 0, 0)
    with lake.lake() as opened:
        assert opened.stores.tables.schema(NOTES.table).field("score").type == pa.string()


def test_values_of_a_field_that_was_promised_the_wrong_type_go_in_once_it_is_right(annotated):
    lake = annotated
    lake.promise_notes(fields={"score": "long", "id": "long"})
    notes = lake.jsonl("one.jsonl", {"id": 1, "score": 5}, {"id": 2, "score": "n/a"})
    assert counts(lake.deliver(notes, NOTES)) == (2, 1, 1, 0)
    lake.promise_notes(fields={"score": "string", "id": "long"})
    assert counts(lake.replay(task="notes")) == (1, 1, 0, 0)
    scores = {row["id"]: (row["score"], row["score__variant"]) for row in lake.records(NOTES)}
    assert scores == {1: (5, None), 2: (None, '"n/a"')}


def test_the_checks_of_annotations_mean_what_ingesting_them_does(annotated):
    """The harness runs them at the end."""
    lake = annotated
    lake.promise_notes(
        unique_by=["ID"],
        fields={
            "share": {"type": "double", "allowed": ["1", "2.5"]},
            "tags": {"type": "list<string>", "allowed": ['["a", "b"]']},
            "text": {"type": "string", "required": True},
        },
    )
    notes = [{"id": "a", "share": 1, "text": "[]"}, {"id": "b", "share": 2.5, "text": "{}"}]
    assert counts(lake.deliver(lake.jsonl("one.jsonl", *notes), NOTES)) == (2, 2, 0, 0)
    notes = [
        {"id": 5, "tags": ["a", "b"], "text": "c"},
        {"id": 6, "text": "d"},
        {"id": 6, "text": "e"},
        {"id": 7, "share": 3, "text": "f"},
        {"id": 8, "text": " "},
    ]
    assert counts(lake.deliver(lake.jsonl("two.jsonl", *notes), NOTES)) == (5, 2, 3, 0)


def test_names_in_contracts_are_those_of_the_table_in_whatever_case(lake):
    lake.promise(unique_by=["N"])
    assert counts(lake.deliver(lake.jsonl("one.jsonl", {"n": 1}, {"n": 2}))) == (2, 2, 0, 0)


def test_a_note_whose_key_another_has_stays(annotated):
    lake = annotated
    key = {**NOTE, "unique_by": ["id"]}
    lake.promise_notes(**key, allowed_values={"lang": ["en"]})
    lake.deliver(lake.jsonl("one.jsonl", note("a", "ko", 1), note("b", "ko", 2)), NOTES)
    lake.deliver(lake.jsonl("two.jsonl", note("a", "en", 1)), NOTES)
    lake.promise_notes(**key)
    outcome = lake.replay(task="notes")
    assert counts(outcome) == (1, 1, 0, 0)
    assert outcome.stayed == {"keys_are_unique": 1}
    assert lake.open_rules() == ["keys_are_unique"]
    assert counts(lake.replay(task="notes")) == (0, 0, 0, 0)


def test_an_upload_whose_metadata_breaks_a_stricter_contract_keeps_its_rows(annotated):
    lake = annotated
    lake.promise_notes(**NOTE, allowed_values={"lang": ["en"]})
    lake.deliver(lake.jsonl("one.jsonl", note("b", "ko", 2), note("a", "en", 1)), NOTES)
    lake.promise_notes(**NOTE, required_fields=["source"])
    (replay,) = lake.stage_replays(task="notes")
    (outcome,) = lake.ingest()
    assert outcome.upload_id == replay
    assert counts(outcome) == (0, 0, 0, 0)
    assert outcome.stayed == {"metadata_meets_the_contract": 1}
    (row,) = lake.quarantine(task="notes")
    assert "source" in row["actual"]
    assert json.loads(row["row_json"])["id"] == 2
    lake.promise_notes(**NOTE)
    assert counts(lake.replay(task="notes")) == (1, 1, 0, 0)


def test_variants_and_their_dataset_are_replayed_each_by_itself(annotated):
    lake = annotated
    lake.promise_notes(**NOTE, allowed_values={"lang": ["en"]})
    lake.deliver(lake.jsonl("one.jsonl", note("b", "ko", 2), note("a", "en", 1)), NOTES)
    lake.deliver(lake.jsonl("bad.jsonl", "{", {"n": 1}), DatasetName("acme", "other"))
    lake.promise_notes(**NOTE)
    assert len(lake.stage_replays()) == 2
    lake.ingest()
    assert lake.states() == {"replayed": 1, "open": 1}


def test_a_replay_rewrites_the_files_of_its_own_variant_alone(lake):
    """Also where names begin alike: Iceberg keeps 16 characters of a text unless told otherwise."""
    lake.deliver(lake.jsonl("raw.jsonl", {"a": 1}, "{"))
    lake.promise_notes(fields={"lang": "string"}, allowed_values={"lang": ["en"]})
    variants = [VariantName(DATA, "notes", f"{'a' * 40}{letter}") for letter in "bcd"]
    for name in variants:
        lake.deliver(lake.jsonl("n.jsonl", {"lang": "ko"}, {"lang": "en"}), name)
    lake.promise_notes(fields={"lang": "string"})
    (row,) = (row for row in lake.quarantine() if row["variant"] == variants[0].variant)
    assert counts(lake.replay(ids=(row["quarantine_id"],))) == (1, 1, 0, 0)
    catalog = SqlCatalog("lake", uri=f"sqlite:///{lake.home}/catalog.db", warehouse="none")
    snapshots = catalog.load_table("lake.quarantine").metadata.snapshots
    catalog.close()
    # "overwrite" would mean that files were read and written anew without some of their rows.
    assert [item.summary.operation.value for item in snapshots[-2:]] == ["delete", "append"]
    assert snapshots[-2].summary["deleted-data-files"] == "1"
    assert lake.states() == {"open": 3, "replayed": 1}


# -- what keeps rows where they are


def test_rows_whose_upload_is_gone_are_left(lake):
    reject_texts(lake, "gone.jsonl")
    lake.promise(drift="quarantine")
    lake.deliver(lake.jsonl("here.jsonl", *ROWS, {"n": 7, "k": "seven"}))
    lake.promise()
    (gone,) = {row["_upload_id"] for row in lake.quarantine() if row["file"] == "gone.jsonl"}
    folder = lake.home / "staging" / "done" / gone
    kept = lake.scratch / "kept"
    shutil.move(folder, kept)
    trial = lake.try_replay()
    assert trial.left == {"the upload that it came with is no longer in staging/done": 3}
    assert trial.passed == 4
    (replay,) = lake.stage_replays()
    with lake.lake() as opened:
        (done,) = opened.ingest_pending()
    (outcome,) = done.outcomes
    assert (outcome.upload_id, counts(outcome)) == (replay, (4, 4, 0, 0))
    assert outcome.stayed == trial.left
    shutil.move(kept, folder)
    assert counts(lake.replay()) == (3, 3, 0, 0)


def test_an_upload_of_which_a_file_is_gone_keeps_its_rows(lake):
    reject_texts(lake, "gone.jsonl")
    lake.promise(drift="quarantine")
    lake.deliver(lake.jsonl("here.jsonl", *ROWS, {"n": 7, "k": "seven"}))
    lake.promise()
    (file,) = (lake.home / "staging" / "done").glob("*/files/gone.jsonl")
    file.rename(lake.scratch / "kept")
    trial = lake.try_replay()
    assert trial.left == {"gone.jsonl, which came with it, is no longer in staging/done": 3}
    assert trial.passed == 4
    (lake.scratch / "kept").rename(file)
    assert counts(lake.replay()) == (7, 7, 0, 0)


def test_an_upload_that_its_table_cannot_take_keeps_no_other_out(lake):
    lake.promise(drift="quarantine")
    lake.deliver(lake.jsonl("first.jsonl", {"n": -1, "k": 1, "id": 0}))
    lake.deliver(lake.jsonl("lacks.jsonl", {"n": 1, "k": "a"}))
    lake.deliver(lake.jsonl("has.jsonl", {"n": 2, "k": "b", "id": 1}))
    lake.promise(unique_by=["id"])
    outcome = lake.replay()
    assert counts(outcome) == (1, 1, 0, 0)
    assert outcome.stayed == {"upload_fits_its_table": 1}
    (row,) = lake.quarantine(state="open")
    assert "unique_by" in row["actual"]


def test_a_replay_that_fails_leaves_everything_as_it_was(lake, monkeypatch):
    reject_texts(lake, "rows.jsonl")
    before = lake.records(), lake.quarantine()
    (replay,) = lake.stage_replays()
    from lake_assets.ingest import held

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(held, "batches_of", full)
    with lake.lake() as opened, pytest.raises(LakeError, match="No space left"):
        opened.ingest_pending()
    assert (lake.records(), lake.quarantine()) == before
    monkeypatch.undo()
    assert [outcome.upload_id for outcome in lake.ingest()] == [replay]
    assert lake.states() == {"replayed": 3}


def test_a_replay_of_a_damaged_quarantine_waits_for_its_repair(lake):
    reject_texts(lake, "rows.jsonl")
    before = lake.records()
    (replay,) = lake.stage_replays()
    (part,) = (lake.home / "tables" / "lake" / "quarantine" / "data").glob("*.parquet")
    kept = part.read_bytes()
    part.chmod(0o644)
    part.unlink()
    with lake.lake() as opened:
        with pytest.raises(LakeError):
            opened.ingest_pending()
        assert opened.stores.staging.find(replay).state == "pending"
    assert lake.records() == before
    part.write_bytes(kept)
    assert [outcome.upload_id for outcome in lake.ingest()] == [replay]
    assert lake.states() == {"replayed": 3}
