"""A file of annotations in a temporary folder, and everything that reading it yields."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake_assets.contracts.record_types import record_type
from lake_assets.intake.annotations import (
    AnnotationFormat,
    Annotations,
    annotation_format,
    read_annotations,
)
from lake_assets.intake.annotations.model import BLOCK_RECORDS
from lake_assets.intake.model import RejectedRow


@dataclass(frozen=True)
class Result:
    format: AnnotationFormat
    blocks: list[Annotations]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [record for block in self.blocks for record in block.records]

    @property
    def rejected(self) -> list[RejectedRow]:
        return [row for block in self.blocks for row in block.rejected]

    @property
    def numbers(self) -> list[int]:
        return [number for block in self.blocks for number in block.numbers]

    @property
    def rules(self) -> list[tuple[int | None, str, str]]:
        """Number, rule and path of what is rejected."""
        return [(row.row, row.rule, row.path) for row in self.rejected]

    def column(self, name: str) -> list[Any]:
        return [record[name] for record in self.records]

    @property
    def boxes(self) -> list[tuple[float, ...] | None]:
        return [box and tuple(box.values()) for box in self.column("box")]

    @property
    def polygons(self) -> list[list[tuple[float, float]] | None]:
        return [
            ring and [(point["x"], point["y"]) for point in ring] for ring in self.column("polygon")
        ]


def read_file(
    path: Path, kind: str, form: AnnotationFormat | None = None, name: str | None = None
) -> Result:
    """Read a file, and check what must hold for every file."""
    found = form or annotation_format(path, kind)
    assert found is not None, "no format found"
    name = name or path.name
    result = Result(found, list(read_annotations(path, name, kind, found)))
    count = len(result.records) + len(result.rejected)
    assert sorted([*result.numbers, *(row.row for row in result.rejected)]) == [*range(count)]
    for block in result.blocks:
        assert 0 < len(block.records) + len(block.rejected) <= BLOCK_RECORDS
        assert len(block.records) == len(block.numbers)
        assert block.numbers == sorted(block.numbers)
    check_records(result.records, kind)
    check_rejected(result.rejected, name)
    return result


def check_records(records: list[dict[str, Any]], kind: str) -> None:
    """Every record has all columns of its type, and values that its columns take exactly."""
    schema = record_type(kind).schema()
    for record in records:
        assert set(schema.names) <= set(record)
    own = [{name: record[name] for name in schema.names} for record in records]
    assert pa.Table.from_pylist(own, schema).to_pylist() == own
    json.dumps(records, ensure_ascii=False).encode()


def check_rejected(rejected: list[RejectedRow], name: str) -> None:
    for row in rejected:
        assert row.file == name
        assert row.expected
        assert row.actual or row.actual == ""
        json.loads(row.row_json)
        for text in (row.path, row.actual, row.row_json):
            text.encode()


class Folder:
    """Writes a file and reads it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def read(
        self, name: str, content: str | bytes, kind: str, form: AnnotationFormat | None = None
    ) -> Result:
        return read_file(self.write(name, content), kind, form, name)
