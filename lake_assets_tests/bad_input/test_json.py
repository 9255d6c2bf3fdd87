"""JSON that parsers stumble over, as files of their own and as lines of one file."""

from __future__ import annotations

import pytest

from lake_assets_tests.bad_input import json_corpus as corpus
from lake_assets_tests.bad_input.bench import FULL, sampled

# Valid JSON that no table can hold as it is.
NO_COLUMN_HOLDS = {
    "object_duplicated_key": "keys_are_unique",
    "object_duplicated_key_and_value": "keys_are_unique",
    "object_empty_key": "keys_are_not_empty",
}


def some(cases, rng, few=25):
    names = sorted(cases)
    return {name: cases[name] for name in (names if FULL else rng.sample(names, few))}


def as_line(number, case):
    """Return a case as the value of a column of its own."""
    return b'{"c%03d": %b}\n' % (number, case)


def on_one_line(cases):
    return {name: case for name, case in cases.items() if b"\n" not in case}


def lines_of(bench, cases):
    """Deliver cases as the lines of one file; return the rule that each breaks, if any."""
    content = b"".join(as_line(number, case) for number, case in enumerate(cases.values()))
    verdict = bench.deliver(bench.file("cases.jsonl", content))
    assert (verdict.kind, verdict.rows_in) == ("done", len(cases))
    names = list(cases)
    return {names[item["row"]]: item["rule"] for item in verdict.rejections}


def test_lines_that_are_valid_are_accepted(bench):
    cases = on_one_line(corpus.ACCEPTED)
    assert lines_of(bench, cases) == NO_COLUMN_HOLDS


def test_lines_that_are_not_valid_are_rejected(bench):
    cases = on_one_line(corpus.REJECTED)
    rules = lines_of(bench, cases)
    assert rules.keys() == cases.keys()
    assert set(rules.values()) == {"line_is_valid_json", "record_is_not_nested_too_deeply"}


def test_lines_of_which_parsers_disagree_are_accepted_or_rejected(bench):
    rules = lines_of(bench, on_one_line(corpus.EITHER))
    assert rules["string_invalid_lonely_surrogate"] == "strings_are_valid_unicode"
    assert rules["string_iso_latin_1"] == "line_is_valid_utf8"


def test_files_that_are_valid_json_are_read(bench, rng):
    cases = some(corpus.ACCEPTED, rng)
    files = [bench.file("case.json", case) for case in cases.values()]
    for name, verdict in zip(cases, bench.read_all(files), strict=True):
        assert verdict.kind == "done", (name, verdict.message)


def test_files_that_are_not_valid_json_are_refused_or_all_their_records_rejected(bench, rng):
    # An empty file has no record; two values one after the other are two records.
    fine = {"structure_no_data", "single_space", "structure_UTF8_BOM_no_data"}
    cases = some(corpus.REJECTED, rng)
    files = [bench.file("case.json", case) for case in cases.values()]
    for name, verdict in zip(cases, bench.read_all(files), strict=True):
        accepted_alone = name in ("structure_object_with_trailing_garbage",)
        assert verdict.kind == "refused" or not verdict.accepted or accepted_alone, name
        assert verdict.kind == "refused" or verdict.rejected or name in fine, name


def test_whole_deliveries_of_single_files_end_clearly(bench, rng):
    cases = corpus.ACCEPTED | corpus.REJECTED | corpus.EITHER
    chosen = some(cases, rng, few=40)
    files = [bench.file(f"case.{kind}", case) for kind in ("json", "jsonl")
             for case in chosen.values()]  # fmt: skip
    bench.deliver_all(files, time_limit_s=sampled(60, 300))


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("name", corpus.TOO_MUCH)
def test_json_that_asks_for_too_much_ends_clearly(bench, name, suffix):
    content = corpus.TOO_MUCH[name]
    lines = content if suffix == "json" else b'{"v": 1}\n' + content + b'\n{"v": 2}\n'
    verdict = bench.deliver(bench.file(f"much.{suffix}", lines))
    assert verdict.kind == "refused" or verdict.rejected == 1 or "digits" in name or "key" in name
    assert verdict.kind == "refused" or suffix == "json" or verdict.accepted >= 2
