"""A staged upload in a temporary folder, and everything that reading it yields."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake_assets.contracts.variants import is_variant, merged_rows
from lake_assets.intake.formats import data_format, image_extension_of
from lake_assets.intake.model import Batch, ImageRef, ReadOptions, RejectedRow, StagedFile
from lake_assets.intake.readers import read_upload

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 24


@dataclass(frozen=True)
class Result:
    batches: list[Batch]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.batches for row in batch.rows.to_pylist()]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows with their variants back in place, without what is null."""
        rows = [row for batch in self.batches for row in merged_rows(batch.rows)]
        return [without_nulls(row) for row in rows]

    @property
    def columns(self) -> set[tuple[str, str]]:
        """Path and type of all that some batch has."""
        return {column for batch in self.batches for column in columns_in(batch.rows.schema)}

    @property
    def row_count(self) -> int:
        return sum(batch.rows.num_rows for batch in self.batches)

    @property
    def numbers(self) -> list[int]:
        return [n for batch in self.batches for n in batch.row_numbers.to_pylist()]

    @property
    def rejected(self) -> list[RejectedRow]:
        return [row for batch in self.batches for row in batch.rejected]

    @property
    def rules(self) -> list[tuple[int | None, str]]:
        return [(row.row, row.rule) for row in self.rejected]

    @property
    def images(self) -> list[ImageRef | None]:
        return [image for batch in self.batches for image in batch.images or ()]

    @property
    def types(self) -> dict[str, str]:
        return {f.name: str(f.type) for b in self.batches[:1] for f in b.rows.schema}


def columns_in(schema: Iterable[pa.Field], path: str = "") -> set[tuple[str, str]]:
    """Path and type of every column and field; those of structs and lists by what is in them."""
    found = set()
    for field in schema:
        name, kind = f"{path}.{field.name}", field.type
        while pa.types.is_list(kind):
            name, kind = f"{name}[]", kind.value_type
        found |= columns_in(kind, name) if pa.types.is_struct(kind) else {(name, str(kind))}
    return found


def without_nulls(value: Any) -> Any:
    """The value without the keys of its objects that hold null, at any depth."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def without_unused(value: Any) -> Any:
    """The row without variants that hold null, at any depth."""
    if isinstance(value, dict):
        items = {k: without_unused(v) for k, v in value.items()}
        return {k: v for k, v in items.items() if v is not None or not is_variant(k)}
    return [without_unused(v) for v in value] if isinstance(value, list) else value


class Staged:
    """Files of an upload; reading it checks what must hold for every upload."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[StagedFile] = []

    def add(self, name: str, content: bytes, role: str | None = None) -> StagedFile:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        kind = role or ("data" if data_format(path) else None)
        kind = kind or ("image" if image_extension_of(content[:32]) else "other")
        digest = hashlib.sha256(content).hexdigest()
        file = StagedFile(name=name, byte_count=len(content), sha256=digest, role=kind)
        self.files.append(file)
        return file

    def batches(
        self,
        *,
        options: ReadOptions | None = None,
        expected: pa.Schema | None = None,
        **limits: int,
    ) -> Iterator[Batch]:
        return read_upload(
            self.root, self.files, options or ReadOptions(), expected=expected, **limits
        )

    def read(self, *, expected: pa.Schema | None = None, **more: Any) -> Result:
        limits = {key: more.pop(key) for key in ("batch_rows", "batch_bytes") if key in more}
        batches = list(self.batches(options=ReadOptions(**more), expected=expected, **limits))
        for batch in batches:
            assert isinstance(batch.rows, pa.Table)
            assert batch.row_numbers.type == pa.int64()
            assert len(batch.row_numbers) == batch.rows.num_rows
            assert batch.images is None or len(batch.images) == batch.rows.num_rows
        return Result(batches)


def compressed(content: bytes, kind: str) -> bytes:
    if kind == "gz":
        return gzip.compress(content)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()
