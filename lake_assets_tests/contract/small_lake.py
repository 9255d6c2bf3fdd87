"""A small lake with every kind of file, and ways to damage it; restored for each test."""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from PIL import Image

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import UploadsFailed
from lake_assets.lake import Lake
from lake_assets.storage.tables.catalog_file import seal_catalog
from lake_assets.upkeep.repair import Plan, carry_out, plan_repair
from lake_assets.upkeep.repair import Request as RepairRequest
from lake_assets.upkeep.verify import Choice, Report, Request, verify

PHOTOS, TICKS = DatasetName("acme", "photos"), DatasetName("acme", "ticks")
FULL = Choice(is_full=True)
# Edited by people, or transient: a flipped byte in them is no damage, or they are not there long.
NOT_SEALED = ("lake.toml", "config", "staging/locks", "verify", "removed", "dagster", "logs", "tmp")


@dataclass(frozen=True)
class SmallLake:
    """One lake on disk, closed."""

    home: Path

    def verify(self, choice: Choice = FULL, *, resume: bool = False) -> Report:
        with Lake.open(self.home) as lake:
            return verify(lake.stores, Request(choice=choice, resume=resume))

    def plan(self, *, older_than_s: float = 0.0, choice: Choice = FULL) -> Plan:
        with Lake.open(self.home) as lake:
            return plan_repair(lake.stores, RepairRequest(choice=choice, older_than_s=older_than_s))

    def repair(self, **wanted: float) -> Plan:
        """Repair, as `lake repair --full --yes` does, and return what was planned."""
        with Lake.open(self.home) as lake:
            request = RepairRequest(choice=FULL, **{"older_than_s": 7e5, **wanted})
            plan = plan_repair(lake.stores, request)
            carry_out(lake.stores, plan)
        return plan

    def ingest(self) -> None:
        with Lake.open(self.home) as lake:
            lake.ingest_pending()

    def damaged(self, choice: Choice = FULL) -> dict[str, str]:
        """Return what `lake verify` calls damaged: what is wrong, by path."""
        report = self.verify(choice)
        return {item.path: item.message for item in report.of("damage")}

    def files(self, pattern: str = "**/*") -> list[str]:
        """Return the files that the lake answers for, below its folder, sorted."""
        found = (path for path in self.home.glob(pattern) if path.is_file())
        names = sorted(path.relative_to(self.home).as_posix() for path in found)
        return [name for name in names if not name.startswith(NOT_SEALED)]

    def file(self, pattern: str) -> str:
        return self.files(pattern)[0]

    def rows(self) -> dict[str, list[str]]:
        """Return the rows of every table, without what differs each time they are ingested."""
        with Lake.open(self.home) as lake:
            tables = lake.stores.tables
            return {name: _plain(tables.read(name)) for name in tables.names()}


_PER_RUN = {"_ingested_at", "quarantine_id", "rejected_at", "finished_at", "changed_at", "seconds",
            "last_ingested_at", "table_bytes"}  # fmt: skip


def _plain(rows):
    kept = rows.select([name for name in rows.column_names if name not in _PER_RUN])
    return sorted(map(str, kept.to_pylist()))


def flip(path: Path, place: int, bits: int = 0b100) -> None:
    """Change one byte in place, as a disk does: all names of the file see it."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    descriptor = os.open(path, os.O_RDWR)
    byte = os.pread(descriptor, 1, place)[0]
    os.pwrite(descriptor, bytes([byte ^ bits]), place)
    os.close(descriptor)
    path.chmod(mode)


def png(seed: object, side: int = 40) -> bytes:
    image = Image.frombytes("RGB", (side, 30), random.Random(seed).randbytes(side * 90))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def photos(folder: Path, *seeds: object, broken: bool = False) -> Path:
    folder.mkdir(parents=True)
    for seed in seeds:
        (folder / f"{seed}.png").write_bytes(png(seed))
    if broken:
        (folder / "broken.png").write_bytes(png("broken")[:200])
    return folder


def make(home: Path, scratch: Path) -> None:
    """Make the lake: images, rows, quarantine, a rebuild, and uploads in four states."""
    with Lake.init(home) as lake:
        lake.create_provider("acme")
        for number, source in enumerate(
            (photos(scratch / "one", 1, 2, 3, broken=True), photos(scratch / "two", 3, 4))
        ):
            upload = lake.upload_raw_data(
                source, provider="acme", dataset="photos", tags=[f"t{number}"]
            )
            lake.ingest(upload.id)
        for low in (0, 5):
            rows = pa.table({"at": range(low, low + 5), "price": [1.5] * 5})
            lake.ingest(lake.upload_raw_data(rows, provider="acme", dataset="ticks").id)
        lake.rebuild(PHOTOS)
        lake.upload_raw_data(photos(scratch / "later", 9), provider="acme", dataset="photos")
        cancelled = lake.upload_raw_data(pa.table({"at": [1]}), provider="acme", dataset="ticks")
        lake.cancel(cancelled.id)
        _fail_one(lake)
        seal_catalog(lake.stores.layout.catalog_file)


def _fail_one(lake: Lake) -> None:
    failing = lake.upload_raw_data(pa.table({"a": [2]}), provider="acme", dataset="other")
    data = failing.folder / "files" / "data.parquet"
    kept = data.read_bytes()
    data.write_bytes(b"no Parquet")
    try:
        lake.ingest(failing.id)
    except UploadsFailed:
        pass
    folder = lake.stores.staging.find(failing.id).folder
    (folder / "files" / "data.parquet").write_bytes(kept)


@contextmanager
def lake_and_copy(folder: Path) -> Iterator[tuple[SmallLake, Path]]:
    """Make a lake and a copy of it to restore it from; tables know their place by heart."""
    home, copy = folder / "lake", folder / "copy"
    make(home, folder / "deliveries")
    shutil.copytree(home, copy, symlinks=True)
    yield SmallLake(home), copy


def restore(lake: SmallLake, copy: Path) -> None:
    shutil.rmtree(lake.home)
    shutil.copytree(copy, lake.home, symlinks=True)
