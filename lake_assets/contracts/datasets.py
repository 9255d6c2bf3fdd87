"""What a dataset promises.

``config/schema.yaml`` has it in this form; everything may be left out::

    datasets:
      shop/orders:
        columns: {amount: "decimal(12,2)", zip: string}  # read as that, from the first upload on
        time_column: at
        partition_by: [day(at)]
        unique_by: [id]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from lake_assets.contracts.column_types import (
    ColumnRule,
    delivered_name,
    require_one_spelling,
    schema_of,
    with_rules_spelled_out,
)
from lake_assets.contracts.contract_model import ContractModel, Drift
from lake_assets.contracts.names import OWN_COLUMNS
from lake_assets.contracts.registry_text import problems_in_words
from lake_assets.errors import InvalidRequest

if TYPE_CHECKING:
    import pyarrow as pa

_PARTITION_FIELD = re.compile(r"(identity|year|month|day|hour)\(([^()]+)\)")
_STORE_POLICY = re.compile(r"original|lossless|(?:jpeg|webp):(?:[1-9][0-9]?|100)")


class ImagePolicy(ContractModel):
    """How a dataset's images are stored."""

    store: str = "original"
    """``original``, ``lossless``, ``jpeg:1``–``jpeg:100`` or ``webp:1``–``webp:100``."""
    longest_side_px: int | None = Field(default=None, ge=16)
    """Larger images are made smaller; needs another ``store`` than ``original``."""

    @model_validator(mode="after")
    def _is_possible(self) -> ImagePolicy:
        if not _STORE_POLICY.fullmatch(self.store):
            raise ValueError(
                f"store {self.store!r} is none of original, lossless, jpeg:1..100, webp:1..100"
            )
        if self.longest_side_px and self.store == "original":
            raise ValueError("longest_side_px needs store: lossless, jpeg:N or webp:N")
        return self


def _partition_field(text: str) -> str:
    if not _PARTITION_FIELD.fullmatch(text):
        raise ValueError(f"{text!r} is not identity|year|month|day|hour(column), e.g. day(at)")
    return text


_TIMES = ("date", "timestamp", "timestamptz")
_RULES_OF_TASKS = ("required", "allowed")


def _column_name(text: str) -> str:
    if text.lower() in OWN_COLUMNS:
        raise ValueError(f"{text!r} is a column that the lake fills in itself; rename it")
    return delivered_name(text)


class DatasetColumn(ColumnRule):
    """What a column of a dataset holds."""

    @model_validator(mode="after")
    def _is_only_a_type(self) -> DatasetColumn:
        known = [key for key in _RULES_OF_TASKS if key in (self.model_extra or {})]
        if known:
            raise ValueError(f"{', '.join(known)}: only fields of tasks have that; leave it out")
        return self


class DatasetContract(ContractModel):
    """What one dataset promises."""

    description: str = ""
    owner: str = ""
    image_column: str | None = None
    """Column that holds or names each row's image; None: found by content."""
    time_column: str | None = None
    """Column that says when a row happened."""
    partition_by: tuple[Annotated[str, AfterValidator(_partition_field)], ...] = ()
    """Iceberg partition fields, e.g. ``day(at)``; applied when the table is made."""
    unique_by: tuple[str, ...] = ()
    """Columns that make a row unique; empty: image and all columns, or no rule without images."""
    drift: Drift = "evolve"
    """What becomes of rows that need another schema than the table has."""
    images: ImagePolicy = ImagePolicy()
    columns: dict[Annotated[str, AfterValidator(_column_name)], DatasetColumn] = {}
    """Columns whose type is promised; others have the type that their values show."""

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, plain: Any) -> Any:
        """Let a column's rule be just its type."""
        return with_rules_spelled_out(plain, "columns")

    @model_validator(mode="after")
    def _declares_what_it_needs(self) -> DatasetContract:
        require_one_spelling(self.columns)
        for transform, column in self.partition_fields():
            if transform != "identity":
                self._require_type(f"partition_by: {transform}", column, _TIMES)
        self._require_type("time_column", self.time_column, _TIMES)
        # Of a column with images, their paths are what stays.
        self._require_type("image_column", self.image_column, ("string",))
        return self

    def _require_type(self, key: str, column: str | None, possible: tuple[str, ...]) -> None:
        types = {name.lower(): rule.type for name, rule in self.columns.items()}
        said = types.get((column or "").lower(), possible[0])
        if said not in possible:
            raise ValueError(
                f"{key} is {column}, which should be {' or '.join(possible)}; columns says {said}"
            )

    @model_validator(mode="after")
    def _parts_each_column_once(self) -> DatasetContract:
        columns = [column for _, column in self.partition_fields()]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise ValueError(f"partition_by names {', '.join(twice)} more than once")
        return self

    @property
    def key(self) -> tuple[str, ...]:
        """Columns that make a row unique; empty: see ``unique_by``."""
        return self.unique_by

    def promised_columns(self) -> pa.Schema:
        """Return the columns that the dataset's table has besides the lake's own."""
        return schema_of(self.columns)

    def partition_fields(self) -> tuple[tuple[str, str], ...]:
        """Return (transform, column) pairs."""
        matches = (_PARTITION_FIELD.fullmatch(text) for text in self.partition_by)
        return tuple((match[1], match[2]) for match in matches if match)


def with_columns(contract: DatasetContract | None, types: Mapping[str, str]) -> DatasetContract:
    """Return a contract that also declares these types, by column; None: a new one.

    Raises:
        InvalidRequest: with all that is wrong with a name or type.
    """
    plain = contract.model_dump(mode="json", exclude_unset=True) if contract else {}
    rules: dict[str, Any] = with_rules_spelled_out(plain, "columns").get("columns", {})
    spelled = {name.lower(): name for name in rules}
    for name, kind in types.items():
        known = spelled.get(name.lower(), name)
        rules = {**rules, known: {**rules.get(known, {}), "type": kind}}
    try:
        return DatasetContract.model_validate({**plain, "columns": rules})
    except ValidationError as error:
        raise InvalidRequest(f"this is no contract: {problems_in_words(error)}") from None
