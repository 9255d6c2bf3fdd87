"""A rebuild that is under way: from its beginning to its last commit a note of it is on disk.

It replaces the rows of several tables, one after the other. If its process dies in between, the
note tells whoever comes next to do it again; what the dead one had written is known by its token.
Invariant: nobody loses accepted rows by one without having agreed to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.parquet as pq

from lake_assets.contracts.names import Destination
from lake_assets.contracts.schema_changes import SchemaChange, changes_between
from lake_assets.errors import FewerRows
from lake_assets.ingest.changes import drops_columns, spec_of
from lake_assets.ingest.model import Group, Request
from lake_assets.storage.system_tables import QUARANTINE, UPLOADS
from lake_assets.storage.tables.statistics import count_values
from lake_assets.stores import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildTrial:
    """What a rebuild comes to."""

    name: Destination
    accepted_before: int
    """Rows that the table has, by the ledger."""
    taken_out: int
    """Those of them, at most, that came with uploads which are taken out."""
    accepted: int
    """Rows that it would have."""
    rejected_by_rule: Mapping[str, int]
    """Rows that would be in the quarantine."""
    duplicate: int
    """Rows that would be there already."""
    changes: tuple[SchemaChange, ...]
    """Of the table's columns."""
    images: frozenset[str] = frozenset()
    """SHA-256 of those that the dataset would have."""

    @property
    def loses_rows(self) -> bool:
        """Whether there would be fewer accepted rows than those that are to stay."""
        return self.accepted < self.accepted_before - self.taken_out


def trial_of(stores: Stores, request: Request, group: Group | None) -> RebuildTrial:
    """Return what a rebuild comes to that is prepared, but for its commits."""
    name = request.name
    outcomes = [item.outcome for item in group.uploads] if group else []
    rejected: dict[str, int] = {}
    for outcome in outcomes:
        for rule, count in outcome.rejected_by_rule.items():
            rejected[rule] = rejected.get(rule, 0) + count
    accepted = sum(outcome.accepted for outcome in outcomes)
    before = stores.tables.schema(name.table)
    after = spec_of(stores, "raw", name, group, rebuild=True).schema
    told = _accepted(stores, name)
    return RebuildTrial(
        name=name,
        accepted_before=sum(told.values()),
        taken_out=sum(told.get(upload_id, 0) for upload_id in _bringers(stores, request)),
        accepted=accepted,
        rejected_by_rule=rejected,
        duplicate=sum(outcome.duplicate for outcome in outcomes),
        changes=() if before is None else _changes(group, name, before, after),
        images=_images_of(group),
    )


def _bringers(stores: Stores, request: Request) -> set[str]:
    """Return the uploads that are taken out, and the replays that took rows of theirs in."""
    found = set(request.takes_out)
    if found and stores.tables.exists(QUARANTINE.name):
        where = [{**request.name.own_rows, "_upload_id": upload_id} for upload_id in found]
        rows = [
            stores.tables.read(QUARANTINE.name, where=item, columns=("replayed_by",))
            for item in where
        ]
        found |= {by for table in rows for by in table["replayed_by"].to_pylist() if by}
    return found


def _images_of(group: Group | None) -> frozenset[str]:
    parts = group.parts["images"] if group else ()
    columns = (pq.read_table(part.path, columns=["sha256"])["sha256"] for part in parts)
    return frozenset(sha for column in columns for sha in column.to_pylist())


def _changes(
    group: Group | None, name: Destination, before: Any, after: Any
) -> tuple[SchemaChange, ...]:
    paths = [part.path for part in group.parts["raw"]] if group else []
    return changes_between(
        before, after, count=lambda steps: count_values(paths, steps), drops=drops_columns(name)
    )


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
    others = " that came with other uploads" if trial.taken_out else ""
    return FewerRows(
        f"rebuilding {trial.name} would leave {trial.accepted:,} of "
        f"{trial.accepted_before - trial.taken_out:,} accepted rows{others} ({'; '.join(told)}). "
        f"Its tables are as they were. `lake process start --rebuild --dry-run --dataset "
        f"{trial.name}` shows more; with --yes instead of --dry-run it rebuilds all the same (in "
        "Dagster: accepts_fewer_rows: true)",
        name=str(trial.name),
        accepted_before=trial.accepted_before,
        accepted=trial.accepted,
    )


def _accepted(stores: Stores, name: Destination) -> dict[str, int]:
    """Return how many rows of each upload are in the table, by the ledger."""
    if not stores.tables.exists(UPLOADS.name):
        return {}
    rows = stores.tables.read(UPLOADS.name, where=name.own_rows, columns=("upload_id", "accepted"))
    return dict(zip(rows["upload_id"].to_pylist(), rows["accepted"].to_pylist(), strict=True))


def begin_rebuild(stores: Stores, name: Destination, *, seen_at_ns: int | None) -> int | None:
    """Note that the tables of ``name`` are about to be replaced.

    Args:
        seen_at_ns: When the note was put that was there before anything was read; None: none was.

    Returns:
        When the note was put that this rebuild may take away. None: somebody asked for another
        rebuild while this one read, so the note stays.
    """
    if stores.rebuilds.changed_at_ns(name) != seen_at_ns:
        return None
    stores.rebuilds.put(name)
    return stores.rebuilds.changed_at_ns(name)


def end_rebuild(stores: Stores, name: Destination, begun_at_ns: int | None) -> None:
    """Forget the note, for all tables have the rebuilt rows, unless it was put again meanwhile."""
    stores.rebuilds.remove_if_seen(name, begun_at_ns)


def rebuild_is_unfinished(stores: Stores, name: Destination) -> bool:
    """Return whether a rebuild of ``name`` began and did not end. Asked under its lease."""
    return stores.rebuilds.has(name)
