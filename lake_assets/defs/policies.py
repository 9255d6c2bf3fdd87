"""How runs repeat and fail."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from lake_assets.defs import progress
from lake_assets.errors import LakeError, RetryableError

# Features that Dagster 1.13 calls beta or preview and that this lake stands on; versions are
# pinned, and tests run both. Anything else of that kind still warns.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)
warnings.filterwarnings(
    "ignore", "Specifying a partitions_def on an AssetCheckSpec", dg.PreviewWarning
)

many_partitions_per_run = dg.BackfillPolicy.single_run()
"""A run costs seconds and a partition without work milliseconds."""

_RETRIES = 2
_WAIT_S = 10


@contextmanager
def dagster_errors() -> Iterator[None]:
    """Tell Dagster what this package's errors mean: repeat the step, or fail it for good.

    A retry policy on the asset would repeat any exception, also a bug, and hold a command that
    waits for the run for minutes. Only what passes by itself (a full disk, a lost race) is worth
    another try; not in a command that waits, which says so with its exit code.
    """
    try:
        yield
    except LakeError as error:
        listener = progress.on_error.get()
        if listener is not None:
            listener(error)
        elif isinstance(error, RetryableError):
            raise dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=_WAIT_S) from error
        context = {key: str(value) for key, value in error.context.items()}
        raise dg.Failure(error.message, metadata=context, allow_retries=False) from error
