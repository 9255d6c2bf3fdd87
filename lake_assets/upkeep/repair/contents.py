"""Put contents back: images, thumbnails and staged files from their other copies, documents.

Invariant: what is put in the place of a file has the SHA-256 that the file should have, or (a
thumbnail) is made from an image that has.
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import CommitConflict, LakeError, UnreadableMedia
from lake_assets.intake.manifest import (
    LIST_FILE,
    MANIFEST_FILE,
    is_of_later_version,
    parse_manifest,
)
from lake_assets.intake.uploads import (
    DEATHS_FILE,
    ERROR_FILE,
    LEASE_FILE,
    OUTCOME_FILE,
    State,
)
from lake_assets.media.inspect import inspect_image
from lake_assets.media.reencode import StorePolicy, reencode
from lake_assets.query.duckdb import LakeSql
from lake_assets.storage.files import new_file, storage_errors
from lake_assets.storage.sealed_json import SealState, seal_state
from lake_assets.storage.seals import Seal, append_seals, seal_of
from lake_assets.storage.system_tables import IMAGES
from lake_assets.upkeep.repair.bit_errors import mended, without_flipped_bit
from lake_assets.upkeep.repair.model import Action, Bench, Step
from lake_assets.upkeep.verify.model import Finding, Kind, Severity

_AGAIN = "no other copy in the lake has its SHA-256: deliver it again, then `lake repair`"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """A row of ``lake.images``."""

    name: DatasetName
    sha256: str
    stored_sha256: str
    location: str
    thumbnail: str


@dataclass(slots=True)
class Copies:
    """Where else in the lake the contents lie that are to be put back."""

    bench: Bench
    damaged: frozenset[str]
    """Paths that are no good as a source."""
    staged: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Staged files by SHA-256."""
    images: list[_Image] = field(default_factory=list)

    def good(self, sha256: str) -> Path | None:
        """Return a file whose content has this SHA-256, or None. Reads it to be sure."""
        shards = (
            self.bench.stores.assets.path(item.location)
            for item in self.images
            if item.stored_sha256 == sha256
        )
        for path in (*self.staged.get(sha256, ()), *shards):
            if self.bench.look.below(path) in self.damaged or not path.is_file():
                continue
            if seal_of(path).sha256 == sha256:
                return Path(path)
        return None


def plan_contents(bench: Bench, findings: Iterable[Finding]) -> None:
    """Add the steps that put images, thumbnails and staged files back."""
    wanted = (Kind.SHARD, Kind.THUMBNAIL, Kind.STAGED_FILE)
    damaged = [item for item in findings if item.kind in wanted]
    if not damaged:
        return
    copies = _copies(bench, damaged)
    by_place = {bench.look.below(bench.stores.assets.path(item.location)): item
                for item in copies.images}  # fmt: skip
    by_thumbnail = {bench.look.below(bench.stores.thumbnails.path(item.thumbnail)): item
                    for item in copies.images}  # fmt: skip
    for finding in damaged:
        if finding.kind is Kind.STAGED_FILE:
            _plan_staged(bench, copies, finding)
        elif finding.kind is Kind.SHARD and finding.path in by_place:
            _plan_shard(bench, copies, finding, by_place[finding.path])
        elif finding.kind is Kind.THUMBNAIL and finding.path in by_thumbnail:
            _plan_thumbnail(bench, copies, finding, by_thumbnail[finding.path])


def _plan_staged(bench: Bench, copies: Copies, finding: Finding) -> None:
    sha256 = _staged_hash(bench, finding)
    source = copies.good(sha256) if sha256 else None
    if source is None:
        _plan_bit(bench, finding, sha256)
    else:
        _restore(bench, finding, source, sha256)


def _plan_shard(bench: Bench, copies: Copies, finding: Finding, image: _Image) -> None:
    source = copies.good(image.stored_sha256)
    if source is not None:
        _restore(bench, finding, source, image.stored_sha256)
        return
    original = copies.good(image.sha256)
    again = _reencoded(bench, original, image) if original else None
    if again is None:
        _plan_bit(bench, finding, image.stored_sha256)
        _plan_making_room(bench, finding)
        return
    what = "encode it again from the staged original, as it was stored"
    do = functools.partial(put_back, bench, bench.path(finding), again, image.stored_sha256)
    bench.steps.append(Step(action=Action.RESTORE, path=finding.path, what=what, do=do))


def _plan_making_room(bench: Bench, finding: Finding) -> None:
    """Move an image away of which no good copy is left.

    Until it is, whoever reads it is told that it is missing, and not handed the wrong bytes.
    """
    is_lost = any(item.path == finding.path for item in bench.hopeless)
    if is_lost and bench.path(finding).exists():
        what = "make room for the image, which has to be delivered again"
        do = functools.partial(bench.move_away, bench.path(finding))
        bench.steps.append(Step(action=Action.MOVE, path=finding.path, what=what, do=do))


def _plan_thumbnail(bench: Bench, copies: Copies, finding: Finding, image: _Image) -> None:
    do = functools.partial(_remake_thumbnail, bench, copies, image)
    if copies.good(image.sha256) is None and copies.good(image.stored_sha256) is None:
        bench.give_up(finding, "its image is damaged too; " + _AGAIN)
    else:
        what = "make it again from its image"
        bench.steps.append(Step(action=Action.REMAKE, path=finding.path, what=what, do=do))


def _remake_thumbnail(bench: Bench, copies: Copies, image: _Image) -> None:
    source = copies.good(image.sha256) or copies.good(image.stored_sha256)
    if source is None:
        return
    data = inspect_image(source.read_bytes(), name=source.name).thumbnail
    sha256 = hashlib.sha256(data).hexdigest()
    root = bench.stores.layout.thumbnails
    put_back(bench, root / image.thumbnail, data, sha256)
    # It may differ from the first one: made from a smaller copy, or by a later Pillow.
    append_seals(root, {image.thumbnail: Seal(sha256=sha256, byte_count=len(data))})


def _reencoded(bench: Bench, original: Path, image: _Image) -> bytes | None:
    policy = bench.stores.registry().contract(image.name).images
    data = original.read_bytes()
    try:
        facts = inspect_image(data, name=original.name)
        kept = reencode(data, facts, StorePolicy.parse(policy.store, policy.longest_side_px))
    except UnreadableMedia:
        return None
    return kept.data if kept.sha256 == image.stored_sha256 else None


def _restore(bench: Bench, finding: Finding, source: Path, sha256: str) -> None:
    def do() -> None:
        if finding.kind is Kind.STAGED_FILE:
            _require_folder(bench.path(finding), bench)
        put_back(bench, bench.path(finding), source.read_bytes(), sha256)

    what = f"copy it from {bench.look.below(source)}"
    bench.steps.append(Step(action=Action.RESTORE, path=finding.path, what=what, do=do))


def _plan_bit(bench: Bench, finding: Finding, sha256: str) -> None:
    path = bench.path(finding)
    right = without_flipped_bit(path.read_bytes(), sha256) if sha256 and path.is_file() else None
    if right is None:
        bench.give_up(finding, _AGAIN)
        return
    do = functools.partial(put_back, bench, path, right, sha256)
    what = "turn its flipped bit back"
    bench.steps.append(Step(action=Action.RESTORE, path=finding.path, what=what, do=do))


def plan_documents(bench: Bench, findings: Iterable[Finding]) -> None:
    """Add the steps that mend documents of uploads in which one bit is wrong."""
    for finding in findings:
        if finding.kind is not Kind.DOCUMENT or finding.severity is not Severity.DAMAGE:
            continue
        path = bench.path(finding)
        right = _mended_document(path) if path.is_file() else None
        if right is not None:
            do = functools.partial(_put_document_back, bench, path, path.read_bytes(), right)
            what = "turn its flipped bit back"
            bench.steps.append(Step(action=Action.RESTORE, path=finding.path, what=what, do=do))
        elif _can_go(path):
            what = "nothing needs it any more" if path.name != OUTCOME_FILE else "the ledger has it"
            do = functools.partial(bench.move_away, path)
            bench.steps.append(Step(action=Action.MOVE, path=finding.path, what=what, do=do))
        elif path.name == MANIFEST_FILE and path.is_file() and is_of_later_version(path):
            bench.give_up(finding, "a later version of lake_assets wrote it: upgrade lake_assets")
        else:
            bench.give_up(finding, "deliver the upload again, or restore it from a backup")


def _can_go(path: Path) -> bool:
    """Return whether an upload does without a document. Without its error nobody knows why."""
    needs_error = path.parent.parent.name == State.FAILED
    kept = {ERROR_FILE} if needs_error else set()
    return path.name in {DEATHS_FILE, LEASE_FILE, ERROR_FILE, OUTCOME_FILE} - kept


def _put_document_back(bench: Bench, path: Path, damaged: bytes, right: bytes) -> None:
    _require_folder(path, bench)
    if not path.is_file() or path.read_bytes() != damaged:
        raise CommitConflict(f"{path.name} was changed meanwhile", path=str(path))
    put_back(bench, path, right, hashlib.sha256(right).hexdigest(), 0o644)


def _require_folder(path: Path, bench: Bench) -> None:
    """Raise unless the upload that a file belongs to is where it was."""
    state, upload = path.relative_to(bench.stores.layout.staging).parts[:2]
    if not (bench.stores.layout.staging / state / upload).is_dir():
        raise CommitConflict(f"upload {upload} is no longer in {state}", path=str(path))


def _mended_document(path: Path) -> bytes | None:
    content = path.read_bytes()
    if path.name == LIST_FILE:
        try:
            text = (path.parent / MANIFEST_FILE).read_text(encoding="utf-8")
            sha256 = parse_manifest(text, where=str(path)).files_sha256
        except (OSError, UnicodeDecodeError, LakeError):
            return None
        return without_flipped_bit(content, sha256) if sha256 else None
    return mended(content, lambda text: seal_state(text) is SealState.WHOLE)


def put_back(bench: Bench, path: Path, data: bytes, sha256: str, mode: int = 0o444) -> None:
    """Put ``data`` in the place of a damaged or missing file, as a whole.

    A folder in its place, or a file in the place of one of its folders, is moved away first.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        return  # its source has changed meanwhile; the next verify tells of it again
    for folder in path.parents:
        if folder.is_relative_to(bench.stores.layout.home) and folder.is_file():
            bench.move_away(folder)
    if path.is_dir() and not path.is_symlink():
        bench.move_away(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".draft-{uuid4().hex}")
    with new_file(draft) as writer:
        writer.write_all([data])
        with storage_errors(path):
            draft.chmod(mode)
            draft.replace(path)


def _staged_hash(bench: Bench, finding: Finding) -> str:
    for upload in bench.stores.staging.uploads():
        if upload.id != finding.about:
            continue
        for file in upload.files():
            if bench.look.below(upload.files_folder / file.name) == finding.path:
                return file.sha256
    return ""


def _copies(bench: Bench, damaged: list[Finding]) -> Copies:
    copies = Copies(bench, frozenset(item.path for item in damaged))
    copies.images += _images(bench, damaged)
    shas = {item.sha256 for item in copies.images} | {item.stored_sha256 for item in copies.images}
    shas |= {_staged_hash(bench, item) for item in damaged if item.kind is Kind.STAGED_FILE}
    for upload in bench.stores.staging.uploads():
        try:
            listed = upload.files()
        except LakeError:
            continue  # its list is damaged, which is a finding of its own
        for file in listed:
            if file.sha256 in shas:
                copies.staged[file.sha256].append(upload.files_folder / file.name)
    return copies


def _images(bench: Bench, damaged: list[Finding]) -> Iterator[_Image]:
    """Yield the images that are damaged, or have the content of a damaged file."""
    if IMAGES.name not in bench.look.pointers or IMAGES.name in bench.look.broken_tables:
        return
    layout = bench.stores.layout
    prefixes = (f"{bench.look.below(layout.assets)}/", f"{bench.look.below(layout.thumbnails)}/")
    wanted = [item.path.removeprefix(prefixes[0]).removeprefix(prefixes[1]) for item in damaged]
    hashes = [_staged_hash(bench, item) for item in damaged if item.kind is Kind.STAGED_FILE]
    sql = LakeSql(bench.stores.tables, scratch=layout.scratch)
    rows: Any = sql.query(
        f"""WITH known AS (SELECT provider, dataset, sha256, stored_sha256, location, thumbnail
            FROM {IMAGES.name}), meant AS (SELECT sha256, stored_sha256 FROM known
            WHERE list_contains($1, location) OR list_contains($1, thumbnail))
        SELECT * FROM known WHERE list_contains($2, stored_sha256)
            OR sha256 IN (SELECT sha256 FROM meant)
            OR stored_sha256 IN (SELECT stored_sha256 FROM meant)""",
        (wanted, hashes),
    )
    for provider, dataset, sha256, stored_sha256, location, thumbnail in rows.fetchall():
        yield _Image(
            name=DatasetName(provider, dataset), sha256=sha256, stored_sha256=stored_sha256,
            location=location, thumbnail=thumbnail,
        )  # fmt: skip
