"""An upload of annotations as batches, each record checked against its task's contract.

Invariant: a record comes out once, and one that is accepted refers to an image that the lake has,
lies within it, has its required fields, and holds allowed values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.contracts.json_texts import json_texts
from lake_assets.contracts.names import VariantName
from lake_assets.contracts.shape_columns import outside_image
from lake_assets.contracts.tasks import TaskContract, require_metadata
from lake_assets.contracts.variants import variant_name
from lake_assets.errors import FatalError, SchemaMismatch
from lake_assets.ingest.declared import TYPES_RULE, typed_rows
from lake_assets.ingest.image_names import ImageNames, ImageRow, NoImage
from lake_assets.ingest.sorting import Rows, SortedBatch
from lake_assets.ingest.state import DatasetState
from lake_assets.intake.annotations.batches import annotation_batches
from lake_assets.intake.model import Batch, ReadOptions, RejectedRow, StagedFile
from lake_assets.intake.readers import Unreadable, read_upload
from lake_assets.intake.readers.row_json import arrow_row_json
from lake_assets.intake.uploads import Upload
from lake_assets.storage.system_tables import TASK_COLUMNS

_BATCHES_AT_ONCE = 256
_ROWS_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationPlan:
    """How to read and check the records of one upload."""

    contract: TaskContract
    meta: Mapping[str, str]
    root: Path
    """The upload's ``files/`` folder."""
    options: ReadOptions
    images: ImageNames | None
    """Of the dataset; None: records of this task refer to none."""
    expected: Any
    """``pyarrow.Schema`` of the task's own columns so far."""
    declared: Any
    """``pyarrow.Schema`` of the columns that the contract promises."""
    batch_rows: int
    batch_bytes: int

    def batches(self, files: Sequence[StagedFile], unreadable: Unreadable) -> Iterator[Batch]:
        """Yield every record of every file, and what is none as rejected."""
        record_type = self.contract.record_type
        if record_type is not None:
            return annotation_batches(
                self.root, files, record_type, expected=self.expected,
                batch_rows=self.batch_rows, unreadable=unreadable,
            )  # fmt: skip
        return read_upload(
            self.root, files, self.options, expected=self.expected, with_images=False,
            batch_rows=self.batch_rows, batch_bytes=self.batch_bytes, unreadable=unreadable,
        )  # fmt: skip


@contextmanager
def open_annotations(state: DatasetState, upload: Upload) -> Iterator[AnnotationPlan]:
    """Give the plan for an upload of annotations.

    Raises:
        InvalidMetadata: the contract may have changed since it was staged.
        SchemaMismatch: it spells a column otherwise than the task's table does.
    """
    name, contract = state.name, state.contract
    if not isinstance(name, VariantName) or not isinstance(contract, TaskContract):
        raise FatalError(f"{name} is no variant of a task")
    meta = upload.manifest.meta
    require_metadata(name.task, contract, meta)
    images = ImageNames(state.stores, name.of, by=contract.image_by) if contract.refers_by else None
    try:
        yield annotation_plan(
            state,
            root=upload.files_folder,
            options=upload.manifest.options,
            meta=meta,
            images=images,
        )
    finally:
        if images is not None:
            images.close()


def annotation_plan(
    state: DatasetState,
    *,
    root: Path,
    options: ReadOptions,
    meta: Mapping[str, str],
    images: ImageNames | None = None,
) -> AnnotationPlan:
    """Return the plan for files of annotations.

    Args:
        state: Of a variant.
        root: Where the files are.
        options: How they are read.
        meta: What was said of them.
        images: Of the dataset; None: what records say of images is not checked.

    Raises:
        SchemaMismatch: The contract spells a column otherwise than the task's table does.
    """
    name, contract = state.name, state.contract
    if not isinstance(name, VariantName) or not isinstance(contract, TaskContract):
        raise FatalError(f"{name} is no variant of a task")
    settings = state.stores.settings
    _require_spelling(name.task, contract.promised_columns().names, state)
    return AnnotationPlan(
        contract=contract,
        meta=meta,
        root=root,
        options=options,
        images=images,
        expected=state.expected,
        declared=state.declared,
        batch_rows=settings.batch_size,
        batch_bytes=settings.batch_bytes,
    )


def _require_spelling(task: str, declared: Sequence[str], state: DatasetState) -> None:
    columns = () if state.table_schema is None else state.table_schema.names
    spelled = {column.lower(): column for column in columns}
    wrong = [column for column in declared if spelled.get(column.lower(), column) != column]
    if wrong:
        names = ", ".join(f"{column} (the table has {spelled[column.lower()]})" for column in wrong)
        raise SchemaMismatch(
            f"the contract of task {task} spells columns otherwise than its table: {names}. Spell "
            "them as the table does in config/schema.yaml, then `lake process retry` the upload",
            table=state.name.table,
            columns=wrong,
        )


def sorted_annotations(batches: Iterable[Batch], plan: AnnotationPlan) -> Iterator[SortedBatch]:
    """Yield batches with the records apart that break the task's contract."""
    for batch, images in _with_images(batches, plan):
        _require_free_names(batch)
        checker = _Checker(batch, plan, images)
        bad = checker.rejections()
        kept = [n for n in range(batch.rows.num_rows) if n not in bad]
        everything = Rows(
            file=batch.file,
            table=checker.table,
            row_numbers=batch.row_numbers,
            shas=checker.shas,
            has_images=plan.images is not None,
        )
        positions = pa.array(kept, pa.int64())
        good = everything.take(checker.table.take(positions), positions) if bad else everything
        yield SortedBatch(
            file=batch.file,
            row_count=batch.rows.num_rows + len(batch.rejected),
            rows=good,
            rejected=(*batch.rejected, *(bad[n] for n in sorted(bad))),
        )


def _with_images(
    batches: Iterable[Batch], plan: AnnotationPlan
) -> Iterator[tuple[Batch, Mapping[str, ImageRow | NoImage]]]:
    """Yield batches, each with what its references to images mean.

    Asked for many batches at once: a file of annotations is a batch, often of ten records, and a
    question takes milliseconds however much it asks.
    """
    for together in _groups(batches):
        references = {text for batch in together for text in _references(batch, plan) if text}
        found = plan.images.resolve(references) if plan.images is not None else {}
        for batch in together:
            yield batch, found


def _groups(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == _BATCHES_AT_ONCE or sum(b.rows.num_rows for b in group) >= _ROWS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _references(batch: Batch, plan: AnnotationPlan) -> list[str | None]:
    name = plan.contract.refers_by
    if name is None:
        return []
    table, other = batch.rows, variant_name(name)
    texts = _texts(table[name]).to_pylist() if name in table.column_names else []
    if other in table.column_names:  # a name that is no text has no image, and is told as it is
        values = table[other].to_pylist()
        texts = [a if b is None else b for a, b in zip(texts or values, values, strict=True)]
    return texts


def _require_free_names(batch: Batch) -> None:
    """Raise if records have fields that the lake fills in itself.

    Raises:
        SchemaMismatch.
    """
    taken = sorted({name.lower() for name in batch.rows.column_names} & {*TASK_COLUMNS.names})
    if taken:
        raise SchemaMismatch(
            f"{batch.file}: {', '.join(taken)} are columns that the lake fills in itself; rename "
            "these fields",
            columns=taken,
        )


class _Checker:
    """Checks the records of one batch. Of each it tells the first rule that it breaks."""

    def __init__(
        self, batch: Batch, plan: AnnotationPlan, images: Mapping[str, ImageRow | NoImage]
    ) -> None:
        self._images = images
        self._batch = batch
        self._plan = plan
        self._contract = plan.contract
        self._bad: dict[int, RejectedRow] = {}
        self.table = _with_metadata(batch.rows, plan.contract, plan.meta)
        self.shas: list[str | None] = [None] * batch.rows.num_rows

    def rejections(self) -> dict[int, RejectedRow]:
        """Return the records that break a rule, by position."""
        if self.table.num_rows:
            self._check_types()
            self._check_required()
            self._check_images()
            self._check_allowed()
        return self._bad

    def _reject(self, position: int, rule: str, *, path: str, expected: str, actual: str) -> None:
        if position in self._bad:
            return
        self._bad[position] = RejectedRow(
            file=self._batch.file,
            row=self._batch.row_numbers[position].as_py(),
            rule=rule,
            path=path,
            expected=expected,
            actual=actual,
            row_json=arrow_row_json(self._batch.rows, position),
        )

    def _check_types(self) -> None:
        """Bring the fields that the contract declares into their types; none has a variant."""
        typed = typed_rows(self.table, self._plan.declared)
        self.table = typed.table
        for misfit in typed.misfits:
            self._reject(misfit.row, TYPES_RULE, path=misfit.path, expected=misfit.expected,
                         actual=misfit.actual)  # fmt: skip

    def _check_required(self) -> None:
        for name in self._contract.required_in_records():
            for position in self._empty(name):
                self._reject(position, "required_fields_are_present", path=name,
                             expected="a value", actual="none")  # fmt: skip

    def _empty(self, name: str) -> Iterable[int]:
        """Return the positions of records that have nothing in a field."""
        columns = [c for c in (name, variant_name(name)) if c in self.table.column_names]
        if not columns:
            return range(self.table.num_rows)
        empty = [_is_empty(self.table[column]) for column in columns]
        positions: list[int] = pc.indices_nonzero(reduce(pc.and_, empty)).to_pylist()
        return positions

    def _check_images(self) -> None:
        refers_by = self._contract.refers_by
        references = _references(self._batch, self._plan)
        if refers_by is None or not references:
            return
        meant = [self._images.get(text or "") for text in references]
        for position, image in enumerate(meant):
            if isinstance(image, ImageRow):
                self.shas[position] = image.sha256
            elif isinstance(image, NoImage):
                self._reject(position, "records_refer_to_known_images", path=refers_by,
                             expected="an image of its dataset", actual=image.actual)  # fmt: skip
        self._check_boxes(meant)

    def _check_boxes(self, meant: Sequence[ImageRow | NoImage | None]) -> None:
        if "box" not in self._contract.built_in_columns() or "box" not in self.table.column_names:
            return
        sizes = [(i.width_px, i.height_px) if isinstance(i, ImageRow) else (None, None)
                 for i in meant]  # fmt: skip
        widths, heights = zip(*sizes, strict=True)
        boxes = self.table["box"].combine_chunks()
        outside = outside_image(boxes, pa.array(widths), pa.array(heights))
        for position in pc.indices_nonzero(outside.is_valid()).to_pylist():
            width, height = sizes[position]
            self._reject(position, "boxes_lie_inside_their_images", path="box",
                         expected=f"within {width} x {height} px",
                         actual=outside[position].as_py())  # fmt: skip

    def _check_allowed(self) -> None:
        for name, allowed in self._contract.allowed_in_columns().items():
            if name not in self.table.column_names:
                continue
            for position in pc.indices_nonzero(_breaks(self.table[name], allowed)).to_pylist():
                self._reject(position, "fields_hold_allowed_values", path=name,
                             expected=f"one of {', '.join(allowed)}",
                             actual=repr(self.table[name][position].as_py()))  # fmt: skip


def _with_metadata(rows: Any, contract: TaskContract, meta: Mapping[str, str]) -> Any:
    """Return the rows with what was said of their upload; a record's own word comes first."""
    for name in contract.metadata_fields():
        said = pa.scalar(meta.get(name), pa.string())
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.repeat(said, rows.num_rows))
        elif pa.types.is_string(rows[name].type):
            position = rows.column_names.index(name)
            rows = rows.set_column(position, name, pc.coalesce(rows[name], said))
    return rows


def _is_empty(column: Any) -> Any:
    """Return which values are null, or text or lists without anything in them."""
    null = column.is_null()
    if pa.types.is_string(column.type):
        blank = pc.equal(pc.utf8_trim_whitespace(column), "")
        return pc.or_(null, pc.fill_null(blank, False))
    if pa.types.is_list(column.type):
        return pc.or_(null, pc.fill_null(pc.equal(pc.list_value_length(column), 0), False))
    return null


def _breaks(column: Any, allowed: Sequence[str]) -> Any:
    """Return which values are not allowed; null is no value."""
    texts = _texts(column)
    return pc.and_(texts.is_valid(), pc.invert(pc.is_in(texts, pa.array(allowed, pa.string()))))


def _texts(column: Any) -> Any:
    """Return values as text, nested ones as JSON."""
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return json_texts(column.combine_chunks())
    return column.cast(pa.string())
