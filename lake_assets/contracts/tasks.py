"""What a task promises: what is said of its uploads, and what its records hold.

``config/schema.yaml`` has it in this form; everything but the first line may be left out::

    tasks:
      ocr:
        record_type: ocr                        # built-in columns and rules, and their formats
        required_fields: [lang, src]            # to be said of each upload
        allowed_values: {lang: [ko, en], src: [real, synthetic]}
        fields: {reviewer: string, score: {type: double, required: true}}
        image_field: image                      # refers to the image…
        image_by: name                          # …by its name; or sha256, or record_id
        unique_by: [image, reading_order]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, ValidationError, model_validator

from lake_assets.contracts.column_types import (
    ColumnRule,
    delivered_name,
    require_one_spelling,
    schema_of,
    with_rules_spelled_out,
)
from lake_assets.contracts.contract_model import ContractModel, Drift
from lake_assets.contracts.names import check_name
from lake_assets.contracts.record_types import RecordType, record_type
from lake_assets.contracts.registry_text import problems_in_words
from lake_assets.errors import InvalidMetadata, InvalidName, InvalidRequest

if TYPE_CHECKING:
    import pyarrow as pa

_ALIKE = 0.8
_ALIKE_IF_MISSING = 0.6
"""Of two names, as difflib has it. Where one is missing, less alike is a misspelling: `scr`."""
TASK_COLUMNS = ("provider", "dataset", "variant")
"""Columns of every task's table that say which rows are whose."""


def _column_name(text: str) -> str:
    if text.startswith("_") or text.lower() in TASK_COLUMNS:
        raise ValueError(f"{text!r} is a column that the lake fills in itself; rename it")
    return delivered_name(text)


def _some(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("no value would be allowed; name some, or leave it out")
    return values


ColumnName = Annotated[str, AfterValidator(_column_name)]
DeliveredName = Annotated[str, AfterValidator(delivered_name)]


class FieldRule(ColumnRule):
    """What one field of a task's records holds."""

    required: bool = False
    """Whether each record has a value, and no empty text or list."""
    allowed: tuple[str, ...] = ()
    """Its values, as text; empty: any."""


class TaskContract(ContractModel):
    """What one task promises."""

    description: str = ""
    owner: str = ""
    record_type: str | None = None
    """``ocr``, ``kie``, ``vqa`` or ``layout``; None: records have what ``fields`` says, or more."""
    required_fields: tuple[ColumnName, ...] = ()
    """What must be said of each upload; a column of the task's table each."""
    allowed_values: dict[ColumnName, Annotated[tuple[str, ...], AfterValidator(_some)]] = {}
    fields: dict[ColumnName, FieldRule] = {}
    """Fields of the records, besides those of the record type."""
    image_field: DeliveredName | None = None
    """Field that refers to an image of the dataset; None: that of the record type, if any."""
    image_by: Literal["name", "sha256", "record_id"] = "name"
    """What it holds: the image's file name (with or without folder and suffix) or SHA-256; its
    SHA-256; or the ``_record_id`` of the image's row."""
    drift: Drift = "evolve"
    """What becomes of records that need another schema than the task's table has."""
    unique_by: tuple[DeliveredName, ...] = ()
    """Fields that make a record unique in its variant; empty: those of the record type, if it has
    any, or else no two records are the same."""

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, plain: Any) -> Any:
        """Let a field's rule be just its type."""
        return with_rules_spelled_out(plain, "fields")

    @model_validator(mode="after")
    def _is_possible(self) -> TaskContract:
        both = sorted({*self.fields} & {*self.built_in_columns()})
        if both:
            raise ValueError(f"fields: {', '.join(both)} are those of the record type already")
        image = [self.image_field] if self.image_field else []
        own = (*self.built_in_columns(), *self.metadata_fields(), *self.fields, *image)
        require_one_spelling(own)
        return self

    @property
    def built_in(self) -> RecordType | None:
        """The built-in record type, if it is of one."""
        return None if self.record_type is None else record_type(self.record_type)

    def built_in_columns(self) -> tuple[str, ...]:
        """Return the columns of the record type."""
        return self.built_in.columns if self.built_in else ()

    @property
    def refers_by(self) -> str | None:
        """The field that refers to the image, or None."""
        return self.image_field or ("image" if "image" in self.built_in_columns() else None)

    @property
    def key(self) -> tuple[str, ...]:
        """Fields that make a record unique; empty: no two records are the same."""
        return self.unique_by or (self.built_in.unique_by if self.built_in else ())

    def required_in_records(self) -> tuple[str, ...]:
        """Return the fields of which each record has a value."""
        built_in = self.built_in.required if self.built_in else ()
        own = [name for name, rule in self.fields.items() if rule.required]
        refers = [self.refers_by] if self.refers_by else []
        return tuple(dict.fromkeys([*refers, *built_in, *own]))

    def allowed_in_columns(self) -> dict[str, tuple[str, ...]]:
        """Return which values columns of the task's table may have, as text."""
        own = {name: rule.allowed for name, rule in self.fields.items() if rule.allowed}
        return {**self.allowed_values, **own}

    def promised_columns(self) -> pa.Schema:
        """Return the columns that the task's table has besides the lake's own."""
        import pyarrow as pa  # here, as most commands load the registry and need no types

        said = [(name, pa.string()) for name in self.metadata_fields()]
        own = list(schema_of(self.fields))
        built_in = list(self.built_in.schema()) if self.built_in else []
        known = {field.name for field in (*built_in, *own)}
        if self.image_field:  # text, whatever the first upload calls its images by
            said.append((self.image_field, pa.string()))
        return pa.schema([*[pair for pair in said if pair[0] not in known], *built_in, *own])

    def metadata_fields(self) -> tuple[str, ...]:
        """Return what may be said of an upload and is a column of each of its rows."""
        return tuple(dict.fromkeys([*self.required_fields, *self.allowed_values]))

    def partition_fields(self) -> tuple[tuple[str, str], ...]:
        """Return (transform, column) pairs."""
        return tuple(("identity", column) for column in TASK_COLUMNS)


def task_name(text: str) -> str:
    """Return ``text`` if it can be a task's name.

    Raises:
        ValueError: saying what is allowed.
    """
    try:
        return check_name(text, kind="task")
    except InvalidName as error:  # pydantic collects ValueErrors only
        raise ValueError(error.message) from None


Tasks = dict[Annotated[str, AfterValidator(task_name)], TaskContract]


def task_contract(plain: Mapping[str, Any]) -> TaskContract:
    """Return the contract that schema.yaml would have as ``plain``.

    Raises:
        InvalidRequest: with all that is wrong with it.
    """
    try:
        return TaskContract.model_validate(plain)
    except ValidationError as error:
        raise InvalidRequest(f"this is no contract: {problems_in_words(error)}") from None


def require_metadata(task: str, contract: TaskContract, meta: Mapping[str, str]) -> None:
    """Raise unless what is said of an upload meets its task's contract.

    Raises:
        InvalidMetadata: with all that is wrong and what is allowed.
    """
    problems = list(metadata_problems(contract, meta))
    if problems:
        raise InvalidMetadata(
            f"the metadata of this upload breaks the contract of task {task!r}: "
            f"{'; '.join(problems)}. See `lake config task show {task}`",
            task=task,
            problems=problems,
        )


def metadata_problems(contract: TaskContract, meta: Mapping[str, str]) -> Iterator[str]:
    """Yield, in words, each way in which ``meta`` breaks ``contract``."""
    texts: dict[str, str] = {}
    for name, value in meta.items():
        if _is_text(name) and _is_text(value):
            texts[name] = value
        else:
            shown = str(name).encode("utf-8", "backslashreplace").decode()
            yield f"{shown} is {value!r}, and should be text"
    allowed = contract.allowed_values
    blank = [name for name in contract.required_fields if not texts.get(name, "").strip()]
    missing = [name for name in blank if name in texts or name not in meta]
    for name in missing:
        of = f" (one of {', '.join(allowed[name])})" if name in allowed else ""
        yield f"{name} is missing{of}"
    for name, value in texts.items():
        if name in allowed and value not in allowed[name] and value.strip():
            yield f"{name} is {value!r}, allowed are {', '.join(allowed[name])}"
    yield from _misspelt(texts, contract.metadata_fields(), missing)


def _is_text(value: object) -> bool:
    # What UTF-8 cannot hold is what Python makes of other bytes on a command line.
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _misspelt(names: Iterable[str], known: Sequence[str], missing: Sequence[str]) -> Iterator[str]:
    from difflib import get_close_matches

    for name in names:
        if name not in known:
            close = get_close_matches(name.lower(), known, n=1, cutoff=_ALIKE)
            close += get_close_matches(name.lower(), missing, n=1, cutoff=_ALIKE_IF_MISSING)
            if close:
                yield f"{name!r} is no field of it; did you mean {close[0]}?"
