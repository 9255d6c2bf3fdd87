"""Write seals for what has none, or whose seal is damaged, and was confirmed otherwise."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from lake_assets.storage.seals import (
    SEAL_LOG,
    Seal,
    append_seals,
    read_seals,
    seal_of,
    write_seals,
)
from lake_assets.storage.tables.catalog_file import seal_catalog
from lake_assets.storage.tables.tree import rows_of_part, table_tree
from lake_assets.upkeep.repair.model import Action, Bench, Step
from lake_assets.upkeep.repair.tables import table_folder_of
from lake_assets.upkeep.verify.folders import files_below
from lake_assets.upkeep.verify.model import Finding, Kind


def plan_seals(bench: Bench, findings: Sequence[Finding]) -> None:
    """Add the steps that seal what has no seal and was confirmed otherwise."""
    tables = {
        item.about
        for item in findings
        if item.kind in (Kind.SEAL_LOG, Kind.UNSEALED) and item.about in bench.look.pointers
    }
    for table in sorted(tables - bench.look.broken_tables | _only_logs(findings)):
        folder = table_folder_of(bench, table)
        bench.steps.append(
            Step(
                action=Action.SEAL, path=bench.look.below(folder / SEAL_LOG),
                what="seal the files that can be read and are as the table's metadata says",
                do=functools.partial(_seal_table, bench, table),
            )
        )  # fmt: skip
    for finding in findings:
        if finding.kind is Kind.SEAL_LOG and not finding.about:
            folder = bench.path(finding).parent
            what = "keep its good lines; what the others told of is compared with lake.images again"
            do = functools.partial(_keep_good_lines, bench, folder)
            bench.steps.append(Step(action=Action.SEAL, path=finding.path, what=what, do=do))
    catalog = [item for item in findings if item.kind is Kind.CATALOG_SEAL]
    if catalog and not any(item.kind is Kind.CATALOG for item in findings):
        bench.steps.append(
            Step(
                action=Action.SEAL, path=catalog[0].path, what="seal catalog.db, which is whole",
                do=functools.partial(seal_catalog, bench.stores.layout.catalog_file),
            )
        )  # fmt: skip


def _only_logs(findings: Sequence[Finding]) -> set[str]:
    """Return the tables of which nothing but the seal log is damaged."""
    logs = {item.about for item in findings if item.kind is Kind.SEAL_LOG}
    return logs - {item.about for item in findings if item.kind is Kind.TABLE_FILE}


def _seal_table(bench: Bench, table: str) -> None:
    folder = table_folder_of(bench, table)
    log = read_seals(folder)
    tree = table_tree(bench.look.pointers[table], log)
    if tree.problems:
        return
    added: dict[str, Seal] = {}
    for file in files_below(folder):
        named = tree.files.get(file.place)
        is_own = named is not None or file.path == tree.metadata
        if file.name in log.seals or file.name == SEAL_LOG or not is_own:
            continue
        if named and named.rows is not None and not _has_rows(file.path, named.rows):
            continue
        added[file.name] = seal_of(file.path)
    if log.damaged_lines:
        bench.move_away(folder / SEAL_LOG)
        write_seals(folder, {**log.seals, **added})
    elif added:
        append_seals(folder, added)


def _has_rows(path: Path, rows: int) -> bool:
    try:
        return rows_of_part(path) == rows
    except ValueError:
        return False


def _keep_good_lines(bench: Bench, folder: Path) -> None:
    good = read_seals(folder).seals
    bench.move_away(folder / SEAL_LOG)
    write_seals(folder, good)
