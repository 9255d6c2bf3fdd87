"""A process that is cut before or after any step; the next one makes the lake what it would be."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake_assets_tests.torture.scenarios import SCENARIOS
from lake_assets_tests.torture.server import Server
from lake_assets_tests.torture.walk import Place, Quiet, sample, was_cut

_SAMPLED = 8
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


def _trouble_after_cut(place: Place, quiet: Quiet, at: int) -> object:
    ended = place.act(at=at)
    if not was_cut(ended):
        return f"was not cut, but ended with {ended.code} {ended.error}"
    trouble = quiet.differences(place.heal_and_look())
    if not trouble and at % _AGAIN_EVERY == 0:
        return place.failed_checks() or place.new_in_second_delivery()
    return trouble
