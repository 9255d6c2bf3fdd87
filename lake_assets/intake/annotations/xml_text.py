"""XML as a stream of elements, safe to take from strangers, in bounded memory.

Invariant: nothing but the file itself is read. Entities may not be declared, so that none can grow
("billion laughs") or bring in another file (XXE); external DTDs are never fetched, and a reference
to an entity that only one of them would declare is refused rather than left out.

The standard library's expat does all of it with three handlers. ``defusedxml`` would refuse the
same, but is one more library, and has no hold on what a tree of elements takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Literal, NoReturn
from xml.parsers import expat

import pyarrow as pa

from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations.model import AnnotationFile
from lake_assets.intake.formats import MAX_RECORD_CHARS, compression_of
from lake_assets.intake.readers.source import reading

_READ_BYTES = 64 * 1024
_MAX_DEPTH = 100


@dataclass(slots=True)
class Node:
    """One element, by the local part of its name; attributes of other namespaces are left out."""

    name: str
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return what stands directly in it."""
        return "".join(self.texts)

    def each(self, name: str) -> list[Node]:
        """Return the children of this name."""
        return [child for child in self.children if child.name == name]

    def first(self, name: str) -> Node | None:
        """Return the first child of this name."""
        return next(iter(self.each(name)), None)


@dataclass(frozen=True, slots=True)
class Event:
    """An element begins or ends."""

    kind: Literal["start", "end"]
    node: Node


def events(file: AnnotationFile, root: str, whole: frozenset[str]) -> Iterator[Event]:
    """Yield the starts and ends of elements in their order.

    Args:
        file: The file.
        root: Name that its outermost element must have.
        whole: Names of elements that come once, at their end, with all that is in them. Others
            come at both, without children.

    Raises:
        UnreadableSource: The file is not well-formed, cut short, of another root, or unsafe.
    """
    stream = _Stream(file, root, whole)
    with reading(file.as_text()), _open(file) as source:
        while data := source.read(_READ_BYTES):
            yield from stream.feed(data)
        yield from stream.close()


def _open(file: AnnotationFile) -> IO[bytes]:
    stream: IO[bytes] = pa.input_stream(str(file.path), compression=compression_of(file.path.name))
    return stream


class _Stream:
    def __init__(self, file: AnnotationFile, root: str, whole: frozenset[str]) -> None:
        self._file = file
        self._root = root
        self._whole = whole
        self._open: list[Node] = []
        self._inside: int | None = None
        """Depth of the element that is to come whole."""
        self._events: list[Event] = []
        self._fed = self._unit_began = 0
        self._parser = expat.ParserCreate(namespace_separator="}")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.EntityDeclHandler = self._entity
        self._parser.SkippedEntityHandler = self._entity

    def feed(self, data: bytes) -> list[Event]:
        """Return what ends or begins in the next bytes."""
        self._fed += len(data)
        self._parse(data, is_final=False)
        done = self._parser.CurrentByteIndex
        began = min(done, self._unit_began) if self._inside is not None else done
        if self._fed - began > MAX_RECORD_CHARS:
            self._refuse(f"one element has more than {MAX_RECORD_CHARS:,} bytes")
        return self._taken()

    def close(self) -> list[Event]:
        """Return what ends with the file."""
        self._parse(b"", is_final=True)
        return self._taken()

    def _parse(self, data: bytes, *, is_final: bool) -> None:
        try:
            self._parser.Parse(data, is_final)
        except (expat.ExpatError, ValueError, LookupError) as error:  # the latter: of an encoding
            self._refuse(str(error))

    def _taken(self) -> list[Event]:
        taken, self._events = self._events, []
        return taken

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition("}")[2]
        if not self._open and local != self._root:
            self._refuse(f"its root is {local}, not {self._root}")
        node = Node(local, {key: text for key, text in attributes.items() if "}" not in key})
        if self._inside is not None:
            self._open[-1].children.append(node)
        elif local in self._whole:
            self._inside, self._unit_began = len(self._open), self._parser.CurrentByteIndex
        else:
            self._events.append(Event("start", node))
        self._open.append(node)
        if len(self._open) > _MAX_DEPTH:
            self._refuse(f"it is nested more than {_MAX_DEPTH} levels deep")

    def _end(self, _name: str) -> None:
        node = self._open.pop()
        if self._inside is None or self._inside == len(self._open):
            self._inside = None
            self._events.append(Event("end", node))

    def _text(self, text: str) -> None:
        if self._inside is not None:
            self._open[-1].texts.append(text)

    def _entity(self, name: str, *_rest: object) -> NoReturn:
        self._refuse(f"it uses the entity {name} of a DTD, and those are not read")

    def _refuse(self, reason: str) -> NoReturn:
        line = self._parser.CurrentLineNumber
        raise UnreadableSource(
            f"{self._file.name} cannot be read as {self._file.format}, line {line}: {reason}. "
            "Correct it and deliver it again.",
            file=self._file.name,
        )
