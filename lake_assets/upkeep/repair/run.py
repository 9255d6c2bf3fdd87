"""Repair a lake: verify it, make a plan, and carry the plan out while nobody else writes.

Invariant: nothing is deleted but drafts; what has to go is moved to ``removed/<date>/``, and what
nothing refers to only after that was found again with every dataset held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from lake_assets.contracts.names import DatasetName, Destination, in_order
from lake_assets.errors import CommitConflict, InvalidName, StorageUnavailable
from lake_assets.storage.files import storage_errors
from lake_assets.storage.shards import sync_file_system
from lake_assets.storage.tables.catalog_file import read_catalog, seal_catalog
from lake_assets.stores import Stores
from lake_assets.upkeep.repair.contents import plan_contents, plan_documents
from lake_assets.upkeep.repair.model import Action, Bench, Plan, Step
from lake_assets.upkeep.repair.sealing import plan_seals
from lake_assets.upkeep.repair.tables import (
    plan_catalog,
    plan_rebuilds,
    plan_tables,
)
from lake_assets.upkeep.repair.tidying import plan_tidying
from lake_assets.upkeep.verify.blobs import look_at_images, look_at_thumbnails
from lake_assets.upkeep.verify.model import DEFAULT_CHOICE, Choice, Finding, Kind, Look, Severity
from lake_assets.upkeep.verify.run import OnProgress, last_findings, new_look, verify
from lake_assets.upkeep.verify.run import Request as VerifyRequest
from lake_assets.upkeep.verify.tables import look_at_catalog, look_at_tables

WEEK_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to look for, and what to leave."""

    choice: Choice = DEFAULT_CHOICE
    """Files whose content is read, besides those that the last verify complained of."""
    older_than_s: float = WEEK_S
    """Orphans that came later stay where they are."""
    on_progress: OnProgress = lambda section, files, read_bytes: None


def plan_repair(stores: Stores, request: Request) -> Plan:
    """Return what would put a lake right. Nothing is changed.

    Raises:
        StorageUnavailable: Something cannot be read just now. What is whole and what is not can
            then not be told apart, so nothing is planned.
    """
    suspects = frozenset(
        item.path for item in last_findings(stores) if item.severity is Severity.DAMAGE
    )
    report = verify(
        stores,
        VerifyRequest(choice=request.choice, suspects=suspects, on_progress=request.on_progress),
    )
    findings = report.findings
    _require_readable(findings)
    look = new_look(stores)
    for _ in look_at_catalog(look):
        pass  # learns where the tables are
    look.broken_tables |= {item.about for item in findings if item.kind is Kind.TABLE_FILE}
    bench = Bench(
        stores=stores,
        look=look,
        removed=stores.layout.removed / f"{datetime.now(tz=UTC):%Y-%m-%d}",
    )
    plan_documents(bench, findings)
    if not plan_catalog(bench, findings):  # else the tables can only be judged after it
        plan_contents(bench, findings)
        plan_tables(bench, findings)
        plan_seals(bench, findings)
        plan_tidying(bench, findings, older_than_s=request.older_than_s)
    plan_rebuilds(bench, findings)
    return Plan(steps=_unique(bench.steps), hopeless=bench.hopeless, findings=findings)


def carry_out(
    stores: Stores, plan: Plan, *, on_step: Callable[[Step], None] = lambda step: None
) -> int:
    """Do what a plan says and return how many steps were done.

    Raises:
        DatasetBusy: when an ingestion took longer than ``busy_timeout_s``; nothing was done then.
        StorageUnavailable: The disk is full; the steps before were done.
        CommitConflict: Something was changed after the plan was made. The steps that concern it
            were not done; all others were.
    """
    done = 0
    changed: list[str] = []
    with held(stores, known_names(stores)):
        strays = _strays(stores) if any(step.needs_proof for step in plan.steps) else frozenset()
        for step in plan.steps:
            if step.needs_proof and step.path not in strays:
                continue  # something refers to it by now
            on_step(step)
            try:
                with storage_errors(stores.layout.home / step.path):
                    step.do()
            except CommitConflict as error:
                changed.append(f"{step.path} ({error.message})")
                continue
            done += 1
        with storage_errors(stores.layout.home):
            sync_file_system(stores.layout.home)
    # After the last write to it, which gives the leases back.
    if not read_catalog(stores.layout.catalog_file).damage:
        seal_catalog(stores.layout.catalog_file)
    if changed:
        raise CommitConflict(
            f"{done} steps were done, {len(changed)} were not, as something changed meanwhile: "
            f"{'; '.join(changed)}. Run `lake repair` again"
        )
    return done


def _unique(steps: Iterable[Step]) -> list[Step]:
    """Return the steps without those that do again what an earlier one does."""
    kept: dict[tuple[str, str, str], Step] = {}
    for step in steps:
        # What moved away is gone, for whatever reason it was to go.
        what = "" if step.action is Action.MOVE else step.what
        kept.setdefault((step.action, step.path, what), step)
    return list(kept.values())


def _require_readable(findings: Iterable[Finding]) -> None:
    for item in findings:
        if item.kind is Kind.UNREADABLE:
            raise StorageUnavailable(
                f"{item.path}: {item.message}. Nothing was repaired; see that it can be read, "
                "then try again",
                path=item.path,
            )


@contextmanager
def held(stores: Stores, names: Iterable[Destination]) -> Iterator[None]:
    """Keep every ingestion of these datasets out for the duration of the block.

    Raises:
        DatasetBusy: when another process held one of them for ``busy_timeout_s``.
    """
    with ExitStack() as stack:
        # The leases lie in the catalog's file. While that is damaged nobody can commit anyway;
        # one that is only locked, or may not be read, is an error here.
        if not read_catalog(stores.layout.catalog_file).damage:
            for name in in_order(names):  # in one order: two repairs cannot wait for each other
                wait_s = stores.settings.busy_timeout_s
                stack.enter_context(stores.tables.leases.hold(str(name), wait_s=wait_s))
        yield


def known_names(stores: Stores) -> set[Destination]:
    """Return every dataset and variant that somebody may be working on."""
    names: set[Destination] = {*stores.registry().dataset_names()}
    names |= {upload.name for upload in stores.staging.uploads()}
    for folder in stores.layout.tables.glob("*/*"):
        try:
            names.add(DatasetName(folder.parent.name, folder.name))
        except InvalidName:
            continue  # lake.images and its like, which every dataset writes to
    return names


def _strays(stores: Stores) -> frozenset[str]:
    """Return what nothing refers to. Asked with every dataset held, so it stays so."""
    look = Look(stores=stores)
    sections: Sequence[Callable[[Look], Iterator[object]]] = (
        look_at_catalog, look_at_tables, look_at_images, look_at_thumbnails,
    )  # fmt: skip
    return frozenset(
        seen.path
        for section in sections
        for seen in section(look)
        if isinstance(seen, Finding) and seen.kind is Kind.ORPHAN
    )
