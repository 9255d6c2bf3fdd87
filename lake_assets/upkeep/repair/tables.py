"""Repair tables: flipped bits, the pointer to the last good metadata, the catalog file.

What is lost by going back is asked for again: datasets whose uploads are all in ``staging/done``
are rebuilt from them by the next `lake process start`.
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lake_assets.contracts.names import DatasetName, Destination, in_order, parse_destination
from lake_assets.errors import CommitConflict, InvalidName
from lake_assets.intake.uploads import State
from lake_assets.storage.seals import (
    GIVEN_UP,
    append_seals,
    read_seals,
    table_folder,
)
from lake_assets.storage.system_tables import PARTITIONS
from lake_assets.storage.tables.catalog_file import (
    forget_table,
    read_catalog,
    seal_catalog,
    set_pointer,
)
from lake_assets.storage.tables.tree import TableTree, table_tree, version_of
from lake_assets.upkeep.catalog import refresh_catalog
from lake_assets.upkeep.repair.bit_errors import without_flipped_bit
from lake_assets.upkeep.repair.contents import put_back
from lake_assets.upkeep.repair.model import Action, Bench, Step
from lake_assets.upkeep.verify.model import Finding, Kind, Severity

_FULL_ADVICE = "`lake verify --full` names the file; then `lake repair`"
_ORPHAN_ADVICE = "no table needs it: `lake repair` moves it away once it is a week old"


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A metadata file of a table whose present rows can all be read."""

    tree: TableTree
    lost: frozenset[str]
    """Uploads that the table had, as later metadata files say, and this one has not."""


def plan_catalog(bench: Bench, findings: Iterable[Finding]) -> bool:
    """Add the step that makes ``catalog.db`` anew; return whether it is needed."""
    damage = [item for item in findings if item.kind is Kind.CATALOG]
    if not damage:
        return False
    file = bench.stores.layout.catalog_file
    found = _good_states(bench)
    if not found and any(bench.stores.layout.tables.glob("*/*/metadata/*.metadata.json")):
        for item in damage:  # an empty catalog would make orphans of all tables
            advice = "the tables name files of another place: copy it again from where that is"
            bench.give_up(item, advice)
        return True
    told = ", ".join(f"{name} at {path.name.partition('-')[0]}" for name, path in found.items())

    def do() -> None:
        # An empty one was made just now, for the leases.
        if read_catalog(file).pointers:
            raise CommitConflict(f"{file.name} is whole by now")
        bench.stores.tables.close()
        for end in ("", "-journal", "-wal", "-shm", ".seal"):
            bench.move_away(file.with_name(file.name + end))
        bench.stores.tables.register(found)
        bench.stores.tables.close()
        seal_catalog(file)

    bench.steps.append(
        Step(
            action=Action.REMAKE, path=bench.look.below(file), do=do,
            what=f"make it anew from the newest good metadata of each table: {told or 'none'}",
        )
    )  # fmt: skip
    return True


def _good_states(bench: Bench) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in sorted(bench.stores.layout.tables.glob("*/*")):
        name = ".".join(folder.relative_to(bench.stores.layout.tables).parts)
        state = _last_good(bench, folder, frozenset())
        if state is None:
            continue
        found[name] = state.tree.metadata
        _ask_for(bench, name, state.lost, f"{name} goes back to a state before some uploads")
    return found


def plan_tables(bench: Bench, findings: Sequence[Finding]) -> None:
    """Add the steps that make damaged tables readable."""
    damaged: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.kind is Kind.TABLE_FILE and finding.severity is Severity.DAMAGE:
            damaged[finding.about].append(finding)
        elif finding.kind is Kind.TABLE_OUTSIDE:
            bench.give_up(finding, "`lake relocate`")
    for table, items in sorted(damaged.items()):
        left = [item for item in items if not _turned_back(bench, table, item)]
        if table == PARTITIONS.name and left:
            _plan_remaking_the_catalog(bench, table)
        elif left:
            _plan_table(bench, table, left)


def _turned_back(bench: Bench, table: str, finding: Finding) -> bool:
    """Add the step that turns a flipped bit back, if that is all that is wrong with a file."""
    path, folder = bench.path(finding), table_folder_of(bench, table)
    if not path.is_file():
        return False
    sealed = read_seals(folder).seals.get(path.relative_to(folder).as_posix())
    if sealed is None:
        return False
    content = path.read_bytes()
    if path.is_symlink() and hashlib.sha256(content).hexdigest() == sealed.sha256:
        right, what = content, "put the file in the place of the link to it"
    else:
        mended = without_flipped_bit(content, sealed.sha256)
        if mended is None:
            return False
        right, what = mended, "turn its flipped bit back"
    do = functools.partial(put_back, bench, path, right, sealed.sha256, 0o644)
    bench.steps.append(Step(action=Action.RESTORE, path=finding.path, what=what, do=do))
    return True


def _plan_remaking_the_catalog(bench: Bench, table: str) -> None:
    folder = table_folder_of(bench, table)

    present = bench.look.pointers[table]

    def do() -> None:
        forget_table(bench.stores.layout.catalog_file, table, present=present)
        bench.move_away(folder)
        done = {upload.name for upload in bench.stores.staging.uploads(State.DONE)}
        refresh_catalog(bench.stores, in_order(done | bench.datasets_with_tables()))

    what = "make the table anew: it follows from the others"
    bench.steps.append(
        Step(action=Action.REMAKE, path=f"{bench.look.below(folder)}/", what=what, do=do)
    )


def _plan_table(bench: Bench, table: str, findings: Sequence[Finding]) -> None:
    folder = table_folder_of(bench, table)
    bad = frozenset(str(bench.path(item)) for item in findings)
    now = table_tree(bench.look.pointers[table])
    needed = {str(now.metadata), *now.current} & (bad | set(now.problems))
    if not needed:
        _give_up_history(bench, now, findings)
        return
    state = _last_good(bench, folder, bad)
    lost = state.lost if state else _uploads_of(bench, table)
    concerned = _datasets_of(bench, table, lost)
    gone = [str(name) for name in in_order(concerned) if bench.archive_of(name) is None]
    if gone and not set(now.problems) & needed:
        # Its other rows can still be read: better than a state without them.
        for finding in findings:
            advice = f"the archive of {', '.join(gone)} is not whole: restore a backup"
            bench.give_up(finding, advice)
        return
    _plan_going_back(bench, table, state, lost)


def _plan_going_back(bench: Bench, table: str, state: _State | None, lost: frozenset[str]) -> None:
    folder, catalog = table_folder_of(bench, table), bench.stores.layout.catalog_file
    present = bench.look.pointers[table]
    _ask_for(bench, table, lost, f"{table} goes back to a state without {len(lost)} uploads")

    def go_back() -> None:
        if state is not None:
            set_pointer(catalog, table, state.tree.metadata, present=present, lost=lost)

    def begin_anew() -> None:
        forget_table(catalog, table, present=present)
        bench.move_away(folder)

    if state is None:
        step = Step(
            action=Action.ROLL_BACK, path=f"{bench.look.below(folder)}/", do=begin_anew,
            what="none of its states is whole: take the table away",
        )  # fmt: skip
    else:
        step = Step(
            action=Action.ROLL_BACK, path=bench.look.below(state.tree.metadata), do=go_back,
            what=f"make it the present state of {table}, which loses {len(lost)} uploads",
        )  # fmt: skip
    bench.steps.append(step)


def _give_up_history(bench: Bench, now: TableTree, findings: Sequence[Finding]) -> None:
    """Only older states of the table need these files: none of its rows is lost."""
    folder = table_folder(now.metadata)

    table = ".".join(folder.relative_to(bench.stores.layout.tables).parts)

    def do(path: Path) -> None:
        found = read_catalog(bench.stores.layout.catalog_file).pointers.get(table)
        if found is None or found.name != now.metadata.name:
            raise CommitConflict(f"{table} was changed meanwhile", table=table)
        bench.move_away(path)
        append_seals(folder, {path.relative_to(folder).as_posix(): GIVEN_UP})

    for finding in findings:
        path = bench.path(finding)
        if not _is_history(now, path):
            is_orphan = path.is_file() and str(path) not in now.files
            bench.give_up(finding, _ORPHAN_ADVICE if is_orphan else _FULL_ADVICE)
            continue
        bench.steps.append(
            Step(
                action=Action.MOVE, path=finding.path,
                do=functools.partial(do, path),
                what="only an older state of the table needs it, which cannot be read any more",
            )
        )  # fmt: skip


def _is_history(now: TableTree, path: Path) -> bool:
    """Return whether a file belongs to an older state of a table, and to no present row."""
    if path == now.metadata or str(path) in now.current or path.is_dir():
        return False
    version, present = version_of(path.name), version_of(now.metadata.name)
    is_older = version is not None and present is not None and version < present
    return str(path) in now.files or (is_older and path.parent == now.metadata.parent)


def _last_good(bench: Bench, folder: Path, bad: frozenset[str]) -> _State | None:
    """Return the newest state of a table whose files are all there and whole, or None."""
    candidates = sorted(
        (path for path in (folder / "metadata").glob("*.metadata.json")),
        key=lambda path: (version_of(path.name) or 0, path.stat().st_mtime_ns),
        reverse=True,
    )
    seals = read_seals(folder)
    # A newer state that is gone altogether has left its seal, or the catalog points at it.
    known = [*seals.seals, *(str(path) for path in (*candidates, *bad))]
    newest = max((version_of(name) or 0 for name in known), default=0)
    later: set[str] = set()
    for path in candidates:
        tree = table_tree(path, seals)
        if _is_good(tree, bad):
            if (version_of(path.name) or 0) < newest:
                later |= _done_after(bench, folder, path)
            return _State(tree=tree, lost=frozenset(later) - tree.keys)
        later |= tree.keys
    return None


def _is_good(tree: TableTree, bad: frozenset[str]) -> bool:
    if str(tree.metadata) in tree.problems or str(tree.metadata) in bad:
        return False
    if tree.current & (bad | set(tree.problems)):
        return False
    files = ((Path(path), tree.files[path]) for path in tree.current if path in tree.files)
    return all(
        path.is_file() and file.byte_count in (None, path.stat().st_size) for path, file in files
    )


def _done_after(bench: Bench, folder: Path, metadata: Path) -> set[str]:
    """Return the uploads of a table that were finished after ``metadata`` was written.

    They tell what is lost where the metadata that has their keys cannot be read. An upload that
    brought no row to the table is among them: its dataset is then rebuilt without need.
    """
    table = ".".join(folder.relative_to(bench.stores.layout.tables).parts)
    written_at = metadata.stat().st_mtime
    return {
        upload.id
        for upload in bench.stores.staging.uploads(State.DONE)
        # A folder's own time is that of its last step; renaming it does not change it.
        if upload.folder.stat().st_mtime > written_at
        and (table == upload.name.table or table.startswith("lake."))
    }


def _uploads_of(bench: Bench, table: str) -> frozenset[str]:
    return frozenset(
        upload.id
        for upload in bench.stores.staging.uploads(State.DONE)
        if table.startswith("lake.") or upload.name.table == table
    )


def _datasets_of(bench: Bench, table: str, uploads: frozenset[str]) -> set[Destination]:
    found: set[Destination] = {
        upload.name for upload in bench.stores.staging.uploads() if upload.id in uploads
    }
    try:
        found.add(DatasetName.parse(table))
    except InvalidName:
        pass  # lake.images and its like
    return found


def _ask_for(bench: Bench, table: str, lost: frozenset[str], why: str) -> None:
    """Have the datasets rebuilt that lose rows."""
    if not lost and table.startswith("lake."):
        return
    for name in _datasets_of(bench, table, lost) if lost else ():
        bench.rebuilds.setdefault(name, why)


def plan_rebuilds(bench: Bench, findings: Iterable[Finding]) -> None:
    """Add one step per dataset whose rows are to be read again from its archive."""
    for finding in findings:
        is_damage = finding.severity is Severity.DAMAGE
        if is_damage and finding.kind in (Kind.COUNTS, Kind.IMAGE_ROW):
            name = parse_destination(finding.about)
            if bench.archive_of(name) is None:
                bench.give_up(finding, f"the archive of {name} is not whole: restore a backup")
            else:
                bench.rebuilds.setdefault(name, finding.message)
    for name in in_order(bench.rebuilds):
        why = bench.rebuilds[name]
        if bench.archive_of(name) is None:
            advice = "its uploads are not all in staging/done: deliver them again"
            bench.give_up(_of_dataset(bench, name, why), advice)
            continue
        bench.steps.append(
            Step(
                action=Action.REBUILD, path=bench.look.below(bench.stores.layout.staging / "done"),
                what=f"have {name} rebuilt from its uploads by `lake process start`: {why}",
                do=functools.partial(bench.stores.rebuilds.put, name),
            )
        )  # fmt: skip


def _of_dataset(bench: Bench, name: Destination, message: str) -> Finding:
    folder = table_folder_of(bench, name.table)
    return Finding(
        kind=Kind.TABLE_FILE, severity=Severity.DAMAGE, path=f"{bench.look.below(folder)}/",
        message=message, about=str(name),
    )  # fmt: skip


def table_folder_of(bench: Bench, table: str) -> Path:
    """Return the folder that a table has."""
    return bench.stores.layout.tables.joinpath(*table.split(".", 1))
