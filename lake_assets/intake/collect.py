"""Any delivery – table, file, folder, archive, DataFrame – copied into one folder of an upload.

Invariant: everything that was delivered comes back once: as a file that is staged and hashed, as a
refusal, or as litter. What is staged, every file and folder of it, has reached the disk when
``collect`` returns, so a pending upload survives the loss of power whole.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake_assets.errors import InvalidRequest, UnreadableSource, UnsupportedFormat
from lake_assets.intake.archives import ArchiveLimits, extract, is_archive
from lake_assets.intake.file_names import unusable_because
from lake_assets.intake.folder_walk import walk
from lake_assets.intake.frames import FRAME_NAME, as_table, write_frame
from lake_assets.intake.image_columns import referenced_name
from lake_assets.intake.model import ReadOptions, RefusedFile, StagedFile
from lake_assets.intake.staged_folder import OwnShards, Progress, StagedFolder, role_of
from lake_assets.storage.files import source_errors

if TYPE_CHECKING:
    from lake_assets.intake.references import Neighbourhood

_REFERENCES = "lake_assets.intake.references"
"""Imported with the readers, and pandas, which pyarrow takes along: as long as copying 300 MB."""

UNDERSTOOD = (
    "Understood are images (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC), Parquet, CSV, TSV, JSON, "
    "JSON Lines and Arrow files, folders of these, and .zip and .tar archives of these (also "
    ".tar.gz, .tar.zst, .tar.bz2, .tar.xz)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """A delivery as staged."""

    files: tuple[StagedFile, ...]
    """As delivered, in their order, then those that rows named from elsewhere."""
    refused: tuple[RefusedFile, ...]
    """Each counts as one rejected row."""
    ignored: tuple[str, ...]
    """Litter; not counted."""
    options: ReadOptions
    """As given, with the image column that was found."""
    source: str
    """What was delivered, for people."""


def collect(
    source: Path | str | pa.Table | Any,
    files_folder: Path,
    options: ReadOptions,
    *,
    progress: Progress | None = None,
    limits: ArchiveLimits | None = None,
    follow_references: bool = True,
    are_annotations: bool = False,
    shards: OwnShards | None = None,
) -> Collected:
    """Copy a delivery into a folder of an upload and return what is in it.

    Args:
        source: A file, folder or archive, a pandas DataFrame, or an Arrow table. Left untouched.
        files_folder: An existing empty folder. If this raises, it may hold a part: discard it.
        options: How to read tabular files.
        progress: See ``Progress``.
        limits: What an archive may grow to.
        follow_references: Whether images that rows name outside the delivery are copied too.
            False for deliveries from other people: they could name any file of this machine.
            Archives never are followed.
        are_annotations: Whether it holds annotations, which come in files of more kinds and name
            images that the lake has.
        shards: Images that the dataset has; those that come again are linked, not copied.

    Raises:
        InvalidRequest: Nothing is there, or nothing in it; an option does not fit the delivery.
        UnsupportedFormat: Nothing in it is data or an image.
        UnreadableSource: A damaged archive or table, or one that may not be read.
        StorageUnavailable: The disk is full, or a file changed while it was read.
    """
    staged = StagedFolder(files_folder, progress or _no_progress, shards)
    origin = _take(source, staged, limits or ArchiveLimits(), are_annotations=are_annotations)
    _check_usable(staged, origin, are_annotations=are_annotations)
    resolved = options
    if not are_annotations:
        resolved = _with_references(staged, options, origin, follow_references=follow_references)
    staged.sync()
    return Collected(
        files=tuple(staged.files),
        refused=tuple(staged.refused),
        ignored=tuple(staged.ignored),
        options=resolved,
        source=origin.described,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """What was delivered, and where the names in its rows lead from."""

    described: str
    folder: Path | None
    is_folder: bool = False


def _take(
    source: Any, staged: StagedFolder, limits: ArchiveLimits, *, are_annotations: bool
) -> _Origin:
    table = as_table(source)
    if table is not None:
        return _take_table(table, f"{type(source).__name__} of {table.num_rows:,} rows", staged)
    if not isinstance(source, Path | str):
        raise InvalidRequest(
            f"A {type(source).__name__} cannot be delivered. Give a path, a pandas DataFrame or a "
            "pyarrow Table."
        )
    path = Path(source).absolute()
    with source_errors(path):  # a folder on the way there may be closed to this user
        if not path.exists():
            raise InvalidRequest(f"There is no such file or folder: {path}.", path=str(path))
    if path.is_dir():
        return _take_folder(path, staged)
    return _take_file(path, staged, limits, takes_any=are_annotations)


def _take_table(table: pa.Table, described: str, staged: StagedFolder) -> _Origin:
    staged.add(FRAME_NAME, write_frame(table, staged.path / FRAME_NAME))
    return _Origin(described=described, folder=Path.cwd())


def _take_file(
    path: Path, staged: StagedFolder, limits: ArchiveLimits, *, takes_any: bool
) -> _Origin:
    if not path.is_file():
        raise UnsupportedFormat(f"{path} is neither a file nor a folder.", path=str(path))
    with source_errors(path):
        archive = is_archive(path)
    if archive:
        return _take_archive(path, staged, limits)
    if reason := unusable_because(path.name):
        raise InvalidRequest(f"Rename {path.name!r}: its name {reason}.", path=str(path))
    # Before it is copied: it may be a disk image of a terabyte.
    role = role_of(path)
    if role == "other" and not takes_any:
        raise UnsupportedFormat(f"{path} is not understood. {UNDERSTOOD}", path=str(path))
    with ThreadPoolExecutor(1) as importer:
        if role == "data" and _REFERENCES not in sys.modules:
            importer.submit(import_module, _REFERENCES)
        staged.copy(path, path.name)
    return _Origin(described=str(path), folder=path.parent)


def _take_archive(path: Path, staged: StagedFolder, limits: ArchiveLimits) -> _Origin:
    extracted = extract(path, staged.path, limits, report=staged.add)
    staged.refused.extend(extracted.refused)
    staged.ignored.extend(extracted.ignored)
    return _Origin(described=str(path), folder=None)


def _take_folder(path: Path, staged: StagedFolder) -> _Origin:
    if staged.path.resolve().is_relative_to(path.resolve()):
        raise InvalidRequest(
            f"{path} holds the lake itself, which would be copied into itself. Deliver a folder "
            "beside or below it.",
            path=str(path),
        )
    staged.take(walk(path))
    return _Origin(described=str(path), folder=path, is_folder=True)


def _check_usable(staged: StagedFolder, origin: _Origin, *, are_annotations: bool) -> None:
    useless = "image" if are_annotations else "other"
    if any(file.role != useless for file in staged.files):
        return
    if not staged.files and not staged.refused:
        litter = f" but litter ({', '.join(staged.ignored[:5])})" if staged.ignored else ""
        raise InvalidRequest(f"There is nothing in {origin.described}{litter}.")
    examples = [f"{file.name} (not understood)" for file in staged.files[:5]]
    examples += [f"{item.name} ({item.rule}: {item.actual})" for item in staged.refused[:5]]
    raise UnsupportedFormat(
        f"Nothing in {origin.described} can be used: {'; '.join(examples)}. {UNDERSTOOD}"
    )


def _with_references(
    staged: StagedFolder, options: ReadOptions, origin: _Origin, *, follow_references: bool
) -> ReadOptions:
    """Copy what rows name outside the delivery, and return the options with the image column."""
    if not any(file.role == "data" for file in staged.files):
        return options
    from lake_assets.intake.references import Neighbourhood, with_image_column

    around = Neighbourhood(
        files_folder=staged.path,
        source_folder=origin.folder if follow_references else None,
        holds_its_images=origin.is_folder,
    )
    resolved = with_image_column(options, staged.files, around)
    _copy_references(staged, resolved, around)
    return resolved


def _copy_references(staged: StagedFolder, options: ReadOptions, around: Neighbourhood) -> None:
    from lake_assets.intake.references import references

    for reference in references(options, tuple(staged.files), around):
        # One that may not be read is left out: then its row is rejected, and the others are not.
        with suppress(UnreadableSource):
            staged.copy(reference.path, referenced_name(reference.value), role="image")


def _no_progress(files: int, byte_count: int) -> None:
    """Tell nobody."""
