"""Verify what is left of a lake: the files that people edit, its first level, counts of rows."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lake_assets.contracts.names import DatasetName, Destination, in_order
from lake_assets.contracts.registry import load_registry
from lake_assets.errors import InvalidName, LakeError
from lake_assets.intake.uploads import State
from lake_assets.settings import load_settings
from lake_assets.storage.damage import is_passing
from lake_assets.storage.tables.catalog_file import seal_file
from lake_assets.upkeep.catalog import variants_of
from lake_assets.upkeep.checks import (
    accepted_rows_are_in_the_table,
    images_without_facts,
    rows_are_accounted_for,
    schema_matches_table,
)
from lake_assets.upkeep.verify.model import Finding, Kind, Look, Seen, Severity, Tally

# What lies on the first level of a lake and is none of ours to look into.
NOT_LAKE_DATA = ("dagster", "files", "index", "logs", "removed", "tmp", "verify")
_COUNTS = (rows_are_accounted_for, accepted_rows_are_in_the_table, schema_matches_table)
_SQLITE_SIDE_FILES = ("-journal", "-wal", "-shm")


def look_at_settings(look: Look, before: Mapping[str, str]) -> Iterator[Seen]:
    """Verify lake.toml and config/schema.yaml, and what else lies on the first level.

    Args:
        before: Their hashes at the last verify, by path.
    """
    layout = look.stores.layout
    checks: dict[Path, Callable[[], object]] = {
        layout.settings_file: lambda: load_settings(look.home),
        layout.registry_file: lambda: load_registry(layout.registry_file),
    }
    now = settings_hashes(look)
    for path, load in checks.items():
        yield Tally(files=1)
        try:
            load()
        except LakeError as error:
            yield look.damage(Kind.SETTINGS, path, error.message)
            continue
        name = look.below(path)
        if name in before and before[name] != now.get(name):
            yield Finding(
                kind=Kind.SETTINGS, severity=Severity.NOTICE, path=name,
                message="it was edited since the last verify",
            )  # fmt: skip
    known = {*NOT_LAKE_DATA, "staging", "assets", "thumbnails", "tables", "config", "lake.toml",
             layout.catalog_file.name, seal_file(layout.catalog_file).name,
             *(f"{layout.catalog_file.name}{end}" for end in _SQLITE_SIDE_FILES)}  # fmt: skip
    for path in sorted(look.home.iterdir()):
        if path.name not in known and not path.name.startswith(".draft-"):
            message = "nothing of the lake has this name"
            yield from look.stray(Kind.STRANGE, path, path.lstat().st_ctime, message)
        elif path.name.startswith(".draft-"):
            message = "a file that was not finished"
            yield from look.stray(Kind.DRAFT, path, path.lstat().st_ctime, message)


def settings_hashes(look: Look) -> dict[str, str]:
    """Return the SHA-256 of each file that people edit, by path; those that are absent are not."""
    layout = look.stores.layout
    return {
        look.below(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (layout.settings_file, layout.registry_file)
        if path.exists()
    }


def look_at_counts(look: Look) -> Iterator[Seen]:
    """Compare the ledger with the tables, for all datasets at once."""
    shared = {"lake.images", "lake.quarantine", "lake.uploads"}
    # What is broken is told already, and its rows cannot be counted.
    names = [name for name in _destinations(look) if not look.broken_tables & {name.table, *shared}]
    if not names:
        return
    try:
        wrong = _wrong_counts(look, names)
    except (LakeError, OSError) as error:
        if not is_passing(error):
            raise
        yield look.unreadable(look.stores.layout.tables, error)
        return
    for name, messages in wrong.items():
        severity = _severity(look, name)
        for message in messages:
            yield Finding(
                kind=Kind.COUNTS, severity=severity, about=str(name), message=message,
                path=f"{look.below(look.stores.tables.data_folder(name.table).parent)}/",
            )  # fmt: skip


def _wrong_counts(look: Look, names: Sequence[Destination]) -> dict[Destination, list[str]]:
    """Return what of each dataset does not agree; datasets that do are left out.

    Raises:
        RetryableError, OSError: The tables cannot be read just now.
    """
    wrong: dict[Destination, list[str]] = defaultdict(list)
    try:
        for rule in _COUNTS:
            for name, result in rule(look.stores, names).items():
                if not result.passed:
                    wrong[name].append(result.summary)
        for name in names:
            wrong[name] += _unknown_images(look, name)
    except (LakeError, OSError, ValueError) as error:
        if is_passing(error):
            raise
        if len(names) == 1:
            return {names[0]: [f"its tables cannot be read: {error}"]}
        # One of them spoils the question to all: ask each by itself.
        return {key: told for name in names for key, told in _wrong_counts(look, [name]).items()}
    return {name: messages for name, messages in wrong.items() if messages}


def _unknown_images(look: Look, name: Destination) -> list[str]:
    unknown = images_without_facts(look.stores, name)
    if not unknown:
        return []
    return [f"{len(unknown)} images of its rows are not in lake.images: {unknown[0]}…"]


def _severity(look: Look, name: Destination) -> Severity:
    """Counts of a dataset that a process is working on, or died over, need not agree yet."""
    is_rebuilt = name in look.stores.rebuilds.names()
    in_work = any(True for _ in look.stores.staging.uploads(State.PROCESSING, name=name))
    return Severity.WARNING if is_rebuilt or in_work else Severity.DAMAGE


def _destinations(look: Look) -> tuple[Destination, ...]:
    """Return what has a table, or should have one: a table may be gone as a whole."""
    found: set[Destination] = set()
    if not look.pointers:  # nothing was ingested yet, or the catalog is lost
        return ()
    with suppress(LakeError):  # a broken registry is a finding of its own
        found.update(look.stores.registry().dataset_names())
    for table in look.pointers:
        with suppress(InvalidName):  # lake.images and its like
            found.add(DatasetName.parse(table))
    with suppress(LakeError):  # so is a ledger that cannot be read
        found.update(variants_of(look.stores))
    return in_order(found)
