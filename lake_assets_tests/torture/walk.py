"""Walk the points of a scenario: strike at one, heal, compare with a lake that nothing befell."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lake_assets_tests.torture.server import CUT, Ended, Server, Task

IS_FULL = os.environ.get("LAKE_TEST_FULL") == "1"
SEED = int(os.environ.get("LAKE_TEST_SEED", "20250114"))


def sample(count: int, of: int, *, what: str, even_if_full: bool = False) -> list[int]:
    """Return the numbers to try: all with ``LAKE_TEST_FULL=1``, else so many, from the seed.

    Says which, so that a failure can be walked again (``LAKE_TEST_SEED``).

    Args:
        even_if_full: So many in any case: there are too many to try all.
    """
    chosen = list(range(of))
    if (even_if_full or not IS_FULL) and count < of:
        chosen = sorted(random.Random(f"{SEED} {what}").sample(chosen, count))
    print(f"{what}: {len(chosen)} of {of}, seed {SEED}: {chosen[:30]}")  # noqa: T201
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a scenario's lake lies, and the copy of it from which each case begins."""

    scenario: str
    root: Path
    home: Path
    """May be on a disk of its own."""
    server: Server
    template: str = "template"
    """Name of that copy, below ``root``."""

    @property
    def arguments(self) -> Mapping[str, str]:
        """What every step is told."""
        return {
            "scenario": self.scenario,
            "home": str(self.home),
            "folder": str(self.root / "deliveries"),
        }

    @classmethod
    def make(cls, server: Server, scenario: str, root: Path, *, home: Path | None = None) -> Place:
        """Prepare a scenario below ``root``."""
        place = cls(scenario=scenario, root=root, home=home or root / "lake", server=server)
        (root / "deliveries").mkdir(parents=True)
        server.run("prepare", **place.arguments).require()
        place.keep()
        return place

    def keep(self) -> None:
        """Let cases begin from the lake as it is now."""
        shutil.rmtree(self.root / self.template, ignore_errors=True)
        shutil.copytree(self.home, self.root / self.template, symlinks=True)

    def from_here(self, template: str) -> Place:
        """Return this place with cases that begin from the lake as it is now."""
        place = replace(self, template=template)
        place.keep()
        return place

    def begin(self) -> None:
        """Make the lake what it was at the beginning."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self.root / self.template, self.home, symlinks=True)

    def act(self, *, at: int | None = None, strike: str = "cut", **struck_with: Any) -> Ended:
        """Do the scenario's work in a process, and strike at a point of it."""
        return self.server.do(self.task(at=at, strike=strike, **struck_with))

    def task(
        self, *, at: int | None = None, strike: str = "cut", step: str = "act", **struck_with: Any
    ) -> Task:
        """Return the scenario's work as a task."""
        return Task(
            name=step,
            arguments=self.arguments,
            watched=str(self.home),
            at=at,
            strike=strike,
            struck_with=struck_with,
        )

    def quiet(self) -> Quiet:
        """Return what the scenario comes to when nothing befalls it, and the points on its way."""
        self.begin()
        ended = self.act()
        ended.require()
        found = self.heal_and_look()
        return Quiet(labels=ended.labels, found=found)

    def heal_and_look(self) -> dict[str, Any]:
        """Return what the lake comes to once the next process has worked on it."""
        found: dict[str, Any] = self.server.run("heal_and_look", **self.arguments).require()
        return found

    def failed_checks(self) -> list[str]:
        """Return the lake's own checks that do not pass. Costs as much as all the rest."""
        found: list[str] = self.server.run("checks", home=str(self.home)).require()
        return found

    def new_in_second_delivery(self) -> Counter[str]:
        """Return how much of the same deliveries is new to the lake now."""
        found: Counter[str] = self.server.run("deliver_again", **self.arguments).require()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """A scenario that nothing befell."""

    labels: Sequence[str]
    found: Mapping[str, Any]

    def differences(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return what differs in ``found``: (missing, surplus) by kind."""
        return {
            kind: _difference(self.found[kind], found[kind])
            for kind in self.found
            if self.found[kind] != found[kind]
        }


def _difference(wanted: Any, found: Any) -> Any:
    if isinstance(wanted, Mapping) and not isinstance(wanted, Counter):
        return {
            key: _difference(wanted.get(key), found.get(key))
            for key in {*wanted, *found}
            if wanted.get(key) != found.get(key)
        }
    if isinstance(wanted, Counter) and isinstance(found, Counter):
        return (dict(wanted - found), dict(found - wanted))
    return (wanted, found)


def was_struck(ended: Ended, at: int) -> bool:
    """Return whether a process was struck, or was done after some points less than the quiet run.

    Staging copies files in threads. Two that find a folder missing both try to make it, or only
    the faster one does: a point or two.
    """
    passed = len(ended.labels)
    return ended.struck is not None or (passed <= at < passed + 2 and ended.error is None)


def was_cut(ended: Ended) -> bool:
    """Return whether a process ended where it was cut."""
    return ended.code == CUT
