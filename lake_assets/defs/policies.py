"""How runs repeat and fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from lake_assets.errors import FatalError

try_again_later = dg.RetryPolicy(
    max_retries=3, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""For errors that pass by themselves: a full disk, a lost race."""

many_partitions_per_run = dg.BackfillPolicy.single_run()
"""A run costs seconds and a partition without work milliseconds."""


@contextmanager
def no_retry_when_fatal() -> Iterator[None]:
    """Keep the retry policy from repeating a call that will fail again."""
    try:
        yield
    except FatalError as error:
        context = {key: str(value) for key, value in error.context.items()}
        raise dg.Failure(error.message, metadata=context, allow_retries=False) from error
