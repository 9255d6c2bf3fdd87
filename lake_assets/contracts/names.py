"""Names of providers, datasets, tasks and variants: where the rows of an upload go.

A provider is an Iceberg namespace and a dataset a table in it, so both must be words that every
engine (DuckDB, Athena, Trino, Hive) takes unquoted. A task is a table that all datasets share.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lake_assets.errors import InvalidName

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,62}")
RAW = "raw"
"""In the place of a task: the dataset itself."""
TASKS = "tasks"
"""Namespace of the tasks' tables."""
RESERVED = frozenset({"lake", TASKS})
OWN_COLUMNS = frozenset({"_record_id", "_upload_id", "_ingested_at", "_image"})
"""Columns that the lake adds to every table; no delivery may bring its own."""
# `select … from main.x` or `information_schema.x` would never reach our table.
_TAKEN_BY_DUCKDB = frozenset(
    {"main", "memory", "information_schema", "pg_catalog", "system", "temp"}
)
# Words of SQL that DuckDB does not take unquoted as the first part of a name, from
# `SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved',
# 'type_function')`. After the dot it takes every word.
_SQL_WORDS = frozenset(
    """
    all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by
    case cast check collate collation column concurrently constraint create cross default
    deferrable desc describe distinct do else end except false fetch for foreign freeze from full
    generated glob group having ilike in initially inner intersect into is isnull join lambda
    lateral leading left like limit map natural not notnull null offset on only or order outer
    overlaps pivot pivot_longer pivot_wider placing positional primary qualify references returning
    right select semi show similar some struct summarize symmetric table tablesample then to
    trailing true try_cast union unique unpack unpivot using variadic verbose when where window with
    """.split()
)


@dataclass(frozen=True, slots=True, order=True)
class DatasetName:
    """One provider's dataset; as text, and as a Dagster partition key, ``provider/dataset``."""

    provider: str
    dataset: str

    def __post_init__(self) -> None:
        check_name(self.provider, kind="provider")
        check_name(self.dataset, kind="dataset")

    @classmethod
    def parse(cls, text: str) -> DatasetName:
        """Return the name written as ``provider/dataset`` (or ``provider.dataset``).

        Raises:
            InvalidName: for anything else.
        """
        provider, separator, dataset = text.replace(".", "/", 1).partition("/")
        if not separator:
            raise InvalidName(f"{text!r} is not provider/dataset, for example icdar/sroie")
        return cls(provider, dataset)

    @property
    def table(self) -> str:
        """Name of its Iceberg table."""
        return f"{self.provider}.{self.dataset}"

    @property
    def task(self) -> str:
        """What stands for a task in tables that datasets and tasks share."""
        return RAW

    @property
    def own_rows(self) -> dict[str, str]:
        """Column → value of its rows in tables that datasets and tasks share."""
        return {"provider": self.provider, "dataset": self.dataset, "task": RAW}

    @property
    def table_rows(self) -> dict[str, str]:
        """Column → value of its rows in its own table: nobody else's are there."""
        return {}

    def __str__(self) -> str:
        return f"{self.provider}/{self.dataset}"


@dataclass(frozen=True, slots=True)
class VariantName:
    """One variant of a task on a dataset; as text ``provider/dataset/task/variant``."""

    of: DatasetName
    task: str
    variant: str

    def __post_init__(self) -> None:
        check_name(self.task, kind="task")
        check_name(self.variant, kind="variant")

    @property
    def provider(self) -> str:
        """Who delivers the dataset that it annotates."""
        return self.of.provider

    @property
    def dataset(self) -> str:
        """The dataset that it annotates."""
        return self.of.dataset

    @property
    def table(self) -> str:
        """Name of the Iceberg table, which all datasets and variants share."""
        return self.table_of(self.task)

    @staticmethod
    def table_of(task: str) -> str:
        """Return the name of a task's table."""
        return f"{TASKS}.{task}"

    @property
    def own_rows(self) -> dict[str, str]:
        """Column → value of its rows in tables that datasets and tasks share."""
        return {**self.table_rows, "task": self.task}

    @property
    def table_rows(self) -> dict[str, str]:
        """Column → value of its rows in its task's table."""
        return {"provider": self.provider, "dataset": self.dataset, "variant": self.variant}

    def __str__(self) -> str:
        return f"{self.of}/{self.task}/{self.variant}"


Destination = DatasetName | VariantName
"""Where the rows of an upload go. Whoever ingests holds one of them at a time."""


def parse_destination(text: str) -> Destination:
    """Return the dataset or variant that ``str`` of it gave.

    Raises:
        InvalidName: for anything else.
    """
    parts = text.split("/")
    if len(parts) != 4:
        return DatasetName.parse(text)
    provider, dataset, task, variant = parts
    return VariantName(DatasetName(provider, dataset), task, variant)


def as_destination(name: Destination | str) -> Destination:
    """Return what is meant by a name or its text.

    Raises:
        InvalidName.
    """
    return parse_destination(name) if isinstance(name, str) else name


def as_dataset(name: DatasetName | str) -> DatasetName:
    """Return what is meant by a name or its text.

    Raises:
        InvalidName.
    """
    return DatasetName.parse(name) if isinstance(name, str) else name


def dataset_of(name: Destination) -> DatasetName:
    """Return the dataset that rows for ``name`` belong to."""
    return name if isinstance(name, DatasetName) else name.of


def in_order(names: Iterable[Destination]) -> tuple[Destination, ...]:
    """Return names sorted, datasets before what annotates them: annotations refer to their rows."""
    return tuple(sorted(names, key=lambda name: (isinstance(name, VariantName), str(name))))


def check_name(name: str, *, kind: str) -> str:
    """Return ``name`` if every engine accepts it as the name of a ``kind``.

    Raises:
        InvalidName: saying what is allowed, with a suggestion.
    """
    if not NAME_PATTERN.fullmatch(name):
        hint = _suggestion(name)
        raise InvalidName(
            f"{kind} name {name!r} must be a lower-case letter followed by at most 62 lower-case "
            f"letters, digits or underscores{hint}",
            name=name,
        )
    taken = {"provider": RESERVED | _TAKEN_BY_DUCKDB | _SQL_WORDS, "task": frozenset({RAW})}
    if name in taken.get(kind, ()):
        raise InvalidName(f"{kind} name {name!r} is reserved; choose another", name=name)
    return name


def _suggestion(name: str) -> str:
    candidate = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:63]
    return f"; try {candidate!r}" if NAME_PATTERN.fullmatch(candidate) else ""
