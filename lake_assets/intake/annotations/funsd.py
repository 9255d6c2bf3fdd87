"""FUNSD: the entities of one form, each with its words, and which entity answers which.

``{"form": [{"id", "label", "text", "box": [x_min, y_min, x_max, y_max], "words": [{"box", "text"}],
"linking": [[from_id, to_id]]}]}``. Source: G. Jaume et al., "FUNSD: A Dataset for Form
Understanding in Noisy Scanned Documents", 2019 (https://guillaumejaume.github.io/FUNSD).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lake_assets.intake.annotations import values
from lake_assets.intake.annotations.json_text import Document, members
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece, Refused


def read_entities(file: AnnotationFile) -> Iterator[Piece]:
    """Yield one field per entity (``kie``): its label, text, box, and the entities linked to it."""
    for path, entity in _entities(file):
        if isinstance(entity, Refused):
            yield entity
            continue
        try:
            yield file.record({"image": file.stem, **_field(entity, path)})
        except Flaw as flaw:
            yield flaw.refusing(entity)


def read_words(file: AnnotationFile) -> Iterator[Piece]:
    """Yield the words of all entities (``ocr``), each with the ``entity_id`` of its own."""
    for path, entity in _entities(file):
        if isinstance(entity, Refused):
            yield entity
            continue
        words = entity.get("words")
        if not isinstance(words, list):
            yield Flaw(
                "entity_has_words", path=f"{path}.words", expected="a list", actual=words
            ).refusing(entity)
            continue
        for i, word in enumerate(words):
            try:
                own = {"image": file.stem, **_word(word, f"{path}.words[{i}]")}
                yield file.record(own | {"entity_id": _id(entity, path)})
            except Flaw as flaw:
                yield flaw.refusing(word)


def _entities(file: AnnotationFile) -> Iterator[tuple[str, Document | Refused]]:
    entities = (entity for key, entity in members(file) if key == "form")
    for number, entity in enumerate(entities):
        yield f"form[{number}]", entity


def _field(entity: Document, path: str) -> dict[str, Any]:
    name = _id(entity, path)
    links = values.items(entity.get("linking") or [], f"{path}.linking", _pair)
    return {
        "annotation_id": name,
        "field": values.text(entity.get("label"), f"{path}.label"),
        "value": values.text(entity.get("text"), f"{path}.text"),
        # Each link stands at both its ends: what remains of it is the other one.
        "links": [other for pair in links for other in pair if other != name],
        "linking": entity.get("linking"),
        **_where(entity, path),
    }


def _word(word: Any, path: str) -> dict[str, Any]:
    if not isinstance(word, dict):
        raise Flaw("record_is_an_object", path=path, expected="a JSON object", actual=word)
    text = values.text(word.get("text"), f"{path}.text")
    return {"text": text, "level": "word", **_where(word, path)}


def _where(piece: Document, path: str) -> dict[str, Any]:
    if piece.get("box") is None:
        return {}
    place = f"{path}.box"
    return values.corners(values.four(piece["box"], place), place).columns()


def _id(entity: Document, path: str) -> str | None:
    return values.identifier(entity.get("id"), f"{path}.id")


def _pair(value: Any, path: str) -> list[str | None]:
    pair = values.items(value, path, values.identifier)
    if len(pair) != 2:
        raise Flaw("links_are_pairs", path=path, expected="[from, to]", actual=value)
    return pair
