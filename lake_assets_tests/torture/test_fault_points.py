"""A process that is cut before or after any step; the next one makes the lake what it would be."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake_assets_tests.torture.scenarios import SCENARIOS
from lake_assets_tests.torture.server import Server
from lake_assets_tests.torture.walk import IS_FULL, Place, Quiet, sample, was_cut, was_struck

_SAMPLED = 5
_CUTS, _CUTS_OF_RECOVERY = (12, 12) if IS_FULL else (2, 2)
_AGAIN_EVERY = 4
"""One case of so many also runs the lake's checks, and delivers everything a second time."""


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_cut_at_any_point(scenario: str, server: Server, tmp_path: Path):
    place = Place.make(server, scenario, tmp_path)
    quiet = place.quiet()
    assert place.new_in_second_delivery() == {}
    wrong = {}
    for at in sample(_SAMPLED, len(quiet.labels), what=f"{scenario}, points"):
        place.begin()
        trouble = _trouble_after_cut(place, quiet, at)
        if trouble:
            wrong[f"{at} {quiet.labels[at]}"] = trouble
    assert wrong == {}


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "staging"])
def test_the_process_that_heals_is_cut_too(scenario: str, server: Server, tmp_path: Path):
    """Cut, cut again on the way back, then heal: for pairs of points from the seed."""
    place = Place.make(server, scenario, tmp_path)
    quiet = place.quiet()
    wrong = {}
    what = f"{scenario}, first cut"
    for first in sample(_CUTS, len(quiet.labels), what=what, even_if_full=True):
        place.begin()
        assert was_cut(place.act(at=first)), quiet.labels[first]
        left = place.from_here("cut")
        recovery = left.act()
        what = f"{scenario}, cut at {first} and again"
        for second in sample(_CUTS_OF_RECOVERY, len(recovery.labels), what=what, even_if_full=True):
            left.begin()
            trouble = _trouble_after_cut(left, quiet, second)
            if trouble:
                cuts = f"{first} {quiet.labels[first]}, {second} {recovery.labels[second]}"
                wrong[cuts] = trouble
    assert wrong == {}


def _trouble_after_cut(place: Place, quiet: Quiet, at: int) -> object:
    ended = place.act(at=at)
    if not was_cut(ended) and not was_struck(ended, at):
        return f"was not cut, but ended with {ended.code} {ended.error}"
    trouble = quiet.differences(place.heal_and_look())
    if not trouble and at % _AGAIN_EVERY == 0:
        return place.failed_checks() or place.new_in_second_delivery()
    return trouble
