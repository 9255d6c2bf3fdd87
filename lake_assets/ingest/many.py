"""Several datasets in one go: one that cannot be worked on does not keep the others from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lake_assets.contracts.names import Destination
from lake_assets.errors import DatasetBusy, LakeError, RetryableError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneInTurn(Generic[T]):
    """What became of several datasets."""

    results: tuple[T, ...]
    errors: tuple[LakeError, ...]
    """Of the datasets that have no result."""


def in_turn(
    names: Iterable[Destination], work: Callable[[Destination, float | None], T]
) -> DoneInTurn[T]:
    """Do ``work`` for each dataset, also where it failed for another one.

    Those that another process holds come last, so that nobody waits while there is work to do.

    Args:
        work: Takes a dataset and how long to wait for its lease, in seconds; None: as long as the
            settings say.
    """
    results: list[T] = []
    errors: list[LakeError] = []
    busy: list[Destination] = []
    for name in names:
        try:
            results.append(work(name, 0.0))
        except DatasetBusy:
            busy.append(name)
        except LakeError as error:
            errors.append(error)
    for name in busy:
        try:
            results.append(work(name, None))
        except LakeError as error:
            errors.append(error)
    return DoneInTurn(results=tuple(results), errors=tuple(errors))


def as_one(errors: Sequence[LakeError]) -> LakeError:
    """Return one error that says all of ``errors``, of which there is at least one.

    It is a ``RetryableError`` only if all of them are.
    """
    if len(errors) == 1:
        return errors[0]
    final = [error for error in errors if not isinstance(error, RetryableError)]
    first = next(iter(final or errors))
    return type(first)("; ".join(error.message for error in errors), **first.context)
