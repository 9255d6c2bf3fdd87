"""Text files of annotations, line by line."""

from __future__ import annotations

from collections.abc import Iterator

from lake_assets.intake.annotations.model import AnnotationFile, Flaw, Refused
from lake_assets.intake.readers.text import is_valid, lines_of, open_text


def text_lines(file: AnnotationFile) -> Iterator[str | Refused]:
    """Yield the lines that are not blank, without their ends, or why one is no text.

    A byte order mark and ``.gz`` or ``.zst`` are seen to. Text in another encoding than UTF-8 or
    UTF-16 is refused line by line: to guess Latin-1 would turn every other one into wrong letters.

    Raises:
        UnreadableSource: A line has more than 64 Mi characters, or compressed data is damaged.
    """
    source = file.as_text()
    with open_text(source, newline="\n") as text:
        for line in lines_of(text, source):
            content = line.removesuffix("\n").removesuffix("\r")
            if not is_valid(content):
                flaw = Flaw("line_is_valid_utf8", expected="UTF-8 text", actual="other bytes")
                yield flaw.refusing(content)
            elif content.strip():
                yield content
