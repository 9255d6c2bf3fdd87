"""One run that ingests: of one dataset or variant, or of many, each done with before the next.

Of one, what is to be committed is given to the asset, whose IO manager commits it. Of several each
is committed here, so that a run holds one at a time, however many it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace

import dagster as dg
from pydantic import Field

from lake_assets.contracts.names import Destination, VariantName
from lake_assets.defs import progress
from lake_assets.defs.instance import partitions_read_once
from lake_assets.defs.policies import dagster_errors
from lake_assets.errors import LakeError, RetryableError
from lake_assets.ingest import (
    FailedUpload,
    Prepared,
    Request,
    as_one,
    commit,
    failed_uploads,
    finish,
    in_turn,
    prepared_dataset,
)
from lake_assets.lake import Lake
from lake_assets.upkeep.catalog import refresh_catalog


class IngestConfig(dg.Config):
    """How to bring a dataset up to date."""

    rebuild: bool = Field(
        default=False,
        description="Read all finished uploads again and replace what the tables have of them, "
        "as after a change of code or contract.",
    )
    accepts_fewer_rows: bool = Field(
        default=False,
        description="Whether a rebuild may leave fewer accepted rows than there are; else the run "
        "fails, says how many, and the tables are as they were.",
    )
    upload_ids: list[str] = Field(
        default=[], description="Ingest only these of the pending uploads; empty: all."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestRun:
    """What a run of an asset ingests, and how its materialisations tell of it."""

    context: dg.AssetExecutionContext
    lake: Lake
    config: IngestConfig
    describe: Callable[[Prepared], None]
    """Attaches to a partition what was done with it."""
    describe_idle: Callable[[Sequence[Destination], bool], None]
    """Says of partitions that there was no work; True: the run has no others."""

    @contextmanager
    def of(self, names: Sequence[Destination]) -> Iterator[list[Prepared]]:
        """Give what is to be committed by the caller; finish it once that is done.

        Raises:
            dagster.Failure: if something failed; the rest is committed.
        """
        held: list[Prepared] = []
        failures: list[FailedUpload] = []
        errors: tuple[LakeError, ...] = ()
        with dagster_errors(), ExitStack() as stack:
            wanted = self._request(names[0])
            if len(names) == 1:
                held.append(stack.enter_context(prepared_dataset(self.lake.stores, wanted)))
                self.describe(held[0])
            else:
                with partitions_read_once():
                    failed, errors = self._bring_up_to_date(names, wanted)
                failures += failed
            yield held
            for item in held:
                finish(self.lake.stores, item)
                failures += item.failures
            self._refresh_catalog(names)
            _raise_failures(failures, errors)

    def _bring_up_to_date(
        self, names: Sequence[Destination], wanted: Request
    ) -> tuple[list[FailedUpload], tuple[LakeError, ...]]:
        """Ingest one after the other; return uploads that failed, and why some were left."""
        stores = self.lake.stores
        working = frozenset(names if wanted.rebuild else self.lake.datasets_with_work())

        def work(name: Destination, wait_s: float | None) -> tuple[FailedUpload, ...]:
            request = replace(
                wanted, name=name, wait_s=wait_s, on_wait=lambda: self._say_waiting(str(name))
            )
            with prepared_dataset(stores, request) as item:
                self.describe(item)
                for change in item.changes.values():
                    commit(stores, change)
                finish(stores, item)
            return item.failures

        done = in_turn([name for name in names if name in working], work)
        idle = [name for name in names if name not in working]
        self.describe_idle(idle, len(idle) == len(names))
        return [failure for failures in done.results for failure in failures], done.errors

    def _request(self, name: Destination) -> Request:
        """Return what the run is to do for ``name``.

        Raises:
            UnknownUpload: an id in the config is of no upload: it would be left out without a word.
        """
        find, config = self.lake.stores.staging.find, self.config
        return Request(
            name=name,
            upload_ids=frozenset(find(upload_id).id for upload_id in config.upload_ids) or None,
            rebuild=config.rebuild,
            accepts_fewer_rows=config.accepts_fewer_rows,
            run_id=self.context.run.run_id,
            on_rows=progress.on_rows.get(),
            on_wait=lambda: self._say_waiting(str(name)),
        )

    def _say_waiting(self, key: str) -> None:
        self.context.log.info(f"{key}: another process is ingesting this dataset; waiting for it")
        progress.on_wait.get()(key)

    def _refresh_catalog(self, names: Sequence[Destination]) -> None:
        """Bring the rows of variants up to date; those of datasets an asset of its own makes."""
        stale = frozenset(self.lake.stores.stale.names())
        variants = [name for name in names if isinstance(name, VariantName) and name in stale]
        refresh_catalog(self.lake.stores, variants)


def _raise_failures(failures: Sequence[FailedUpload], errors: Sequence[LakeError]) -> None:
    """Fail the run if an upload or a dataset failed; the others are committed by now.

    Raises:
        RetryableError: if all that failed is worth another try.
        dagster.Failure: else; it tells the command that started the run which they are.
    """
    failed = [failed_uploads(failures)] if failures else []
    if not failed and not errors:
        return
    error = as_one([*failed, *errors])
    if isinstance(error, RetryableError) or not failures:
        raise error
    raise dg.Failure(
        error.message,
        metadata={"failures": dg.MetadataValue.json([asdict(failure) for failure in failures])},
        allow_retries=False,
    )
