"""What a table's metadata names: every file that some snapshot of it needs, and what is said of it.

Invariant: nothing is parsed whose seal does not fit, so a flipped byte is told as what it is and
not as whatever a parser makes of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, ManifestEntryStatus, ManifestFile
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil
from pyiceberg.table.snapshots import Snapshot

from lake_assets.errors import LakeError, StorageUnavailable
from lake_assets.storage.damage import says_damage
from lake_assets.storage.seals import SealLog, read_seals, seal_of, table_folder
from lake_assets.storage.tables.commits import keys_in_snapshots
from lake_assets.storage.tables.file_io import SealingFileIO
from lake_assets.storage.tables.locations import local_path, own_path

_IO = SealingFileIO()
_SUFFIX = ".metadata.json"
PARSE_ERRORS = (
    LakeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError,
    AssertionError, OSError, MemoryError, RuntimeError, zlib.error, pa.ArrowException,
)  # fmt: skip
"""Whatever PyIceberg and its decoders make of bytes that are no metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile:
    """A file that a table needs."""

    path: str
    """Absolute."""
    byte_count: int | None
    """As the metadata says; None: it does not."""
    rows: int | None = None
    """Of a part."""


@dataclass(slots=True, kw_only=True)
class TableTree:
    """A table as one metadata file describes it."""

    metadata: Path
    files: dict[str, NamedFile] = field(default_factory=dict)
    """Every file that is needed, by path; without the metadata file itself."""
    current: set[str] = field(default_factory=set)
    """Those of them that its present rows need."""
    problems: dict[str, str] = field(default_factory=dict)
    """What cannot be read, by path. If there are any, ``files`` is not complete."""
    keys: frozenset[str] = frozenset()
    """Of the deliveries that the table's snapshots brought."""
    oldest_version: int = 0
    """Earlier metadata files that it still knows of begin with this number."""


def table_tree(metadata: Path, seals: SealLog | None = None) -> TableTree:
    """Return what ``metadata`` names. Reads all manifests, no part.

    Args:
        metadata: A ``*.metadata.json``.
        seals: Of its table, if they are read already.

    Raises:
        StorageUnavailable: A file cannot be read just now, which says nothing of what it holds.
    """
    reader = _Reader(TableTree(metadata=metadata), seals or read_seals(table_folder(metadata)))
    reader.read()
    return reader.tree


def version_of(metadata: str) -> int | None:
    """Return the number that the name of a metadata file begins with; None: it is no such name."""
    name = metadata.rpartition("/")[2]
    digits = name.partition("-")[0]
    return int(digits) if name.endswith(_SUFFIX) and digits.isdecimal() else None


def rows_of_part(path: Path) -> int:
    """Return how many rows a part says it has. Reads its footer.

    Raises:
        ValueError: It is no Parquet file that can be opened.
        StorageUnavailable: It cannot be read just now.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException, MemoryError) as error:
        require_damage(path, error)
        raise ValueError(f"it cannot be opened: {error}") from error


class _Reader:
    """Fills a tree."""

    def __init__(self, tree: TableTree, seals: SealLog) -> None:
        self.tree = tree
        self._folder = table_folder(tree.metadata)
        self._seals = seals
        self._parts: dict[str, tuple[str, ...]] = {}

    def read(self) -> None:
        path = str(self.tree.metadata)
        try:
            self._require_seal(path)
            text = self.tree.metadata.read_text(encoding="utf-8")
            table = TableMetadataUtil.parse_raw(text)
        except PARSE_ERRORS as error:
            self.tree.problems[path] = _words(path, error)
            return
        self._note_history(table)
        self.tree.keys = keys_in_snapshots(table.snapshots)
        for snapshot in table.snapshots:
            manifests = self._manifests_of(snapshot, table.current_snapshot_id)
            if manifests is not None and snapshot.snapshot_id == table.current_snapshot_id:
                self._compare_totals(snapshot, manifests)
                self._note_current(snapshot, manifests)

    def _note_history(self, table: TableMetadata) -> None:
        versions = []
        for entry in table.metadata_log:
            path = self._path(entry.metadata_file)
            if self._is_own(path) and not self._is_given_up(path):
                self.tree.files[path] = NamedFile(path=path, byte_count=None)
            versions.append(version_of(path))
        known = [version for version in versions if version is not None]
        own = version_of(str(self.tree.metadata)) or 0
        self.tree.oldest_version = min(known, default=own)

    def _note_current(self, snapshot: Snapshot, manifests: list[ManifestFile]) -> None:
        self.tree.current.add(self._path(snapshot.manifest_list))
        for manifest in manifests:
            path = self._path(manifest.manifest_path)
            self.tree.current |= {path, *self._parts.get(path, ())}

    def _manifests_of(self, snapshot: Snapshot, current: int | None) -> list[ManifestFile] | None:
        """Read what a snapshot names; None: its list cannot be read."""
        path = self._path(snapshot.manifest_list)
        if self._is_given_up(path) or self._is_elsewhere(path, str(self.tree.metadata)):
            return None
        self.tree.files[path] = NamedFile(path=path, byte_count=None)
        try:
            self._require_seal(path)
            manifests = list(snapshot.manifests(_IO))
        except PARSE_ERRORS as error:
            self.tree.problems[path] = _words(path, error)
            if snapshot.snapshot_id == current:
                self.tree.current.add(path)
            return None
        for manifest in manifests:
            self._read_manifest(manifest, told_by=path)
        return manifests

    def _read_manifest(self, manifest: ManifestFile, *, told_by: str) -> None:
        path = self._path(manifest.manifest_path)
        if path in self.tree.files or self._is_given_up(path) or self._is_elsewhere(path, told_by):
            return
        self.tree.files[path] = NamedFile(path=path, byte_count=manifest.manifest_length)
        try:
            self._require_seal(path)
            parts = list(_live_parts(manifest))
        except PARSE_ERRORS as error:
            self.tree.problems[path] = _words(path, error)
            return
        rows = sum(part.record_count for part in parts)
        told = (manifest.added_rows_count or 0) + (manifest.existing_rows_count or 0)
        if rows != told:
            self.tree.problems[path] = f"it names {rows} rows, its manifest list {told}"
        self._parts[path] = tuple(self._path(part.file_path) for part in parts)
        for part in parts:
            name = self._path(part.file_path)
            if self._is_given_up(name) or self._is_elsewhere(name, path):
                continue
            self.tree.files[name] = NamedFile(
                path=name, byte_count=part.file_size_in_bytes, rows=part.record_count
            )

    def _compare_totals(self, snapshot: Snapshot, manifests: list[ManifestFile]) -> None:
        """The summary is what counts of rows are answered from."""
        summary = snapshot.summary.additional_properties if snapshot.summary else {}
        if "total-records" not in summary:
            return
        told = int(summary["total-records"])
        rows = sum((m.added_rows_count or 0) + (m.existing_rows_count or 0) for m in manifests)
        if told != rows:
            path = str(self.tree.metadata)
            self.tree.problems[path] = f"its summary tells of {told} rows, its manifests of {rows}"

    def _path(self, location: str) -> str:
        """Return the path of a file as the lake's folder is called now."""
        path = local_path(location)
        if self._is_own(path):
            return path
        return str(own_path(location, self._folder.parent.parent) or path)

    def _is_own(self, path: str) -> bool:
        return path.startswith(f"{self._folder}/")

    def _is_elsewhere(self, path: str, told_by: str) -> bool:
        """Return whether a file is none of the table's own, and complain of what names it.

        It may be one of another lake, which this one was copied from: nobody may mend that here.
        """
        if self._is_own(path):
            return False
        self.tree.problems[told_by] = f"it names {path}, outside of its table's folder"
        return True

    def _is_given_up(self, path: str) -> bool:
        sealed = self._seals.seals.get(path.removeprefix(f"{self._folder}/"))
        return sealed is not None and sealed.is_given_up

    def _require_seal(self, path: str) -> None:
        sealed = self._seals.seals.get(path.removeprefix(f"{self._folder}/"))
        if sealed is not None and seal_of(Path(path)) != sealed:
            raise ValueError("its SHA-256 is not that of its seal")


def _live_parts(manifest: ManifestFile) -> Iterator[DataFile]:
    for entry in manifest.fetch_manifest_entry(_IO, discard_deleted=False):
        if entry.status != ManifestEntryStatus.DELETED:
            yield entry.data_file


def _words(path: str, error: BaseException) -> str:
    require_damage(path, error)
    if isinstance(error, FileNotFoundError) or isinstance(error.__cause__, FileNotFoundError):
        return "it is missing"
    return str(error) or type(error).__name__


def require_damage(path: Path | str, error: BaseException) -> None:
    """Raise unless an error says what a file holds, and not what the disk refuses just now.

    Raises:
        StorageUnavailable.
    """
    if not says_damage(error):
        raise StorageUnavailable(
            f"{path} cannot be read: {error}. Try again once that is mended", path=str(path)
        ) from error
