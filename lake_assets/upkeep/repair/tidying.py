"""Tidy up: what nothing refers to is moved away, drafts are removed, the catalog is refreshed."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

from lake_assets.contracts.names import Destination, parse_destination
from lake_assets.intake.manifest import LIST_FILE, parse_files, parse_manifest
from lake_assets.storage.files import remove_tree, write_atomically
from lake_assets.upkeep.catalog import refresh_catalog
from lake_assets.upkeep.repair.model import Action, Bench, Step
from lake_assets.upkeep.verify.model import Finding, Kind

DRAFT_AGE_S = 24 * 3600.0
"""No process takes longer to finish a draft."""


def plan_tidying(bench: Bench, findings: Iterable[Finding], *, older_than_s: float) -> None:
    """Add the steps for what is in nobody's way, but should not lie there.

    Args:
        older_than_s: Orphans that came later stay: a process may still be about to use them.
    """
    for finding in findings:
        age_s = finding.age_s or 0.0
        if finding.kind is Kind.ORPHAN and age_s >= older_than_s:
            bench.steps.append(
                Step(
                    action=Action.MOVE, path=finding.path, needs_proof=True,
                    what=f"nothing refers to it: {finding.message}",
                    do=functools.partial(bench.move_away, bench.path(finding)),
                )
            )  # fmt: skip
        elif finding.kind is Kind.DRAFT and age_s >= DRAFT_AGE_S:
            bench.steps.append(
                Step(
                    action=Action.REMOVE, path=finding.path, what="a draft of a day ago or more",
                    do=functools.partial(remove_tree_or_file, bench, finding),
                )
            )  # fmt: skip
        elif finding.kind is Kind.STALE_CATALOG:
            name = parse_destination(finding.about)
            bench.steps.append(
                Step(
                    action=Action.REMAKE, path=finding.path,
                    what=f"bring the row of {name} in lake.partitions up to date",
                    do=functools.partial(_refresh, bench, name),
                )
            )  # fmt: skip
        elif finding.kind is Kind.UNSEALED and finding.path.endswith(".json"):
            _plan_sealing(bench, finding)


def remove_tree_or_file(bench: Bench, finding: Finding) -> None:
    """Remove a draft, if it is there and nobody has written to it meanwhile."""
    path = bench.path(finding)
    if not path.exists() or time.time() - path.lstat().st_ctime < DRAFT_AGE_S:
        return
    if path.is_dir():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def _refresh(bench: Bench, name: Destination) -> None:
    refresh_catalog(bench.stores, [name])


def _plan_sealing(bench: Bench, finding: Finding) -> None:
    """Seal a manifest whose counts agree with its list and its files."""
    path = bench.path(finding)
    manifest = parse_manifest(path.read_text(encoding="utf-8"), where=finding.path)
    listed = (path.parent / LIST_FILE).read_text(encoding="utf-8")
    files = parse_files(path.parent / LIST_FILE)
    total = sum(file.byte_count for file in files)
    if (len(files), total) != (manifest.file_count, manifest.byte_count):
        bench.give_up(finding, "its list of files has other counts; deliver the upload again")
        return
    content = manifest.listing(listed).to_json().encode()
    bench.steps.append(
        Step(
            action=Action.SEAL, path=finding.path,
            what="seal it: its counts agree with its list and its files",
            do=functools.partial(write_atomically, path, content),
        )
    )  # fmt: skip
