"""The registry: which providers, datasets and tasks there are, and what each promises.

It is one YAML file, ``config/schema.yaml``, that people edit by hand as well. Invariant: a round
trip through these models keeps every key, also those that this version does not know (comments
are not kept). One that looks like a misspelt key that is known is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, ValidationError, model_validator

from lake_assets.contracts.contract_model import ContractModel
from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName, Destination, VariantName, check_name
from lake_assets.contracts.registry_text import parse_yaml, problems_in_words
from lake_assets.contracts.tasks import TaskContract, Tasks
from lake_assets.errors import (
    AlreadyExists,
    InvalidName,
    InvalidRegistry,
    StorageUnavailable,
    UnknownDataset,
    UnknownProvider,
    UnknownTask,
)
from lake_assets.storage.files import write_atomically
from lake_assets.storage.locks import exclusive_lock

_SETTLED_NS = 1_000_000_000


_HEADER = """\
# Providers, datasets and tasks of this lake. `lake config` and uploads edit it; so may you. Keys
# that the lake does not know are kept; other comments than these are lost when it edits the file.
"""
NEW_REGISTRY_FILE = f"{_HEADER}providers: []\ndatasets: {{}}\n"
"""Content of the file in a new lake."""


def _provider_name(text: str) -> str:
    try:
        return check_name(text, kind="provider")
    except InvalidName as error:  # pydantic collects ValueErrors only
        raise ValueError(error.message) from None


def _dataset_key(text: str) -> str:
    try:
        return str(DatasetName.parse(text))
    except InvalidName as error:
        raise ValueError(error.message) from None


class Registry(ContractModel):
    """All of ``config/schema.yaml``."""

    providers: tuple[Annotated[str, AfterValidator(_provider_name)], ...] = ()
    datasets: dict[Annotated[str, AfterValidator(_dataset_key)], DatasetContract] = {}
    """By ``provider/dataset``."""
    tasks: Tasks = {}
    """By name."""

    @model_validator(mode="after")
    def _has_every_provider(self) -> Registry:
        for key in self.datasets:
            if key.partition("/")[0] not in self.providers:
                raise ValueError(f"dataset {key}: provider {key.partition('/')[0]} is not listed")
        return self

    def require_provider(self, provider: str, *, may_create: bool = True) -> None:
        """Raise ``UnknownProvider``, with those known, unless ``provider`` is listed.

        Args:
            may_create: Whether what is being done could create it.
        """
        if provider not in self.providers:
            known = ", ".join(sorted(self.providers)) or "none yet"
            option = ", or pass --create (create_provider=True)" if may_create else ""
            raise UnknownProvider(
                f"unknown provider {provider!r} (known: {known}); create it with "
                f"`lake config provider create {provider}`{option}",
                provider=provider,
            )

    def contract(self, name: DatasetName) -> DatasetContract:
        """Return what ``name`` promises.

        Raises:
            UnknownDataset: with the datasets that its provider has.
        """
        try:
            return self.datasets[str(name)]
        except KeyError:
            siblings = [key for key in self.datasets if key.startswith(f"{name.provider}/")]
            known = ", ".join(sorted(siblings)) or "none yet"
            raise UnknownDataset(
                f"unknown dataset {name} (known of {name.provider}: {known}); `lake upload raw` "
                "creates it",
                dataset=str(name),
            ) from None

    def task(self, name: str) -> TaskContract:
        """Return what the task ``name`` promises.

        Raises:
            UnknownTask: with those that there are.
        """
        if name not in self.tasks:
            known = ", ".join(sorted(self.tasks)) or "none yet"
            raise UnknownTask(
                f"unknown task {name!r} (known: {known}); `lake config task create {name}` makes "
                "one",
                task=name,
            )
        return self.tasks[name]

    def promise(self, name: Destination) -> DatasetContract | TaskContract:
        """Return the contract that rows for ``name`` are to meet.

        Raises:
            UnknownDataset, UnknownTask.
        """
        if isinstance(name, VariantName):
            self.contract(name.of)
            return self.task(name.task)
        return self.contract(name)

    def dataset_names(self) -> tuple[DatasetName, ...]:
        """Return all datasets, sorted."""
        return tuple(sorted(DatasetName.parse(key) for key in self.datasets))

    def with_provider(self, provider: str) -> Registry:
        """Return a registry that also lists ``provider``.

        Raises:
            AlreadyExists, InvalidName.
        """
        check_name(provider, kind="provider")
        if provider in self.providers:
            raise AlreadyExists(f"provider {provider!r} exists already", provider=provider)
        return self.model_copy(update={"providers": (*self.providers, provider)})

    def with_dataset(self, name: DatasetName, contract: DatasetContract) -> Registry:
        """Return a registry in which ``name`` promises ``contract``."""
        self.require_provider(name.provider)
        return self.model_copy(update={"datasets": {**self.datasets, str(name): contract}})

    def with_task(self, name: str, contract: TaskContract) -> Registry:
        """Return a registry that also has the task ``name``.

        Raises:
            AlreadyExists, InvalidName.
        """
        check_name(name, kind="task")
        if name in self.tasks:
            raise AlreadyExists(f"task {name!r} exists already", task=name)
        return self.model_copy(update={"tasks": {**self.tasks, name: contract}})

    def without_task(self, name: str) -> Registry:
        """Return a registry without the task ``name``.

        Raises:
            UnknownTask.
        """
        self.task(name)
        rest = {key: contract for key, contract in self.tasks.items() if key != name}
        return self.model_copy(update={"tasks": rest})


_Version = tuple[int, int, int, int]
_loaded: dict[Path, tuple[_Version, Registry]] = {}
"""What was read last of each file: a run over 2,000 datasets asks for it thousands of times."""


def load_registry(path: Path) -> Registry:
    """Return the registry in ``path``; an absent or empty file is an empty registry.

    Raises:
        InvalidRegistry: naming the file, the key and what is wrong with it.
        StorageUnavailable: when the file cannot be read just now.
    """
    version = _version(path)
    known = _loaded.get(path)
    if known is not None and known[0] == version:
        return known[1]
    registry = _read_registry(path)
    # Not while the file may change again within one tick of its clock: it would look the same.
    if version is not None and time.time_ns() - max(version[2:]) > _SETTLED_NS:
        _loaded[path] = (version, registry)
    return registry


def _version(path: Path) -> _Version | None:
    """Return what changes whenever the file's content does; None: it cannot be told."""
    try:
        status = path.stat()
    except OSError:  # reading it says what is wrong
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read_registry(path: Path) -> Registry:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Registry()
    except OSError as error:
        raise StorageUnavailable(
            f"{path} cannot be read: {error.strerror}. Try again once that is mended"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidRegistry(f"{path} cannot be read as UTF-8 text: {error}") from None
    try:
        plain = parse_yaml(text)
        return Registry.model_validate(plain or {})
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRegistry(f"{path} is not valid YAML: {error}") from None
    except ValidationError as error:
        raise InvalidRegistry(f"{path}: {problems_in_words(error)}") from None


def save_registry(registry: Registry, path: Path) -> None:
    """Replace ``path`` in one step; a reader sees the old file or the new one."""
    plain: dict[str, Any] = registry.model_dump(mode="json", exclude_unset=True)
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    write_atomically(path, (_HEADER + text).encode())


def update_registry(path: Path, change: Callable[[Registry], Registry]) -> Registry:
    """Apply ``change`` to the registry in ``path`` while no other process can, and return it."""
    with _editing(path):
        changed = change(load_registry(path))
        save_registry(changed, path)
    return changed


@contextmanager
def _editing(path: Path) -> Iterator[None]:
    with exclusive_lock(path.with_name(f".{path.name}.lock"), timeout_s=30, what=str(path)):
        yield
