"""Names of providers, datasets and their partitions.

A provider is an Iceberg namespace and a dataset a table in it, so both must be words that every
engine (DuckDB, Athena, Trino, Hive) takes unquoted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lake_assets.errors import InvalidName

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,62}")
RESERVED = frozenset({"lake", "tasks"})
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

    def __str__(self) -> str:
        return f"{self.provider}/{self.dataset}"


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
    if kind == "provider" and name in RESERVED | _TAKEN_BY_DUCKDB | _SQL_WORDS:
        raise InvalidName(f"provider name {name!r} is reserved; choose another", name=name)
    return name


def _suggestion(name: str) -> str:
    candidate = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:63]
    return f"; try {candidate!r}" if NAME_PATTERN.fullmatch(candidate) else ""
