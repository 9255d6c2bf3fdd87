"""Annotations to torture a lake with: some are taken in, some rejected, one is a duplicate."""

from __future__ import annotations

import json
from pathlib import Path

from lake_assets.contracts.names import DatasetName, VariantName
from lake_assets.contracts.registry import update_registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.lake import Lake

_CONTRACT = {
    "fields": {"id": "long", "image": "string", "lang": "string", "text": "string"},
    "image_field": "image",
    "unique_by": ["id"],
}


def notes_on(dataset: DatasetName, variant: str) -> VariantName:
    """Return the name of a variant of notes on images."""
    return VariantName(dataset, "notes", variant)


def write_notes(path: Path, *, seed: int, images: int) -> Path:
    """Write notes about the images that ``write_photos`` makes with this seed.

    One is there twice, one has another's id, one is about no image, two are in another language.
    """
    rows = [_note(number, f"{seed}-{number % images}.jpg", "en") for number in range(6)]
    rows += [rows[0], rows[1] | {"text": "otherwise"}, _note(7, "nowhere.jpg", "en")]
    rows += [_note(8, f"{seed}-0.jpg", "ko"), _note(9, f"{seed}-1.jpg", "ko")]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def _note(number: int, image: str, lang: str) -> dict[str, object]:
    return {"id": number, "image": image, "lang": lang, "text": f"note {number}"}


def allow_languages(lake: Lake, *languages: str) -> None:
    """Let notes be in these languages, and in no others."""
    contract = TaskContract.model_validate({**_CONTRACT, "allowed_values": {"lang": languages}})
    update_registry(
        lake.stores.layout.registry_file,
        lambda registry: (
            registry.without_task("notes") if "notes" in registry.tasks else registry
        ).with_task("notes", contract),
    )
