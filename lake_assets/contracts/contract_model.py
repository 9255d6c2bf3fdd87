"""What all models of the registry share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from lake_assets.contracts.registry_text import require_no_misspelling

Drift = Literal["evolve", "freeze", "quarantine"]
"""What becomes of rows that need another schema than their table has: the table changes; their
upload fails; they are rejected."""


class ContractModel(BaseModel):
    """A part of config/schema.yaml. Frozen.

    Keys that are not known are kept, because another version, or a person, meant something by
    them; but not one that looks like a misspelt key that is known.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_empty(cls, plain: Any) -> Any:
        """Take a text, list or mapping without anything in it for none, as people leave them."""
        if plain is None:
            return {}
        if not isinstance(plain, Mapping):
            return plain
        empty = {key for key, field in cls.model_fields.items() if field.default in ("", (), {})}
        return {key: value for key, value in plain.items() if value is not None or key not in empty}

    @model_validator(mode="after")
    def _has_no_misspelt_key(self) -> Self:
        if self.model_extra:
            require_no_misspelling(self.model_extra, type(self).model_fields)
        return self
