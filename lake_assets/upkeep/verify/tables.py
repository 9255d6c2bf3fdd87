"""Verify the catalog file and every table: metadata, manifests, parts, seals."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lake_assets.errors import StorageUnavailable
from lake_assets.storage.seals import SEAL_LOG, SealLog, read_seals
from lake_assets.storage.tables.catalog_file import CatalogSeal, read_catalog, seal_file
from lake_assets.storage.tables.locations import own_path
from lake_assets.storage.tables.tree import (
    NamedFile,
    TableTree,
    rows_of_part,
    table_tree,
    version_of,
)
from lake_assets.upkeep.verify.folders import FoundFile, files_below
from lake_assets.upkeep.verify.model import (
    Finding,
    Kind,
    Look,
    Seen,
    Severity,
    Tally,
    Target,
)

_SEAL_WORDS = {
    CatalogSeal.ABSENT: "catalog.db has no seal yet; `lake repair` writes it",
    CatalogSeal.STALE: "catalog.db was written to after it was sealed (a process ended in between);"
    " `lake repair` seals it again",
}


def look_at_catalog(look: Look) -> Iterator[Seen]:
    """Verify ``catalog.db`` and its seal; learn where the tables are."""
    file = look.stores.layout.catalog_file
    state = read_catalog(file)
    tables = look.stores.layout.tables
    look.pointers = {
        name: own_path(str(path), tables) or path for name, path in state.pointers.items()
    }
    yield Tally(files=1 if state.exists else 0)
    if not state.exists:
        if any(look.stores.layout.tables.glob("*/*/metadata/*.metadata.json")):
            yield look.damage(Kind.CATALOG, file, "it is missing, but there are tables")
    elif state.damage:
        yield look.damage(Kind.CATALOG, file, state.damage)
    elif state.seal is CatalogSeal.BROKEN:
        yield look.damage(Kind.CATALOG_SEAL, seal_file(file), "it is not as it was written")
    elif state.seal in _SEAL_WORDS and look.busy_since is None and state.pointers:
        yield Finding(
            kind=Kind.CATALOG_SEAL, severity=Severity.WARNING,
            path=look.below(seal_file(file)), message=_SEAL_WORDS[state.seal],
        )  # fmt: skip


def look_at_tables(look: Look) -> Iterator[Seen]:
    """Verify every table that the catalog names or that has a folder."""
    folders = {
        ".".join(path.relative_to(look.stores.layout.tables).parts): path
        for path in look.stores.layout.tables.glob("*/*")
        if path.is_dir()
    }
    # As the keys of their files sort.
    for name in sorted({*look.pointers, *folders}, key=lambda text: f"{text}/"):
        metadata = look.pointers.get(name)
        folder = look.stores.layout.tables.joinpath(*name.split(".", 1))
        if metadata is None:
            if look.pointers:  # else the catalog is lost, not the table
                yield from _unnamed_table(look, folder, name)
        elif not metadata.is_relative_to(folder):
            look.broken_tables.add(name)
            yield look.damage(
                Kind.TABLE_OUTSIDE, folder,
                f"the catalog says that its metadata is {metadata}, in another lake: this one was "
                "copied or moved; run `lake relocate`", name,
            )  # fmt: skip
        else:
            for seen in _told(look, _Table(look, name, folder, metadata)):
                if isinstance(seen, Finding) and seen.severity is Severity.DAMAGE:
                    look.broken_tables.add(name)
                yield seen
    strange = (path for path in look.stores.layout.tables.glob("*") if not path.is_dir())
    for path in sorted(strange):
        changed_at = path.lstat().st_ctime
        yield from look.stray(Kind.STRANGE, path, changed_at, "no table lies here")


def _told(look: Look, table: _Table) -> Iterator[Seen]:
    """Yield what a table is like; one that cannot be read does not keep the others from it."""
    try:
        yield from table.look()
    except StorageUnavailable as error:
        yield look.unreadable(f"{table.folder}/", error, table.name)


def _unnamed_table(look: Look, folder: Path, name: str) -> Iterator[Seen]:
    try:
        newest = max((file.changed_at for file in files_below(folder)), default=None)
    except StorageUnavailable as error:
        yield look.unreadable(f"{folder}/", error, name)
        return
    if newest is not None:
        message = "the catalog has no such table"
        yield from look.stray(Kind.ORPHAN, Path(f"{folder}/"), newest, message, name)


@dataclass(slots=True)
class _Table:
    """One table under verification."""

    look_: Look
    name: str
    folder: Path
    metadata: Path
    _linked: frozenset[str] = frozenset()
    """Where the symbolic links lead that it names: what lies there is no orphan."""

    def look(self) -> Iterator[Seen]:
        # The seals first: a file that a commit adds meanwhile then is one without a seal, and
        # not one that is named by nothing.
        seals = read_seals(self.folder)
        tree = table_tree(self.metadata, seals)
        self._linked = _linked((str(self.metadata), *tree.files))
        for number in seals.damaged_lines:
            yield self._damage(
                self.folder / SEAL_LOG, f"line {number} is not as it was written", Kind.SEAL_LOG
            )
        for path, message in tree.problems.items():
            yield self._damage(path, message)
        missing = set(tree.files) | {str(self.metadata)}
        unsealed = 0
        for file in files_below(self.folder):
            missing.discard(file.place)
            if file.name == SEAL_LOG:
                continue
            yield Tally(files=1)
            yield from self._look_at_file(file, tree, seals)
            unsealed += file.name not in seals.seals and file.place in tree.files
        for path in sorted(missing - set(tree.problems)):
            yield self._damage(path, "it is missing")
        if unsealed:
            yield Finding(
                kind=Kind.UNSEALED, severity=Severity.NOTICE, about=self.name,
                path=f"{self.look_.below(self.folder)}/",
                message=f"{unsealed} of its files have no seal (an earlier version wrote them);"
                " `lake repair` seals them",
            )  # fmt: skip

    def _look_at_file(self, file: FoundFile, tree: TableTree, seals: SealLog) -> Iterator[Seen]:
        path = file.place
        sealed = seals.seals.get(file.name)
        if sealed and sealed.is_given_up:
            sealed = None
        named = tree.files.get(path)
        wrong = self._wrong(file, named) if named else ""
        if sealed and sealed.byte_count != file.byte_count:
            wrong = f"it has {file.byte_count} bytes, should have {sealed.byte_count}"
        if wrong and path not in tree.problems:
            yield self._damage(path, wrong)
        elif sealed:
            yield Target(
                key=f"{self.name}/{file.name}", place=path, name=self.look_.below(path),
                byte_count=file.byte_count, sha256=sealed.sha256, inode=file.inode,
                kind=Kind.TABLE_FILE, about=self.name,
                message="its SHA-256 is not that of its seal",
            )  # fmt: skip
        if self._linked and os.path.realpath(path) in self._linked:
            return
        if named is None and not tree.problems and not self._is_history(file.name, tree):
            yield from self._stray(file)

    def _wrong(self, file: FoundFile, named: NamedFile) -> str:
        """Return what of a file is not as the metadata says; empty: nothing."""
        if named.byte_count is not None and named.byte_count != file.byte_count:
            return f"it has {file.byte_count} bytes, should have {named.byte_count}"
        if named.rows is None:
            return ""
        try:
            rows = rows_of_part(file.path)
        except ValueError as error:
            return str(error)
        return "" if rows == named.rows else f"it has {rows} rows, should have {named.rows}"

    def _is_history(self, name: str, tree: TableTree) -> bool:
        """Return whether it is the present metadata, or one too old for the log of the table."""
        if name == self.metadata.relative_to(self.folder).as_posix():
            return True
        version = version_of(name)
        return version is not None and version < tree.oldest_version

    def _stray(self, file: FoundFile) -> Iterator[Seen]:
        if file.is_draft:
            kind, message = Kind.DRAFT, "a file that was not finished"
        elif file.name.startswith(("data/", "metadata/")):
            kind, message = Kind.ORPHAN, "no snapshot of its table names it"
        else:
            kind, message = Kind.STRANGE, "no file of a table"
        yield from self.look_.stray(kind, file.path, file.changed_at, message, self.name)

    def _damage(self, path: Path | str, message: str, kind: Kind = Kind.TABLE_FILE) -> Finding:
        return self.look_.damage(kind, path, message, self.name)


def _linked(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(os.path.realpath(path) for path in paths if Path(path).is_symlink())
