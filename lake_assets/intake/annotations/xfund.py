"""XFUND: the entities of many forms in one file, in seven languages.

``{"lang", "version", "split", "documents": [{"id", "document": [entity], "img": {"fname", "width",
"height"}}]}``; entities are as FUNSD has them. Source: Y. Xu et al., "XFUND: A Benchmark Dataset
for Multilingual Visually Rich Form Understanding", 2022 (https://github.com/doc-analysis/XFUND).

What is said of the file (``lang``, ``split``) is said of its upload, with ``--meta``. Memory is
bounded by one document.
"""

from __future__ import annotations

from collections.abc import Iterator

from lake_assets.intake.annotations.funsd import Entity, entity_fields, entity_words
from lake_assets.intake.annotations.json_text import Document, members
from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Piece, Refused


def read_entities(file: AnnotationFile) -> Iterator[Piece]:
    """Yield one field per entity (``kie``). Its id is one of its document, as its links are."""
    return entity_fields(file, _entities(file))


def read_words(file: AnnotationFile) -> Iterator[Piece]:
    """Yield the words of all entities (``ocr``), each with the ``entity_id`` of its own."""
    return entity_words(file, _entities(file))


def _entities(file: AnnotationFile) -> Iterator[Entity | Refused]:
    documents = (document for key, document in members(file) if key == "documents")
    for number, document in enumerate(documents):
        if isinstance(document, Refused):
            yield document
            continue
        try:
            yield from _of_document(document, f"documents[{number}]")
        except Flaw as flaw:
            yield flaw.refusing(document)


def _of_document(document: Document, path: str) -> Iterator[Entity | Refused]:
    image = _image(document, path)
    entities = document.get("document")
    if not isinstance(entities, list):
        raise Flaw(
            "document_has_entities", path=f"{path}.document", expected="a list", actual=entities
        )
    for number, entity in enumerate(entities):
        place = f"{path}.document[{number}]"
        if isinstance(entity, dict):
            yield Entity(image=image, path=place, value=entity)
        else:
            flaw = Flaw("record_is_an_object", path=place, expected="a JSON object", actual=entity)
            yield flaw.refusing(entity)


def _image(document: Document, path: str) -> str:
    img = document.get("img")
    name = img.get("fname") if isinstance(img, dict) else None
    if not isinstance(name, str) or not name:
        raise Flaw(
            "document_names_its_image", path=f"{path}.img.fname", expected="a name", actual=name
        )
    return name
