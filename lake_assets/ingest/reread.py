"""One upload read again for some of its rows: those that the quarantine has.

On the same way as at first, so that images, types and rules are what they are now. Invariant: only
rows that are wanted go on, and each that comes out is noted as such, or with why it is rejected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake_assets.ingest.held import WHOLE, HeldRows, Places, image_place
from lake_assets.ingest.model import DataFile
from lake_assets.ingest.parts import RowSink
from lake_assets.ingest.quarantine import refused_rows
from lake_assets.ingest.rows import Job, Preparation
from lake_assets.ingest.tuning import tuned_for
from lake_assets.intake.model import Batch, RejectedRow
from lake_assets.intake.readers import Unreadable
from lake_assets.intake.readers.image_files import FOLDER
from lake_assets.intake.uploads import Upload

_NOTED_AT_ONCE = 5_000


class Rereading(Preparation):
    """The state of reading one upload again.

    Args:
        origin: The upload.
        by: The replay, which brings the rows that pass into their table.
        held: The rows that are wanted, of this upload among others.
    """

    def __init__(
        self,
        job: Job,
        origin: Upload,
        rows: RowSink,
        unreadable: Unreadable,
        *,
        by: Upload,
        held: HeldRows,
    ) -> None:
        super().__init__(job, origin, origin.files(), rows, unreadable, by=by)
        self._held = held
        self._places: Places = held.places(origin.id)
        self._settled: set[str] = set()
        """Files of which nothing is wanted, because another delivery brought them."""
        self._whole_out: set[str] = set()
        """Of the files that were rejected as wholes, those of which rows came out."""
        self._rejected_files: set[str] = set()
        self._again: list[tuple[str, str, RejectedRow]] = []

    def run_again(self, delivered_otherwise: frozenset[str]) -> None:
        """Read the upload to its end.

        Args:
            delivered_otherwise: Identities of files that another upload brought: what was rejected
                of them here is in the table, or in the quarantine, by that one.

        Raises:
            LakeError: as ``prepare_upload``.
        """
        self._settle(delivered_otherwise)
        self.reject(refused_rows(self._upload))
        files, _ = self.files.new(dict)  # each of several copies brings its rows once
        with tuned_for(self._upload.manifest.byte_count):
            for batch in self.annotations(files) if self._is_task else self.deliveries(files):
                self.take(batch)
        self.reject(self.files.unreadable_copies(self._unreadable))
        self._settle_rest()
        self._note()
        self.fitting.require_fit()

    def _settle(self, delivered_otherwise: frozenset[str]) -> None:
        if self.files.name_images:  # rows have keys, and what they say depends on the images too
            return
        for file in self.files.files:
            wanted = file.name in self._places.files
            if wanted and self.files.identity(file) in delivered_otherwise:
                self._settled.add(file.name)
                self.counts.duplicate += self._held.settle(self._upload.id, file.name)

    def _settle_rest(self) -> None:
        """Note of whole files that they are rejected no more, also where they have no rows.

        As an image that a row names by now, or a copy of a file that can be read by now.
        """
        there = {file.name for file in self.files.files}
        good = (self._places.whole & there) - self._rejected_files - self._settled
        for name in sorted(good):
            self._held.came_out(self._upload.id, name, pa.array([WHOLE]))
        self.counts.duplicate += len(good - self._whole_out)

    # -- what comes out

    def _counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in super()._counted(batches):
            some = self._picked(batch)
            if some.rows.num_rows or some.rejected:
                yield some

    def _picked(self, batch: Batch) -> Batch:
        """Return the rows of a batch that are wanted, and note that they came out."""
        if batch.file not in self._settled and batch.file in self._places.whole:
            self._whole_out.add(batch.file)
            return batch
        mask = self._wanted(batch)
        chosen = mask.to_pylist()
        images = batch.images
        return replace(
            batch,
            # Not `Table.take`, which forgets how many rows a table without columns has.
            rows=batch.rows.filter(mask),
            row_numbers=batch.row_numbers.filter(mask),
            images=None if images is None
            else tuple(image for image, is_in in zip(images, chosen, strict=True) if is_in),
        )  # fmt: skip

    def _wanted(self, batch: Batch) -> Any:
        """Return which rows of a batch are wanted, as ``pyarrow.BooleanArray``."""
        if batch.file in self._settled:
            return pa.repeat(False, batch.rows.num_rows)
        if batch.file == FOLDER and "file_name" in batch.rows.column_names:
            return self._wanted_images(batch.rows["file_name"].combine_chunks())
        numbers = self._places.numbers.get(batch.file)
        if numbers is None:
            return pa.repeat(False, batch.rows.num_rows)
        mask = pc.is_in(batch.row_numbers, value_set=numbers)
        places = batch.row_numbers.filter(mask).cast(pa.string())
        self._held.came_out(self._upload.id, batch.file, places)
        return mask

    def _wanted_images(self, names: Any) -> Any:
        listed = pc.is_in(names, value_set=self._places.images)
        places = pc.binary_join_element_wise(image_place(""), names.filter(listed), "")
        self._held.came_out(self._upload.id, FOLDER, places)
        # Also one that a table did not name, and that stands for itself by now.
        alone = [name in self._places.whole for name in names.to_pylist()]
        self._whole_out.update(
            name for name, is_it in zip(names.to_pylist(), alone, strict=True) if is_it
        )
        return pc.or_(listed, pa.array(alone, pa.bool_()))

    def reject(self, rejected: tuple[RejectedRow, ...], *, counted: bool = False) -> None:
        """Note why rows are rejected again; those of a file that was unreadable are new here."""
        new = []
        for row in rejected:
            if row.file in self._settled:
                continue
            file, place = _place(row)
            if place.startswith(image_place("")) and place[1:] in self._places.whole:
                file, place = place[1:], WHOLE
            if place != WHOLE and file in self._places.whole:
                new.append(row)
                self._whole_out.add(file)
                continue
            if place == WHOLE:
                self._rejected_files.add(file)
            self._again.append((file, place, row))
        if len(self._again) >= _NOTED_AT_ONCE:
            self._note()
        super().reject(tuple(new), counted=counted)

    def _note(self) -> None:
        self._held.reject(self._upload.id, self._again)
        self._again = []

    # -- the end

    def new_files(self, before: frozenset[str]) -> tuple[DataFile, ...]:
        """Return files of which no row was in the table before, and some are now.

        If they are delivered again, their rows are duplicates. They are named after their upload,
        too: the rest of their rows may still come from there, and from no other.

        Args:
            before: Identities of files of which rows were there.
        """
        found = self.files.data_files(self._unreadable)
        return tuple(
            replace(file, name=named_after(self._upload.id, file.name))
            for file in found
            if file.sha256 not in before
        )


def named_after(upload_id: str, file: str) -> str:
    """Return how a replay calls a file of the upload that it takes rows from."""
    return f"{upload_id}/{file}"


def _place(row: RejectedRow) -> tuple[str, str]:
    if row.row is None:
        return row.file, WHOLE
    if row.file != FOLDER:
        return row.file, str(row.row)
    return row.file, image_place(_file_name(row))


def _file_name(row: RejectedRow) -> str:
    return str(json.loads(row.row_json).get("file_name"))
