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
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
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
from lake_assets.storage.tables.tree import table_tree

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
        plain = _json(self.metadata)  # one that is damaged is for `lake repair`
        return plain is None or plain["location"] == location_of(self.folder)


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
        present = self._content(self._place.metadata.name)
        if present is None:  # `lake repair` will go back to one of the others
            names |= {path.name for path in self._folder.glob(f"*{_METADATA}")}
        else:
            log = json.loads(present).get("metadata-log", ())
            names |= {_name(entry["metadata-file"]) for entry in log}
        for name in sorted(names):
            self._once(name, self._state)
        return self._folder / self._names[self._place.metadata.name]

    @property
    def _folder(self) -> Path:
        return self._place.folder / "metadata"

    def _once(self, name: str, write: Callable[[str, str], None]) -> str:
        """Return the location of a file's successor, which ``write`` makes if it is not there."""
        if name not in self._names:
            successor = _successor(name, self._place.folder)
            is_readable = self._content(name) is not None
            self._names[name] = successor if is_readable else name
            if is_readable:
                write(name, successor)
        return location_of(self._folder / self._names[name])

    def _content(self, name: str) -> bytes | None:
        """Return what a file holds; None: it is gone, or not as its seal says."""
        path, sealed = self._folder / name, self._seals.get(f"metadata/{name}")
        if not path.is_file() or (sealed is not None and seal_of(path) != sealed):
            return None
        return path.read_bytes()

    def _is_there(self, name: str) -> bool:
        """Return whether somebody who was cut off has written a file; half of one goes."""
        path = self._folder / name
        sealed = self._seals.get(f"metadata/{name}")
        if sealed is not None and path.is_file() and seal_of(path) == sealed:
            return True
        path.unlink(missing_ok=True)
        return False

    def _state(self, name: str, successor: str) -> None:
        plain = json.loads((self._folder / name).read_bytes())
        for snapshot in plain.get("snapshots", ()):
            place = _name(snapshot["manifest-list"])
            snapshot["manifest-list"] = self._once(place, self._list)
        for entry in plain.get("metadata-log", ()):
            old = _name(entry["metadata-file"])
            entry["metadata-file"] = location_of(self._folder / self._names.get(old, old))
        plain["location"] = location_of(self._place.folder)
        if not self._is_there(successor):
            with self._output(successor).create() as stream:
                stream.write(json.dumps(plain).encode())

    def _list(self, name: str, successor: str) -> None:
        def change(manifest: Record, at: dict[str, int]) -> None:
            location = self._once(_name(manifest[at["manifest_path"]]), self._manifest)
            manifest[at["manifest_path"]] = location
            path = Path(local_path(location))
            if path.is_file():
                manifest[at["manifest_length"]] = path.stat().st_size

        self._avro(name, successor, "manifest_file", change)

    def _manifest(self, name: str, successor: str) -> None:
        def change(entry: Record, at: dict[str, int]) -> None:
            file = entry[at["data_file"]]
            if "data_file.content" in at and file[at["data_file.content"]] == _POSITION_DELETES:
                raise SchemaMismatch(
                    f"{self._place.table} has delete files of another program, which name its "
                    "files as they lay before; it cannot be relocated. Have that program rewrite "
                    "the table without them, then try again",
                    table=self._place.table,
                )
            file[at["data_file.file_path"]] = self._data(file[at["data_file.file_path"]])

        self._avro(name, successor, "manifest_entry", change)

    def _data(self, location: str) -> str:
        """Return where a part lies now: as far below the table's folder as before."""
        inside = "/".join(("", *self._place.table.split(".", 1), "data", ""))
        below = local_path(location).rpartition(inside)[2]
        return location_of(self._place.folder / "data" / below)

    def _avro(
        self,
        name: str,
        successor: str,
        schema_name: str,
        change: Callable[[Record, dict[str, int]], None],
    ) -> None:
        """Write an Avro file anew, each record changed by ``change``, which is told the places of
        fields by their names."""
        with AvroFile[Record](self._io.new_input(str(self._folder / name))) as old:
            at = _places(old.schema)
            records = list(old)
        for record in records:
            change(record, at)
        if self._is_there(successor):
            return
        kept = {key: value for key, value in old.header.meta.items() if key != "avro.schema"}
        with AvroOutputFile[Record](
            self._output(successor), old.schema, schema_name, metadata=kept
        ) as new:
            new.write_block(records)

    def _output(self, name: str) -> Any:
        return self._io.new_output(location_of(self._folder / name))


def _places(schema: Any) -> dict[str, int]:
    found = {field.name: number for number, field in enumerate(schema.fields)}
    for field in schema.fields:
        if field.name == "data_file":
            inner = enumerate(field.field_type.fields)
            found |= {f"data_file.{item.name}": number for number, item in inner}
    return found


def _name(location: str) -> str:
    return location.rpartition("/")[2]


def _json(path: Path) -> dict[str, Any] | None:
    try:
        plain: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return plain
