"""Files of a table written anew in the types that an upload needs, and values back from variants.

Invariants: a row keeps its id, its upload and its time; what it says is the same before and after.
Memory is bounded by a row group, and what is written are parts like all others: no table names them
before the group's commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake_assets.contracts.drift import conform, fit_columns
from lake_assets.contracts.growth import grow_schema
from lake_assets.contracts.list_columns import regrouped
from lake_assets.contracts.rewrites import rewritten_places
from lake_assets.contracts.schema_changes import ITEMS, Steps
from lake_assets.contracts.variants import variant_name
from lake_assets.errors import LakeError
from lake_assets.ingest.parts import GroupParts
from lake_assets.ingest.state import DatasetState
from lake_assets.intake.formats import DataFormat, data_format
from lake_assets.intake.readers.values import DoesNotFit, fit_json, fit_text
from lake_assets.intake.readers.variant_text import has_long_number, parsed_float, parsed_int
from lake_assets.storage.seals import read_seals, seal_of, table_folder
from lake_assets.storage.system_tables import columns_of
from lake_assets.storage.tables.parts import schema_of_part
from lake_assets.storage.tables.trouble import damaged_table, missing_file
from lake_assets.stores import Stores

_types = pa.types


def write_anew(state: DatasetState, parts: GroupParts) -> tuple[str, ...]:
    """Write the rows anew that are in other types than the table is to have, into ``parts``.

    Those of the group's first uploads among them: a later one may have needed another type.

    Returns:
        The paths of the table's files in whose place the parts come; empty: none goes.
    """
    schema = pa.schema([*columns_of(state.name), *state.own_columns])
    late = [
        part for part in parts.settle()["raw"] if rewritten_places(schema_of_part(part), schema)
    ]
    gone = _gone(state, schema)
    # All files go. Of a rebuild, those with its own rows are not copied: it brings these anew.
    own = _files_of_its_own(state) if gone and state.is_empty else frozenset()
    kept = [path for path in gone if path not in own]
    if late or kept:
        _require_whole(kept)
        refitting = _Refitting(state, schema)
        with parts.writer("raw", "types") as writer:
            for path in (*kept, *(part.path for part in late)):
                for rows in refitting.rows_of(path):
                    writer.write(rows)
            parts.exchange("raw", late, writer.close())
    return gone


def _gone(state: DatasetState, schema: Any) -> tuple[str, ...]:
    if state.table_schema is None or not rewritten_places(state.table_schema, schema):
        return ()
    return state.stores.tables.data_files(state.name.table)


def _require_whole(paths: Sequence[str]) -> None:
    """Raise if a file is not as it was written: the copy would be sealed as if it were right.

    Raises:
        DamagedTable.
    """
    sealed = read_seals(table_folder(Path(paths[0]))).seals if paths else {}
    for path in map(Path, paths):
        seal = sealed.get(path.relative_to(table_folder(path)).as_posix())
        if not path.exists():
            raise missing_file(path)
        if seal is not None and seal_of(path) != seal:
            raise damaged_table(path, "is not as it was written")


def _files_of_its_own(state: DatasetState) -> frozenset[str]:
    """Return the files with rows of the dataset or variant: tables of tasks are parted by it."""
    return frozenset(state.stores.tables.data_files(state.name.table, where=state.name.table_rows))


class _Refitting:
    """What makes rows of a file, which may lack columns, rows of a schema."""

    def __init__(self, state: DatasetState, schema: Any) -> None:
        self._schema = schema
        self._origins = _Origins(state.stores)

    def rows_of(self, path: str) -> Iterator[Any]:
        """Yield the rows of a file in the types of the schema, by row group."""
        with pq.ParquetFile(path, pre_buffer=False) as file:
            places = rewritten_places(file.schema_arrow, self._schema)
            holders = frozenset(map(_holder, places))
            for number in range(file.num_row_groups):
                rows = fit_columns(file.read_row_group(number), self._schema)
                rows = _returned(rows, holders, self._origins)
                # One schema for all, or a part would end wherever a variant has a value or none.
                self._schema = grow_schema(self._schema, rows.schema)
                yield conform(rows, self._schema)


def _holder(steps: Steps) -> Steps:
    """Return the place beside which the variant of a place stands: that of a list's items, its."""
    while steps[-1] == ITEMS:
        steps = steps[:-1]
    return steps


# -- values that stood in a variant, and fit by now


class _Origins:
    """From which formats the rows of uploads came."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._known: dict[str, frozenset[DataFormat | None]] = {}

    def are_delimited(self, upload_id: str) -> bool:
        """Return whether all rows of an upload were CSV, whose numbers are text."""
        return self._of(upload_id) <= {DataFormat.CSV, DataFormat.TSV}

    def are_text(self, upload_id: str) -> bool:
        """Return whether the times in all rows of an upload were text."""
        return not self._of(upload_id) & {DataFormat.PARQUET, DataFormat.ARROW, None}

    def _of(self, upload_id: str) -> frozenset[DataFormat | None]:
        if upload_id not in self._known:
            self._known[upload_id] = self._look(upload_id)
        return self._known[upload_id]

    def _look(self, upload_id: str) -> frozenset[DataFormat | None]:
        try:
            upload = self._stores.staging.find(upload_id)
            paths = [upload.files_folder / f.name for f in upload.files() if f.role == "data"]
            return frozenset(map(data_format, filter(Path.exists, paths))) or _UNKNOWN
        except LakeError:  # it is gone: then its texts are texts
            return _UNKNOWN


_UNKNOWN: frozenset[DataFormat | None] = frozenset([None])


def _returned(rows: Any, holders: frozenset[Steps], origins: _Origins) -> Any:
    uploads = rows["_upload_id"].combine_chunks()
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    return pa.table(_fields_returned(columns, holders, (), uploads, origins))


def _fields_returned(
    columns: Mapping[str, Any], holders: frozenset[Steps], above: Steps, uploads: Any,
    origins: _Origins,
) -> dict[str, Any]:  # fmt: skip
    found = dict(columns)
    for name, values in columns.items():
        steps, texts = (*above, name), columns.get(variant_name(name))
        if steps in holders and texts is not None and texts.null_count < len(texts):
            found[name], found[variant_name(name)] = _back(values, texts, uploads, origins)
        if any(holder[: len(steps)] == steps != holder for holder in holders):
            found[name] = _inner_returned(values, holders, steps, uploads, origins)
    return found


def _inner_returned(
    values: Any, holders: frozenset[Steps], steps: Steps, uploads: Any, origins: _Origins
) -> Any:
    if _types.is_list(values.type):
        lengths = pc.fill_null(pc.list_value_length(values), 0)
        parents = pa.array([n for n, count in enumerate(lengths.to_pylist()) for _ in range(count)])
        items = values.flatten()
        inner = _inner_returned(
            items, holders, (*steps, ITEMS), uploads.take(parents.cast(pa.int64())), origins
        )
        return regrouped(values, inner, values.type.value_field)
    names = [field.name for field in values.type]
    inner = dict(zip(names, values.flatten(), strict=True))
    inner = _fields_returned(inner, holders, steps, uploads, origins)
    fields = [pa.field(name, column.type) for name, column in inner.items()]
    return pa.StructArray.from_arrays(list(inner.values()), fields=fields, mask=values.is_null())


def _back(values: Any, texts: Any, uploads: Any, origins: _Origins) -> tuple[Any, Any]:
    """Return a main column with those values of its variant that it holds, and the others."""
    positions = pc.indices_nonzero(texts.is_valid()).to_pylist()
    fitted = {}
    for position, text, upload in zip(
        positions, texts.drop_null().to_pylist(), uploads.take(positions).to_pylist(), strict=True
    ):
        value = _fitted(text, values.type, upload, origins)
        if value is not None:
            fitted[position] = value
    if not fitted:
        return values, texts
    more = pa.array([fitted.get(n) for n in range(len(values))], values.type)
    return pc.coalesce(values, more), pc.if_else(more.is_valid(), None, texts)


def _fitted(text: str, kind: Any, upload_id: str, origins: _Origins) -> Any | None:
    value = json.loads(text, parse_float=parsed_float, parse_int=parsed_int)
    if isinstance(value, str) and not _types.is_nested(kind):
        is_time = _types.is_temporal(kind)
        if not (origins.are_text if is_time else origins.are_delimited)(upload_id):
            return None
        text = value
    if has_long_number(text) and _has_doubles(kind):
        return None  # more digits than a double has
    try:
        return fit_text(text, kind, "") if isinstance(value, str) else fit_json(value, kind, "")
    except DoesNotFit:
        return None


def _has_doubles(kind: Any) -> bool:
    if _types.is_nested(kind):
        return any(_has_doubles(kind.field(number).type) for number in range(kind.num_fields))
    return bool(_types.is_floating(kind))
