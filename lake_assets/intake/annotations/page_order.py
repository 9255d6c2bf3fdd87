"""The reading order of a PAGE XML file: which place its regions, lines and words have.

``ReadingOrder`` comes before the regions and names them; how many lines each has is known only
afterwards. So the file is read once more, but only if there is an order. Memory is bounded by the
number of regions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations.model import AnnotationFile
from lake_assets.intake.annotations.xml_text import Node, events

_ORDERED = ("OrderedGroup", "OrderedGroupIndexed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Places in reading order, from 0."""

    regions: dict[str, int]
    """By id; without those that have no place."""
    firsts: dict[tuple[str, str], int]
    """Of the first line and the first word of a region, by level and id."""

    def text_place(self, level: str, region: str | None, number: int) -> int | None:
        """Return the place of the line or word with this number in its region; None: unknown."""
        first = self.firsts.get((level, region or ""))
        return None if first is None else first + number


def places_of(file: AnnotationFile) -> Places:
    """Return the places that the file's ``ReadingOrder`` gives; none without one.

    Raises:
        UnreadableSource: The file is no PAGE XML, or an index is no number.
    """
    order: list[str] | None = None
    counts: Counter[tuple[str, str]] = Counter()
    regions: list[str] = []
    for event in events(file, "PcGts", frozenset({"ReadingOrder", "TextLine"})):
        node = event.node
        if node.name == "ReadingOrder":
            order = [name for group in node.children for name in _regions(group, file)]
        elif node.name == "TextLine":
            region = regions[-1] if regions else ""
            counts["line", region] += 1
            counts["word", region] += len(node.each("Word"))
        elif node.name.endswith("Region"):
            if order is None:
                break
            regions.append(node.attributes.get("id", "")) if event.kind == "start" else (
                regions.pop()
            )
    # A region that is named twice has its first place.
    named = list(dict.fromkeys(order or []))
    return Places(
        regions={name: place for place, name in enumerate(named)},
        firsts={
            (level, name): sum(counts[level, before] for before in named[:place])
            for level in ("line", "word")
            for place, name in enumerate(named)
        },
    )


def _regions(group: Node, file: AnnotationFile) -> Iterator[str]:
    """Yield the regions of a group in their order; those of an unordered one have none."""
    if group.attributes.get("regionRef"):
        yield group.attributes["regionRef"]
    if group.name in _ORDERED:
        for member in sorted(group.children, key=lambda child: _index(child, file)):
            yield from _regions(member, file)


def _index(node: Node, file: AnnotationFile) -> int:
    text = node.attributes.get("index", "0")
    if not (text.isascii() and text.isdigit()):
        raise UnreadableSource(
            f"{file.name} has the index {text!r} in its ReadingOrder, and that is no whole number. "
            "Correct it and deliver it again.",
            file=file.name,
        )
    return int(text[:20])
