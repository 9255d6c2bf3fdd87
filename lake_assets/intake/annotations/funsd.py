"""FUNSD: the entities of one form, each with its words, and which entity answers which.

``{"form": [{"id", "label", "text", "box": [x_min, y_min, x_max, y_max], "words": [{"box", "text"}],
"linking": [[from_id, to_id]]}]}``. Source: G. Jaume et al., "FUNSD: A Dataset for Form
Understanding in Noisy Scanned Documents", 2019 (https://guillaumejaume.github.io/FUNSD).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lake_assets.intake.annotations import values
from lake_assets.intake.annotations.json_text import Document, members
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece, Refused

_OF_ENTITIES = frozenset({"id", "label", "text", "box", "linking", "words"})
_OF_WORDS = frozenset({"text", "box"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One entity as it was delivered."""

    image: str
    path: str
    """Where it stands in its file."""
    value: Document


def read_entities(file: AnnotationFile) -> Iterator[Piece]:
    """Yield one field per entity (``kie``): its label, text, box, and the entities linked to it."""
    return entity_fields(file, _entities(file))


def read_words(file: AnnotationFile) -> Iterator[Piece]:
    """Yield the words of all entities (``ocr``), each with the ``entity_id`` of its own."""
    return entity_words(file, _entities(file))


def entity_fields(file: AnnotationFile, entities: Iterable[Entity | Refused]) -> Iterator[Piece]:
    """Yield one field per entity (``kie``). Words are not among its columns: ``ocr`` has them."""
    for entity in entities:
        if isinstance(entity, Refused):
            yield entity
            continue
        try:
            own = _others(entity.value, _OF_ENTITIES)
            yield file.record({"image": entity.image, **_field(entity)}, own)
        except Flaw as flaw:
            yield flaw.refusing(entity.value)


def entity_words(file: AnnotationFile, entities: Iterable[Entity | Refused]) -> Iterator[Piece]:
    """Yield the words of entities (``ocr``), each with the ``entity_id`` of its own."""
    for entity in entities:
        if isinstance(entity, Refused):
            yield entity
            continue
        words = entity.value.get("words")
        if not isinstance(words, list):
            yield Flaw(
                "entity_has_words", path=f"{entity.path}.words", expected="a list", actual=words
            ).refusing(entity.value)
            continue
        for i, word in enumerate(words):
            try:
                own = {"image": entity.image, **_word(word, f"{entity.path}.words[{i}]")}
                own["entity_id"] = _id(entity)
                yield file.record(own, _others(word, _OF_WORDS))
            except Flaw as flaw:
                yield flaw.refusing(word)


def _entities(file: AnnotationFile) -> Iterator[Entity | Refused]:
    entities = (entity for key, entity in members(file) if key == "form")
    for number, entity in enumerate(entities):
        if isinstance(entity, Refused):
            yield entity
        else:
            yield Entity(image=file.stem, path=f"form[{number}]", value=entity)


def _field(entity: Entity) -> dict[str, Any]:
    value, path, name = entity.value, entity.path, _id(entity)
    links = values.items(value.get("linking") or [], f"{path}.linking", _pair)
    return {
        "annotation_id": name,
        "field": values.text(value.get("label"), f"{path}.label"),
        "value": values.text(value.get("text"), f"{path}.text"),
        # Each link stands at both its ends: what remains of it is the other one.
        "links": [other for pair in links for other in pair if other != name],
        "linking": value.get("linking"),
        **_where(value, path),
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


def _others(piece: Document, used: frozenset[str]) -> Document:
    return {key: value for key, value in piece.items() if key not in used}


def _id(entity: Entity) -> str | None:
    return values.identifier(entity.value.get("id"), f"{entity.path}.id")


def _pair(value: Any, path: str) -> list[str | None]:
    pair = values.items(value, path, values.identifier)
    if len(pair) != 2:
        raise Flaw("links_are_pairs", path=path, expected="[from, to]", actual=value)
    return pair
