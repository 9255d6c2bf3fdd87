"""What `lake process start` is to do: which uploads of which datasets, and how many rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lake_assets.contracts.names import Destination, dataset_of, in_order
from lake_assets.errors import InvalidRequest, StorageUnavailable, UploadsFailed
from lake_assets.intake.uploads import State, Upload
from lake_assets.lake import Lake

_WAITING = (State.PENDING, State.PROCESSING)
_PARQUET_SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done."""

    names: tuple[Destination, ...]
    """What to bring up to date: datasets, then variants of tasks; empty: nothing to do."""
    uploads: tuple[Upload, ...] = ()
    """Those that wait."""
    done: tuple[Upload, ...] = ()
    """Asked for by id, and in the tables already."""
    only_these: bool = False
    """Whether other pending uploads of these datasets are left alone."""
    rebuild: bool = False
    accepts_fewer_rows: bool = False
    """Whether a rebuild may leave fewer accepted rows than there are."""

    @property
    def upload_ids(self) -> frozenset[str] | None:
        """The uploads to ingest; None: all that are pending."""
        return frozenset(item.id for item in self.uploads) if self.only_these else None


def plan_jobs(lake: Lake, upload_ids: Sequence[str]) -> Plan:
    """Return the plan for uploads asked for by id.

    Raises:
        UnknownUpload, UploadsFailed, InvalidRequest: before anything is begun.
    """
    found = [lake.stores.staging.find(upload_id) for upload_id in dict.fromkeys(upload_ids)]
    for upload in found:
        _refuse_stopped(upload)
    waiting = tuple(item for item in found if item.state in _WAITING)
    return Plan(
        names=in_order({item.name for item in waiting}),
        uploads=waiting,
        done=tuple(item for item in found if item.state is State.DONE),
        only_these=True,
    )


def plan_datasets(lake: Lake, names: Sequence[Destination], *, rebuild: bool) -> Plan:
    """Return the plan for these, and for what annotates datasets of them; none given: for all."""

    def is_meant(name: Destination) -> bool:
        return not names or name in names or dataset_of(name) in names

    waiting = [item for item in lake.uploads(*_WAITING) if is_meant(item.name)]
    with_work = {name for name in lake.datasets_with_work() if is_meant(name)}
    if rebuild:
        with_work |= set(names or lake.registry.dataset_names())
        with_work |= {item.name for item in lake.uploads(State.DONE) if is_meant(item.name)}
    return Plan(names=in_order(with_work), uploads=tuple(waiting), rebuild=rebuild)


def expected_rows(lake: Lake, plan: Plan) -> int | None:
    """Return how many rows the plan will read; None: not known before they are read."""
    counts = [_rows_in(upload) for upload in plan.uploads]
    if plan.rebuild:
        done = [item for name in plan.names for item in lake.uploads(State.DONE, name=name)]
        counts += [_rows_in(upload) for upload in done]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _refuse_stopped(upload: Upload) -> None:
    again = f"`lake process retry {upload.id}`"
    if upload.state is State.FAILED:
        error = upload.error() or {"message": "no reason was kept"}
        raise UploadsFailed(
            f"upload {upload.id} failed: {error['message']} Mend it and deliver again, or {again}",
            uploads=[upload.id],
        )
    if upload.state is State.CANCELLED:
        raise InvalidRequest(
            f"upload {upload.id} was cancelled; {again} makes it pending again",
            upload_id=upload.id,
        )


def _rows_in(upload: Upload) -> int | None:
    """Return how many rows an upload has, where that is known without reading them."""
    from lake_assets.ingest.model import read_outcome

    outcome = read_outcome(upload)
    if outcome:
        return outcome.rows_in
    if upload.manifest.replays:
        return None
    try:
        files = upload.files()
    except StorageUnavailable:  # another run has just taken it: it will be reported as theirs
        return None
    data = [upload.files_folder / file.name for file in files if file.role == "data"]
    if not data:  # a folder of images: each file is a row
        return len(files) + len(upload.manifest.refused)
    if all(path.suffix.lower() in _PARQUET_SUFFIXES for path in data):
        return _parquet_rows(data)
    return None


def _parquet_rows(paths: Sequence[Path]) -> int | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return sum(int(pq.read_metadata(path).num_rows) for path in paths)
    except (pa.ArrowInvalid, OSError):
        return None  # damaged: ingesting it will say so
