"""Settings of one lake: one frozen, validated model from lake.toml and LAKE_* variables.

Invariant: this is the only module that reads the environment. A variable beats lake.toml, which
beats the default; a wrong or unknown value is an error that names where it came from.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from lake_assets.errors import InvalidSettings

DEFAULT_HOME = "data/lake"
SETTINGS_FILE = "lake.toml"
_PREFIX = "LAKE_"
# No settings of a lake: real inputs for the test suite, and what Kubernetes sets in every
# container next to a service that is called `lake`.
_FOREIGN_PREFIXES = ("LAKE_TEST_", "LAKE_SERVICE_", "LAKE_PORT")

NEW_SETTINGS_FILE = """\
# Settings of this lake. A variable LAKE_<NAME> beats the value here. Shown are the defaults.
# log_level = "info"              # debug, info, warning or error
# workers = 2                     # processes that look at images; default: one per core
# batch_size = 16384              # most rows in memory at once
# batch_bytes = 67108864          # most bytes of them
# max_image_pixels = 300000000    # larger images are rejected
# image_timeout_s = 60            # an image that takes longer to decode is rejected
# busy_timeout_s = 600            # how long to wait for a dataset that is being ingested
# lease_timeout_s = 60            # so long without a sign of life, and a process loses its dataset
# rejected_share_limit = 0.05     # above it, the check rejected_share_is_small warns
# ui_port = 3000
"""
"""Content of lake.toml in a new lake."""


class LakeSettings(BaseSettings):
    """Everything about a lake that may differ between machines."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    home: Path = Field(description="Folder of the lake, absolute.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=256,
        description="Processes that look at images.",
    )
    batch_size: int = Field(
        default=16_384, ge=1, le=1_000_000, description="Most rows in memory at once, per batch."
    )
    batch_bytes: int = Field(
        default=64 * 2**20, ge=2**16, le=2**32, description="Most bytes per batch."
    )
    max_image_pixels: int = Field(
        default=300_000_000, ge=1, description="An image with more pixels is rejected."
    )
    image_timeout_s: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="An image that takes longer to look at, also at a second try, is rejected.",
    )
    max_unpacked_bytes: int | None = Field(
        default=None,
        ge=1,
        description="An archive that unpacks to more is refused; default 200 x its size, >= 1 GiB.",
    )
    busy_timeout_s: float = Field(
        default=600.0, ge=0, description="How long to wait for a dataset that is being ingested."
    )
    lease_timeout_s: float = Field(
        default=60.0,
        ge=1,
        description="After so long without a sign of life a process loses its dataset to another.",
    )
    rejected_share_limit: float = Field(
        default=0.05, ge=0, le=1, description="Above it the check rejected_share_is_small warns."
    )
    ui_port: int = Field(default=3000, ge=1, le=65_535)


def load_settings(home: Path | str | None = None) -> LakeSettings:
    """Return the settings of the lake at ``home``, which need not exist yet.

    Args:
        home: Folder of the lake; None: ``LAKE_HOME``, else ``data/lake`` below the current folder.

    Raises:
        InvalidSettings: naming the variable or key, where it stands, and what is allowed.
    """
    place = home_folder(home)
    from_file = _read_file(place / SETTINGS_FILE)
    _refuse_unknown(from_file, place / SETTINGS_FILE)
    try:
        # Values given to the constructor beat variables, so pass of the file's only those that no
        # variable overrides; `home` is decided already.
        kept = {key: value for key, value in from_file.items() if not _variable_is_set(key)}
        return LakeSettings(home=place, **kept)
    except ValidationError as error:
        raise InvalidSettings(_explain(error, place / SETTINGS_FILE)) from None


def home_folder(home: Path | str | None = None) -> Path:
    """Return the absolute folder of the lake that is meant; it need not exist.

    Without symbolic links: tables name their files by it, so it must have one spelling.
    """
    return Path(home or os.environ.get(f"{_PREFIX}HOME") or DEFAULT_HOME).expanduser().resolve()


def _variable_is_set(key: str) -> bool:
    return _PREFIX + key.upper() in os.environ


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidSettings(
            f"{path} cannot be read: {error.strerror}", source=str(path)
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} is not valid TOML: {error}", source=str(path)) from None


def _refuse_unknown(from_file: Mapping[str, object], path: Path) -> None:
    known = set(LakeSettings.model_fields)
    for key in from_file:
        in_file = known - {"home"}  # where the file lies says that
        if key not in in_file:
            raise InvalidSettings(f"{path}: unknown key {key!r}{_did_you_mean(key, in_file)}")
    for variable in os.environ:
        if not variable.startswith(_PREFIX) or variable.startswith(_FOREIGN_PREFIXES):
            continue
        if variable.removeprefix(_PREFIX).lower() not in known:
            hint = _did_you_mean(variable, {_PREFIX + name.upper() for name in known})
            raise InvalidSettings(f"environment: unknown variable {variable}{hint}")


def _did_you_mean(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"


def _explain(error: ValidationError, path: Path) -> str:
    lines = []
    for problem in error.errors():
        key = str(problem["loc"][0])
        variable = _PREFIX + key.upper()
        source = f"{variable} (environment)" if _variable_is_set(key) else f"{key} in {path}"
        lines.append(f"{source}: {problem['msg']}, got {problem['input']!r}")
    return "; ".join(lines)
