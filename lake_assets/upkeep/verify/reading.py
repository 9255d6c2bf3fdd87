"""Read the files that were chosen and compare their content, in threads, unit by unit.

A unit is some files that one thread reads; what it found is noted when it is done, so a run that
dies loses at most the units under way.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lake_assets.errors import UnreadableMedia
from lake_assets.media.inspect import inspect_image
from lake_assets.storage.damage import says_damage
from lake_assets.upkeep.verify.model import Choice, Finding, Target

_UNIT_BYTES = 32 * 2**20
_UNIT_FILES = 256
_BLOCK_BYTES = 2**20
_AHEAD = 2
"""Units per thread that wait, so that none is idle while the next files are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Some files that were read."""

    targets: tuple[Target, ...]
    wrong: tuple[Finding, ...]
    """Of those whose content is not what it should be, or cannot be read."""
    read_bytes: int


class Reader:
    """Compares contents; knows the hashes of files with several names.

    Args:
        threads: How many read at once. hashlib works without Python's lock.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._known: dict[tuple[int, int], str] = {}

    def read(self, targets: Iterable[Target]) -> Iterator[Unit]:
        """Yield what each unit came to, in the order of its targets."""
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: deque[Future[Unit]] = deque()
            for some in _units(targets):
                waiting.append(pool.submit(self._read_unit, some))
                if len(waiting) > self._threads * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def look_again(self, target: Target) -> Finding | None:
        """Return what is wrong with one file, or None."""
        self._known.pop(target.inode or (0, 0), None)
        return next(iter(self._read_unit((target,)).wrong), None)

    def _read_unit(self, targets: tuple[Target, ...]) -> Unit:
        wrong, read_bytes = [], 0
        for target in targets:
            known = self._known.get(target.inode) if target.inode else None
            if known is None:
                read_bytes += target.byte_count
            try:
                if not self._fits(target, known):
                    wrong.append(target.finding)
            except OSError as error:  # gone, the disk has lost it, or it may not be read
                is_wrong = says_damage(error)
                wrong.append(target.finding if is_wrong else target.unreadable(error))
        return Unit(targets=targets, wrong=tuple(wrong), read_bytes=read_bytes)

    def _fits(self, target: Target, known: str | None) -> bool:
        if not target.sha256:
            return _is_image(target.place)
        sha256 = known or _sha256(target.place, target.byte_count)
        if target.inode:
            self._known[target.inode] = sha256
        return sha256 == target.sha256


def chosen(targets: Iterable[Target], choice: Choice) -> Iterator[Target]:
    """Yield those of a section's targets that are to be read, in their order."""
    if choice.is_full:
        yield from targets
    elif choice.share is not None:
        # By name and seed, so that a file is chosen or not whatever else there is.
        limit = int(choice.share * 2**64)
        for target in targets:
            digest = hashlib.blake2b(f"{choice.seed} {target.key}".encode(), digest_size=8)
            if int.from_bytes(digest.digest(), "big") < limit:
                yield target
    else:
        yield from _some(targets, choice.count or 0, random.Random(choice.seed))


def _some(targets: Iterable[Target], count: int, chance: random.Random) -> list[Target]:
    """Return ``count`` targets, each with the same chance (Vitter's algorithm R), in order."""
    kept: list[Target] = []
    for number, target in enumerate(targets):
        if number < count:
            kept.append(target)
        elif (place := chance.randrange(number + 1)) < count:
            kept[place] = target
    return sorted(kept, key=lambda target: target.key)


def _units(targets: Iterable[Target]) -> Iterator[tuple[Target, ...]]:
    unit: list[Target] = []
    byte_count = 0
    for target in targets:
        unit.append(target)
        byte_count += target.byte_count
        if byte_count >= _UNIT_BYTES or len(unit) >= _UNIT_FILES:
            yield tuple(unit)
            unit, byte_count = [], 0
    if unit:
        yield tuple(unit)


def _sha256(place: str, byte_count: int) -> str:
    with Path(place).open("rb", buffering=0) as file:
        if byte_count <= _BLOCK_BYTES:  # one read: half the calls of file_digest
            return hashlib.sha256(file.read()).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_image(place: str) -> bool:
    try:
        inspect_image(Path(place).read_bytes(), name=place)
    except UnreadableMedia:
        return False
    return True
