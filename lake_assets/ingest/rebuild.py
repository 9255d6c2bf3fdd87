"""A rebuild that is under way: from its beginning to its last commit a note of it is on disk.

It replaces the rows of several tables, one after the other. If its process dies in between, the
note tells whoever comes next to do it again; what the dead one had written is known by its token.
Invariant: nobody loses accepted rows by one without having agreed to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lake_assets.contracts.names import Destination
from lake_assets.contracts.schema_changes import SchemaChange, changes_between
from lake_assets.errors import FewerRows
from lake_assets.ingest.changes import spec_of
from lake_assets.ingest.model import Group
from lake_assets.storage.system_tables import UPLOADS
from lake_assets.storage.tables.statistics import count_values
from lake_assets.stores import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildTrial:
    """What a rebuild comes to."""

    name: Destination
    accepted_before: int
    """Rows that the table has, by the ledger."""
    accepted: int
    """Rows that it would have."""
    rejected_by_rule: Mapping[str, int]
    """Rows that would be in the quarantine."""
    duplicate: int
    """Rows that would be there already."""
    changes: tuple[SchemaChange, ...]
    """Of the table's columns."""

    @property
    def loses_rows(self) -> bool:
        """Whether there would be fewer accepted rows than there are."""
        return self.accepted < self.accepted_before


def trial_of(stores: Stores, name: Destination, group: Group | None) -> RebuildTrial:
    """Return what a rebuild comes to that is prepared, but for its commits."""
    outcomes = [item.outcome for item in group.uploads] if group else []
    rejected: dict[str, int] = {}
    for outcome in outcomes:
        for rule, count in outcome.rejected_by_rule.items():
            rejected[rule] = rejected.get(rule, 0) + count
    accepted = sum(outcome.accepted for outcome in outcomes)
    before = stores.tables.schema(name.table)
    after = spec_of(stores, "raw", name, group).schema
    return RebuildTrial(
        name=name,
        accepted_before=_accepted(stores, name),
        accepted=accepted,
        rejected_by_rule=rejected,
        duplicate=sum(outcome.duplicate for outcome in outcomes),
        changes=() if before is None else _changes(group, before, after),
    )


def _changes(group: Group | None, before: Any, after: Any) -> tuple[SchemaChange, ...]:
    paths = [part.path for part in group.parts["raw"]] if group else []
    return changes_between(before, after, count=lambda steps: count_values(paths, steps))


def with_changes(group: Group, changes: tuple[SchemaChange, ...]) -> Group:
    """Return the group with what a rebuild changes in its table, told of its last upload."""
    *others, last = group.uploads
    last = replace(last, outcome=replace(last.outcome, schema_changes=changes))
    return replace(group, uploads=(*others, last))


def fewer_rows(trial: RebuildTrial) -> FewerRows:
    """Return the error of a rebuild that would lose rows."""
    rules = sorted(trial.rejected_by_rule.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{count:,} rejected by {rule}" for rule, count in rules]
    told += [f"{trial.duplicate:,} are duplicates"] if trial.duplicate else []
    return FewerRows(
        f"rebuilding {trial.name} would leave {trial.accepted:,} of {trial.accepted_before:,} "
        f"accepted rows ({'; '.join(told)}). Its tables are as they were. `lake process start "
        f"--rebuild --dry-run --dataset {trial.name}` shows more; --yes rebuilds it all the same "
        "(in Dagster: accepts_fewer_rows: true)",
        name=str(trial.name),
        accepted_before=trial.accepted_before,
        accepted=trial.accepted,
    )


def _accepted(stores: Stores, name: Destination) -> int:
    if not stores.tables.exists(UPLOADS.name):
        return 0
    rows = stores.tables.read(UPLOADS.name, where=name.own_rows, columns=("accepted",))
    counts: list[Any] = rows["accepted"].to_pylist()
    return sum(counts)


def begin_rebuild(stores: Stores, name: Destination) -> None:
    """Note that the tables of ``name`` are about to be replaced."""
    stores.rebuilds.put(name)


def end_rebuild(stores: Stores, name: Destination) -> None:
    """Forget the note: all tables have the rebuilt rows."""
    stores.rebuilds.remove(name)


def rebuild_is_unfinished(stores: Stores, name: Destination) -> bool:
    """Return whether a rebuild of ``name`` began and did not end. Asked under its lease."""
    return stores.rebuilds.has(name)
