"""What a lake is doing while it is tortured: small deliveries of each kind, made from a seed.

A scenario is prepared once; each case works on a copy of that lake at the same place, because
Iceberg writes absolute paths.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName, Destination, VariantName
from lake_assets.contracts.registry import Registry, update_registry
from lake_assets.errors import InvalidRequest, UploadsFailed
from lake_assets.ingest import groups, parts
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.storage.files import storage_errors
from lake_assets.undoing import revise
from lake_assets.upkeep.verify import Choice, Kind, Severity, verify
from lake_assets.upkeep.verify import Request as VerifyRequest
from lake_assets_tests.torture import growing
from lake_assets_tests.torture.growing import MARKS, MORE_MARKS, TALLIES
from lake_assets_tests.torture.notes import allow_languages, notes_on, write_notes

PHOTOS, TICKS, SLIPS, BASKETS = (
    DatasetName("shop", name) for name in ("photos", "ticks", "slips", "baskets")
)
NOTES, MORE_NOTES = notes_on(PHOTOS, "first"), notes_on(PHOTOS, "second")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of work."""

    prepare: Callable[[Lake, Path], None]
    """Bring a new lake to where the work begins; the folder is for deliveries."""
    act: Callable[[Lake, Path], None]
    """The work itself."""
    heal: Callable[[Lake, Path], None]
    """What a person, or the sensor, does after it went wrong."""
    again: tuple[tuple[Destination, str], ...]
    """Deliveries to hand over a second time; they must bring nothing new."""
    constants: Mapping[tuple[ModuleType, str], int] = field(default_factory=dict)
    """Stand in for bounds of the lake that these small deliveries do not reach."""

    @contextmanager
    def bounds(self) -> Iterator[None]:
        """Work with this scenario's bounds in the block."""
        before = {place: getattr(*place) for place in self.constants}
        for place, value in self.constants.items():
            setattr(*place, value)
        try:
            yield
        finally:
            for place, value in before.items():
                setattr(*place, value)


# -- deliveries


def write_photos(folder: Path, *, seed: int, count: int) -> Path:
    """Write JPEG files, one of them a copy of another and one cut off."""
    chance = random.Random(f"photos {seed}")
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{seed}-{number}.jpg").write_bytes(_jpeg(chance))
    first = (folder / f"{seed}-0.jpg").read_bytes()
    (folder / "copy.jpg").write_bytes(first)
    (folder / "broken.jpg").write_bytes(first[: len(first) // 2])
    return folder


def write_ticks(path: Path, *, seed: int, rows: int) -> Path:
    """Write a CSV of three days with one row that has a field too many."""
    chance = random.Random(f"ticks {seed}")
    lines = ["at,symbol,price"]
    for number in range(rows):
        day, price = 1 + number % 3, chance.uniform(1, 100)
        lines.append(f"2024-03-0{day}T12:00:{number % 60:02d}Z,s{number % 7},{price:.4f}")
    lines.insert(rows // 2, "2024-03-01T12:00:00Z,s0,1.5,too,many")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_slips(folder: Path, *, seed: int, count: int) -> Path:
    """Write JSON Lines whose rows name images next to them; one image is missing."""
    chance = random.Random(f"slips {seed}")
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        name = f"images/{seed}-{number}.jpg"
        (folder / name).write_bytes(_jpeg(chance))
        rows.append({"image": name, "text": f"slip {seed} {number}", "total": chance.random()})
    rows.append({"image": "images/missing.jpg", "text": "nothing", "total": 0.0})
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def write_baskets(path: Path, *, seed: int) -> Path:
    """Write a Parquet file; from seed 2 on with columns, types and values that seed 1 has not."""
    rows: dict[str, object] = {
        "basket": [f"{seed}-{number}" for number in range(5)],
        "total": pa.array(range(5), pa.int32()),
        "items": [[{"name": "tea", "count": number}] for number in range(5)],
    }
    if seed > 1:
        rows["total"] = [2**40, 1, 2, 3, None]
        rows["items"] = [[{"name": 7, "count": 1, "price": 1.5}], [], None, None, None]
        rows["basket"] = [[seed], None, [], None, None]
        rows[f"new_{seed}"] = ["a", None, None, None, "b"]
    pq.write_table(pa.table(rows), path)
    return path


def _jpeg(chance: random.Random) -> bytes:
    picture = Image.frombytes("RGB", (8, 8), chance.randbytes(192)).resize((96, 64))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=70)
    return buffer.getvalue()


def deliver(lake: Lake, source: Path, name: Destination) -> str:
    """Stage a delivery and return its upload's id."""
    if isinstance(name, VariantName):
        return lake.upload_task_data(
            source, provider=name.provider, dataset=name.dataset, task=name.task,
            variant=name.variant,
        ).id  # fmt: skip
    upload = lake.upload_raw_data(
        source, provider=name.provider, dataset=name.dataset, create_provider=True
    )
    return upload.id


# -- work


def ingest(lake: Lake, folder: Path) -> None:
    """Ingest what is pending."""
    lake.ingest_pending()


def _ingest_some_fail(lake: Lake, folder: Path) -> None:
    try:
        lake.ingest_pending()
    except UploadsFailed as error:
        assert "broken" in error.message or "parquet" in error.message.lower(), error.message


def _rebuild(lake: Lake, folder: Path) -> None:
    lake.rebuild(SLIPS)


def _with_images_twice(lake: Lake, folder: Path) -> None:
    """Two uploads of photos, of which the second has some of the first again."""
    write_photos(folder / "photos", seed=1, count=3)
    write_photos(folder / "again", seed=2, count=2)
    shutil.copy(folder / "photos" / "1-0.jpg", folder / "again" / "1-0.jpg")
    for name in ("photos", "again"):
        deliver(lake, folder / name, PHOTOS)
        lake.ingest_pending()


def _with_one_taken_out(lake: Lake, folder: Path) -> None:
    _with_images_twice(lake, folder)
    _undo(lake, folder)


def _undo(lake: Lake, folder: Path) -> None:
    """Take the first upload out, unless that is done or begun; then end what was begun."""
    _revise_first(lake, State.DONE)
    lake.ingest_pending()


def _redo(lake: Lake, folder: Path) -> None:
    _revise_first(lake, State.REMOVED)
    lake.ingest_pending()


def _revise_first(lake: Lake, state: State) -> None:
    first, *_ = lake.uploads(name=PHOTOS)
    if first.state is not state:
        return
    try:
        revise(lake.stores, first.id, is_undo=state is State.DONE)
    except InvalidRequest:  # another process was faster
        assert lake.status(first.id).upload.state is not state


def _rebuild_baskets(lake: Lake, folder: Path) -> None:
    lake.rebuild(BASKETS)


def _stage(lake: Lake, folder: Path) -> None:
    deliver(lake, folder / "slips", SLIPS)


def _stage_and_ingest(lake: Lake, folder: Path) -> None:
    """Deliver again unless the upload got through, as a person would after an error."""
    _sweep(lake)
    if not lake.uploads(State.PENDING, State.PROCESSING, State.DONE):
        _stage(lake, folder)
    lake.ingest_pending()


def _replay(lake: Lake, folder: Path) -> None:
    """Stage replays, unless an earlier process has, and ingest them."""
    _sweep(lake)
    begun = [upload for upload in lake.uploads() if upload.manifest.replays]
    if all(upload.state is State.PENDING for upload in begun):  # it may not have staged them all
        lake.replay_quarantine()
    lake.ingest_pending()


def _relocate(lake: Lake, folder: Path) -> None:
    lake.relocate()


def _relocate_and_go_on(lake: Lake, folder: Path) -> None:
    lake.relocate()
    _require_whole(lake)
    lake.ingest_pending()
    _require_whole(lake)


def _require_whole(lake: Lake) -> None:
    """Raise unless all is as `lake verify --full` wants it, but for a draft that a cut left."""
    found = verify(lake.stores, VerifyRequest(choice=Choice(is_full=True))).findings
    told = [
        f"{item.path}: {item.message}"
        for item in found
        if item.severity is not Severity.NOTICE and item.kind is not Kind.DRAFT
    ]
    assert told == [], told


def _sweep(lake: Lake) -> None:
    incoming = lake.stores.layout.staging / State.INCOMING
    with storage_errors(incoming):  # this may be what meets the limit first
        for upload in incoming.iterdir():
            os.utime(upload, (0, 0))  # a minute later, so that one without a signature is old
    lake.stores.staging.sweep_incoming()


# -- what there is at the beginning


def _with_photos(lake: Lake, folder: Path) -> None:
    deliver(lake, write_photos(folder / "photos", seed=1, count=3), PHOTOS)


def _with_ticks(lake: Lake, folder: Path) -> None:
    _promise(lake, TICKS, DatasetContract(partition_by=("day(at)",)))
    deliver(lake, write_ticks(folder / "ticks.csv", seed=1, rows=60), TICKS)


def _with_more_ticks(lake: Lake, folder: Path) -> None:
    _with_ticks(lake, folder)
    deliver(lake, write_ticks(folder / "more.csv", seed=2, rows=30), TICKS)


def _with_slips(lake: Lake, folder: Path) -> None:
    # The dataset exists, and half of what comes is known to it.
    deliver(lake, write_slips(folder / "before", seed=1, count=2), SLIPS)
    lake.ingest_pending()
    slips = write_slips(folder / "slips", seed=2, count=2)
    with (slips / "rows.jsonl").open("a") as rows:
        rows.write((folder / "before" / "rows.jsonl").read_text())
    for image in (folder / "before" / "images").iterdir():
        (slips / "images" / image.name).write_bytes(image.read_bytes())
    deliver(lake, slips, SLIPS)


def _with_done(lake: Lake, folder: Path) -> None:
    _with_slips(lake, folder)
    lake.ingest_pending()


def _with_a_broken_one(lake: Lake, folder: Path) -> None:
    _with_ticks(lake, folder)
    broken = folder / "broken.csv"
    broken.write_text("at,symbol,price\n2024-03-01T00:00:00Z,s0,1\n")
    upload = deliver(lake, broken, TICKS)
    # Damaged after it was staged: staging refuses what it can see to be broken.
    (staged,) = (lake.stores.layout.staging / State.PENDING / upload / "files").iterdir()
    staged.unlink()
    deliver(lake, write_ticks(folder / "more.csv", seed=2, rows=30), TICKS)


def _with_other_columns(lake: Lake, folder: Path) -> None:
    deliver(lake, write_baskets(folder / "first.parquet", seed=1), BASKETS)
    lake.ingest_pending()
    for seed, name in ((2, "second.parquet"), (3, "third.parquet")):
        deliver(lake, write_baskets(folder / name, seed=seed), BASKETS)


def _with_declared_columns(lake: Lake, folder: Path) -> None:
    """Since the table was made its contract declares a column that it has, and one that is new."""
    _with_other_columns(lake, folder)
    columns = {"total": "int", "price": "decimal(9,2)"}
    _promise(lake, BASKETS, DatasetContract.model_validate({"columns": columns}))


def _with_rejected_columns(lake: Lake, folder: Path) -> None:
    """Rows that needed other columns were rejected; by now the contract lets them in."""
    _promise(lake, BASKETS, DatasetContract(drift="quarantine"))
    for seed, name in ((1, "first.parquet"), (2, "second.parquet")):
        deliver(lake, write_baskets(folder / name, seed=seed), BASKETS)
        lake.ingest_pending()
    update_registry(
        lake.stores.layout.registry_file,
        lambda registry: registry.with_dataset(BASKETS, DatasetContract()),
    )


def _with_notes(lake: Lake, folder: Path) -> None:
    deliver(lake, write_photos(folder / "photos", seed=1, count=3), PHOTOS)
    lake.ingest_pending()
    allow_languages(lake, "en")
    deliver(lake, write_notes(folder / "notes.jsonl", seed=1, images=3), NOTES)


def _with_rejected_rows(lake: Lake, folder: Path) -> None:
    """Rows of two variants and of a dataset were rejected; by now most are let in."""
    _with_notes(lake, folder)
    deliver(lake, folder / "notes.jsonl", MORE_NOTES)
    lake.ingest_pending()
    _with_rejected_columns(lake, folder)
    allow_languages(lake, "en", "ko")


def _with_another_place(lake: Lake, folder: Path) -> None:
    """The lake is a copy of one that was made elsewhere; its hard links were lost."""
    home = lake.home
    with Lake.init(folder / "made") as made:
        shutil.copy(home / "lake.toml", made.home)
    with Lake.open(folder / "made") as made:
        _with_done(made, folder)
        deliver(made, write_ticks(folder / "ticks.csv", seed=1, rows=10), TICKS)
        made.ingest_pending()
        deliver(made, write_ticks(folder / "more.csv", seed=2, rows=10), TICKS)
    shutil.rmtree(home)
    shutil.copytree(folder / "made", home, symlinks=True)


def _with_sources(lake: Lake, folder: Path) -> None:
    write_slips(folder / "slips", seed=2, count=2)


def _promise(lake: Lake, name: DatasetName, contract: DatasetContract) -> None:
    def change(registry: Registry) -> Registry:
        if name.provider not in registry.providers:
            registry = registry.with_provider(name.provider)
        return registry.with_dataset(name, contract)

    update_registry(lake.stores.layout.registry_file, change)


SCENARIOS: Mapping[str, Scenario] = {
    "images": Scenario(prepare=_with_photos, act=ingest, heal=ingest, again=((PHOTOS, "photos"),)),
    "rows": Scenario(prepare=_with_ticks, act=ingest, heal=ingest, again=((TICKS, "ticks.csv"),)),
    "rows in parts of their own": Scenario(
        prepare=_with_ticks,
        act=ingest,
        heal=ingest,
        again=((TICKS, "ticks.csv"),),
        constants={(parts, "SMALL_BYTES"): 0},
    ),
    "rows in two groups": Scenario(
        prepare=_with_more_ticks,
        act=ingest,
        heal=ingest,
        again=((TICKS, "ticks.csv"), (TICKS, "more.csv")),
        constants={(groups, "GROUP_UPLOADS"): 1},
    ),
    "images with rows": Scenario(
        prepare=_with_slips, act=ingest, heal=ingest, again=((SLIPS, "slips"),)
    ),
    "undo": Scenario(prepare=_with_images_twice, act=_undo, heal=_undo, again=((PHOTOS, "again"),)),
    "redo": Scenario(
        prepare=_with_one_taken_out, act=_redo, heal=_redo, again=((PHOTOS, "photos"),)
    ),
    "rebuild": Scenario(
        prepare=_with_done, act=_rebuild, heal=ingest, again=((SLIPS, "slips"), (SLIPS, "before"))
    ),
    "other columns": Scenario(
        prepare=_with_other_columns,
        act=ingest,
        heal=ingest,
        again=((BASKETS, "second.parquet"), (BASKETS, "third.parquet")),
    ),
    "other columns in two groups": Scenario(
        prepare=_with_other_columns,
        act=ingest,
        heal=ingest,
        again=((BASKETS, "second.parquet"), (BASKETS, "third.parquet")),
        constants={(groups, "GROUP_UPLOADS"): 1},
    ),
    "types rewritten": Scenario(
        prepare=lambda lake, folder: growing.with_tallies(lake, folder, deliver),
        act=ingest,
        heal=ingest,
        again=((TALLIES, "second.parquet"), (TALLIES, "third.parquet")),
    ),
    "types rewritten in two groups": Scenario(
        prepare=lambda lake, folder: growing.with_tallies(lake, folder, deliver),
        act=ingest,
        heal=ingest,
        again=((TALLIES, "second.parquet"), (TALLIES, "first.parquet")),
        constants={(groups, "GROUP_UPLOADS"): 1},
    ),
    "types of annotations rewritten": Scenario(
        prepare=lambda lake, folder: growing.with_marks(lake, folder, deliver),
        act=ingest,
        heal=ingest,
        again=((MARKS, "fractions.jsonl"), (MORE_MARKS, "whole.jsonl")),
    ),
    "rebuild with corrected types": Scenario(
        prepare=lambda lake, folder: growing.with_corrected_marks(lake, folder, deliver),
        act=growing.rebuild_marks,
        heal=growing.rebuild_marks,
        again=((MARKS, "marks.csv"), (MORE_MARKS, "more.csv")),
    ),
    "declared columns": Scenario(
        prepare=_with_declared_columns,
        act=ingest,
        heal=ingest,
        again=((BASKETS, "second.parquet"), (BASKETS, "third.parquet")),
    ),
    "rebuild with other columns": Scenario(
        prepare=_with_rejected_columns,
        act=_rebuild_baskets,
        heal=_rebuild_baskets,
        again=((BASKETS, "first.parquet"), (BASKETS, "second.parquet")),
    ),
    "annotations": Scenario(
        prepare=_with_notes, act=ingest, heal=ingest, again=((NOTES, "notes.jsonl"),)
    ),
    "replay": Scenario(
        prepare=_with_rejected_rows,
        act=_replay,
        heal=_replay,
        again=(
            (NOTES, "notes.jsonl"),
            (MORE_NOTES, "notes.jsonl"),
            (BASKETS, "first.parquet"),
            (BASKETS, "second.parquet"),
        ),
    ),
    "one of three fails": Scenario(
        prepare=_with_a_broken_one,
        act=_ingest_some_fail,
        heal=_ingest_some_fail,
        again=((TICKS, "ticks.csv"), (TICKS, "more.csv")),
    ),
    "relocation": Scenario(
        prepare=_with_another_place,
        act=_relocate,
        heal=_relocate_and_go_on,
        again=((SLIPS, "slips"), (TICKS, "more.csv")),
    ),
    "staging": Scenario(
        prepare=_with_sources, act=_stage, heal=_stage_and_ingest, again=((SLIPS, "slips"),)
    ),
}
