"""Relocation: a table's metadata, written anew for the folder that the table lies in now.

Iceberg names files by absolute locations. So those of a table that was copied or moved name the
files of the other place, and those of earlier versions lack the scheme that other engines ask for.
Every state of the table that can be read is written once more with its names changed and nothing
else: metadata, manifest lists, manifests. Parts stay as they are.

Invariants: a table is at its old place or at its new one, by one change of its pointer; a new
file's name follows from the old one's and from the new place, so whoever repeats what was cut off
writes the rest; an old file is removed only once the table names the new one. What cannot be read,
or is not as its seal says, keeps its name: `lake verify` tells of it then as it did before, and
`lake repair` works at the new place.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from pyiceberg.avro.file import AvroFile, AvroOutputFile
from pyiceberg.manifest import DataFileContent
from pyiceberg.typedef import Record

from lake_assets.errors import DamagedTable, SchemaMismatch
from lake_assets.storage.seals import read_seals, seal_of
from lake_assets.storage.shards import sync_file_system
from lake_assets.storage.tables.catalog_file import set_pointer
from lake_assets.storage.tables.file_io import SealingFileIO
from lake_assets.storage.tables.locations import local_path, location_of
from lake_assets.storage.tables.tree import (
    PARSE_ERRORS,
    require_damage,
    table_tree,
    version_of,
)

T = TypeVar("T")

_METADATA = ".metadata.json"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_POSITION_DELETES = DataFileContent.POSITION_DELETES.value


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlace:
    """A table as the catalog has it, and the folder that it lies in."""

    table: str
    pointer: str
    """Location of its metadata file, as the catalog says."""
    warehouse: Path

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.warehouse.joinpath(*self.table.split(".", 1))

    @property
    def metadata(self) -> Path:
        """Its metadata file, in its own folder."""
        return self.folder / "metadata" / Path(local_path(self.pointer)).name

    def is_settled(self) -> bool:
        """Return whether its pointer and its metadata name its folder, in the form of today."""
        if self.pointer != location_of(self.metadata):
            return False
        try:
            plain = _json(self.metadata)
        except (FileNotFoundError, ValueError):  # for `lake repair`
            return True
        return bool(plain["location"] == location_of(self.folder))


def relocate_table(catalog_file: Path, place: TablePlace) -> None:
    """Make a table name the files of its own folder. Nobody may be writing to it.

    Raises:
        DamagedTable: its metadata file is not in its folder.
        SchemaMismatch: it has delete files, which name parts by their old locations.
        CommitConflict: it was changed meanwhile.
        StorageUnavailable: the disk is full; to repeat it goes on.
    """
    if not place.metadata.exists():
        raise DamagedTable(
            f"{place.metadata} is missing, which {place.table} needs: the catalog has it at "
            f"{local_path(place.pointer)}. Copy that folder's files here, then run `lake relocate` "
            "again",
            table=place.table,
        )
    present = Path(local_path(place.pointer))
    settled = _Rewriting(place).states()
    sync_file_system(place.warehouse)
    set_pointer(catalog_file, place.table, settled, present=present)


def remove_superseded(place: TablePlace) -> int:
    """Remove what a settled table had before it was relocated; return how many files.

    Raises:
        StorageUnavailable.
    """
    tree = table_tree(place.metadata)
    if tree.problems:
        return 0  # something else may need it
    needed = {str(place.metadata), *tree.files}
    removed = 0
    for path in sorted((place.folder / "metadata").iterdir()):
        successor = str(path.with_name(_successor(path.name, place.folder)))
        if successor in needed and str(path) not in needed:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _successor(name: str, folder: Path) -> str:
    """Return the name that a metadata file has once it was written anew for ``folder``."""
    made = str(uuid5(NAMESPACE_URL, f"{location_of(folder)}/{name}"))
    return _UUID.sub(made, name, count=1) if _UUID.search(name) else f"{made}-{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Avro:
    """A manifest or a list of them, as it was read."""

    schema: Any
    meta: dict[str, str]
    records: list[Record]


class _Rewriting:
    """Writes one table's metadata anew, every file once."""

    def __init__(self, place: TablePlace) -> None:
        self._place = place
        self._io = SealingFileIO({"warehouse": str(place.warehouse)})
        self._seals = read_seals(place.folder).seals
        self._names: dict[str, str] = {}
        """Old name → new one; the same if it could not be read."""

    def states(self) -> Path:
        """Write all states anew, oldest first, and return the metadata file of the present one."""
        names = {self._place.metadata.name}
        present = self._read(self._place.metadata.name, _json)
        if present is None:  # `lake repair` will go back to one of the others
            names |= {path.name for path in self._folder.glob(f"*{_METADATA}")}
        else:
            names |= {_name(entry["metadata-file"]) for entry in present.get("metadata-log", ())}
        for name in sorted(names, key=lambda name: (version_of(name) or 0, name)):
            self._once(name, _json, self._state)
        return self._folder / self._names[self._place.metadata.name]

    @property
    def _folder(self) -> Path:
        return self._place.folder / "metadata"

    def _once(self, name: str, parse: Callable[[Path], T], write: Callable[[str, T], None]) -> str:
        """Return the location of a file's successor, which ``write`` makes of its content."""
        if name not in self._names:
            content = self._read(name, parse)
            self._names[name] = name if content is None else _successor(name, self._place.folder)
            if content is not None:
                write(name, content)
        return location_of(self._folder / self._names[name])

    def _read(self, name: str, parse: Callable[[Path], T]) -> T | None:
        """Return what a file holds; None: it is gone, or not as it was written."""
        path, sealed = self._folder / name, self._seals.get(f"metadata/{name}")
        if not path.is_file() or (sealed is not None and seal_of(path) != sealed):
            return None
        try:
            return parse(path)
        except PARSE_ERRORS as error:
            require_damage(path, error)
            return None

    def _state(self, name: str, plain: dict[str, Any]) -> None:
        successor = self._names[name]
        for snapshot in plain.get("snapshots", ()):
            listed = _name(snapshot["manifest-list"])
            snapshot["manifest-list"] = self._once(listed, self._avro, self._list)
        for entry in plain.get("metadata-log", ()):
            old = _name(entry["metadata-file"])
            entry["metadata-file"] = location_of(self._folder / self._names.get(old, old))
        plain["location"] = location_of(self._place.folder)
        if not self._is_there(successor):
            with self._output(successor).create() as stream:
                stream.write(json.dumps(plain).encode())
        self._keep_time(name, successor)

    def _keep_time(self, name: str, successor: str) -> None:
        # `lake repair` compares it with that of uploads, to know which a state has not.
        written_at_ns = (self._folder / name).stat().st_mtime_ns
        os.utime(self._folder / successor, ns=(written_at_ns, written_at_ns))

    def _list(self, name: str, content: _Avro) -> None:
        path_at, length_at = (
            _place(content.schema, name) for name in ("manifest_path", "manifest_length")
        )
        for manifest in content.records:
            old = _name(manifest[path_at])
            manifest[path_at] = self._once(old, self._avro, self._manifest)
            path = Path(local_path(manifest[path_at]))
            if path.is_file():
                manifest[length_at] = path.stat().st_size
        self._write(content, self._names[name], "manifest_file")

    def _manifest(self, name: str, content: _Avro) -> None:
        file_at = _place(content.schema, "data_file")
        fields = content.schema.fields[file_at].field_type
        path_at, content_at = _place(fields, "file_path"), _place(fields, "content")
        for entry in content.records:
            file = entry[file_at]
            if file[content_at] == _POSITION_DELETES:
                raise SchemaMismatch(
                    f"{self._place.table} has delete files of another program, which name its "
                    "files as they lay before, so it cannot be relocated. Have that program write "
                    "the table anew without them where it was made, then copy it again",
                    table=self._place.table,
                )
            file[path_at] = self._part(file[path_at])
        self._write(content, self._names[name], "manifest_entry")

    def _part(self, location: str) -> str:
        """Return where a part lies now: as far below the table's folder as before."""
        inside = "/".join(("", *self._place.table.split(".", 1), "data", ""))
        below = local_path(location).rpartition(inside)[2]
        return location_of(self._place.folder / "data" / below)

    def _avro(self, path: Path) -> _Avro:
        with AvroFile[Record](self._io.new_input(str(path))) as file:
            meta = {key: text for key, text in file.header.meta.items() if key != "avro.schema"}
            return _Avro(schema=file.schema, meta=meta, records=list(file))

    def _write(self, content: _Avro, name: str, schema_name: str) -> None:
        if self._is_there(name):
            return
        output = self._output(name)
        with AvroOutputFile[Record](
            output, content.schema, schema_name, metadata=content.meta
        ) as file:
            file.write_block(content.records)

    def _is_there(self, name: str) -> bool:
        """Return whether somebody who was cut off has written a file; half of one goes."""
        path, sealed = self._folder / name, self._seals.get(f"metadata/{name}")
        if sealed is not None and path.is_file() and seal_of(path) == sealed:
            return True
        path.unlink(missing_ok=True)
        return False

    def _output(self, name: str) -> Any:
        return self._io.new_output(location_of(self._folder / name))


def _place(struct: Any, name: str) -> int:
    """Return which field of a struct has a name."""
    return [field.name for field in struct.fields].index(name)


def _name(location: str) -> str:
    return location.rpartition("/")[2]


def _json(path: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(path.read_bytes())
    return plain
