"""Where the rows of a group of uploads go: into parts, few of them, whatever the uploads' sizes.

The rows of a small upload wait in memory until it is read to its end; then they join those of
other small uploads in a shared part. A thousand uploads of ten rows so make one file, not a
thousand. A large upload writes parts of its own. Invariant: nothing of an upload that fails stays
in any part.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa

from lake_assets.contracts.drift import conform
from lake_assets.contracts.growth import grow_schema
from lake_assets.contracts.names import Destination
from lake_assets.ingest.model import COMMIT_ORDER, Asset
from lake_assets.storage.system_tables import IMAGES, QUARANTINE
from lake_assets.storage.tables import IcebergTables, Part, PartWriter

SMALL_BYTES = 8 * 2**20
"""An upload with more rows than fit here, in Arrow's memory, gets parts of its own."""
_SHARED_BYTES = 64 * 2**20


def part_stem(name: Destination, token: int) -> str:
    """Return how the file names of all parts begin that were written under a lease's token.

    So those of a process that died can be told from all others.
    """
    return f"{str(name).replace('/', '.')}-{token}-"


class GroupParts:
    """The parts of one group.

    Args:
        name: The dataset.
        token: Of the lease under which they are written.
        partition_by: (transform, column) pairs of the dataset's own table.
    """

    def __init__(
        self,
        tables: IcebergTables,
        name: Destination,
        *,
        token: int,
        partition_by: tuple[tuple[str, str], ...],
    ) -> None:
        self._tables = tables
        self._name = name
        self._stem = part_stem(name, token)
        self._partition_by = partition_by
        self._stack = ExitStack()
        self._shared: dict[Asset, PartWriter] = {}
        self._waiting: dict[Asset, list[Any]] = {asset: [] for asset in COMMIT_ORDER}
        self._waiting_bytes = 0
        self._writers = 0
        self._parts: dict[Asset, list[Part]] = {asset: [] for asset in COMMIT_ORDER}

    def writer(self, asset: Asset, stem: str) -> PartWriter:
        """Return a writer of parts of ``asset``'s table."""
        if asset == "raw":
            folder, partition_by = self._tables.data_folder(self._name.table), self._partition_by
        else:
            spec = IMAGES if asset == "images" else QUARANTINE
            folder, partition_by = self._tables.data_folder(spec.name), ()  # one dataset, one part
        return PartWriter(folder, stem=f"{self._stem}{stem}", partition_by=partition_by)

    def take(self, rows: UploadRows) -> None:
        """Take in what an upload came to, which was read to its end."""
        for asset in COMMIT_ORDER:
            self._parts[asset] += rows.parts[asset]
            self._waiting[asset] += rows.waiting[asset]
        self._waiting_bytes += rows.waiting_bytes
        if self._waiting_bytes >= _SHARED_BYTES:
            self._write_waiting()

    def files(self, asset: Asset) -> Iterator[str]:
        """Yield the paths of parts with the rows of all that was taken in; some may come twice."""
        # Those that are finished first: who finds what he looks for leaves the others open, and
        # small uploads go on sharing them.
        yield from [part.path for part in self._parts[asset]]
        yield from [part.path for part in self.settle()[asset]]

    def settle(self) -> Mapping[Asset, Sequence[Part]]:
        """Finish the parts of all that was taken in, and return them."""
        self._write_waiting()
        for asset, shared in self._shared.items():
            self._parts[asset] += shared.close()
        self._shared.clear()
        return self._parts

    def exchange(self, asset: Asset, gone: Sequence[Part], new: Sequence[Part]) -> None:
        """Take some parts in the place of others, which are removed."""
        self._parts[asset] = [part for part in self._parts[asset] if part not in gone] + [*new]
        for part in gone:
            Path(part.path).unlink()

    def close(self) -> dict[Asset, tuple[Part, ...]]:
        """Finish all parts and return them."""
        return {asset: tuple(parts) for asset, parts in self.settle().items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if error is not None:
            for part in (part for parts in self._parts.values() for part in parts):
                Path(part.path).unlink(missing_ok=True)

    def _write_waiting(self) -> None:
        for asset, tables in self._waiting.items():
            if not tables:
                continue
            if asset not in self._shared:
                self._writers += 1
                writer = self.writer(asset, f"group{self._writers}")
                self._shared[asset] = self._stack.enter_context(writer)
            self._shared[asset].write(_as_one(tables))
            tables.clear()
        self._waiting_bytes = 0


def _as_one(tables: list[Any]) -> Any:
    """Return tables as one; later uploads may have brought columns that the earlier ones lack."""
    schema = functools.reduce(grow_schema, (rows.schema for rows in tables))
    return pa.concat_tables([conform(rows, schema) for rows in tables])


class RowSink(Protocol):
    """What takes the rows of one upload."""

    def write(self, asset: Asset, rows: Any) -> None:
        """Append ``rows`` (a ``pyarrow.Table``) to those of ``asset``'s table."""

    def begin_anew(self) -> None:
        """Forget all rows."""

    def close(self) -> None:
        """No more rows come."""


class NoRows:
    """Takes rows and keeps none: to see what would become of them."""

    def write(self, asset: Asset, rows: Any) -> None:
        """Keep nothing."""

    def begin_anew(self) -> None:
        """Forget nothing."""

    def close(self) -> None:
        """Close nothing."""


class UploadRows:
    """The rows of one upload. A context manager: if its body fails, no file is left."""

    def __init__(self, group: GroupParts, upload_id: str) -> None:
        self._group = group
        self._upload_id = upload_id
        self._stack = ExitStack()
        self._own: dict[Asset, PartWriter] | None = None
        self.waiting: dict[Asset, list[Any]] = {asset: [] for asset in COMMIT_ORDER}
        self.waiting_bytes = 0
        self.parts: dict[Asset, tuple[Part, ...]] = dict.fromkeys(COMMIT_ORDER, ())

    def write(self, asset: Asset, rows: Any) -> None:
        """Append ``rows`` (a ``pyarrow.Table``) to those of ``asset``'s table."""
        if not rows.num_rows:
            return
        if self._own is not None:
            self._own[asset].write(rows)
            return
        self.waiting[asset].append(rows)
        self.waiting_bytes += rows.nbytes
        if self.waiting_bytes > SMALL_BYTES:
            self._spill()

    def begin_anew(self) -> None:
        """Forget all rows; parts that were begun are removed."""
        for writer in (self._own or {}).values():
            writer.abort()
        self._own = None
        self.waiting = {asset: [] for asset in COMMIT_ORDER}
        self.waiting_bytes = 0
        self.parts = dict.fromkeys(COMMIT_ORDER, ())

    def close(self) -> None:
        """Finish the upload's own parts, if it has any."""
        if self._own is not None:
            self.parts = {asset: writer.close() for asset, writer in self._own.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _spill(self) -> None:
        self._own = {
            asset: self._stack.enter_context(self._group.writer(asset, self._upload_id))
            for asset in COMMIT_ORDER
        }
        for asset, tables in self.waiting.items():
            for rows in tables:
                self._own[asset].write(rows)
            tables.clear()
        self.waiting_bytes = 0
